"""PURE. The city's list of people who must be stopped: who is on it, and how an update may change it.

A million entries stay small: 8 bytes of the pseudonym and one for the kind, each in its sorted array. Refuses to know
files, and where updates come from; `kiosk.city_files` keeps them, the gate asks. Neither an update that is not by the
city nor one that is cut short, out of turn or older changes anything: it is a sentence instead of a list.

An update is `MAGIC`, the length of its head, the head (a COSE_Sign1 by the city's key, which names version, base,
time, counts and the SHA-256 of the rest), and the rest: sorted entries, their kinds, and what goes off the list
(docs/risk-list.md).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import cbor2
import numpy as np
from numpy.typing import NDArray

from kiosk.credentials.cose import claims_of, verify
from kiosk.credentials.issuer import Issuer, Use
from kiosk.messages import Flag, Refusal

MAGIC = b"TKRL1"
LENGTH_BYTES = 2
TYPE = "risk-list"
KIND, VERSION, BASE, MADE, ADDED, REMOVED, DIGEST = 1, 2, 3, 4, 5, 6, 7
"""Keys of the head. BASE is the version a delta changes, 0 for a snapshot."""
MOST_ENTRIES = 5_000_000
"""Of a city of 1.2 million people and its visitors; 45 MB."""
SUBJECT_DIGITS = 16
"""Of the pseudonym's 32: with a million on the list, a stranger is taken for one of them once in 18 million million."""

Keys = NDArray[np.uint64]
Kinds = NDArray[np.uint8]
Issuers = Mapping[bytes, tuple[Issuer, ...]]

_KEY, _FLAG = np.dtype("<u8"), np.dtype("u1")
_CODES = {1: Flag.F0, 2: Flag.F1, 3: Flag.ISOLATE}
CODE_OF = {flag: code for code, flag in _CODES.items()}


