"""city.certificates and its verbs: which names may be had, for how long, and that strict verifiers take them."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from city import certificates
from city.certificates import Authority
from city.certificates_cli import make
from city.cli import main

NOW = datetime(2021, 11, 22, 1, 30, tzinfo=UTC)
YEAR = timedelta(days=365)
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Of the devices, good for ten years."""
    return certificates.new_authority("devices-ca", NOW, 10 * YEAR)


def read(pem: bytes) -> x509.Certificate:
    """A certificate that was made."""
    return x509.load_pem_x509_certificate(pem)


def request_of(*names: x509.NameAttribute[str], key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY) -> bytes:
    """A request that names what it likes."""
    draft = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return draft.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def common(name: str) -> x509.NameAttribute[str]:
    """A common name."""
    return x509.NameAttribute(NameOID.COMMON_NAME, name)


def test_a_kiosk_s_request_becomes_its_certificate(authority: Authority) -> None:
    """The certificate has the request's name and key, says client, begins an hour ago, and ends as was said."""
    name, pem = certificates.sign_request(certificates.request_pem("door-07", KEY), authority, NOW, YEAR)
    made = read(pem)
    assert (name, made.subject.rfc4514_string()) == ("door-07", "CN=door-07")
    assert made.public_key() == KEY.public_key()
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (NOW - timedelta(hours=1), NOW + YEAR)
    usages = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.2"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        (b"nothing", "not a certificate request"),
        (request_of(common("Door-07")), "no kiosk's name"),
        (request_of(common("door/07")), "no kiosk's name"),
        (request_of(common("+")), "no kiosk's name"),
        (request_of(common("door-07\n")), "no kiosk's name"),
        (request_of(common("d" * 64)).replace(b"-----BEGIN", b"----- BEGIN"), "not a certificate request"),
        (request_of(common("city-ingest")), "the city's users begin with city-"),
        (request_of(common("door-07"), common("city-ingest")), "something else than one common name"),
        (request_of(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "door-07")), "something else than one common name"),
        (request_of(), "something else than one common name"),
        (request_of(common("door-07"), key=rsa.generate_private_key(65537, 2048)), "not on P-256"),
        (request_of(common("door-07"), key=ec.generate_private_key(ec.SECP384R1())), "not on P-256"),
    ],
)
def test_a_request_that_is_refused_says_why(authority: Authority, csr: bytes, why: str) -> None:
    """Names that are none, names of the city's, other keys, and what is no request at all."""
    with pytest.raises(ValueError, match=why):
        certificates.sign_request(csr, authority, NOW, YEAR)


def test_a_request_for_somebody_else_s_key_is_refused(authority: Authority) -> None:
    """Whoever asks must hold the key: a request with one byte of its signature changed is not signed."""
    request = x509.load_pem_x509_csr(certificates.request_pem("door-07", KEY)).public_bytes(Encoding.DER)
    broken = x509.load_der_x509_csr(request[:-1] + bytes([request[-1] ^ 1])).public_bytes(Encoding.PEM)
    with pytest.raises(ValueError, match="not signed by the key"):
        certificates.sign_request(broken, authority, NOW, YEAR)


def test_a_renewal_is_for_who_it_is_for(authority: Authority) -> None:
    """Where the city knows who asks, another kiosk's name is refused."""
    csr = certificates.request_pem("door-07", KEY)
    assert certificates.sign_request(csr, authority, NOW, YEAR, device="door-07")[0] == "door-07"
    with pytest.raises(ValueError, match="of door-07, not of door-08"):
        certificates.sign_request(csr, authority, NOW, YEAR, device="door-08")


@pytest.mark.parametrize("name", ["city-ingest", "", "Door", "a" * 65])
def test_a_kiosk_may_not_be_called_so(authority: Authority, name: str) -> None:
    """The same names are refused without a request."""
    with pytest.raises(ValueError, match="no kiosk's name"):
        certificates.new_device(authority, name, NOW, YEAR)


@pytest.mark.parametrize("name", ["door-01", "ingest", "City-ingest", ""])
def test_a_user_of_the_city_s_may_not_be_called_so(authority: Authority, name: str) -> None:
    """They begin with city-, so that no kiosk has their rights."""
    with pytest.raises(ValueError, match="no user of the city's"):
        certificates.new_user(authority, name, NOW, YEAR)


def test_nothing_outlives_its_authority(authority: Authority) -> None:
    """It would end with it, on a day that nobody has in the calendar."""
    with pytest.raises(ValueError, match="outlive its authority, 2031-11-20"):
        certificates.new_device(authority, "door-01", NOW, 11 * YEAR)


