"""What there is to tell of all doors: alerts and who answers them, doors that go and come back, gaps.

Composes what is heard from kiosks with what the database says; `city.doors`, `city.alert_watch` and `city.missing`
decide what is news. Prints nothing and changes no row. `city.desk` and `city watch` have one each.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from city import alerts, door_table
from city.alert_watch import AlertWatch
from city.doors import Change, Condition, Doors, Nobody, Told
from city.missing import Loss, Missing
from city.notices import DoorNotice, DoorsNotice, GapNotice, LinkNotice, Notice
from city.store import Store
from city.subscriber import Heard, Linked, Stood
from kiosk import wire
from kiosk.clock import Clock, Now, S

KINDS = ("alert", "escalation", "state", "heartbeat")
"""What must be heard. Check-ins are no surer a sign of life than heartbeats, and many times as many."""
BEAT_S = 60
LOOK_S = 1
"""Between two looks at the alerts in the database."""
LOOK_FOR_GAPS_S = 10
"""Between two looks at what is missing, for which all doors are gone through."""
GAP_S = 60
"""How old a gap must be: alerts overtake, and reconnections repeat."""
FEW = 10
"""So many doors that change at once are told of one by one; more are one notice, which names so many."""


class Lookout:
    """One of these hears every door.

    Args:
        store: the city's database; what it knows of doors is where this begins.
        clock: for what is silent, and for when to tell again.
        beat_s: between two heartbeats of a kiosk ([uplink] heartbeat_s).
    """

    def __init__(self, store: Store, clock: Clock, *, beat_s: int = BEAT_S) -> None:
        self._store = store
        self._clock = clock
        self._alerts = AlertWatch()
        self._missing = Missing()
        self._look_ns = self._look_for_gaps_ns = 0
        now = clock.now()
        self._doors = Doors(beat_s * S, now.monotonic_ns)
        for door in door_table.known(store):
            heard_ns = ns_at(now, door.heard_at)
            since_ns = ns_at(now, door.silent_since) if door.silent_since else heard_ns
            self._doors.remember(door.device, door.condition, since_ns=since_ns, heard_ns=heard_ns)

    def hear(self, heard: Iterable[Heard]) -> tuple[list[Notice], set[str]]:
        """Take in what came and what time it is; the answer is what is news, and of which doors more is known now."""
        now = self._clock.now()
        notices: list[Notice] = []
        told: list[Told] = []
        touched: set[str] = set()
        for one in heard:
            told += self._sign(one, now.monotonic_ns)
            if isinstance(one, wire.Received):
                notices += self._alerts.hear(one, now)
                touched.add(one.origin.device)
            elif not isinstance(one, Linked):
                touched.add(one.device)
        told += self._doors.elapsed(now.monotonic_ns)
        touched |= {one.device for one in told if isinstance(one, Change)}
        return notices + _of_doors(told, now), touched

    def look(self) -> list[Notice]:
        """Look at the database, if it is time to.

        Raises:
            sqlalchemy.exc.DBAPIError: it does not answer.
        """
        now = self._clock.now()
        notices: list[Notice] = []
        if now.monotonic_ns >= self._look_ns:
            self._look_ns = now.monotonic_ns + LOOK_S * S
            standing = alerts.standing(self._store, open_only=True)
            closed = [alert for key in self._alerts.gone_from(standing) if (alert := alerts.one(self._store, key))]
            notices += self._alerts.look(standing, closed, now)
        if now.monotonic_ns >= self._look_for_gaps_ns:
            self._look_for_gaps_ns = now.monotonic_ns + LOOK_FOR_GAPS_S * S
            gaps, tails = self._store.gaps(now.utc - timedelta(seconds=GAP_S)), door_table.tails(self._store)
            losses = self._missing.look(now.monotonic_ns, gaps, tails, self._can_send)
            notices += [_of_loss(loss, now) for loss in losses]
        return notices

    def doors(self, devices: Iterable[str]) -> list[door_table.Known]:
        """What is known of these doors, to be kept."""
        now = self._clock.now()
        return [self._door(device, now) for device in devices]

    def _door(self, device: str, now: Now) -> door_table.Known:
        condition = self._doors.condition_of(device) or Condition.ONLINE
        since_ns, heard_ns = self._doors.times_of(device)
        silent = condition is Condition.SILENT
        return door_table.Known(
            device=device,
            condition=condition,
            heard_at=utc_at(now, since_ns if condition is Condition.OFFLINE else heard_ns),
            silent_since=utc_at(now, since_ns) if silent else None,
        )

    def _can_send(self, device: str) -> bool:
        return self._doors.condition_of(device) not in {Condition.OFFLINE, Condition.SILENT}

    def _sign(self, heard: Heard, now_ns: int) -> list[Told]:
        match heard:
            case Linked(up=True):
                self._doors.listens(now_ns)
                return []
            case Linked():
                return self._doors.lost(now_ns)
            case Stood(state=wire.State(online=True)):
                return self._doors.born(heard.device, now_ns, retained=heard.retained)
            case Stood():
                return self._doors.died(heard.device, now_ns, retained=heard.retained)
            case wire.Received():
                return self._doors.heard(heard.origin.device, now_ns)
            case _:
                return self._doors.heard(heard.device, now_ns)


def ns_at(now: Now, at: datetime) -> int:
    """When that was, by the clock that never steps."""
    return now.monotonic_ns - (now.utc - at) // timedelta(microseconds=1) * 1000


def utc_at(now: Now, ns: int) -> datetime:
    """When that was, in UTC."""
    return now.utc - timedelta(microseconds=(now.monotonic_ns - ns) // 1000)


def _of_doors(told: Iterable[Told], now: Now) -> list[Notice]:
    notices: list[Notice] = []
    by_condition: dict[Condition, list[Change]] = {}
    for one in told:
        if isinstance(one, Nobody):
            notices.append(LinkNotice(hears=not one.deaf, at=utc_at(now, one.since_ns), doors=one.doors))
        elif one.was is not None or one.condition is not Condition.ONLINE:  # a new door that works is no news
            by_condition.setdefault(one.condition, []).append(one)
    for condition, changes in by_condition.items():
        notices += _of_changes(condition, changes, now)
    return notices


def _of_changes(condition: Condition, changes: list[Change], now: Now) -> list[Notice]:
    if len(changes) > FEW:
        first = tuple(change.device for change in changes[:FEW])
        return [DoorsNotice(news=condition, at=now.utc, doors=len(changes), devices=first)]
    return [
        DoorNotice(
            news=condition, at=utc_at(now, change.since_ns), device=change.device, lasted_s=change.lasted_ns // S
        )
        for change in changes
    ]


def _of_loss(loss: Loss, now: Now) -> Notice:
    return GapNotice(
        at=now.utc,
        device=loss.device,
        ledger=loss.ledger,
        missing=loss.missing,
        first=loss.first,
        last=loss.last,
    )
