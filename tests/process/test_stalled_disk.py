"""A disk that stalls costs a visitor 150 ms, never the door."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from city.declare import declaration_payload
from kiosk.clock import Clock, SystemClock
from kiosk.credentials import subject_of
from kiosk.daemon import RECORD_WITHIN_S
from kiosk.messages import Exposure, Frame, Line
from kiosk.testing.visitors import Medium, Showing, render
from tests.doors import SUBJECT_KEY, Door
from tests.waiting import until

PRESENTED = 30
"""By this frame a visitor holds the code still."""


class Held:
    """A camera before which a code is held once the test says so, and as long as it runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closed = threading.Event()
        self.showing: Showing | None = None

    def frames(self) -> Iterator[Frame]:
        """Ten a second."""
        number = 0
        while not self._closed.wait(0.1):
            luma = render(self.showing, PRESENTED, width=1280, height=720, fps=30, noise_key=number)
            yield Frame(luma=luma, number=number, captured_ns=self._clock.now().monotonic_ns)
            number += 1

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """End."""
        self._closed.set()


def stored(outbox: Path) -> list[bool]:
    """Whether each stored check-in is marked late."""
    with closing(sqlite3.connect(outbox)) as connection:
        rows = connection.execute("SELECT payload FROM events WHERE kind = 'check-in'").fetchall()
    return [json.loads(payload)["data"]["late_record"] for (payload,) in rows]


def test_a_stalled_disk_delays_a_grant_by_its_bound_and_the_record_says_so(tmp_path: Path) -> None:
    """The relay goes on while the disk is still stalled; the event is stored afterwards, marked late."""
    clock = SystemClock()
    camera = Held(clock)
    door = Door(tmp_path, clock, camera)
    core = threading.Thread(target=door.daemon.run)
    core.start()
    with closing(sqlite3.connect(door.outbox, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        subject = subject_of("id", "048090000001", SUBJECT_KEY)
        payload = declaration_payload(key=door.issuer, sub=subject, initials="N.V.A.", issued_at=clock.now().utc)
        camera.showing = Showing(codes=(payload,), medium=Medium.PHONE, seed=3)
        began_ns = clock.now().monotonic_ns
        until(lambda: (Line.ENTRY_RELAY, True) in door.lines.history, within_s=4.0)
        took_s = (clock.now().monotonic_ns - began_ns) / 1e9
        assert stored(door.outbox) == []
        other.execute("ROLLBACK")
    until(lambda: stored(door.outbox) == [True])
    door.daemon.stop()
    core.join(10.0)
    assert took_s >= RECORD_WITHIN_S
    assert not core.is_alive()
    assert door.lines.history[-1][1] is False
