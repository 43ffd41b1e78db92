import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kiosk.credentials.cose import Claims, Signed, claims_of, verify, within_bounds
from kiosk.credentials.issuer import CERTIFICATE_USES, Issuer, by_kid
from kiosk.messages import Reason, Refusal, Scheme

EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KID = b"kid-0001"
ISSUERS = by_kid(
    Issuer(kid=KID, key=key.public_key(), uses=CERTIFICATE_USES) for key in (OTHER_EC_KEY, EC_KEY, RSA_KEY)
)
BY_EC, BY_RSA = ISSUERS[KID][1], ISSUERS[KID][2]
BAD_DATE = b"\xc0\x74" + b"2021-99-99T99:99:99Z"
CLAIMS: Claims = {1: "XX", 4: 2, 6: 1}


def _ecdsa(signed: bytes) -> bytes:
    r, s = decode_dss_signature(EC_KEY.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def _pss(signed: bytes) -> bytes:
    return RSA_KEY.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def _message(
    protected: Claims, unprotected: Claims | None = None, *, content: bytes | None = None, by_rsa: bool = False
) -> bytes:
    header = cbor2.dumps(protected) if protected else b""
    body = cbor2.dumps(CLAIMS) if content is None else content
    signed = cbor2.dumps(["Signature1", header, b"", body])
    return cbor2.dumps([header, unprotected or {}, body, _pss(signed) if by_rsa else _ecdsa(signed)])


SIGNED = Signed(content=cbor2.dumps(CLAIMS), by=(BY_EC,))


def _reason(result: Claims | Signed | Refusal) -> Reason:
    assert isinstance(result, Refusal)
    return result.reason


@pytest.mark.parametrize("tags", [b"", b"\xd2", b"\xd8\x3d\xd2", b"\xd8\x3d"])
def test_both_tags_are_optional(tags: bytes) -> None:
    """The same message is good with and without the tags for COSE_Sign1 and CWT."""
    assert verify(tags + _message({1: -7, 4: KID}), ISSUERS) == SIGNED


def test_both_algorithms_are_verified() -> None:
    """ES256 and PS256 messages are good, each by a key of its kind among those of the kid."""
    assert verify(_message({1: -7, 4: KID}), ISSUERS) == SIGNED
    assert verify(_message({1: -37, 4: KID}, by_rsa=True), ISSUERS) == Signed(content=SIGNED.content, by=(BY_RSA,))
    assert claims_of(SIGNED) == CLAIMS


def test_the_protected_kid_wins_over_the_unprotected() -> None:
    """An unprotected kid counts only where no protected one stands."""
    assert verify(_message({1: -7, 4: KID}, {4: b"kid-0002"}), ISSUERS) == SIGNED
    assert verify(_message({1: -7}, {4: KID}), ISSUERS) == SIGNED
    assert _reason(verify(_message({1: -7, 4: b"kid-0002"}, {4: KID}), ISSUERS)) is Reason.ISSUER_UNKNOWN
    assert _reason(verify(_message({1: -7}), ISSUERS)) is Reason.ISSUER_UNKNOWN


def test_a_key_verifies_by_its_own_algorithm_only() -> None:
    """A header that names another algorithm than the signature's is not believed."""
    assert _reason(verify(_message({1: -37, 4: KID}), ISSUERS)) is Reason.SIGNATURE_INVALID
    assert _reason(verify(_message({1: -7, 4: KID}, by_rsa=True), ISSUERS)) is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("algorithm", [5, -8, -35, 0, None, "ES256", [], {}])
def test_other_algorithms_are_malformed(algorithm: object) -> None:
    """No algorithm but the two is tried, a keyed hash (5) least of all."""
    assert _reason(verify(_message({1: algorithm, 4: KID}), ISSUERS)) is Reason.MALFORMED


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"\x01" * 63, b"\x01" * 65, b"\xff" * 64, b"\x01" * 2000])
def test_signatures_of_any_length_and_value_are_only_invalid(signature: bytes) -> None:
    """A signature that is no signature is refused, not crashed on."""
    cose = cbor2.dumps([cbor2.dumps({1: -7, 4: KID}), {}, cbor2.dumps(CLAIMS), signature])
    assert _reason(verify(cose, ISSUERS)) is Reason.SIGNATURE_INVALID


