"""`kiosk outbox`: what a technician sees of an outbox, and that looking changes nothing."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kiosk import cli, wire
from kiosk.errors import OutboxFault
from kiosk.messages import Alert, Direction, Fault, Reason
from kiosk.outbox import Outbox
from kiosk.outbox_view import export, standing, told

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
FAULT = Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail="uncover the lens")
ALERT = Alert(
    at=AT, utc_trusted=True, direction=Direction.EXIT, reasons=(Reason.AT_RISK_AREA,), scheme=None, subject=None
)


@contextmanager
def running(path: Path) -> Iterator[Outbox]:
    """An outbox with three events, in use."""
    box = Outbox(path, ORIGIN, on_health=print, on_change=lambda: None)
    writer = threading.Thread(target=box.write, args=(lambda: None,))
    writer.start()
    try:
        assert box.append([FAULT, ALERT, FAULT]).wait(10.0)
        yield box
    finally:
        box.close()
        writer.join(10.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the outbox is."""
    return tmp_path / "outbox.sqlite3"


def content(folder: Path) -> dict[str, bytes]:
    """Every file; of SQLite's shared memory, which counts its readers, the name alone."""
    return {file.name: b"" if file.name.endswith("-shm") else file.read_bytes() for file in folder.iterdir()}


def test_a_running_outbox_is_shown_and_left_as_it_is(path: Path) -> None:
    """Counts by kind, oldest and newest; file and log have the same bytes afterwards."""
    with running(path) as box:
        before = content(path.parent)
        found = standing(path)
        assert (found.ledger, found.device, found.schema) == (box.ledger, "door-01", 1)
        assert (found.waiting, found.dropped, found.set_aside) == ({"alert": 1, "fault": 2}, 0, {})
        assert (found.oldest, found.newest) == (
            "sequence 1, 2021-11-20T08:30:00Z",
            "sequence 3, 2021-11-20T08:30:00Z",
        )
        assert found.disk_bytes > 4096
        assert content(path.parent) == before


def test_an_outbox_at_rest_is_shown_without_a_file_being_made(path: Path) -> None:
    """No log, no shared memory."""
    with running(path):
        pass
    before = content(path.parent)
    assert standing(path).waiting == {"alert": 1, "fault": 2}
    assert (content(path.parent), list(before)) == (before, ["outbox.sqlite3"])


def test_an_outbox_of_the_first_version_is_shown(path: Path) -> None:
    """It has no count of what was dropped."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE ledger (name TEXT NOT NULL, device TEXT NOT NULL)")
        file.execute(
            "CREATE TABLE events (sequence INTEGER PRIMARY KEY, kind TEXT, payload BLOB, acknowledged INTEGER)"
        )
    found = standing(path)
    assert (found.schema, found.ledger, found.waiting, found.oldest, found.dropped) == (0, "", {}, "", 0)


def test_what_was_set_aside_is_listed_and_can_be_looked_at(path: Path) -> None:
    """By its name beside the outbox."""
    with running(path):
        pass
    path.rename(path.with_name("outbox.sqlite3.damaged-1"))
    with running(path):
        pass
    found = standing(path)
    assert list(found.set_aside) == ["outbox.sqlite3.damaged-1"]
    assert standing(path.with_name("outbox.sqlite3.damaged-1")).waiting == {"alert": 1, "fault": 2}
    assert told(path, found).splitlines()[-1].startswith("set aside  outbox.sqlite3.damaged-1, ")


def test_an_export_has_a_line_for_each_event_that_waits_and_only_its_owner_may_read_it(path: Path) -> None:
    """As they would be published; the outbox keeps them."""
    to = path.with_name("events.jsonl")
    with running(path):
        assert export(path, to) == 3
        assert standing(path).waiting == {"alert": 1, "fault": 2}
    assert [json.loads(line)["data"]["sequence"] for line in to.read_text("utf-8").splitlines()] == [1, 2, 3]
    assert to.stat().st_mode & 0o777 == 0o600


def test_an_export_overwrites_nothing(path: Path) -> None:
    """Not even an empty file."""
    to = path.with_name("events.jsonl")
    to.touch()
    with running(path), pytest.raises(OutboxFault, match=r"events\.jsonl: cannot be written \(File exists\); name a"):
        export(path, to)


@pytest.mark.parametrize("there", [None, b"photos" * 1000])
def test_what_is_no_outbox_is_told_and_none_is_made(path: Path, there: bytes | None) -> None:
    """A sentence with the file's name."""
    if there:
        path.write_bytes(there)
    with pytest.raises(OutboxFault, match=r"outbox\.sqlite3: cannot be read as an outbox \("):
        standing(path)
    assert path.exists() == bool(there)


def test_the_verb_shows_exports_and_refuses_half_a_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes 0 and 2."""
    to = path.with_name("events.jsonl")
    with running(path) as box:
        assert cli.main(["outbox", "--file", str(path)]) == 0
        assert cli.main(["outbox", "--file", str(path), "export", str(to)]) == 0
        assert cli.main(["outbox", "--file", str(path), "export"]) == 2
        assert cli.main(["outbox", "--file", str(path), "show", str(to)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"outbox     {path}, schema 1, ")
    assert lines[1:3] == [f"ledger     {box.ledger} of door-01", "waiting    3: 1 alert, 2 fault"]
    assert lines[-1] == f"3 events exported to {to}"
