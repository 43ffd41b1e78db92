"""The life of an alert in the city's database: delivered once it is stored, then acknowledged and closed by people.

An alert goes forward only, and who said so first stands. Whoever says something leaves the row `told` false; the desk
alone publishes, and sets it when the broker has it, so that nothing is lost whichever of the two is away. `city.store`
notes new alerts in the transaction that stores them; `city.desk` and the command line do the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, false, or_, select
from sqlalchemy.sql.selectable import Select

from city.schema import ALERTS, EVENTS
from city.store import Store
from kiosk import wire
from kiosk.messages import AlertState

Key = tuple[str, str, int]
"""Device, ledger and sequence."""

MOST_SHOWN = 1000
"""Open alerts that are looked at together, the oldest first."""

_BEFORE = {
    AlertState.ACKNOWLEDGED: [AlertState.DELIVERED],
    AlertState.CLOSED: [AlertState.DELIVERED, AlertState.ACKNOWLEDGED],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert and how far it has come. `said_at` is when `by` said so, or when it was stored.

    `raised_at` is when the door raised it; when the city got it, where the door's clock had not been set.
    """

    device: str
    ledger: str
    sequence: int
    place: str
    access_point: str
    direction: str
    reasons: tuple[str, ...]
    subject: str | None
    raised_at: datetime
    state: AlertState
    by: str
    said_at: datetime
    escalations: int

    @property
    def key(self) -> Key:
        """Which alert."""
        return (self.device, self.ledger, self.sequence)


def standing(store: Store, *, open_only: bool, limit: int = MOST_SHOWN) -> list[Standing]:
    """Alerts that are not closed, oldest first; or the newest of all, newest first."""
    wanted = _joined().where(ALERTS.c.state != AlertState.CLOSED) if open_only else _joined()
    order = EVENTS.c.id if open_only else EVENTS.c.id.desc()
    with store.reading() as connection:
        return [_standing(row) for row in connection.execute(wanted.order_by(order).limit(limit))]


def one(store: Store, key: Key) -> Standing | None:
    """One alert, if the city has it."""
    with store.reading() as connection:
        row = connection.execute(_joined().where(_is(key))).one_or_none()
    return _standing(row) if row else None


def say(store: Store, key: Key, state: AlertState, *, by: str, at: datetime) -> bool:
    """Somebody has acknowledged or closed an alert; false if it had come so far already, or is not there."""
    with store.writing() as connection:
        done = connection.execute(
            ALERTS.update()
            .where(_is(key), ALERTS.c.state.in_(_BEFORE[state]))
            .values(state=state, by=by, at=at, told=False)
        )
    return done.rowcount > 0


def untold(store: Store, said_since: datetime | None = None) -> list[str]:
    """Devices that have not been told of all; with `said_since`, also those of which anything was said since then."""
    lately = and_(ALERTS.c.state != AlertState.DELIVERED, ALERTS.c.at >= said_since) if said_since else false()
    wanted = or_(ALERTS.c.told.is_(False), lately)
    with store.reading() as connection:
        return list(connection.execute(select(ALERTS.c.device).where(wanted).distinct()).scalars())


def states_of(store: Store, device: str) -> tuple[wire.AlertStates, list[tuple[str, int, str]]]:
    """What is to stand at a device's topic; and ledger, sequence and state of those that it is the first to tell."""
    mine = and_(ALERTS.c.device == device, ALERTS.c.state != AlertState.DELIVERED)
    columns = (ALERTS.c.ledger, ALERTS.c.sequence, ALERTS.c.state)
    newest = select(*columns).where(mine).order_by(ALERTS.c.at.desc(), ALERTS.c.sequence.desc()).limit(wire.MOST_ALERTS)
    with store.reading() as connection:
        fresh = connection.execute(select(*columns).where(mine, ALERTS.c.told.is_(False))).all()  # first: see below
        rows = connection.execute(newest).all()  # has all of `fresh`, and what was said meanwhile
    states = wire.AlertStates.model_validate({"alerts": [dict(row._mapping) for row in rows]})  # noqa: SLF001
    return states, [(row.ledger, row.sequence, row.state) for row in fresh]


def mark_told(store: Store, device: str, fresh: Sequence[tuple[str, int, str]]) -> None:
    """The broker has what `states_of` gave. What was said of these alerts since then stays untold."""
    these = and_(
        ALERTS.c.device == device,
        ALERTS.c.ledger == bindparam("its_ledger"),
        ALERTS.c.sequence == bindparam("its_sequence"),
        ALERTS.c.state == bindparam("its_state"),
    )
    rows = [{"its_ledger": ledger, "its_sequence": number, "its_state": state} for ledger, number, state in fresh]
    if rows:
        with store.writing() as connection:
            connection.execute(ALERTS.update().where(these).values(told=True), sorted(rows, key=str))


def _joined() -> Select[Any]:
    same = and_(*(ALERTS.c[name] == EVENTS.c[name] for name in ("device", "ledger", "sequence")))
    event = (EVENTS.c.place, EVENTS.c.access_point, EVENTS.c.subject, EVENTS.c.body, EVENTS.c.received_at)
    times = (EVENTS.c.at.label("event_at"), EVENTS.c.utc_trusted)
    return select(ALERTS, *event, *times).select_from(ALERTS.join(EVENTS, same))


def _is(key: Key) -> Any:  # noqa: ANN401 - a condition
    device, ledger, sequence = key
    return and_(ALERTS.c.device == device, ALERTS.c.ledger == ledger, ALERTS.c.sequence == sequence)


def _standing(row: Row[Any]) -> Standing:
    return Standing(
        device=row.device,
        ledger=row.ledger,
        sequence=row.sequence,
        place=row.place,
        access_point=row.access_point,
        direction=row.body["direction"],
        reasons=tuple(row.body["reasons"]),
        subject=row.subject,
        raised_at=row.event_at if row.utc_trusted else row.received_at,
        state=AlertState(row.state),
        by=row.by,
        said_at=row.at,
        escalations=row.escalations,
    )
