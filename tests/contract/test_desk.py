"""The city's desk on a real mosquitto and a real database: kiosks learn what became of their alerts."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from city import alerts, door_table
from city.desk import Desk
from city.doors import Condition
from city.notices import AlertNotice, DoorNotice, LinkNotice, Notice
from city.store import Arrival, Store
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import S
from kiosk.messages import Alert, AlertState, Direction, Reason, Scheme, StoredEvent
from kiosk.testing.clock import MORNING, ManualClock
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id="b")
ALERT = Alert(
    at=MORNING,
    utc_trusted=True,
    direction=Direction.ENTRY,
    reasons=(Reason.AT_RISK_SYMPTOM,),
    scheme=Scheme.DECLARATION,
    subject="0f" * 16,
)
BIRTH = wire.State(device="door-01", online=True, version="1", ledger="aa", at=MORNING)
WILL = BIRTH.model_copy(update={"online": False, "at": None})
TOPIC = wire.alert_states_topic("door-01")


class Running:
    """A desk in its thread, and all it said."""

    def __init__(self, port: int, address: str, clock: ManualClock) -> None:
        self.notices: list[Notice] = []
        self.troubles: list[str] = []
        self.ready = threading.Event()
        self._store = Store(address)
        self._stopping = threading.Event()
        self._desk = Desk(
            Broker(host="127.0.0.1", port=port, tls=False),
            self._store,
            clock,
            on_notice=self.notices.append,
            on_ready=self.ready.set,
            on_trouble=self.troubles.append,
        )
        self._thread = threading.Thread(target=self._desk.run, args=(self._stopping.wait,))
        self._thread.start()
        assert self.ready.wait(10.0)

    @property
    def news(self) -> list[str]:
        """What it said of alerts."""
        return [notice.news for notice in [*self.notices] if isinstance(notice, AlertNotice)]

    def close(self) -> None:
        """End it."""
        self._stopping.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        self._store.close()


class City:
    """A broker, a database with one alert, and a clock that the test moves."""

    def __init__(self, broker: Mosquitto, database: Path, cleanup: ExitStack) -> None:
        self.broker, self.database = broker, database
        self.clock = ManualClock()
        self._cleanup = cleanup
        self.address = f"sqlite:///{database}"
        self.store = Store(self.address)
        cleanup.callback(self.store.close)

    def desk(self) -> Running:
        """Start one."""
        desk = Running(self.broker.port, self.address, self.clock)
        self._cleanup.callback(desk.close)
        return desk

    def ear(self) -> Ear:
        """A kiosk: hears what became of its alerts, and speaks."""
        ear = Ear(self.broker.port, TOPIC)
        self._cleanup.callback(ear.close)
        return ear

    def comes_true(self, condition: Callable[[], object]) -> None:
        """Let time go by, a second in each hundredth, until the condition holds."""
        until(lambda: self._later(condition))

    def _later(self, condition: Callable[[], object]) -> object:
        self.clock.advance(S)
        return condition()

    def store_alert(self, sequence: int = 7) -> None:
        """The ingest has committed one."""
        arrival = Arrival(
            device="door-01",
            ledger="aa",
            sequence=sequence,
            kind="alert",
            place="place-0001",
            access_point="main",
            at=MORNING,
            utc_trusted=True,
            subject=ALERT.subject,
            body=wire.body_of(ALERT),
        )
        self.store.add([arrival], self.clock.now().utc)

    def say(self, state: AlertState, sequence: int = 7) -> None:
        """Somebody at the health authority does something about it."""
        assert alerts.say(self.store, ("door-01", "aa", sequence), state, by="Trần B", at=self.clock.now().utc)


@pytest.fixture
def city(broker: Mosquitto, tmp_path: Path) -> Iterator[City]:
    """All but the desk."""
    with ExitStack() as cleanup:
        yield City(broker, tmp_path / "city.sqlite3", cleanup)


def states(*told: tuple[int, AlertState]) -> bytes:
    """What stands at the topic."""
    standing = [{"ledger": "aa", "sequence": sequence, "state": state} for sequence, state in told]
    return wire.AlertStates.model_validate({"alerts": standing}).model_dump_json().encode()


ACKNOWLEDGED = states((7, AlertState.ACKNOWLEDGED))
CLOSED = states((7, AlertState.CLOSED))


def test_a_kiosk_learns_what_people_said_of_its_alert(city: City) -> None:
    """At once if it is there, and when it comes back if it was away."""
    desk, kiosk = city.desk(), city.ear()
    city.store_alert()
    city.say(AlertState.ACKNOWLEDGED)
    city.comes_true(lambda: kiosk.heard)
    city.say(AlertState.CLOSED)
    city.comes_true(lambda: len(kiosk.heard) == 2)
    assert kiosk.heard == [(TOPIC, ACKNOWLEDGED, False), (TOPIC, CLOSED, False)]
    city.comes_true(lambda: alerts.untold(city.store) == [])
    later = city.ear()
    until(lambda: later.heard)
    assert (later.heard, desk.troubles) == ([(TOPIC, CLOSED, True)], [])


def test_what_was_said_while_no_desk_ran_is_told_by_the_next(city: City) -> None:
    """Nothing waits in a desk's memory."""
    city.store_alert()
    city.say(AlertState.ACKNOWLEDGED)
    kiosk = city.ear()
    city.desk()
    city.comes_true(lambda: kiosk.heard)
    assert kiosk.heard == [(TOPIC, ACKNOWLEDGED, False)]


