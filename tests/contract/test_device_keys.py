"""A door's own key and certificate, over real files: asked for, checked, taken into use, and found by who connects."""

import ssl
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from city.certificates import Authority, certificate_pem, new_authority, new_device, new_user, sign_request
from kiosk.broker import Broker, TlsFiles
from kiosk.device_keys import NEXT_KEY, PAIR, DeviceKeys, newest_pair
from tests.builders import START

DEVICE = "door-01"
YEAR = timedelta(days=365)
DEVICES, OTHERS = (new_authority(name, START - YEAR, 9 * YEAR) for name in ("devices", "others"))


class Door:
    """A door's folders: what a technician brought, and its own."""

    def __init__(self, folder: Path, *, ca: bytes = b"") -> None:
        self.brought, self.own = folder / "etc", folder / "var"
        for each in (self.brought, self.own):
            each.mkdir()
        self.bring(START - timedelta(days=30))
        ca_file = self.brought / "ca.pem"
        ca_file.write_bytes(ca)
        self.keys = DeviceKeys(
            self.own, DEVICE, certificate_file=self.files[0], key_file=self.files[1], ca_file=str(ca_file) if ca else ""
        )

    @property
    def files(self) -> tuple[str, str]:
        """The technician's certificate and key."""
        return str(self.brought / "door.pem"), str(self.brought / "door.key")

    def bring(self, at: datetime) -> None:
        """A technician puts a pair there."""
        for name, content in zip(self.files, new_device(DEVICES, DEVICE, at, YEAR), strict=True):
            Path(name).write_bytes(content)

    @property
    def in_use(self) -> tuple[str, str]:
        """What the uplink would log in with; it can be loaded."""
        pair = newest_pair(str(self.own / PAIR), *self.files)
        ssl.create_default_context().load_cert_chain(*pair)
        return pair

    def ask(self, authority: Authority = DEVICES, at: datetime = START, lifetime: timedelta = YEAR) -> str:
        """Make a key, and have its request signed."""
        _, certificate = sign_request(self.keys.new_request().encode(), authority, at, lifetime, device=DEVICE)
        return certificate.decode()


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """A door that a technician has set up."""
    return Door(tmp_path)


def test_a_key_is_renewed_without_leaving_the_door(door: Door) -> None:
    """The request holds the new public key; with its certificate the pair is one file, for its owner alone."""
    before = door.in_use
    request = door.keys.new_request()
    assert (before, door.in_use) == (door.files, door.files)
    assert "PRIVATE" not in request
    _, certificate = sign_request(request.encode(), DEVICES, START, YEAR)
    assert door.keys.install(certificate.decode(), START) == ""
    pair = door.own / PAIR
    assert door.in_use == (str(pair), str(pair))
    assert pair.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in door.own.iterdir()] == [PAIR]
    held = x509.load_pem_x509_certificate(certificate)
    assert (door.keys.certificate, held.subject.rfc4514_string()) == (held, f"CN={DEVICE}")
    assert held.public_key() == load_pem_private_key(pair.read_bytes(), None).public_key()


def test_the_uplink_notices_a_renewed_pair(door: Door) -> None:
    """Without a restart: it looks whether there are other files that can be used."""
    certificate_file, key_file = door.files
    files = TlsFiles(
        Broker(
            host="broker",
            port=8883,
            tls=True,
            certificate_file=certificate_file,
            key_file=key_file,
            renewed_file=door.keys.renewed_file,
        )
    )
    certificate = door.ask()
    assert not files.renewed()
    assert door.keys.install(certificate, START) == ""
    assert files.renewed()
    files.for_connection()
    assert (files.renewed(), files.trouble) == (False, "")


