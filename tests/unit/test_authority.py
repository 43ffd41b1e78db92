import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from city.authority import UNREADABLE, identities, load_authority_key
from city.signing import new_key
from city.trust import new_authority
from kiosk.credentials.sealing import Identity, seal_for
from tests.people import NAME, NUMBER, PHONE

OLD_KEY, OLD_PEM = new_authority()
KEY, PEM = new_authority()
WHO = Identity(kind="id", number=NUMBER, name=NAME, born="1999-02-03", phone=PHONE)


def test_the_authority_reads_who_it_was() -> None:
    """What the card did not say is left out."""
    sealed = seal_for(PEM)(WHO)
    assert list(identities([f"{sealed}\n"], [load_authority_key(KEY)])) == [
        {"kind": "id", "number": NUMBER, "name": NAME, "born": "1999-02-03", "phone": PHONE}
    ]


def test_seals_from_before_a_change_of_keys_are_opened_too() -> None:
    """And one that nobody can open stops none of the others."""
    stranger = X25519PrivateKey.generate()
    seals = [seal_for(OLD_PEM)(WHO), "nonsense", seal_for(PEM)(WHO)]
    keys = [load_authority_key(KEY), load_authority_key(OLD_KEY)]
    assert ["number" in told for told in identities(seals, keys)] == [True, False, True]
    assert list(identities(seals, [stranger])) == [{"error": UNREADABLE}] * 3


@pytest.mark.parametrize("wrong", [b"", PEM, new_key()])
def test_another_kind_of_key_is_refused(wrong: bytes) -> None:
    """A public key, or a key that signs, opens nothing."""
    with pytest.raises(ValueError, match="the authority's key is not"):
        load_authority_key(wrong)
