"""Makes the city's risk list: snapshots, and what changed since.

Decides nothing about people: it signs the list it is told. Called by `city.cli`, the demo, the benchmark and the tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from city.signing import sign1
from kiosk.messages import Flag
from kiosk.risk_list import Update, body_of, entries, head_of, joined


def snapshot(flags: Mapping[str, Flag], *, version: int, made_at: datetime, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The whole list, by pseudonym."""
    return delta(flags, (), base=0, version=version, made_at=made_at, key=key)


def delta(
    flags: Mapping[str, Flag],
    removed: Sequence[str],
    *,
    base: int,
    version: int,
    made_at: datetime,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """What goes on the list, or changes on it, and who goes off it, since version `base`."""
    keys, kinds, off = entries(flags, removed)
    return signed(Update(version=version, base=base, made_at=made_at, keys=keys, kinds=kinds, removed=off), key)


def change(old: Update, new: Update) -> Update:
    """What a delta says that makes one snapshot of another."""
    kept = np.isin(new.keys, old.keys)
    same = np.zeros(len(new.keys), dtype=bool)
    same[kept] = old.kinds[np.searchsorted(old.keys, new.keys[kept])] == new.kinds[kept]
    removed = old.keys[~np.isin(old.keys, new.keys)]
    return replace(new, base=old.version, keys=new.keys[~same], kinds=new.kinds[~same], removed=removed)


def signed(update: Update, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign an update as it is."""
    body = body_of(update)
    return joined(sign1(head_of(update, body), key=key), body)