def test_a_power_cut_leaves_the_old_pair_or_the_new_one(door: Door) -> None:
    """At each moment that files can be left at, what is in use is a key with its own certificate."""
    certificate = door.ask()
    waiting = (door.own / NEXT_KEY).read_bytes()
    beside = door.own / f"{PAIR}.new"
    for part in (b"", waiting, waiting + certificate.encode()[:200]):
        beside.write_bytes(part)  # cut while the file is written
        assert door.in_use == door.files
    (door.own / PAIR).write_bytes(waiting + certificate.encode())
    (door.own / NEXT_KEY).write_bytes(waiting)  # cut between renaming and clearing away
    assert door.in_use == (str(door.own / PAIR),) * 2
    assert door.keys.install(certificate, START) == ""
    assert not (door.own / NEXT_KEY).exists()


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_a_damaged_pair_gives_way_to_the_one_that_was_brought(door: Door, damage: bytes) -> None:
    """The door goes on with what the technician left."""
    assert door.keys.install(door.ask(), START) == ""
    (door.own / PAIR).write_bytes(damage)
    assert door.in_use == door.files


def test_a_certificate_without_its_key_is_not_used(door: Door) -> None:
    """Whoever copies files about does not part a door from its broker."""
    certificate, _ = new_device(DEVICES, DEVICE, START, YEAR)
    _, key = new_device(DEVICES, DEVICE, START, YEAR)
    (door.own / PAIR).write_bytes(key + certificate)
    assert door.in_use == door.files


def test_what_a_technician_brings_later_wins(door: Door) -> None:
    """Of two pairs the one whose certificate begins later counts."""
    assert door.keys.install(door.ask(), START) == ""
    door.bring(START + timedelta(days=1))
    assert door.in_use == door.files


def test_a_second_key_takes_the_place_of_the_first(door: Door) -> None:
    """A certificate for the key of before is refused; the newest request counts."""
    first, second = door.ask(), door.ask()
    assert door.keys.install(first, START) == "the certificate is not for the key that was asked for last"
    assert door.keys.install(second, START) == ""
    assert door.keys.install(second, START) == "no key waits for a certificate: order rotate_key first"


def test_a_certificate_that_would_part_the_door_from_its_broker_is_refused(door: Door) -> None:
    """Of another authority, not valid now, older, or none at all: nothing changes."""
    foreign = door.ask(OTHERS)
    unknown = "the certificate is by no authority in ca_file, and not by the one that signed that in use"
    assert door.keys.install(foreign, START) == unknown
    mine = door.ask()
    late = START + YEAR + timedelta(seconds=1)
    assert door.keys.install(mine, late) == "the certificate is not valid now"
    assert door.keys.install(mine, START - timedelta(hours=2)) == "the certificate is not valid now"
    old = door.ask(at=START - timedelta(days=31))
    assert door.keys.install(old, START) == "the certificate is older than the one in use"
    for text, why in (
        ("", "ValueError"),
        ("-----BEGIN CERTIFICATE-----", "ValueError"),
        ("\u1ea1", "UnicodeEncodeError"),
    ):
        assert door.keys.install(text, START) == f"text is no certificate in PEM that can be used ({why})"
    assert door.in_use == door.files


def test_a_certificate_of_another_name_is_refused(door: Door) -> None:
    """The broker would take the door for somebody else, and the door's own topics would be closed to it."""
    key = x509.load_pem_x509_csr(door.keys.new_request().encode()).public_key()
    city, _ = new_user(DEVICES, "city-desk", START, YEAR)
    other = x509.load_pem_x509_certificate(city)
    renamed = (
        x509.CertificateBuilder()
        .subject_name(other.subject)
        .issuer_name(other.issuer)
        .public_key(key)
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + YEAR)
        .sign(DEVICES.key, SHA256())
    )
    text = renamed.public_bytes(Encoding.PEM).decode()
    assert door.keys.install(text, START) == "the certificate names another device"


def test_another_authority_counts_once_the_site_trusts_it(tmp_path: Path) -> None:
    """Where the authority of the devices changes, ca_file must name the new one first."""
    door = Door(tmp_path, ca=certificate_pem(OTHERS.certificate))
    assert door.keys.install(door.ask(OTHERS), START) == ""
    alone = certificate_pem(DEVICES.certificate)
    (door.brought / "ca.pem").write_bytes(alone)
    again = door.ask(at=START + timedelta(minutes=1))
    assert door.keys.install(again + alone.decode(), START + timedelta(minutes=1)) == ""
