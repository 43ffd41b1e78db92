"""The city's store on SQLite and on a real PostgreSQL: its tables, what it keeps once, what is missing, and when."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from city import schema
from city.database import MIGRATIONS
from city.gaps import Gap, Key
from city.store import Arrival, Quarantined, Store
from kiosk.drops import reported
from tests.postgres import Postgres

AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
LATER = AT + timedelta(days=1)
LEDGER = "9f2c64d01b7ae358"
DOOR: Key = ("door-01", LEDGER)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the city's database is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'city.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    """A store that has nothing yet."""
    with closing(Store(address)) as made:
        yield made


def arrival(sequence: int, **changed: object) -> Arrival:
    """An event of one door."""
    usual = {
        "device": DOOR[0],
        "ledger": DOOR[1],
        "sequence": sequence,
        "kind": "check-in",
        "place": "place-0001",
        "access_point": "main",
        "at": AT,
        "utc_trusted": True,
        "subject": None,
        "body": {"number": sequence},
    }
    return Arrival(**{**usual, **changed})  # type: ignore[arg-type]


def dropped(sequence: int, *gone: int) -> Arrival:
    """The kiosk's own report of events it has dropped."""
    return arrival(sequence, kind="fault", body={"detail": reported(sorted(gone), "most_events")})


def differences(store: Store) -> list[object]:
    """What the tables have that the models have not, and the other way round."""
    with store.reading() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), schema.METADATA))


def former_tables() -> sa.MetaData:
    """As the version before migrations made them, with `create_all`."""
    tables = sa.MetaData()
    sa.Table(
        "events",
        tables,
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("device", "ledger")),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("place", "access_point")),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("utc_trusted", sa.Boolean, nullable=False),
        sa.Column("subject", sa.String(32), index=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("device", "ledger", "sequence"),
    )
    sa.Table(
        "declarations",
        tables,
        sa.Column("subject", sa.String(32), primary_key=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "aliases",
        tables,
        sa.Column("alias", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(32), nullable=False),
    )
    return tables


def test_the_migrations_end_in_the_tables_that_the_code_knows(store: Store) -> None:
    """No column, type, key or index more or less."""
    assert differences(store) == []


def test_a_database_from_before_migrations_is_taken_over_with_all_it_has(address: str) -> None:
    """It was made by `create_all`; its events are there afterwards, and new ones beside them."""
    engine = sa.create_engine(address.replace("postgresql:", "postgresql+psycopg:", 1))
    tables = former_tables()
    tables.create_all(engine)
    old = arrival(1)
    row = {name: getattr(old, name) for name in Arrival.__slots__ if not name.startswith("boot")}
    with engine.begin() as connection:
        connection.execute(tables.tables["events"].insert(), {**row, "received_at": AT})
    engine.dispose()
    with closing(Store(address)) as store:
        assert differences(store) == []
        assert store.add([old, arrival(2)], LATER) == [arrival(2)]
        assert [(kept.sequence, kept.at, kept.body) for kept in store.events("door-01")] == [
            (1, AT, {"number": 1}),
            (2, AT, {"number": 2}),
        ]


def test_a_database_of_a_newer_version_is_refused_with_the_remedy(address: str) -> None:
    """It stays as it is."""
    with closing(Store(address)) as store, store.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(ValueError, match=r"at revision r9999, newer than this program, .*: install the version of"):
        Store(address)


def test_two_programs_may_start_on_an_empty_database_at_once(address: str) -> None:
    """One brings it up to date, the other waits for it."""
    program = "import sys; from city.store import Store; Store(sys.argv[1]).close()"
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", program, address]) for _ in range(2)]
    assert [process.wait(60.0) for process in both] == [0, 0]
    with closing(Store(address)) as store:
        assert differences(store) == []


def test_the_migrations_are_installed_with_the_package() -> None:
    """They are modules of packages, which an installation takes along."""
    folders = {path.parent for path in MIGRATIONS.rglob("*.py")}
    assert folders == {MIGRATIONS, MIGRATIONS / "versions"}
    assert [(folder / "__init__.py").exists() for folder in folders] == [True, True]


def test_many_events_are_kept_once_each_in_one_commit(store: Store) -> None:
    """Those that were there, or are in it twice, are not new."""
    assert store.add([], AT) == []
    first = [arrival(number) for number in range(1, 1500)]
    assert store.add(first, AT) == first
    more = [arrival(number) for number in (1501, 3, 1500, 1501, 1)]
    assert sorted(one.sequence for one in store.add(more, AT)) == [1500, 1501]
    assert [kept.sequence for kept in store.events("door-01")] == list(range(1, 1502))


def test_what_is_kept_is_what_came_with_its_times_in_utc(store: Store) -> None:
    """Whatever zone they were told in."""
    there = AT.astimezone(timezone(timedelta(hours=7)))
    odd = {"text": '🚪 Đà Nẵng "\\ \u2028', "number": 2**70, "nothing": None, "list": [1.5, True]}
    store.add([arrival(1, at=there, body=odd, subject="0f" * 16, place="🚪", boot_id="b", boot_ns=2**62)], there)
    (kept,) = store.events("door-01")
    assert (kept.at, kept.at.tzinfo, kept.body) == (AT, UTC, odd)
    with store.reading() as connection:
        (row,) = connection.execute(sa.select(schema.EVENTS)).all()
    assert (row.received_at, row.place, row.subject) == (AT, "🚪", "0f" * 16)
    assert (row.boot_id, row.boot_ns) == ("b", 2**62)


def test_workers_that_store_the_same_events_in_any_order_never_wait_in_a_circle(
    postgres: Postgres,
) -> None:
    """Four at once, each with the same events of many ledgers in an order of its own; each event is new once."""
    address = postgres.new_database()
    events = [arrival(number, device=f"door-{door:02}") for door in range(20) for number in range(1, 11)]
    new: list[Arrival] = []

    def work(seed: int) -> None:
        mine = Random(seed).sample(events, len(events))  # noqa: S311 - an order of its own, no secret
        with closing(Store(address)) as store:
            for start in range(0, len(mine), 25):
                new.extend(store.add(mine[start : start + 25], AT))
                store.look_for_gaps({(one.device, one.ledger) for one in mine[start : start + 25]}, LATER)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60.0)
    assert sorted(one.key for one in new) == sorted(one.key for one in events)
    with closing(Store(address)) as store:
        store.look_for_gaps({(one.device, one.ledger) for one in events}, LATER)
        assert store.gaps(LATER) == []


