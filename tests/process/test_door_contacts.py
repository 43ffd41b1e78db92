"""Contacts work the whole daemon: threads, gate, interlock, lines, outbox and page."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from kiosk.clock import SystemClock
from kiosk.messages import Exposure, Frame, InputLine, Line
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


def _screen(door: Door) -> str:
    with urlopen(f"{door.daemon.screen.address}view", timeout=2) as answer:  # noqa: S310 - our own page
        view: dict[str, Any] = json.load(answer)
    return str(view["screen"])


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
