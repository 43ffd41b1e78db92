"""Alerts, doors and gaps in the city's database, on SQLite and on PostgreSQL: what people say stands, in order."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city import alerts, door_table
from city.door_table import Known
from city.doors import Condition
from city.gaps import Gap
from city.lookout import Lookout
from city.notices import DoorNotice, DoorsNotice, GapNotice, LinkNotice
from city.store import Arrival, Store
from city.subscriber import Beat, Linked, Stood
from kiosk import wire
from kiosk.clock import S
from kiosk.messages import Alert, AlertState, CheckIn, Decision, Direction, Escalation, Event, Reason, Scheme
from kiosk.testing.clock import MORNING, ManualClock

ACKNOWLEDGED, CLOSED = AlertState.ACKNOWLEDGED, AlertState.CLOSED
KEY = ("door-01", "aa", 7)
ALERT = Alert(
    at=MORNING,
    utc_trusted=True,
    direction=Direction.ENTRY,
    reasons=(Reason.AT_RISK_SYMPTOM,),
    scheme=Scheme.DECLARATION,
    subject="0f" * 16,
)
CHECK_IN = CheckIn(
    at=MORNING,
    utc_trusted=True,
    direction=Direction.ENTRY,
    decision=Decision.GRANTED,
    reasons=(Reason.NO_RISK,),
    scheme=Scheme.DECLARATION,
    subject="0f" * 16,
    data_age_s=60,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database of either kind."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'city.sqlite3'}"
    else:
        address = request.getfixturevalue("postgres").new_database()
    with closing(Store(address)) as store:
        yield store


def arrival(sequence: int, event: Event, device: str = "door-01") -> Arrival:
    """An event as the ingest stores it."""
    return Arrival(
        device=device,
        ledger="aa",
        sequence=sequence,
        kind=wire.kind_of(event),
        place="place-0001",
        access_point="main",
        at=event.at,
        utc_trusted=event.utc_trusted,
        subject=getattr(event, "subject", None),
        body=wire.body_of(event),
    )


def escalation(count: int, **changed: Any) -> Escalation:  # noqa: ANN401 - any field
    """The kiosk says that nobody has acknowledged alert 7."""
    said = {"alert_ledger": "aa", "alert_sequence": 7, "delivered": True, "count": count, **changed}
    return Escalation(at=MORNING, utc_trusted=True, **said)


def raise_alerts(store: Store, *sequences: int, device: str = "door-01") -> None:
    """Store alerts."""
    store.add([arrival(sequence, ALERT, device) for sequence in sequences], MORNING)


def later(seconds: int) -> datetime:
    """That long after the morning's start."""
    return MORNING + timedelta(seconds=seconds)


def told(store: Store, device: str = "door-01") -> list[tuple[int, str]]:
    """What is to stand at a kiosk's topic."""
    return [(one.sequence, one.state) for one in alerts.states_of(store, device)[0].alerts]


def test_a_stored_alert_is_delivered_and_a_check_in_is_none(store: Store) -> None:
    """With all that people need to know, from its event; stored again it is the same."""
    for _ in range(2):
        store.add([arrival(7, ALERT), arrival(8, CHECK_IN)], MORNING)
    assert alerts.standing(store, open_only=True) == [
        alerts.Standing(
            device="door-01",
            ledger="aa",
            sequence=7,
            place="place-0001",
            access_point="main",
            direction="entry",
            reasons=("at_risk.symptom",),
            subject="0f" * 16,
            raised_at=MORNING,
            state=AlertState.DELIVERED,
            by="",
            said_at=MORNING,
            escalations=0,
        )
    ]
    assert (alerts.untold(store), told(store)) == ([], [])


def test_an_alert_goes_forward_only_and_who_said_so_first_stands(store: Store) -> None:
    """Two people at once, and one who is late."""
    raise_alerts(store, 7)
    said = [
        alerts.say(store, KEY, ACKNOWLEDGED, by="Trần B", at=later(1)),
        alerts.say(store, KEY, ACKNOWLEDGED, by="Lê C", at=later(2)),
    ]
    found = alerts.one(store, KEY)
    assert found is not None
    assert (said, found.state, found.by, found.said_at) == ([True, False], ACKNOWLEDGED, "Trần B", later(1))
    said = [
        alerts.say(store, KEY, CLOSED, by="Lê C", at=later(3)),
        alerts.say(store, KEY, ACKNOWLEDGED, by="Trần B", at=later(4)),
        alerts.say(store, KEY, CLOSED, by="Trần B", at=later(5)),
    ]
    found = alerts.one(store, KEY)
    assert found is not None
    assert (said, found.state, found.by, found.said_at) == ([True, False, False], CLOSED, "Lê C", later(3))
    assert alerts.standing(store, open_only=True) == []
    assert [alert.key for alert in alerts.standing(store, open_only=False)] == [KEY]