def test_a_padded_signature_is_invalid() -> None:
    """One signed message has one form: a leading zero more in the second half makes another."""
    header, content = cbor2.dumps({1: -7, 4: KID}), cbor2.dumps(CLAIMS)
    good = _ecdsa(cbor2.dumps(["Signature1", header, b"", content]))
    assert verify(cbor2.dumps([header, {}, content, good]), ISSUERS) == SIGNED
    padded = good[:32] + b"\x00" + good[32:]
    assert _reason(verify(cbor2.dumps([header, {}, content, padded]), ISSUERS)) is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "cose",
    [
        b"",
        b"\xd2",
        b"\xff",
        cbor2.dumps({}),
        cbor2.dumps([b"", {}, b""]),
        cbor2.dumps(["", {}, b"", b""]),
        cbor2.dumps([b"", [], b"", b""]),
        cbor2.dumps([b"", {}, None, b""]),
        cbor2.dumps([b"\xff", {1: -7}, b"", b""]),
        cbor2.dumps([b"\x80", {1: -7}, b"", b""]),
        b"\x84\x40\xa1\x01" + BAD_DATE + b"\x40\x40",
        b"\x84\x58" + bytes([len(BAD_DATE)]) + BAD_DATE + b"\xa0\x40\x40",
        _message({1: -7, 4: KID}) + b"\x00",
        b"\xd2\xd2" + _message({1: -7, 4: KID}),
    ],
)
def test_what_is_no_message_is_malformed(cose: bytes) -> None:
    """Other shapes than the four-part array are malformed, and the refusal bears the caller's scheme."""
    refusal = verify(cose, ISSUERS, Scheme.DECLARATION)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.DECLARATION)


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff", b"\xa1\x01", b"\xa1\x01\x61\xff", b"\xa1\x01" + BAD_DATE])
def test_signed_content_that_is_no_map_is_malformed(content: bytes) -> None:
    """A good signature does not make nonsense into claims."""
    signed = verify(_message({1: -7, 4: KID}, content=content), ISSUERS)
    assert signed == Signed(content=content, by=(BY_EC,))
    assert isinstance(signed, Signed)
    refusal = claims_of(signed, Scheme.DECLARATION)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.DECLARATION)


def test_a_header_without_parameters_is_signed_as_no_bytes() -> None:
    """An empty protected map and no protected bytes are one message (RFC 9052, section 4.4)."""
    parts = cbor2.loads(_message({}, {1: -7, 4: KID}))
    for protected in (b"", b"\xa0"):
        assert verify(cbor2.dumps([protected, *parts[1:]]), ISSUERS) == SIGNED


def test_every_issuer_whose_key_it_was_is_named() -> None:
    """A key that is trusted twice is two issuers."""
    twice = {KID: (BY_EC, BY_RSA, BY_EC)}
    assert verify(_message({1: -7, 4: KID}), twice) == Signed(content=SIGNED.content, by=(BY_EC, BY_EC))


@pytest.mark.parametrize(
    ("encoded", "fits"),
    [
        (cbor2.dumps({1: [True, None, 1.5, "a", b"b"]}), True),
        (b"\xc0" + cbor2.dumps("2021-06-15T09:24:02Z"), True),
        (b"\x81" * 11 + b"\x80", True),
        (b"\x81" * 12 + b"\x80", False),
        (cbor2.dumps([0] * 599), True),
        (cbor2.dumps([0] * 600), False),
        (b"\x9b" + b"\xff" * 8, False),
        (b"\x5b" + b"\xff" * 8, False),
        (b"\x9f\x00\xff", False),
        (b"\xd8\x23\x61(", False),
        (b"\xd8\x1c\x81\xd8\x1d\x00", False),
        (b"\x19\x00", False),
        (b"\x1c", False),
        (b"\x00\x00", False),
        (b"", False),
    ],
)
def test_bounds_are_checked_before_anything_is_built(encoded: bytes, *, fits: bool) -> None:
    """Deep, large, indefinite, tagged or cut-off encodings never reach the decoder."""
    assert within_bounds(encoded) is fits