def key_of(subject: str) -> int:
    """The part of a pseudonym that the list holds."""
    return int(subject[:SUBJECT_DIGITS], 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiskList:
    """One version of the list. `keys` is sorted without repetition; `kinds` goes along."""

    version: int
    made_at: datetime
    keys: Keys
    kinds: Kinds

    def flag_of(self, subject: str) -> Flag | None:
        """What the city flags this person as, if anything."""
        key = key_of(subject)
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        return _CODES[int(self.kinds[at])] if at < len(self.keys) and int(self.keys[at]) == key else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Update:
    """A signed and whole change of the list. `base` is 0 for a snapshot, which needs none."""

    version: int
    base: int
    made_at: datetime
    keys: Keys
    kinds: Kinds
    removed: Keys


def read_update(content: bytes, city: Issuers) -> Update | str:
    """Check and open an update; a sentence for a technician where it is not the city's, or not whole."""
    if not content.startswith(MAGIC):
        return "not a risk list of this version"
    head_at = len(MAGIC) + LENGTH_BYTES
    body_at = head_at + int.from_bytes(content[len(MAGIC) : head_at])
    signed = verify(content[head_at:body_at], city)
    if isinstance(signed, Refusal):
        return f"not by the city: {signed.detail}"
    if not any(Use.CITY in issuer.uses for issuer in signed.by):
        return "signed by a key that may not sign risk lists"
    head = claims_of(signed)
    if isinstance(head, Refusal) or not _is_head(head):
        return "its head is not one this version knows"
    body = memoryview(content)[body_at:]
    if hashlib.sha256(body).digest() != head[DIGEST]:
        return "cut short or changed on the way: its content is not what the city signed"
    return _opened(head, body)


def applied(current: RiskList | None, update: Update) -> RiskList | str:
    """Give the list after an update; a sentence where it is old, or does not follow on what is held."""
    if current is not None and update.version <= current.version:
        return f"version {update.version} is not newer than {current.version}, which is held"
    if update.base == 0:
        return RiskList(version=update.version, made_at=update.made_at, keys=update.keys, kinds=update.kinds)
    if current is None or current.version != update.base:
        held = current.version if current else "none"
        return f"version {update.version} changes version {update.base}; held is {held}"
    gone = np.concatenate([update.removed, update.keys])
    at = np.searchsorted(current.keys, gone)
    there = at < len(current.keys)
    there[there] = current.keys[at[there]] == gone[there]
    keys, kinds = np.delete(current.keys, at[there]), np.delete(current.kinds, at[there])
    where = np.searchsorted(keys, update.keys)
    return RiskList(
        version=update.version,
        made_at=update.made_at,
        keys=np.insert(keys, where, update.keys),
        kinds=np.insert(kinds, where, update.kinds),
    )


def head_of(update: Update, body: bytes) -> bytes:
    """What the city signs."""
    made = int(update.made_at.timestamp())
    counts = {ADDED: len(update.keys), REMOVED: len(update.removed), DIGEST: hashlib.sha256(body).digest()}
    return cbor2.dumps({KIND: TYPE, VERSION: update.version, BASE: update.base, MADE: made, **counts})


def body_of(update: Update) -> bytes:
    """What follows the head."""
    keys, removed = (part.astype(_KEY).tobytes() for part in (update.keys, update.removed))
    return keys + update.kinds.astype(_FLAG).tobytes() + removed


def joined(head: bytes, body: bytes) -> bytes:
    """A whole update; `head` is signed."""
    return MAGIC + len(head).to_bytes(LENGTH_BYTES) + head + body


def entries(flags: Mapping[str, Flag], removed: Sequence[str] = ()) -> tuple[Keys, Kinds, Keys]:
    """Sort people by pseudonym, as an update holds them."""
    keys = sorted((key_of(subject), CODE_OF[flag]) for subject, flag in flags.items())
    off = sorted(map(key_of, removed))
    return (
        np.array([key for key, _ in keys], dtype=_KEY),
        np.array([code for _, code in keys], dtype=_FLAG),
        np.array(off, dtype=_KEY),
    )


def _is_head(head: Mapping[object, object]) -> bool:
    numbers = [head.get(key) for key in (VERSION, BASE, MADE, ADDED, REMOVED)]
    if head.get(KIND) != TYPE or not isinstance(head.get(DIGEST), bytes):
        return False
    if not all(type(number) is int and 0 <= number < 2**40 for number in numbers):
        return False
    version, base, _made, added, removed = (int(str(number)) for number in numbers)
    return version > base and max(added, removed) <= MOST_ENTRIES and (base > 0 or removed == 0)


def _opened(head: Mapping[object, object], body: memoryview) -> Update | str:
    version, base, made, added, removed = (int(str(head[key])) for key in (VERSION, BASE, MADE, ADDED, REMOVED))
    if len(body) != added * (_KEY.itemsize + _FLAG.itemsize) + removed * _KEY.itemsize:
        return "its length is not what its head says"
    kinds_at, removed_at = added * _KEY.itemsize, added * (_KEY.itemsize + _FLAG.itemsize)
    # Copies: numpy would copy all of an array that does not start at a multiple of 8 bytes, at each look-up.
    keys = np.frombuffer(body[:kinds_at], dtype=_KEY).copy()
    kinds = np.frombuffer(body[kinds_at:removed_at], dtype=_FLAG).copy()
    off = np.frombuffer(body[removed_at:], dtype=_KEY).copy()
    if not all(bool(np.all(part[1:] > part[:-1])) for part in (keys, off)):
        return "its entries are not in order"
    if len(kinds) and not (min(_CODES) <= int(np.min(kinds)) and int(np.max(kinds)) <= max(_CODES)):
        return "it flags people as what this version does not know"
    made_at = datetime.fromtimestamp(made, UTC)
    return Update(version=version, base=base, made_at=made_at, keys=keys, kinds=kinds, removed=off)
