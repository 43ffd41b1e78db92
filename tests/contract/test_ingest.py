"""The city's ingest on a real mosquitto and a real database: every event once, acknowledged only when committed."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text

from city.ingest import Ingest, Stored
from city.store import Quarantined, Store
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import SystemClock
from kiosk.messages import CheckIn, Decision, Direction, Event, Fault, Reason, Scheme, StoredEvent
from tests.mosquitto import Ear, Mosquitto
from tests.postgres import Postgres
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
    boot_ns=12_345,
)
FAULT = Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail="the picture is black")


class Worker:
    """An ingest in its thread, and all it said."""

    def __init__(self, port: int, address: str, client_id: str) -> None:
        self.stored: list[Stored] = []
        self.troubles: list[str] = []
        self.ready = threading.Event()
        self._store = Store(address)
        self._stopping = threading.Event()
        self._ingest = Ingest(
            Broker(host="127.0.0.1", port=port, tls=False),
            self._store,
            SystemClock(),
            on_ready=self.ready.set,
            on_stored=self.stored.append,
            on_trouble=self.troubles.append,
            client_id=client_id,
        )
        self._thread = threading.Thread(target=self._ingest.run, args=(self._stopping.wait,))
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


class Door:
    """A kiosk as the broker sees it: publishes events, hears acknowledgements."""

    def __init__(self, port: int) -> None:
        self.ear = Ear(port, wire.acknowledgement_topic("door-01"), wire.acknowledgement_topic("door-02"))

    def send(self, sequence: int, event: Event = FAULT, *, device: str = "door-01", ledger: str = LEDGER) -> None:
        """Publish one event."""
        origin = wire.Origin(device=device, place="place-0001", access_point="main", boot_id="boot-1")
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


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the city's database is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'city.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def start(broker: Mosquitto, request: pytest.FixtureRequest, cleanup: ExitStack) -> Callable[..., Worker]:
    """Start a worker, with the test's `address` unless told."""
    usual: str = request.getfixturevalue("address") if "address" in request.fixturenames else ""

    def started(address: str = usual, client_id: str = "city-ingest") -> Worker:
        worker = Worker(broker.port, address, client_id)
        cleanup.callback(worker.close)
        return worker

    return started


@pytest.fixture
def door(broker: Mosquitto, cleanup: ExitStack) -> Door:
    """A kiosk."""
    door = Door(broker.port)
    cleanup.callback(door.ear.close)
    return door


def connected(address: str) -> Connection:
    """Another connection than the ingest's."""
    return create_engine(address.replace("postgresql:", "postgresql+psycopg:", 1), poolclass=NullPool).connect()


