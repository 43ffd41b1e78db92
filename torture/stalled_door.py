"""A whole door whose visitors come one after the other: how long from a code that is read to the relay.

The daemon's own core, gate, interlock, outbox and uplink; the camera sees nobody, codes are put where the decoder puts
them, and lines only remember. `torture/disk.py` runs it on a disk that stalls.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from kill import CONFIG, ROOT

from city.declare import declaration_payload
from city.provision import new_secrets, provision
from city.signing import load_key
from kiosk.clock import MS, Clock, SystemClock
from kiosk.config import load
from kiosk.daemon import Daemon
from kiosk.messages import Exposure, Frame, Line, Seen, Sighting
from kiosk.parts import Parts
from kiosk.supervisor import ServiceNotifier
from kiosk.testing.lines import RecordingLines

QUAD = ((100, 100), (300, 100), (300, 300), (100, 300))
RELAY_WITHIN_S = 10.0
NO_BROKER = 1


class Nobody:
    """A camera before which nobody stands."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Five a second, each with the noise that tells a living picture from a frozen one."""
        noise = np.random.default_rng(1)
        number = 0
        while not self._closed.wait(0.2):
            luma = noise.integers(124, 132, (720, 1280), dtype=np.uint8)
            yield Frame(luma=luma, number=number, captured_ns=self._clock.now().monotonic_ns)
            number += 1

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """End."""
        self._closed.set()


class TimedLines(RecordingLines):
    """Lines that note when the entry's relay is switched."""

    def __init__(self, fitted: frozenset[Line], clock: Clock) -> None:
        super().__init__(fitted)
        self._clock = clock
        self.on_ns = 0
        self.on, self.off = threading.Event(), threading.Event()

    def set(self, line: Line, *, on: bool) -> None:
        """As every line; note the time."""
        super().set(line, on=on)
        if line is Line.ENTRY_RELAY and on:
            self.on_ns = self._clock.now().monotonic_ns
            self.on.set()
        elif line is Line.ENTRY_RELAY:
            self.off.set()


def stored(folder: Path) -> int:
    """How many check-ins are on disk."""
    with closing(sqlite3.connect(folder / "outbox.sqlite3", timeout=60.0)) as file:
        return int(file.execute("SELECT count(*) FROM events WHERE kind = 'check-in'").fetchone()[0])


def work(folder: Path, visitors: int, random: Random) -> dict[str, Any]:
    """Be the door."""
    clock, held, pause = SystemClock(), new_secrets(b"the torture's pseudonym key....."), threading.Event()
    provision(folder, held, clock.now().utc)
    (folder / "images").mkdir(exist_ok=True)
    config = folder / "kiosk.toml"
    config.write_text(CONFIG.format(rules=f'"{ROOT}/config/rules.toml"', broker=NO_BROKER), encoding="utf-8")
    loaded = load(config)
    lines = TimedLines(frozenset(loaded.settings.lines.gpios()), clock)
    camera = Nobody(clock)
    daemon = Daemon(
        Parts(loaded=loaded, clock=clock, open_camera=lambda: camera, lines=lines, notifier=ServiceNotifier(""))
    )
    core = threading.Thread(target=daemon.run)
    core.start()
    key, took_ms = load_key(held.declaration), list[float]()
    for number in range(visitors):
        payload = declaration_payload(key=key, sub=f"{number + 1:032x}", initials="N.V.A.", issued_at=clock.now().utc)
        lines.on.clear()
        lines.off.clear()
        began_ns = clock.now().monotonic_ns
        seen = Sighting(payload=payload, engine="none", frame_number=number, captured_ns=began_ns, quad=QUAD)
        daemon._inbox.put(Seen(sightings=(seen,)))
        if not lines.on.wait(RELAY_WITHIN_S):
            break
        took_ms.append((lines.on_ns - began_ns) / MS)
        lines.off.wait(RELAY_WITHIN_S)
        pause.wait(random.uniform(0.3, 0.5))
    for _ in range(600):  # the disk has all the time it needs; the door did not wait for it
        if not daemon._outbox._work.qsize() and stored(folder) >= len(took_ms):
            break
        pause.wait(0.1)
    daemon.stop()
    core.join(60.0)
    with closing(sqlite3.connect(folder / "outbox.sqlite3", timeout=60.0)) as file:
        rows = file.execute("SELECT payload FROM events WHERE kind = 'check-in' ORDER BY sequence").fetchall()
    late = sum(b'"late_record":true' in payload for (payload,) in rows)
    return {"opened": len(took_ms), "stored": len(rows), "late": late, "took_ms": [round(one, 1) for one in took_ms]}
