"""Contacts, and a clock that is set, work the whole daemon: threads, gate, interlock, lines, outbox and page."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from kiosk.clock import Now, SystemClock
from kiosk.messages import Exposure, Frame, InputLine, Line, LinkStatus
from tests.doors import Door
from tests.waiting import until


class Nobody:
    """A camera that never gives a frame."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """None, until it is closed."""
        self._closed.wait()
        yield from ()

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """End."""
        self._closed.set()


class Settable:
    """The machine's clock, whose UTC somebody may set."""

    def __init__(self) -> None:
        self._real, self.ahead = SystemClock(), timedelta()

    def now(self) -> Now:
        """Read it."""
        now = self._real.now()
        return replace(now, utc=now.utc + self.ahead)


def _page(door: Door) -> bytes:
    with urlopen(f"{door.daemon.screen.address}view", timeout=2) as answer:  # noqa: S310 - our own page
        said: bytes = answer.read()
    return said


def _screen(door: Door) -> str:
    return str(json.loads(_page(door))["screen"])


def _stored(door: Door, kind: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(door.outbox)) as connection:
        rows = connection.execute("SELECT payload FROM events WHERE kind = ?", (kind,)).fetchall()
    return [json.loads(payload)["data"] for (payload,) in rows]


def test_a_request_to_exit_opens_and_a_fire_opens_nothing_more(tmp_path: Path) -> None:
    """The press moves the exit relay and is stored; the fire is on the page, and the next press moves nothing."""
    asked, fire = InputLine.REQUEST_TO_EXIT, InputLine.FIRE
    door = Door(tmp_path, SystemClock(), Nobody(), inputs=(asked, fire))
    core = threading.Thread(target=door.daemon.run)
    core.start()
    door.inputs.work(asked, active=True)
    until(lambda: door.lines.of(Line.EXIT_RELAY) == [True, False], within_s=4.0)
    until(lambda: [event["cause"] for event in _stored(door, "opening")] == ["request_to_exit"], within_s=4.0)
    door.inputs.work(asked, active=False)
    door.inputs.work(fire, active=True)
    until(lambda: _screen(door) == "fire", within_s=4.0)
    door.inputs.work(asked, active=True)
    until(lambda: [event["stage"] for event in _stored(door, "fault")].count("fire") == 1, within_s=4.0)
    door.daemon.stop()
    core.join(timeout=10)
    assert not core.is_alive()
    assert door.lines.of(Line.EXIT_RELAY) == [True, False]
    assert Line.ENTRY_RELAY not in dict(door.lines.history)


def test_a_door_where_nobody_comes_tells_that_its_clock_was_set(tmp_path: Path) -> None:
    """At its next look at the time, and not with the next visitor."""
    clock = Settable()
    door = Door(tmp_path, clock, Nobody())
    core = threading.Thread(target=door.daemon.run)
    core.start()
    door.daemon._inbox.put(LinkStatus(online=False, waiting=0))
    until(lambda: _page(door) != b"", within_s=4.0)
    clock.ahead = timedelta(days=-7)
    until(lambda: bool(_stored(door, "clock-step")), within_s=2.0)
    door.daemon.stop()
    core.join(timeout=10)
    assert [event["step_ms"] // 1000 for event in _stored(door, "clock-step")] in ([-7 * 86_400], [-7 * 86_400 - 1])