def told(address: str, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    with closing(connected(address)) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def rows(address: str) -> list[tuple[Any, ...]]:
    """The keys and kinds of all events."""
    return told(address, "SELECT device, ledger, sequence, kind FROM events ORDER BY id")


def test_an_event_is_stored_once_and_acknowledged_however_often_it_comes(
    start: Callable[..., Worker], door: Door, address: str
) -> None:
    """The same sequence of another ledger or another device is another event."""
    worker = start()
    sent = [("door-01", LEDGER, 1), ("door-01", LEDGER, 2), ("door-01", "another", 1), ("door-02", LEDGER, 1)]
    for device, ledger, sequence in [*sent, *sent[:2], sent[0]]:
        door.send(sequence, device=device, ledger=ledger)
    until(lambda: len(door.acknowledged()) == 7)
    assert sorted(door.acknowledged()) == sorted([*sent, *sent[:2], sent[0]])
    assert rows(address) == [(*one, "fault") for one in sent]
    assert [(said.arrival.key, said.new) for said in worker.stored] == [
        *((one, True) for one in sent),
        *((one, False) for one in [*sent[:2], sent[0]]),
    ]
    assert worker.troubles == []


def test_what_is_stored_is_what_was_sent(start: Callable[..., Worker], door: Door, address: str) -> None:
    """All fields, read back from the database."""
    worker = start()
    door.send(1, CHECK_IN)
    until(lambda: worker.stored)
    (row,) = told(address, "SELECT place, access_point, utc_trusted, subject, body, boot_id, boot_ns FROM events")
    body = json.loads(row[4]) if isinstance(row[4], str) else row[4]
    assert (*row[:4], *row[5:]) == ("place-0001", "main", 1, SECRET, "boot-1", 12_345)
    assert body == wire.body_of(CHECK_IN)


GOOD = json.loads(wire.encode_event(StoredEvent(ledger=LEDGER, sequence=1, event=CHECK_IN), ORIGIN))


def spoilt(envelope: dict[str, Any] | None = None, **data: object) -> bytes:
    """A check-in with something else in its place."""
    return json.dumps({**GOOD, "data": {**GOOD["data"], **data}, **(envelope or {})}).encode()


UNREADABLE = {
    "noise": b"\xff\xfe\x00" + SECRET.encode(),
    "nothing": b"",
    "a list": json.dumps([SECRET]).encode(),
    "no data": spoilt({"data": SECRET}),
    "another version": spoilt({"type": "vn.danang.kiosk.check-in.v2"}, sequence=5),
    "another device": spoilt({"source": "/kiosk/v1/door-02"}, sequence=6),
    "no sequence": spoilt(sequence=SECRET),
    "sequence nought": spoilt(sequence=0),
    "a sequence no database holds": spoilt(sequence=10**30),
    "a number no parser reads": b'{"data":' + b"9" * 5000 + b"}",
    "half a surrogate": spoilt(place="\ud800" + SECRET, sequence=11),
    "a ledger with half a surrogate": spoilt(ledger="\ud800" + SECRET),
    "an unknown reason": spoilt(reasons=[SECRET], sequence=13),
    "a time without zone": spoilt(at="2021-11-20T08:30:00", sequence=14),
    "a place with a NUL": spoilt(place="\0" + SECRET, sequence=15),
    "UTF-16 with a NUL": spoilt(place="\0" + SECRET, sequence=16).decode().encode("utf-16"),
    "a time before all times": spoilt(at="0001-01-01T00:00:00+14:00", sequence=17),
    "a subject of 33": spoilt(subject=SECRET + "0", sequence=18),
    "too long": spoilt(place=SECRET * 3000, sequence=19),
    "too deep": b"[" * 60_000,
    "too deep inside": json.dumps(GOOD).encode().replace(b'"main"', b"[" * 30_000 + b"]" * 30_000),
}
NUMBERED = {"another version", "another device", "an unknown reason", "a time without zone", "a place with a NUL"}
NUMBERED |= {"a time before all times", "a subject of 33", "half a surrogate", "UTF-16 with a NUL"}


def test_what_cannot_be_read_is_kept_as_it_came_and_reported_once(
    start: Callable[..., Worker], door: Door, address: str
) -> None:
    """It is acknowledged if it says its ledger and sequence, else its kiosk sends it for ever; none of it is told."""
    worker = start()
    for _ in range(2):
        for payload in UNREADABLE.values():
            door.ear.say("kiosk/v1/door-01/event/check-in", payload)
        door.send(50)
    until(lambda: door.acknowledged().count(("door-01", LEDGER, 50)) == 2 or not worker.alive)
    numbers = sorted(number for _, _, number in door.acknowledged() if number != 50)
    assert numbers == sorted([*(at for at, name in enumerate(UNREADABLE, 1) if name in NUMBERED)] * 2)
    assert rows(address) == [("door-01", LEDGER, 50, "fault")]
    kept = told(address, "SELECT device, ledger, sequence, payload FROM unreadable ORDER BY id")
    assert sorted((device, bytes(payload)) for device, _, _, payload in kept) == sorted(
        ("door-01", payload[: wire.BIGGEST_PAYLOAD]) for payload in UNREADABLE.values()
    )
    assert sorted((ledger, sequence) for _, ledger, sequence, _ in kept) == sorted(
        (LEDGER, at) if name in NUMBERED else ("", 0) for at, name in enumerate(UNREADABLE, 1)
    )
    assert len(worker.troubles) == len(UNREADABLE)
    start_of_all = "kiosk/v1/door-01/event/check-in: kept unread: "
    assert [said for said in worker.troubles if not said.startswith(start_of_all)] == []
    assert [said for said in worker.troubles if SECRET in said or len(said) > 200] == []


def test_what_the_database_itself_refuses_is_set_aside_and_its_neighbours_are_stored(
    postgres: Postgres, start: Callable[..., Worker], door: Door
) -> None:
    """Whatever the reason; here a rule that somebody has added to the table."""
    address = postgres.new_database()
    Store(address).close()
    with closing(connected(address)) as other:
        other.execute(text("ALTER TABLE events ADD CHECK (sequence <> 13)"))
        other.commit()
    with closing(connected(address)) as other:
        other.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))  # so that the others come in one batch
        worker = start(address)
        for number in range(1, 21):
            door.send(number)
        other.rollback()
    until(lambda: len(door.acknowledged()) == 20)
    assert sorted(number for _, _, number, _ in rows(address)) == [*range(1, 13), *range(14, 21)]
    assert told(address, "SELECT device, ledger, sequence FROM unreadable") == [("door-01", LEDGER, 13)]
    assert worker.troubles == ["kiosk/v1/door-01/event/fault: kept unread: the database does not take it"]