# What is missing.


def gap(first: int, last: int, since: datetime = AT) -> Gap:
    """A gap of the door."""
    return Gap(device=DOOR[0], ledger=DOOR[1], first=first, last=last, since=since)


def whole_to(store: Store) -> int:
    """Up to where the door's ledger is whole."""
    with store.reading() as connection:
        return int(connection.execute(sa.select(schema.LEDGERS.c.whole_to)).scalar_one())


def test_what_is_missing_below_what_came_is_a_gap_since_then_until_it_comes(store: Store) -> None:
    """A part of it makes it shorter, and its time stays."""
    minute = timedelta(minutes=1)
    store.add([arrival(1), arrival(2), arrival(6)], AT)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(AT), whole_to(store)) == ([gap(3, 5)], 2)
    store.add([arrival(9)], AT + minute)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(AT), store.gaps(AT + minute)) == ([gap(3, 5)], [gap(3, 5), gap(7, 8, AT + minute)])
    store.add([arrival(4), arrival(7), arrival(8)], AT + 2 * minute)
    assert (store.gaps(LATER), whole_to(store)) == ([gap(3, 3), gap(5, 5)], 2)
    store.add([arrival(5), arrival(3)], AT + 3 * minute)
    assert (store.gaps(LATER), whole_to(store)) == ([], 9)


def test_an_alert_that_overtakes_a_backlog_makes_one_gap_that_closes_with_it(store: Store) -> None:
    """It is as old as the alert."""
    store.add([arrival(9000, kind="alert")], AT)
    store.look_for_gaps({DOOR}, LATER)
    assert store.gaps(LATER) == [gap(1, 8999)]
    for start in range(1, 9000, 3000):
        store.add([arrival(number) for number in range(start, min(start + 3000, 9000))], LATER)
        store.look_for_gaps({DOOR}, LATER + timedelta(1))
    assert (store.gaps(LATER), whole_to(store)) == ([], 9000)


def test_what_the_kiosk_reports_as_dropped_is_no_gap(store: Store) -> None:
    """Whether the report comes with what is beyond it, later, or in a gap of its own."""
    store.add([arrival(1), arrival(5), dropped(6, 2, 3)], AT)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(LATER), whole_to(store)) == ([gap(4, 4)], 3)
    store.add([dropped(7, 4)], AT)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(LATER), whole_to(store)) == ([], 7)
    store.add([arrival(20)], AT)
    store.look_for_gaps({DOOR}, LATER)
    store.add([dropped(15, *range(8, 15))], AT)
    assert (store.gaps(LATER), whole_to(store)) == ([gap(16, 19)], 15)


def test_what_cannot_be_read_is_there_all_the_same(store: Store) -> None:
    """Its number is known, and its bytes are kept."""
    kept = Quarantined(
        device=DOOR[0], ledger=DOOR[1], sequence=2, digest="", topic="kiosk/v1/door-01/event/new", payload=b"?", why="?"
    )
    store.add([arrival(1), arrival(3)], AT)
    store.set_aside([kept], AT)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(LATER), whole_to(store)) == ([], 3)


