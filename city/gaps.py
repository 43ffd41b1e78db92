"""Which sequences of a ledger are missing, kept up to date without ever counting a ledger's history again.

A ledger is looked at above `highest`, and inside its gaps; both only when something of it has come. A sequence is there
when its event is, when it was kept as unreadable, or when a fault of the kiosk reports it as dropped (`kiosk.drops`).
Knows nothing of alarms: who looks at gaps says how old one must be. Called by `city.store`, in its transactions.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Table, and_, case, func, literal, null, select, true
from sqlalchemy.sql.selectable import Select

from city.database import given
from city.schema import EVENTS, GAPS, LEDGERS, UNREADABLE
from kiosk import drops

Key = tuple[str, str]
"""Device and ledger."""

AT_ONCE = 1000
"""Ledgers in one statement."""
_LOOKING = 0x67617073
"""Our advisory lock on PostgreSQL; SQLite has one writer anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Sequences of a ledger that are not there, `first` to `last`; `since` is when an event beyond them came."""

    device: str
    ledger: str
    first: int
    last: int
    since: datetime


@dataclass(slots=True)
class Found:
    """What has come of one ledger: sequences and times above `highest` in order, and what fills or explains gaps."""

    highest: int
    above: list[tuple[int, datetime]]
    filled: list[range]


def advance(connection: Connection, insert: Any, keys: Collection[Key], before: datetime) -> bool:  # noqa: ANN401
    """Look at these ledgers as far as they came before a time: what came later has company that is still on its way.

    False if another process is looking. `insert` is the dialect's INSERT into `ledgers`.
    """
    if connection.dialect.name == "postgresql":
        alone = connection.execute(select(func.pg_try_advisory_xact_lock(_LOOKING))).scalar()
        if not alone:
            return False
    ordered = sorted(keys)
    for start in range(0, len(ordered), AT_ONCE):
        these = _given(connection, ordered[start : start + AT_ONCE])
        new = select(these.c.device, these.c.ledger, literal(0), literal(0)).where(true())
        names = ["device", "ledger", "whole_to", "highest"]
        connection.execute(insert.from_select(names, new).on_conflict_do_nothing())
        _advance(connection, these, before)
    return True


def missing(gaps: list[Gap], found: Found, key: Key) -> list[Gap]:
    """PURE. Give the gaps of a ledger, by sequence, after what has come."""
    left = list(gaps)
    since = [at for _, at in found.above]
    for index in range(len(since) - 2, -1, -1):
        since[index] = min(since[index], since[index + 1])
    expected = found.highest + 1
    for (sequence, _), known in zip(found.above, since, strict=True):
        if sequence > expected:
            left.append(Gap(device=key[0], ledger=key[1], first=expected, last=sequence - 1, since=known))
        expected = sequence + 1
    for span in found.filled:
        left = [piece for gap in left for piece in _without(gap, span)]
    return left


def _advance(connection: Connection, these: FromClause, before: datetime) -> None:
    gaps: dict[Key, list[Gap]] = {}
    for row in connection.execute(select(GAPS).join(these, _same(GAPS, these)).order_by(GAPS.c.first)):
        gaps.setdefault((row.device, row.ledger), []).append(Gap(**row._mapping))  # noqa: SLF001 - its public name
    after, broken = _whole(connection, these, before, set(gaps))
    for key, found in _looked_at(connection, broken, before).items():
        left = missing(gaps.get(key, []), found, key)
        highest = found.above[-1][0] if found.above else found.highest
        after[key] = (left[0].first - 1 if left else highest, highest)
        if left != gaps.get(key, []):
            _replace(connection, key, left)
    _keep(connection, after)


def _whole(
    connection: Connection, these: FromClause, before: datetime, holed: set[Key]
) -> tuple[dict[Key, tuple[int, int]], dict[Key, int]]:
    """Ledgers that just go on, with how far; and the others, with how far they had been looked at."""
    above = and_(_same(EVENTS, LEDGERS), EVENTS.c.sequence > LEDGERS.c.highest, EVENTS.c.received_at < before)
    key = (LEDGERS.c.device, LEDGERS.c.ledger, LEDGERS.c.highest)
    counted = (
        select(*key, func.count(EVENTS.c.id).label("came"), func.max(EVENTS.c.sequence).label("to"))
        .select_from(these.join(LEDGERS, _same(LEDGERS, these)).outerjoin(EVENTS, above))
        .group_by(*key)
    )
    after, broken = {}, {}
    for row in connection.execute(counted):
        one = (row.device, row.ledger)
        if one in holed or (row.came and row.came < row.to - row.highest):
            broken[one] = row.highest
        elif row.came:
            after[one] = (row.to, row.to)
    return after, broken


def _looked_at(connection: Connection, broken: dict[Key, int], before: datetime) -> dict[Key, Found]:
    found = {key: Found(highest=highest, above=[], filled=[]) for key, highest in broken.items()}
    if not found:
        return found
    these = _given(connection, sorted(broken))
    for table in (EVENTS, UNREADABLE):
        for row in connection.execute(_rows(table, LEDGERS, these, table.c.sequence > LEDGERS.c.highest)):
            one = found[(row.device, row.ledger)]
            one.above.append((row.sequence, row.received_at))
            one.filled += _explained(row.fault)
        for row in connection.execute(_rows(table, GAPS, these, table.c.sequence.between(GAPS.c.first, GAPS.c.last))):
            one = found[(row.device, row.ledger)]
            _extend(one.filled, row.sequence)
            one.filled += _explained(row.fault)
    for one in found.values():
        bound = max((sequence for sequence, at in one.above if at < before), default=0)
        one.above = sorted({sequence: at for sequence, at in one.above if sequence <= bound}.items())
    return found


def _rows(table: Table, beside: Table, these: FromClause, how: ColumnElement[bool]) -> Select[Any]:
    fault = case((EVENTS.c.kind == "fault", EVENTS.c.body)) if table is EVENTS else null()
    columns = (table.c.device, table.c.ledger, table.c.sequence, table.c.received_at, fault.label("fault"))
    joined = these.join(beside, _same(beside, these)).join(table, and_(_same(table, beside), how))
    return select(*columns).select_from(joined).order_by(table.c.sequence)


def _explained(fault: Any) -> list[range]:  # noqa: ANN401 - a kiosk's words
    return drops.explained(fault.get("detail", "")) if fault else []


def _extend(spans: list[range], number: int) -> None:
    if spans and spans[-1].stop == number:
        spans[-1] = range(spans[-1].start, number + 1)
    else:
        spans.append(range(number, number + 1))


def _without(gap: Gap, span: range) -> Iterable[Gap]:
    for first, last in ((gap.first, min(gap.last, span.start - 1)), (max(gap.first, span.stop), gap.last)):
        if first <= last:
            yield Gap(device=gap.device, ledger=gap.ledger, first=first, last=last, since=gap.since)


def _replace(connection: Connection, key: Key, left: list[Gap]) -> None:
    connection.execute(GAPS.delete().where(GAPS.c.device == key[0], GAPS.c.ledger == key[1]))
    if left:
        connection.execute(GAPS.insert(), [{name: getattr(gap, name) for name in gap.__slots__} for gap in left])


def _keep(connection: Connection, after: dict[Key, tuple[int, int]]) -> None:
    if after:
        rows = [
            {"device": device, "ledger": ledger, "whole_to": whole_to, "highest": highest}
            for (device, ledger), (whole_to, highest) in after.items()
        ]
        table = given(connection, rows, *LEDGERS.c)
        there = LEDGERS.update().where(_same(LEDGERS, table))
        connection.execute(there.values(whole_to=table.c.whole_to, highest=table.c.highest))


def _given(connection: Connection, keys: Iterable[Key]) -> FromClause:
    rows = [{"device": device, "ledger": ledger} for device, ledger in keys]
    return given(connection, rows, LEDGERS.c.device, LEDGERS.c.ledger)


def _same(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.device == other.c.device, one.c.ledger == other.c.ledger)