def test_what_cannot_be_read_is_read_by_a_version_that_can(start: Callable[..., Worker], address: str) -> None:
    """A kind that only a newer version knows is kept until that one starts; then it is an event like all others."""
    payload = wire.encode_event(StoredEvent(ledger=LEDGER, sequence=1, event=CHECK_IN), ORIGIN)
    with closing(Store(address)) as store:
        for kind, sequence in (("check-in", 1), ("new", 2)):
            kept = Quarantined(
                device="door-01",
                ledger=LEDGER,
                sequence=sequence,
                digest="",
                topic=wire.event_topic("door-01", kind),
                payload=payload.replace(b"check-in", kind.encode()),
                why="an unknown kind",
            )
            assert store.set_aside([kept], AT) == [kept]
            assert store.set_aside([kept], AT) == []
    worker = start()
    assert worker.troubles == ["1 events that could not be read before are stored now"]
    assert rows(address) == [("door-01", LEDGER, 1, "check-in")]
    assert told(address, "SELECT sequence FROM unreadable") == [(2,)]


def test_an_event_is_acknowledged_only_after_its_commit(
    postgres: Postgres, start: Callable[..., Worker], door: Door
) -> None:
    """While somebody else holds the table, nothing is promised."""
    address = postgres.new_database()
    start(address)
    with closing(connected(address)) as other:
        other.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))
        door.send(1)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%'"
        until(lambda: told(address, waiting) == [(1,)], what="the ingest is about to commit")
        door.ear.say(wire.acknowledgement_topic("door-02"), '{"ledger":"overtakes","sequences":[1]}')
        until(door.acknowledged, what="whatever was published before this has been heard")
        assert (door.acknowledged(), rows(address)) == ([("door-02", "overtakes", 1)], [])
        other.rollback()
    until(lambda: len(door.acknowledged()) == 2)
    assert (door.acknowledged()[1:], rows(address)) == (
        [("door-01", LEDGER, 1)],
        [("door-01", LEDGER, 1, "fault")],
    )