def test_what_came_just_now_is_not_looked_at_yet(store: Store) -> None:
    """Its neighbours may be on their way through another worker."""
    store.add([arrival(1), arrival(2)], AT)
    store.add([arrival(4)], LATER)
    store.look_for_gaps({DOOR}, LATER)
    assert (store.gaps(LATER), whole_to(store)) == ([], 2)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_the_numbers_that_neither_came_nor_were_reported(tmp_path: Path, seed: int) -> None:
    """For events in any order, some lost, some dropped, looked at now and then."""
    random = Random(seed)  # noqa: S311 - no secret
    alive = list(range(1, 200))
    gone = random.sample(alive, 30)
    lost, told = set(gone[:15]), gone[15:]
    sent = [arrival(number) for number in alive if number not in gone] + [dropped(200, *told), arrival(201)]
    random.shuffle(sent)
    with closing(Store(f"sqlite:///{tmp_path / 'city.sqlite3'}")) as store:
        at = AT
        while sent:
            at += timedelta(seconds=1)
            store.add([sent.pop() for _ in range(min(len(sent), random.randint(1, 25)))], at)
            if random.random() < 0.5:
                store.look_for_gaps({DOOR}, at - timedelta(seconds=random.randint(0, 2)))
        store.look_for_gaps({DOOR}, LATER)
        found = store.gaps(LATER)
        assert {number for one in found for number in range(one.first, one.last + 1)} == lost
        assert whole_to(store) == min(lost) - 1


def test_looking_for_gaps_costs_no_more_with_a_long_history(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine, with one gap that never closes."""
    with closing(Store(f"sqlite:///{tmp_path / 'city.sqlite3'}")) as store:
        costs = []
        for first in (1, 3000):
            store.add([arrival(number) for number in range(first, first + 200) if number != 7], AT)
            store.look_for_gaps({DOOR}, LATER)
            store.add([arrival(first + 200)], AT)
            costs.append(steps(store, lambda: store.look_for_gaps({DOOR}, LATER)))
            store.add([arrival(number) for number in range(first + 201, 3000)], AT)
            store.look_for_gaps({DOOR}, LATER)
        assert costs[1] < costs[0] * 1.5


def steps(store: Store, act: Callable[[], object]) -> int:
    """How many tens of steps SQLite's machine takes; a store has one connection as long as one is enough."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    with store.reading() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(count, 10)
    act()
    return counted[0]


# When it happened.


def test_events_from_before_the_clock_was_set_get_their_time_from_the_same_boot(store: Store) -> None:
    """Two boots that learn the time late, one that never does, an older kiosk that does not say."""
    s = 1_000_000_000
    wrong = datetime(1970, 1, 1, tzinfo=UTC)

    def at(sequence: int, boot: str, past_s: int, *, trusted: datetime | None = None) -> Arrival:
        when = trusted or wrong + timedelta(seconds=past_s)
        return arrival(sequence, at=when, utc_trusted=bool(trusted), boot_id=boot, boot_ns=past_s * s)

    day = timedelta(days=1)
    events = [
        at(1, "one", 10),
        at(2, "one", 3600),
        at(3, "one", 3610, trusted=AT + timedelta(seconds=3610)),
        at(4, "one", 7200, trusted=AT + timedelta(seconds=7205)),
        at(5, "never", 5),
        at(6, "two", 20),
        at(7, "two", 30, trusted=AT + day + timedelta(seconds=30)),
        arrival(8, at=wrong, utc_trusted=False),
    ]
    store.add(reversed(events), LATER)
    store.add([at(1, "one", 10, trusted=LATER)], LATER)
    other = arrival(1, device="door-02", at=LATER, utc_trusted=True, boot_id="never", boot_ns=1)
    store.add([other], LATER)
    assert [kept.corrected and kept.corrected - AT for kept in store.events("door-01")] == [
        timedelta(seconds=10),
        timedelta(seconds=3600),
        timedelta(seconds=3610),
        timedelta(seconds=7205),
        None,
        day + timedelta(seconds=20),
        day + timedelta(seconds=30),
        None,
    ]
    assert [kept.at for kept in store.events("door-01")] == [event.at for event in events]


def test_each_revision_follows_another() -> None:
    """In the order of their names."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((MIGRATIONS / "versions").glob("r*.py"))]
    named = [re.search(r'^revision = "(\w+)"\ndown_revision = (?:"(\w+)"|None)$', text, re.MULTILINE) for text in texts]
    assert [found and found.groups() for found in named] == [
        (f"r{number:04}", f"r{number - 1:04}" if number > 1 else None) for number in range(1, len(texts) + 1)
    ]
