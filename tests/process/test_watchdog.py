"""systemd hears of the daemon only while every stage makes progress."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk.clock import Now, S
from kiosk.daemon import Daemon
from kiosk.messages import Exposure, Frame
from kiosk.supervisor import LATE_AFTER_NS
from kiosk.testing.clock import ManualClock
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
    """A driver that never comes back, until the test lets it."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Wait for ever."""
        self.released.wait()
        yield from ()

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """Let go."""
        self.released.set()


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
    enough = clock.reads + MANY_READS
    until(lambda: clock.reads > enough)
    camera.close()
    daemon.stop()
    core.join(10.0)
    assert systemd.listen()[-1] == "STOPPING=1"
    assert (systemd.heard.count("WATCHDOG=1"), core.is_alive()) == (fed, False)