def test_a_database_that_takes_nothing_is_told_once_and_nothing_is_acknowledged(
    start: Callable[..., Worker], door: Door, tmp_path: Path
) -> None:
    """A read-only file; what is said has nothing of the person, and the ingest goes on trying."""
    database = tmp_path / "city.sqlite3"
    Store(f"sqlite:///{database}").close()
    broken = start(f"sqlite:///file:{database}?mode=ro&uri=true")
    door.send(1, CHECK_IN)
    until(lambda: broken.troubles)
    (said,) = broken.troubles
    assert said == "the database cannot be used (attempt to write a readonly database); trying again"
    assert (door.acknowledged(), rows(f"sqlite:///{database}"), broken.alive) == ([], [], True)
    broken.close()
    start(f"sqlite:///{database}")
    door.send(1, CHECK_IN)
    until(lambda: door.acknowledged() == [("door-01", LEDGER, 1)])


def test_an_ingest_goes_on_by_itself_when_its_database_does(
    own_postgres: Postgres, start: Callable[..., Worker], door: Door
) -> None:
    """PostgreSQL killed under it and started again: what was acknowledged is there, what comes later is taken."""
    address = own_postgres.new_database()
    worker = start(address)
    door.send(1)
    until(lambda: door.acknowledged() == [("door-01", LEDGER, 1)])
    own_postgres.kill()
    worker.ready.clear()
    door.send(2)
    until(lambda: worker.troubles)
    assert door.acknowledged() == [("door-01", LEDGER, 1)]
    own_postgres.start()
    assert worker.ready.wait(15.0)
    door.send(2)
    door.send(3)
    until(lambda: len(door.acknowledged()) == 3)
    assert sorted(rows(address)) == [("door-01", LEDGER, number, "fault") for number in (1, 2, 3)]
    assert [said for said in worker.troubles if not said.startswith("the database cannot be used (")] == []


def test_two_workers_store_each_event_once(postgres: Postgres, start: Callable[..., Worker], door: Door) -> None:
    """Both have their share; what one is sent that the other has already is acknowledged all the same."""
    address = postgres.new_database()
    workers = [start(address, f"city-ingest-{number}") for number in (1, 2)]
    sent = [("door-01", LEDGER, 1 + number % 50) for number in range(200)]
    for device, ledger, sequence in sent:
        door.send(sequence, device=device, ledger=ledger)
    until(lambda: len(door.acknowledged()) == len(sent))
    assert sorted(door.acknowledged()) == sorted(sent)
    assert sorted(rows(address)) == [("door-01", LEDGER, number, "fault") for number in range(1, 51)]
    assert [bool(worker.stored) for worker in workers] == [True, True]
    assert sum(said.new for worker in workers for said in worker.stored) == 50


def test_an_ingest_whose_lines_nobody_reads_goes_on_and_ends_when_told(
    broker: Mosquitto, door: Door, tmp_path: Path
) -> None:
    """Its output is a pipe that is full after some 200 lines."""
    command = [sys.executable, "-m", "city", "ingest", "--print", "--broker", f"127.0.0.1:{broker.port}"]
    command += ["--database", f"sqlite:///{tmp_path / 'city.sqlite3'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "city: subscribed\n"
        for number in range(1, 401):
            door.send(number, CHECK_IN)
        until(lambda: len(door.acknowledged()) == 400)
        process.terminate()
        assert process.wait(10.0) == 0
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["sequence"] == 1


def test_a_broker_that_goes_and_comes_back_is_subscribed_to_again(
    broker: Mosquitto, start: Callable[..., Worker], door: Door, address: str, cleanup: ExitStack
) -> None:
    """Without a restart of the ingest."""
    worker = start()
    door.send(1)
    until(lambda: rows(address))
    broker.kill()
    worker.ready.clear()
    broker.start()
    assert worker.ready.wait(15.0)
    again = Door(broker.port)
    cleanup.callback(again.ear.close)
    again.send(1)
    again.send(2)
    until(lambda: len(again.acknowledged()) == 2)
    assert rows(address) == [("door-01", LEDGER, 1, "fault"), ("door-01", LEDGER, 2, "fault")]
