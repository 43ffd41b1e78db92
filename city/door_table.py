"""What the desk knows of doors, kept in the city's database over a restart, and what is missing of their events.

Decides what of a kiosk's words fits into a column. Called by `city.lookout` and `city.desk`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select

from city.doors import Condition
from city.gaps import Gap
from city.schema import DOORS, LEDGERS, NAME
from city.store import Store
from kiosk import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A door as it was. `heard_at` is its last sign of life, its will included."""

    device: str
    condition: Condition
    heard_at: datetime
    silent_since: datetime | None


def known(store: Store) -> list[Known]:
    """All doors, those first that have not been heard for the longest time."""
    columns = (DOORS.c.device, DOORS.c.online, DOORS.c.heard_at, DOORS.c.silent_since)
    wanted = select(*columns).where(DOORS.c.heard_at.is_not(None)).order_by(DOORS.c.heard_at)
    with store.reading() as connection:
        return [
            Known(
                device=row.device,
                condition=_condition(online=row.online, silent_since=row.silent_since),
                heard_at=row.heard_at,
                silent_since=row.silent_since,
            )
            for row in connection.execute(wanted)
        ]


def keep(store: Store, doors: Iterable[Known], said: Mapping[str, wire.Heartbeat | wire.State]) -> None:
    """Write doors down, with the newest that some of them have said."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for door in sorted(doors, key=lambda door: door.device):
        row = {**_standing(door), **_said(said.get(door.device))}
        by_columns.setdefault(tuple(row), []).append(row)
    with store.writing() as connection:
        for columns, rows in by_columns.items():
            insert = store.insert(DOORS)
            changed = {name: insert.excluded[name] for name in columns if name != "device"}
            statement = insert.on_conflict_do_update(index_elements=["device"], set_=changed)
            connection.execute(statement, [{**_UNSAID, **row} for row in rows])


def tails(store: Store) -> list[Gap]:
    """Of doors that wait for no acknowledgement: what they have stored and the city has not, at the end of a ledger."""
    same = and_(DOORS.c.device == LEDGERS.c.device, DOORS.c.ledger == LEDGERS.c.ledger)
    highest = func.coalesce(LEDGERS.c.highest, 0)
    wanted = (
        select(DOORS.c.device, DOORS.c.ledger, highest.label("highest"), DOORS.c.newest, DOORS.c.heard_at)
        .select_from(DOORS.outerjoin(LEDGERS, same))
        .where(DOORS.c.waiting == 0, DOORS.c.newest > highest)
    )
    with store.reading() as connection:
        return [
            Gap(device=row.device, ledger=row.ledger, first=row.highest + 1, last=row.newest, since=row.heard_at)
            for row in connection.execute(wanted)
        ]


_UNSAID: dict[str, Any] = {"version": "", "boot_id": None, "ledger": "", "newest": 0, "waiting": 0, "faults": []}


def _condition(*, online: bool, silent_since: datetime | None) -> Condition:
    if silent_since:
        return Condition.SILENT
    return Condition.ONLINE if online else Condition.OFFLINE


def _standing(door: Known) -> dict[str, Any]:
    return {
        "device": door.device,
        "online": door.condition is Condition.ONLINE,
        "heard_at": door.heard_at,
        "silent_since": door.silent_since,
    }


def _said(said: wire.Heartbeat | wire.State | None) -> dict[str, Any]:
    if said is None:
        return {}
    if isinstance(said, wire.State):
        return {"version": _fitting(said.version)}
    return {
        "version": _fitting(said.version),
        "boot_id": _fitting(said.boot_id),
        "ledger": _fitting(said.ledger),
        "newest": said.newest,
        "waiting": min(said.waiting, wire.BIGGEST_SEQUENCE),
        "faults": [_fitting(name) for name in said.faults],
    }


def _fitting(text: str) -> str:
    return text.replace("\0", "")[:NAME]
