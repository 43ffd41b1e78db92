from datetime import UTC, datetime

import numpy as np
import pytest

from city import risk, signing
from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.messages import Flag
from kiosk.risk_list import RiskList, Update, applied, read_update

KEY, OTHER = (signing.load_key(signing.new_key()) for _ in range(2))
MADE = datetime(2021, 11, 22, 6, tzinfo=UTC)
A, B, C = (f"{digit}" * 32 for digit in "a5f")


def trusted(use: Use = Use.CITY) -> dict[bytes, tuple[Issuer, ...]]:
    """The city's key, as a kiosk got it."""
    public = KEY.public_key()
    return by_kid([Issuer(kid=kid_of(public), key=public, uses=frozenset({use}))])


def opened(content: bytes) -> Update:
    """An update that checks out."""
    update = read_update(content, trusted())
    assert isinstance(update, Update)
    return update


def after(held: RiskList | None, content: bytes) -> RiskList:
    """The list after an update that follows."""
    new = applied(held, opened(content))
    assert isinstance(new, RiskList)
    return new


FIRST = risk.snapshot({A: Flag.F0, C: Flag.F1}, version=3, made_at=MADE, key=KEY)
SECOND = risk.delta({B: Flag.ISOLATE, A: Flag.F1}, [C], base=3, version=5, made_at=MADE, key=KEY)


def flags(held: RiskList) -> list[Flag | None]:
    """What the list says of the three."""
    return [held.flag_of(subject) for subject in (A, B, C)]


def test_a_snapshot_flags_whom_it_names_and_nobody_else() -> None:
    """Each with the kind the city gave, whatever the order they came in."""
    assert flags(after(None, FIRST)) == [Flag.F0, None, Flag.F1]


def test_a_delta_adds_changes_and_removes() -> None:
    """And is the next version."""
    held = after(after(None, FIRST), SECOND)
    assert (held.version, flags(held)) == (5, [Flag.F1, Flag.ISOLATE, None])


def test_an_empty_list_flags_nobody() -> None:
    """A city without cases is a list too, not a missing one."""
    assert flags(after(None, risk.snapshot({}, version=1, made_at=MADE, key=KEY))) == [None] * 3


def test_an_update_out_of_turn_changes_nothing() -> None:
    """Old, repeated, and not following on what is held: each gets its sentence."""
    held = after(None, FIRST)
    later = risk.delta({}, [A], base=4, version=6, made_at=MADE, key=KEY)
    older = risk.snapshot({}, version=2, made_at=MADE, key=KEY)
    assert applied(held, opened(FIRST)) == "version 3 is not newer than 3, which is held"
    assert applied(held, opened(older)) == "version 2 is not newer than 3, which is held"
    assert applied(held, opened(later)) == "version 6 changes version 4; held is 3"
    assert applied(None, opened(SECOND)) == "version 5 changes version 3; held is none"


@pytest.mark.parametrize("cut", [0, 4, 6, 40, len(FIRST) - 1])
def test_a_part_of_an_update_is_none(cut: int) -> None:
    """Wherever it was cut."""
    assert isinstance(read_update(FIRST[:cut], trusted()), str)


def test_no_changed_byte_goes_unnoticed() -> None:
    """Any byte of head or body, and anything after them."""
    for at in range(len(FIRST)):
        changed = bytearray(FIRST)
        changed[at] ^= 1
        assert isinstance(read_update(bytes(changed), trusted()), str), at
    assert isinstance(read_update(FIRST + b"\0", trusted()), str)


def test_only_the_city_may_flag_people() -> None:
    """A stranger's key, and the key of an issuer of declarations, may not."""
    forged = risk.snapshot({B: Flag.F0}, version=9, made_at=MADE, key=OTHER)
    assert read_update(forged, trusted()) == "not by the city: header: no trusted key bears this kid"
    assert read_update(FIRST, trusted(Use.DECLARATION)) == "signed by a key that may not sign risk lists"


def test_a_list_out_of_order_is_refused() -> None:
    """Looking up needs the order; a city program's mistake must not let somebody through."""
    keys = np.array([7, 5], dtype=np.uint64)
    update = Update(
        version=1, base=0, made_at=MADE, keys=keys, kinds=np.array([1, 1], np.uint8), removed=np.array([], np.uint64)
    )
    assert read_update(risk.signed(update, KEY), trusted()) == "its entries are not in order"
