import base64
from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kiosk.credentials.sealing import BLOCK, INFO, MOST_CHARACTERS, SUITE, Identity, no_seal, opened, seal_for

AUTHORITY, STRANGER = X25519PrivateKey.generate(), X25519PrivateKey.generate()
WHO = Identity(kind="id", number="048199000001", name="Nguyễn Thị Ánh", born="1999-02-03", address="Tổ 1, Hải Châu")


def pem(key: X25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_only_the_authority_opens_what_was_sealed_to_it() -> None:
    """The right key gives the identity back; another key, or a changed byte, gives nothing."""
    sealed = seal_for(pem(AUTHORITY))(WHO)
    assert opened(sealed, AUTHORITY) == WHO
    assert opened(sealed, STRANGER) is None
    changed = ("B" if sealed[9] == "A" else "A").join([sealed[:9], sealed[10:]])
    assert [opened(wrong, AUTHORITY) for wrong in (changed, sealed[:-4], "", "not base64")] == [None] * 4


def test_a_seal_shows_neither_content_nor_length_nor_that_it_is_the_same_person() -> None:
    """Short and long names seal to one length, and two seals of one person have nothing in common."""
    seal = seal_for(pem(AUTHORITY))
    short = Identity(kind="id", number="1", name="A", born="")
    first, second, other = seal(WHO), seal(WHO), seal(short)
    assert len(first) == len(second) == len(other) == 4 * -(-(BLOCK + 32 + 16) // 3)
    assert first[:32] != second[:32]
    assert WHO.name.encode() not in base64.b64decode(first)


@pytest.mark.parametrize("end", ["\0", "\0" * 300, "\1", "\1\0"])
def test_a_text_that_ends_like_the_filling_is_kept(end: str) -> None:
    """Anybody may write anything into an unsigned card; it must not make the rest unreadable."""
    who = Identity(kind="id", number="1", name="A", born="", address="x" + end)
    assert opened(seal_for(pem(AUTHORITY))(who), AUTHORITY) == replace(who, address=who.address[:MOST_CHARACTERS])


def test_half_a_character_is_replaced() -> None:
    """JSON can spell half a surrogate pair, which no UTF-8 holds."""
    who = opened(seal_for(pem(AUTHORITY))(replace(WHO, name="\ud83d An")), AUTHORITY)
    assert who
    assert who.name == "? An"


@pytest.mark.parametrize("content", [{}, {1: 2}, {1: "id", 2: 3}, {1: ""}, [], "id", None])
def test_what_anybody_sealed_need_not_be_an_identity(content: object) -> None:
    """A public key is public: the authority's office must not stumble over nonsense sealed to it."""
    sealed = SUITE.encrypt(cbor2.dumps(content) + b"\1", AUTHORITY.public_key(), INFO)
    assert opened(base64.b64encode(sealed).decode(), AUTHORITY) is None


def test_an_identity_does_not_print() -> None:
    """Neither a log line nor a stack trace can hold it by accident."""
    assert repr(WHO) == "Identity(kind='id')"


def test_a_door_without_an_authority_passes_nothing_on() -> None:
    """No key, no identity: not even a sealed one."""
    assert no_seal(WHO) == ""


LOW_ORDER = X25519PublicKey.from_public_bytes(bytes(32)).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("wrong", [b"", b"no key", pem(ec.generate_private_key(ec.SECP256R1())), LOW_ORDER])
def test_another_kind_of_key_is_refused(wrong: bytes) -> None:
    """The technician hears what the key must be."""
    with pytest.raises(ValueError, match="the health authority's key is not"):
        seal_for(wrong)