def test_a_broker_that_has_forgotten_what_it_retained_is_told_again(city: City) -> None:
    """Killed and started empty, while nobody said anything new."""
    desk = city.desk()
    city.store_alert()
    city.say(AlertState.CLOSED)
    city.comes_true(lambda: alerts.untold(city.store) == [])
    city.broker.kill()
    city.comes_true(lambda: desk.troubles)
    desk.ready.clear()
    city.broker.start()
    assert desk.ready.wait(10.0)
    kiosk = city.ear()
    city.comes_true(lambda: kiosk.heard)
    assert kiosk.heard[0][:2] == (TOPIC, CLOSED)
    assert [type(notice) for notice in desk.notices if not isinstance(notice, AlertNotice)] == [LinkNotice]


def test_what_is_said_while_the_broker_is_away_is_told_when_it_is_back(city: City) -> None:
    """It stays untold until the broker has taken it."""
    desk = city.desk()
    city.store_alert()
    city.broker.kill()
    city.comes_true(lambda: desk.troubles)
    city.say(AlertState.ACKNOWLEDGED)
    desk.ready.clear()
    city.broker.start()
    assert desk.ready.wait(10.0)
    city.comes_true(lambda: alerts.untold(city.store) == [])
    kiosk = city.ear()
    until(lambda: kiosk.heard)
    assert kiosk.heard == [(TOPIC, ACKNOWLEDGED, True)]


def test_an_alert_is_told_when_it_comes_and_again_until_somebody_answers(city: City) -> None:
    """First from the broker, before the database has it."""
    desk, kiosk = city.desk(), city.ear()
    stored = StoredEvent(ledger="aa", sequence=7, event=ALERT)
    kiosk.say(wire.event_topic("door-01", "alert"), wire.encode_event(stored, ORIGIN))
    until(lambda: desk.news)
    city.store_alert()
    city.comes_true(lambda: "unanswered" in desk.news)
    city.say(AlertState.ACKNOWLEDGED)
    city.comes_true(lambda: "acknowledged" in desk.news)
    assert (desk.news[:2], desk.news[-1], len(set(desk.news))) == (["raised", "unanswered"], "acknowledged", 3)


def test_doors_are_told_of_and_kept(city: City) -> None:
    """A will, a birth, and silence; the next desk knows them."""
    desk, kiosk = city.desk(), city.ear()
    for state in (BIRTH, WILL):
        kiosk.say(wire.state_topic("door-01"), state.model_dump_json())
        city.comes_true(lambda: door_table.known(city.store))
    city.comes_true(lambda: desk.notices)
    kiosk.say(wire.state_topic("door-01"), BIRTH.model_dump_json())
    city.comes_true(lambda: len(desk.notices) == 3)
    said = [notice.news for notice in desk.notices if isinstance(notice, DoorNotice)]
    assert said == [Condition.OFFLINE, Condition.ONLINE, Condition.SILENT]
    city.comes_true(lambda: [door.condition for door in door_table.known(city.store)] == [Condition.SILENT])


def test_a_desk_whose_database_is_away_goes_on_telling_of_alerts(city: City) -> None:
    """It says so once, and when the database is back the rest is done."""
    desk, kiosk = city.desk(), city.ear()
    city.store_alert()
    with closing(sqlite3.connect(city.database)) as file:
        file.execute("ALTER TABLE alerts RENAME TO away")
        city.comes_true(lambda: desk.troubles)
        for sequence in (8, 9):
            stored = StoredEvent(ledger="aa", sequence=sequence, event=ALERT)
            kiosk.say(wire.event_topic("door-01", "alert"), wire.encode_event(stored, ORIGIN))
        city.comes_true(lambda: len(desk.news) >= 2)
        assert desk.troubles == ["the database cannot be used (OperationalError); trying again"]
        file.execute("ALTER TABLE away RENAME TO alerts")
    city.say(AlertState.ACKNOWLEDGED)
    city.comes_true(lambda: kiosk.heard)
    assert kiosk.heard == [(TOPIC, ACKNOWLEDGED, False)]