def test_nobody_can_say_anything_of_an_alert_that_is_not_there(store: Store) -> None:
    """Neither of a check-in."""
    store.add([arrival(7, CHECK_IN)], MORNING)
    assert not alerts.say(store, KEY, ACKNOWLEDGED, by="Trần B", at=MORNING)
    assert (alerts.one(store, KEY), alerts.untold(store)) == (None, [])


def test_what_was_said_is_untold_until_the_broker_has_it(store: Store) -> None:
    """What is said meanwhile stays untold, though the broker has the former."""
    raise_alerts(store, 7, 8)
    alerts.say(store, KEY, ACKNOWLEDGED, by="Trần B", at=later(1))
    assert (alerts.untold(store), told(store)) == (["door-01"], [(7, "acknowledged")])
    _, fresh = alerts.states_of(store, "door-01")
    alerts.say(store, KEY, CLOSED, by="Trần B", at=later(2))
    alerts.mark_told(store, "door-01", fresh)
    assert (alerts.untold(store), told(store)) == (["door-01"], [(7, "closed")])
    alerts.mark_told(store, "door-01", alerts.states_of(store, "door-01")[1])
    assert (alerts.untold(store), told(store)) == ([], [(7, "closed")])
    assert (alerts.untold(store, later(2)), alerts.untold(store, later(3))) == (["door-01"], [])


def test_the_newest_hundred_of_a_device_are_told_and_all_are_marked(store: Store) -> None:
    """In the order in which people spoke, not that of the alerts; another device's are its own."""
    raise_alerts(store, *range(1, 131))
    raise_alerts(store, 5, device="door-02")
    for number in range(130):
        alerts.say(store, ("door-01", "aa", 130 - number), CLOSED, by="Trần B", at=later(number))
    assert told(store) == [(sequence, "closed") for sequence in range(1, 101)]
    states, fresh = alerts.states_of(store, "door-01")
    assert wire.decode_alert_states(states.model_dump_json().encode()) == states
    alerts.mark_told(store, "door-01", fresh)
    assert (alerts.untold(store), told(store, "door-02")) == ([], [])


def test_escalations_mark_their_alert(store: Store) -> None:
    """The highest count stands, in whatever order they come; one of another door, or of none, marks nothing."""
    raise_alerts(store, 7)
    store.add([arrival(9, escalation(2)), arrival(10, escalation(1))], MORNING)
    store.add([arrival(11, escalation(3), "door-02"), arrival(12, escalation(3, alert_sequence=99))], MORNING)
    assert [alert.escalations for alert in alerts.standing(store, open_only=True)] == [2]


def test_an_escalation_that_no_column_holds_is_stored_and_marks_nothing(store: Store) -> None:
    """A kiosk's mistake must not stop the ingest."""
    raise_alerts(store, 7)
    wrong: list[dict[str, Any]] = [
        {"alert_ledger": "a" * 5000},
        {"alert_sequence": 10**30},
        {"alert_sequence": 0},
        {"count": 10**12},
    ]
    odd = [arrival(9 + number, escalation(**{"count": 1, **changed})) for number, changed in enumerate(wrong)]
    assert len(store.add(odd, MORNING)) == 4
    assert [alert.escalations for alert in alerts.standing(store, open_only=True)] == [0]


def beat(newest: int, *, waiting: int = 0, ledger: str = "aa", **changed: Any) -> wire.Heartbeat:  # noqa: ANN401
    """A sign of life."""
    said = {"at": MORNING, "boot_id": "b", "boot_ns": 1, "faults": ["camera"], "version": "1", **changed}
    return wire.Heartbeat(ledger=ledger, newest=newest, waiting=waiting, **said)


def known(condition: Condition, device: str = "door-01", *, silent: bool = False) -> Known:
    """A door as it is kept."""
    since = later(2) if silent else None
    return Known(device=device, condition=condition, heard_at=later(5), silent_since=since)


def test_doors_are_kept_with_what_they_said_last(store: Store) -> None:
    """Of a door that said nothing since, what it had said stays; they come back by when they were heard."""
    said: dict[str, wire.Heartbeat | wire.State]
    said = {"door-01": beat(8), "door-02": wire.State(device="door-02", online=True, version="2", ledger="zz")}
    door_table.keep(store, [known(Condition.ONLINE), known(Condition.OFFLINE, "door-02")], said)
    door_table.keep(store, [known(Condition.SILENT, silent=True)], {})
    assert sorted(door_table.known(store), key=lambda door: door.device) == [
        known(Condition.SILENT, silent=True),
        known(Condition.OFFLINE, "door-02"),
    ]
    assert door_table.tails(store) == [Gap(device="door-01", ledger="aa", first=1, last=8, since=later(5))]


