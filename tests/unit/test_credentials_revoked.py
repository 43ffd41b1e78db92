import hashlib
from dataclasses import replace

import base45
import cbor2
import pytest

from city.signing import load_key, sign1
from kiosk.credentials import read
from kiosk.credentials.declaration import PREFIX
from kiosk.credentials.keyring import DIGEST_BYTES
from kiosk.messages import Credential, Reason, Refusal
from tests.people import CODES, DECLARATIONS, KEYRING, UVCI

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNED = ("declaration", "hc1", "shc")


def _digest(name: str) -> bytes:
    credential = read(CODES[name], KEYRING)
    assert isinstance(credential, Credential)
    return credential.digest


@pytest.mark.parametrize("name", SIGNED)
def test_a_revoked_code_is_refused_as_that(name: str) -> None:
    """By its digest, and only it: the person's other codes go on to count."""
    revoking = replace(KEYRING, revoked=frozenset({_digest(name)}))
    refusals = {each: result for each in CODES if isinstance(result := read(CODES[each], revoking), Refusal)}
    assert {each: result.reason for each, result in refusals.items()} == {name: Reason.CERTIFICATE_REVOKED}
    assert refusals[name].scheme == name


def test_digests_have_the_length_that_bundles_list() -> None:
    """Sixteen bytes, as the EU's own lists of revoked certificates have."""
    assert {len(_digest(name)) for name in SIGNED} == {DIGEST_BYTES}


def test_a_certificate_is_revoked_by_its_own_id() -> None:
    """However often it was packed or signed anew, and from any list that names ids by their hash."""
    assert _digest("hc1") == hashlib.sha256(UVCI.encode()).digest()[:16]


@pytest.mark.parametrize("name", [name for name in CODES if name not in SIGNED])
def test_a_card_cannot_be_revoked(name: str) -> None:
    """It is not signed, so anybody could make another; an empty entry on the list concerns nobody."""
    assert _digest(name) == b""
    assert isinstance(read(CODES[name], replace(KEYRING, revoked=frozenset({b""}))), Credential)


def test_a_revoked_declaration_stays_so_under_its_other_good_signature() -> None:
    """Of an ES256 signature anybody can make a second one that is as good; what was signed is the same."""
    revoking = replace(KEYRING, revoked=frozenset({_digest("declaration")}))
    cose = base45.b45decode(CODES["declaration"].removeprefix(PREFIX.encode()))
    protected, _, content, signature = cbor2.loads(cose).value
    s = P256_ORDER - int.from_bytes(signature[32:])
    twin = cbor2.dumps([protected, {"x": 1}, content, signature[:32] + s.to_bytes(32)])
    again = sign1(content, key=load_key(DECLARATIONS))
    for other in (twin, again):
        text = PREFIX.encode() + base45.b45encode(other)
        assert isinstance(read(text, KEYRING), Credential)
        refusal = read(text, revoking)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.CERTIFICATE_REVOKED
