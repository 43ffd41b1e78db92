"""Opens what kiosks sealed: the health authority's side, and nobody else's.

The private key stays with the authority: neither the city's ingest nor a kiosk has it. Called by `city.cli`, on a
machine of the authority's, with seals from the store's events (docs/decisions/0011-identity.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kiosk.credentials.sealing import opened

UNREADABLE = "not sealed to this key, or changed"


def load_authority_key(private_pem: bytes) -> X25519PrivateKey:
    """Read the authority's private key. Raises ValueError for anything but an unencrypted X25519 key in PEM."""
    try:
        key = load_pem_private_key(private_pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as err:
        raise ValueError("the authority's key is not an unencrypted private key in PEM") from err
    if not isinstance(key, X25519PrivateKey):
        wrong = "the authority's key is not an X25519 key: `city keys` makes one"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    return key


def identities(seals: Iterable[str], keys: Iterable[X25519PrivateKey]) -> Iterator[dict[str, str]]:
    """Open one seal after the other, each with whichever key fits; what is empty is left out.

    Several keys, because seals outlive a change of keys. One that none opens gives `{"error": ...}`: the others count.
    """
    held = tuple(keys)
    for seal in seals:
        who = next((found for key in held if (found := opened(seal.strip(), key))), None)
        yield {name: value for name, value in asdict(who).items() if value} if who else {"error": UNREADABLE}
