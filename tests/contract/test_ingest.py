"""The city's ingest on a real mosquitto and a real database: every event once, acknowledged only when committed."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from city.ingest import Ingest, Stored
from city.store import Store
from kiosk import wire
from kiosk.clock import Now, SystemClock
from kiosk.messages import CheckIn, Decision, Direction, Event, Fault, Reason, Scheme, StoredEvent
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
LEDGER = "9f2c64d01b7ae358"
SECRET = "0f" * 16
CHECK_IN = CheckIn(
    at=AT,
    utc_trusted=True,
    direction=Direction.ENTRY,
    decision=Decision.GRANTED,
    reasons=(Reason.NO_RISK,),
    scheme=Scheme.DECLARATION,
    subject=SECRET,
    data_age_s=60,
)
FAULT = Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail="the picture is black")


class CountingClock:
    """The machine's clock; the ingest reads it once for each commit, just before."""

    def __init__(self) -> None:
        self.readings = 0

    def now(self) -> Now:
        """Count and tell."""
        self.readings += 1
        return SystemClock().now()


class Worker:
    """An ingest in its thread, and all it said."""

    def __init__(self, port: int, address: str) -> None:
        self.clock = CountingClock()
        self.stored: list[Stored] = []
        self.troubles: list[str] = []
        self.ended: BaseException | None = None
        self.ready = threading.Event()
        self._store = Store(address)
        self._stopping = threading.Event()
        self._ingest = Ingest(
            "127.0.0.1",
            port,
            self._store,
            self.clock,
            on_ready=self.ready.set,
            on_stored=self.stored.append,
            on_trouble=self.troubles.append,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.ready.wait(10.0)

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        self._stopping.set()
        self._thread.join(10.0)
        assert not self.alive
        self._store.close()

    def _run(self) -> None:
        try:
            self._ingest.run(self._stopping.wait)
        except OperationalError as error:
            self.ended = error


class Door:
    """A kiosk as the broker sees it: publishes events, hears acknowledgements."""

    def __init__(self, port: int) -> None:
        self.ear = Ear(port, wire.acknowledgement_topic("door-01"), wire.acknowledgement_topic("door-02"))

    def send(self, sequence: int, event: Event = FAULT, *, device: str = "door-01", ledger: str = LEDGER) -> None:
        """Publish one event."""
        origin = wire.Origin(device=device, place="place-0001", access_point="main")
        payload = wire.encode_event(StoredEvent(ledger=ledger, sequence=sequence, event=event), origin)
        self.ear.say(wire.event_topic(device, wire.kind_of(event)), payload)

    def acknowledged(self) -> list[tuple[str, str, int]]:
        """Device, ledger and sequence of every acknowledgement, in order."""
        heard = [(topic.split("/")[2], json.loads(payload)) for topic, payload, _ in self.ear.heard]
        return [(device, said["ledger"], number) for device, said in heard for number in said["sequences"]]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What is to be closed after the test, last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the city's database is."""
    return tmp_path / "city.sqlite3"


@pytest.fixture
def start(broker: Mosquitto, database: Path, cleanup: ExitStack) -> Callable[..., Worker]:
    """Start a worker."""

    def started(address: str = "") -> Worker:
        worker = Worker(broker.port, address or f"sqlite:///{database}")
        cleanup.callback(worker.close)
        return worker

    return started


@pytest.fixture
def door(broker: Mosquitto, cleanup: ExitStack) -> Door:
    """A kiosk."""
    door = Door(broker.port)
    cleanup.callback(door.ear.close)
    return door


def rows(database: Path) -> list[tuple[str, str, int, str]]:
    """What is stored, read by another connection."""
    with closing(sqlite3.connect(database)) as file:
        return list(file.execute("SELECT device, ledger, sequence, kind FROM events ORDER BY id"))


def test_an_event_is_stored_once_and_acknowledged_however_often_it_comes(
    start: Callable[..., Worker], door: Door, database: Path
) -> None:
    """The same sequence of another ledger or another device is another event."""
    worker = start()
    sent = [("door-01", LEDGER, 1), ("door-01", LEDGER, 2), ("door-01", "another", 1), ("door-02", LEDGER, 1)]
    for device, ledger, sequence in [*sent, *sent[:2], sent[0]]:
        door.send(sequence, device=device, ledger=ledger)
    until(lambda: len(door.acknowledged()) == 7)
    assert sorted(door.acknowledged()) == sorted([*sent, *sent[:2], sent[0]])
    assert rows(database) == [(*one, "fault") for one in sent]
    assert [(said.arrival.key, said.new) for said in worker.stored] == [
        *((one, True) for one in sent),
        *((one, False) for one in [*sent[:2], sent[0]]),
    ]
    assert worker.troubles == []


def test_what_is_stored_is_what_was_sent(start: Callable[..., Worker], door: Door, database: Path) -> None:
    """All fields, read back from the database."""
    worker = start()
    door.send(1, CHECK_IN)
    until(lambda: worker.stored)
    with closing(sqlite3.connect(database)) as file:
        (row,) = file.execute("SELECT place, access_point, utc_trusted, subject, body FROM events")
    assert row[:4] == ("place-0001", "main", 1, SECRET)
    assert json.loads(row[4]) == wire.body_of(CHECK_IN)


GOOD = json.loads(wire.encode_event(StoredEvent(ledger=LEDGER, sequence=1, event=CHECK_IN), ORIGIN))
UNREADABLE = {
    "noise": b"\xff\xfe\x00" + SECRET.encode(),
    "nothing": b"",
    "a list": json.dumps([SECRET]).encode(),
    "no data": json.dumps({**GOOD, "data": SECRET}).encode(),
    "another version": json.dumps({**GOOD, "type": "vn.danang.kiosk.check-in.v2"}).encode(),
    "another device": json.dumps({**GOOD, "source": "/kiosk/v1/door-02"}).encode(),
    "no sequence": json.dumps({**GOOD, "data": {**GOOD["data"], "sequence": SECRET}}).encode(),
    "sequence nought": json.dumps({**GOOD, "data": {**GOOD["data"], "sequence": 0}}).encode(),
    "a sequence no database holds": json.dumps({**GOOD, "data": {**GOOD["data"], "sequence": 10**30}}).encode(),
    "a number no parser reads": b'{"data":' + b"9" * 5000 + b"}",
    "half a surrogate": json.dumps({**GOOD, "data": {**GOOD["data"], "place": "\ud800" + SECRET}}).encode(),
    "an unknown reason": json.dumps({**GOOD, "data": {**GOOD["data"], "reasons": [SECRET]}}).encode(),
    "a time without zone": json.dumps({**GOOD, "data": {**GOOD["data"], "at": "2021-11-20T08:30:00"}}).encode(),
    "too long": json.dumps({**GOOD, "data": {**GOOD["data"], "place": SECRET * 3000}}).encode(),
    "too deep": b"[" * 60_000,
    "too deep inside": json.dumps(GOOD).encode().replace(b'"main"', b"[" * 30_000 + b"]" * 30_000),
}


def test_what_cannot_be_read_is_passed_over_with_a_sentence_that_holds_none_of_it(
    start: Callable[..., Worker], door: Door, database: Path
) -> None:
    """It is neither stored nor acknowledged, and the next event is."""
    worker = start()
    for payload in UNREADABLE.values():
        door.ear.say("kiosk/v1/door-01/event/check-in", payload)
    door.send(5)
    until(lambda: door.acknowledged() or not worker.alive)
    assert door.acknowledged() == [("door-01", LEDGER, 5)]
    assert rows(database) == [("door-01", LEDGER, 5, "fault")]
    assert len(worker.troubles) == len(UNREADABLE)
    start_of_all = "kiosk/v1/door-01/event/check-in: passed over: "
    assert [said for said in worker.troubles if not said.startswith(start_of_all)] == []
    assert [said for said in worker.troubles if SECRET in said or len(said) > 200] == []


def test_an_event_is_acknowledged_only_after_its_commit(
    start: Callable[..., Worker], door: Door, database: Path
) -> None:
    """While somebody else holds the database's write lock, nothing is promised."""
    worker = start()
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        door.send(1)
        until(lambda: worker.clock.readings == 1, what="the ingest is about to commit")
        door.ear.say(wire.acknowledgement_topic("door-02"), '{"ledger":"overtakes","sequences":[1]}')
        until(door.acknowledged, what="whatever was published before this has been heard")
        assert door.acknowledged() == [("door-02", "overtakes", 1)]
        other.execute("ROLLBACK")
    until(lambda: len(door.acknowledged()) == 2)
    assert (door.acknowledged()[1:], rows(database)) == (
        [("door-01", LEDGER, 1)],
        [("door-01", LEDGER, 1, "fault")],
    )


def test_a_store_that_fails_ends_the_ingest_without_an_acknowledgement_and_the_next_one_resumes(
    start: Callable[..., Worker], door: Door, database: Path
) -> None:
    """A read-only database; the error says nothing about the person."""
    Store(f"sqlite:///{database}").close()
    broken = start(f"sqlite:///file:{database}?mode=ro&uri=true")
    door.send(1, CHECK_IN)
    until(lambda: not broken.alive)
    assert "readonly" in str(broken.ended)
    assert SECRET not in str(broken.ended)
    assert (door.acknowledged(), rows(database)) == ([], [])
    worker = start()
    door.send(1, CHECK_IN)
    until(lambda: door.acknowledged() == [("door-01", LEDGER, 1)])
    assert (rows(database), worker.troubles) == ([("door-01", LEDGER, 1, "check-in")], [])


def test_a_broker_that_goes_and_comes_back_is_subscribed_to_again(
    broker: Mosquitto, start: Callable[..., Worker], door: Door, database: Path, cleanup: ExitStack
) -> None:
    """Without a restart of the ingest."""
    worker = start()
    door.send(1)
    until(lambda: rows(database))
    broker.kill()
    worker.ready.clear()
    broker.start()
    assert worker.ready.wait(15.0)
    again = Door(broker.port)
    cleanup.callback(again.ear.close)
    again.send(1)
    again.send(2)
    until(lambda: len(again.acknowledged()) == 2)
    assert rows(database) == [("door-01", LEDGER, 1, "fault"), ("door-01", LEDGER, 2, "fault")]
