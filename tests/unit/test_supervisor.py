import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kiosk.clock import S
from kiosk.supervisor import ServiceNotifier, Supervisor
from kiosk.testing.clock import ManualClock


def test_a_stage_is_late_after_more_than_its_time() -> None:
    """At exactly its time it is not; each stage has its own."""
    clock = ManualClock()
    supervisor = Supervisor(clock, {"camera": 10 * S, "uplink": 120 * S})
    clock.advance(10 * S)
    assert supervisor.late() == []
    clock.advance(1)
    assert supervisor.late() == ["camera"]
    clock.advance(110 * S)
    assert supervisor.late() == ["camera", "uplink"]


def test_a_stage_that_stamps_is_not_late() -> None:
    """A stamp counts from when it was made and for its own stage only."""
    clock = ManualClock()
    supervisor = Supervisor(clock, {"camera": 10 * S, "decoder": 10 * S})
    stamp = supervisor.stamp_for("camera")
    clock.advance(9 * S)
    stamp()
    clock.advance(2 * S)
    assert supervisor.late() == ["decoder"]
    clock.advance(9 * S)
    assert supervisor.late() == ["camera", "decoder"]


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(address)
        yield manager


def test_states_reach_the_socket_systemd_named(tmp_path: Path) -> None:
    """Each state is one datagram, whole and in order."""
    address = str(tmp_path / "notify")
    notifier = ServiceNotifier(address)
    with _listening(address) as manager:
        for state in ("READY=1", "WATCHDOG=1", "STOPPING=1"):
            notifier.say(state)
        assert [manager.recv(64) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_at_sign_means_the_abstract_namespace() -> None:
    """The same states arrive at a socket that has no file."""
    name = f"kiosk-test-{secrets.token_hex(8)}"
    with _listening("\0" + name) as manager:
        ServiceNotifier("@" + name).say("READY=1")
        assert manager.recv(64) == b"READY=1"


def test_the_environment_names_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NOTIFY_SOCKET is where systemd puts it."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with _listening(address) as manager:
        ServiceNotifier.from_environment().say("READY=1")
        assert manager.recv(64) == b"READY=1"


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand there is no socket, and no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceNotifier.from_environment().say("READY=1")