def test_words_of_a_kiosk_that_no_column_holds_are_cut(store: Store) -> None:
    """A kiosk's mistake must not stop the desk."""
    odd = beat(1, ledger="l" * 500, boot_id="b\0" * 500, version="v" * 500, waiting=10**30, faults=["a\0"])
    door_table.keep(store, [known(Condition.ONLINE)], {"door-01": odd})
    assert door_table.known(store) == [known(Condition.ONLINE)]


def test_the_end_of_a_ledger_is_missing_only_while_its_door_waits_for_nothing(store: Store) -> None:
    """And only as far as the city has not got."""
    store.add([arrival(1, CHECK_IN), arrival(2, CHECK_IN)], MORNING)
    store.look_for_gaps([("door-01", "aa")], later(1))
    found = []
    for said in (beat(2), beat(4, waiting=1), beat(4), beat(4, ledger="bb", waiting=4)):
        door_table.keep(store, [known(Condition.ONLINE)], {"door-01": said})
        found.append([(gap.first, gap.last) for gap in door_table.tails(store)])
    assert found == [[], [], [(3, 4)], []]


def test_a_gap_becomes_an_alarm_and_ends_when_it_is_filled(store: Store) -> None:
    """Not in its first minute, nor while it is looked at whether it shrinks; from events alone."""
    clock = ManualClock()
    lookout = Lookout(store, clock)
    store.add([arrival(1, CHECK_IN), arrival(5, ALERT)], clock.now().utc)
    store.look_for_gaps([("door-01", "aa")], clock.now().utc + timedelta(seconds=1))
    noticed = []
    for _ in range(20):
        clock.advance(5 * S)
        noticed += [(one, clock.now().utc) for one in lookout.look() if isinstance(one, GapNotice)]
    ((gap, at),) = noticed
    assert (at - MORNING, gap.missing, gap.first, gap.last) == (timedelta(seconds=85), 3, 2, 4)
    store.add([arrival(sequence, CHECK_IN) for sequence in (2, 3, 4)], clock.now().utc)
    store.look_for_gaps([("door-01", "aa")], clock.now().utc + timedelta(seconds=1))
    clock.advance(10 * S)
    assert [one.missing for one in lookout.look() if isinstance(one, GapNotice)] == [0]


def test_a_lookout_that_starts_again_knows_the_doors_of_the_last_one(store: Store) -> None:
    """A door that was silent is no alarm again; it is news when it is back, with how long it was away."""
    clock = ManualClock()
    first = Lookout(store, clock)
    _, touched = first.hear([Linked(up=True), Beat(device="door-01", heartbeat=beat(0))])
    clock.advance(150 * S)
    notices, silent = first.hear([])
    assert notices == [DoorNotice(news=Condition.SILENT, at=MORNING, device="door-01", lasted_s=0)]
    door_table.keep(store, first.doors(touched | silent), {})
    clock.advance(600 * S)
    second = Lookout(store, clock)
    birth = wire.State(device="door-01", online=True, version="1", ledger="aa")
    assert second.hear([Linked(up=True), Stood(device="door-01", state=birth, retained=True)]) == ([], {"door-01"})
    clock.advance(200 * S)
    assert second.hear([])[0] == []
    back = DoorNotice(news=Condition.ONLINE, at=clock.now().utc, device="door-01", lasted_s=950)
    assert second.hear([Beat(device="door-01", heartbeat=beat(0))])[0] == [back]


def test_many_doors_that_change_at_once_are_one_notice(store: Store) -> None:
    """A district without power: each is known, and told as a number."""
    clock = ManualClock()
    lookout = Lookout(store, clock)
    names = [f"door-{number:02}" for number in range(30)]
    lookout.hear([Linked(up=True), *(Beat(device=name, heartbeat=beat(0)) for name in names)])
    states = [wire.State(device=name, online=False, version="1", ledger="aa") for name in names[:11]]
    lookout.hear([Stood(device=state.device, state=state, retained=False) for state in states])
    clock.advance(5 * S)
    ((notice,), touched) = lookout.hear([])
    assert len(touched) == 11
    assert notice == DoorsNotice(news=Condition.OFFLINE, at=clock.now().utc, doors=11, devices=tuple(names[:10]))


def test_a_city_without_a_broker_tells_so_and_of_no_door(store: Store) -> None:
    """Once, and once when the first door is heard again."""
    clock = ManualClock()
    lookout = Lookout(store, clock)
    lookout.hear([Linked(up=True), Beat(device="door-01", heartbeat=beat(0))])
    clock.advance(10 * S)
    assert lookout.hear([Linked(up=False)])[0] == [LinkNotice(hears=False, at=later(10), doors=1)]
    clock.advance(3600 * S)
    assert lookout.hear([])[0] == []
    assert lookout.hear([Linked(up=True)])[0] == []
    assert lookout.hear([Beat(device="door-01", heartbeat=beat(0))])[0] == [LinkNotice(hears=True, at=MORNING, doors=1)]