def test_strict_verifiers_take_them(authority: Authority) -> None:
    """RFC 5280 as cryptography's verifier has it: the broker by name and address, the kiosk as a client."""
    store = PolicyBuilder().store(Store([authority.certificate])).time(NOW + timedelta(days=1))
    pem, _ = certificates.new_server(authority, ["broker.example", "10.0.0.1", "::1"], NOW, YEAR)
    names: list[x509.DNSName | x509.IPAddress] = [x509.DNSName("broker.example")]
    names += [x509.IPAddress(ip_address(one)) for one in ("10.0.0.1", "::1")]
    for name in names:
        assert store.build_server_verifier(name).verify(read(pem), [])
    with pytest.raises(VerificationError):
        store.build_server_verifier(x509.DNSName("other.example")).verify(read(pem), [])
    kiosk, _ = certificates.new_device(authority, "door-01", NOW, YEAR)
    with pytest.raises(VerificationError):  # a kiosk is no broker
        store.build_server_verifier(x509.DNSName("door-01")).verify(read(kiosk), [])


def test_a_broker_has_a_name(authority: Authority) -> None:
    """Without one no client would take it."""
    with pytest.raises(ValueError, match="needs a name"):
        certificates.new_server(authority, [], NOW, YEAR)


def test_a_fleet_s_renewals_are_spread_over_a_sixth_of_their_life(authority: Authority) -> None:
    """Each between a half and two thirds, at a moment that is its own, and not all at once."""
    made = [read(certificates.new_device(authority, f"door-{n}", NOW, YEAR)[0]) for n in range(40)]
    begins, life = made[0].not_valid_before_utc, made[0].not_valid_after_utc - made[0].not_valid_before_utc
    shares = sorted((certificates.renew_at(one) - begins) / life for one in made)
    assert 1 / 2 <= shares[0] < shares[-1] < 2 / 3
    assert len({round(share, 3) for share in shares}) > 20
    assert certificates.renew_at(made[0]) == certificates.renew_at(made[0])


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    """Made again, the folder keeps both authorities, and what they signed is still good."""
    first = make(tmp_path, broker=["localhost"], devices=["door-01"], users=["city-watch"], now=NOW)
    held = {path.name: path.read_bytes() for path in first}
    make(tmp_path, broker=["localhost"], devices=["door-02"], users=[], now=NOW)
    assert {name: (tmp_path / name).read_bytes() for name in ("city-ca.pem", "devices-ca.pem", "door-01.pem")} == {
        name: held[name] for name in ("city-ca.pem", "devices-ca.pem", "door-01.pem")
    }
    assert (tmp_path / "broker.pem").read_bytes() != held["broker.pem"]
    for name in ("city-ca", "devices-ca", "broker", "door-01", "door-02", "city-watch"):
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=str(tmp_path / "city-ca.pem"))
    context.load_cert_chain(tmp_path / "door-01.pem", tmp_path / "door-01.key")


@pytest.mark.parametrize("lost", ["devices-ca.key", "devices-ca.pem"])
def test_half_an_authority_is_not_replaced(tmp_path: Path, lost: str) -> None:
    """Whoever lost a file gets it from where it was kept; a new authority would part all kiosks from the broker."""
    make(tmp_path, broker=[], devices=[], users=[], now=NOW)
    (tmp_path / lost).unlink()
    with pytest.raises(FileExistsError, match="would part you"):
        make(tmp_path, broker=[], devices=[], users=[], now=NOW)


def test_an_authority_s_certificate_and_key_belong_together(authority: Authority) -> None:
    """A key of another is refused before anything is signed with it."""
    other = certificates.new_authority("devices-ca", NOW, YEAR)
    with pytest.raises(ValueError, match="not that of its key"):
        certificates.read_authority(
            certificates.certificate_pem(authority.certificate), certificates.key_pem(other.key)
        )


def test_the_verbs_make_and_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`city certificates` makes a folder, `city sign-request` signs in it, and both say until when."""
    folder = tmp_path / "certificates"
    names = ["--broker", "localhost", "--broker", "127.0.0.1", "--device", "door-01", "--user", "city-ingest"]
    assert main(["certificates", str(folder), *names]) == 0
    (tmp_path / "door-07.csr").write_bytes(certificates.request_pem("door-07", KEY))
    asked = ["sign-request", str(tmp_path / "door-07.csr"), "--authority", str(folder)]
    assert main([*asked, "--out", str(tmp_path / "door-07.pem"), "--days", "90"]) == 0
    assert main([*asked, "--out", str(tmp_path / "never.pem"), "--device", "door-08"]) == 4
    told, complaint = capsys.readouterr()
    assert "CN=door-07, until " in told
    assert "renew on " in told
    assert complaint == "city: the request is of door-07, not of door-08\n"
    assert not (tmp_path / "never.pem").exists()
    read((tmp_path / "door-07.pem").read_bytes()).verify_directly_issued_by(
        read((folder / "devices-ca.pem").read_bytes())
    )
