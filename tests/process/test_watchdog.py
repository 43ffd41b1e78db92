"""systemd hears of the daemon only while every stage makes progress."""

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kiosk.clock import Now, S
from kiosk.daemon import Daemon
from kiosk.messages import Exposure, Frame
from kiosk.supervisor import LATE_AFTER_NS
from kiosk.testing.clock import ManualClock
from kiosk.viewing import HUNG_NS, Viewing
from tests.doors import Door
from tests.waiting import until

MANY_READS = 60
"""Of the clock: every turn of the core reads it three times or so, and the other threads twice a second."""


class CountingClock(ManualClock):
    """Tells how often it was read, and so that threads go on although time stands still."""

    reads = 0

    def now(self) -> Now:
        """Read it."""
        self.reads += 1
        return super().now()


def fault_on_the_page(daemon: Daemon) -> str:
    """What the guard's strip says is wrong."""
    with urllib.request.urlopen(f"{daemon.screen.address}view") as answer:  # noqa: S310 - our own page on loopback
        body = answer.read()
    return str(json.loads(body)["fault"]) if body else ""


class HungCamera:
    """A driver that never comes back, not even when it is closed, until the test lets it."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Wait for ever."""
        self.released.wait()
        yield from ()

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """It does not let go either."""
        self.released.wait()


class Systemd:
    """The socket that systemd gives a service, and all that came."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(0)

    def listen(self) -> list[str]:
        """All messages so far."""
        try:
            while True:
                self.heard.append(self._socket.recv(256).decode())
        except BlockingIOError:
            return self.heard

    def close(self) -> None:
        """No more."""
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """A listening service manager."""
    manager = Systemd(tmp_path / "notify")
    yield manager
    manager.close()


class HungOnce:
    """A driver that gives one frame and hangs until it is closed; opened again, it works."""

    def __init__(self) -> None:
        self.opened = 0
        self._released = threading.Event()

    def open(self) -> "HungOnce":
        """Open it."""
        self.opened += 1
        return self

    def frames(self) -> Iterator[Frame]:
        """One frame, then nothing; after the second opening one more, and the end of a camera that is closed."""
        yield Frame(luma=np.full((240, 320), 90, dtype=np.uint8), number=0, captured_ns=S)
        self._released.wait()

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """Let go."""
        self._released.set()


def test_a_camera_whose_driver_hangs_is_closed_and_opened_again() -> None:
    """From outside, once it has not come back for seven seconds; and told as a fault until frames come."""
    camera, stopping, told = HungOnce(), threading.Event(), list[str]()
    clock = ManualClock()
    viewing = Viewing(
        camera.open,
        longest_exposure_us=10_000,
        stopping=stopping,
        on_seen=lambda _: None,
        on_camera=told.append,
        on_view=lambda _: None,
        clock=clock,
    )
    capturing = threading.Thread(target=viewing.capture, args=(lambda: None,), daemon=True)
    capturing.start()
    until(lambda: camera.opened == 1)
    viewing.rescue(clock.now().monotonic_ns + HUNG_NS)
    assert told == []

    def rescued() -> bool:
        viewing.rescue(clock.now().monotonic_ns + HUNG_NS + 1)
        return bool(told)

    until(rescued)
    assert (told, viewing.failing(0)) == (["the camera's driver hung; it was closed and is opened again"], True)
    until(lambda: camera.opened > 1)
    stopping.set()
    capturing.join(10.0)
    assert not capturing.is_alive()


def test_a_core_that_does_not_come_back_ends_the_process() -> None:
    """Even one that holds the interpreter: nothing in Python can delay the dead man's clock. It says where it hung."""
    hang = "from kiosk.supervisor import DeadMan; DeadMan(0.2).rearm(); sum(range(10**12))"
    done = subprocess.run([sys.executable, "-c", hang], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Timeout" in done.stderr) == (1, True)


def test_a_hung_camera_starves_the_watchdog_and_says_so(tmp_path: Path, systemd: Systemd) -> None:
    """READY, WATCHDOG, then nothing once the camera has made no progress for ten seconds; STOPPING at the end."""
    clock, camera = CountingClock(), HungCamera()
    daemon = Door(tmp_path, clock, camera, systemd.address).daemon
    core = threading.Thread(target=daemon.run)
    core.start()
    until(lambda: "WATCHDOG=1" in systemd.listen())
    assert systemd.heard[0] == "READY=1"
    clock.advance(LATE_AFTER_NS + S)
    until(lambda: "no progress in camera;" in fault_on_the_page(daemon))
    fed = systemd.listen().count("WATCHDOG=1")
    clock.advance(2 * S)
    until(lambda: "WATCHDOG=trigger" in systemd.listen())
    enough = clock.reads + MANY_READS
    until(lambda: clock.reads > enough)
    camera.released.set()
    daemon.stop()
    core.join(10.0)
    assert systemd.listen()[-1] == "STOPPING=1"
    assert (systemd.heard.count("WATCHDOG=1"), core.is_alive()) == (fed, False)
