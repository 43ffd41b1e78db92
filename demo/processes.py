"""Starts what the demo runs, each in its own process, and stops all of it again, newest first."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from kiosk.errors import KioskError

START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0

MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 20
"""


class DemoFault(KioskError):
    """Something the demo needs does not start."""


class Started:
    """One child process; its standard error goes to a file, line by line also to a listener."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, heard: Callable[[str], None]) -> None:
        self.name = name
        self.log = log
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops each in order
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        assert self._process.stderr is not None  # noqa: S101
        self.output: IO[str] = self._process.stdout
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr, heard), daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Ask it to end, then make it end."""
        if self._process.poll() is None:
            self._process.terminate()
            if self.wait(STOP_WITHIN_S) is None:
                self._process.kill()
                self._process.wait()
        self._listener.join()
        self.output.close()

    def _listen(self, errors: IO[str], heard: Callable[[str], None]) -> None:
        with errors, self.log.open("w", encoding="utf-8") as log:
            for line in errors:
                log.write(line)
                log.flush()
                heard(line.rstrip("\n"))


class Signal:
    """Remembers the first line that holds a text."""

    def __init__(self, text: str) -> None:
        self.line = ""
        self._text = text
        self._came = threading.Event()

    def __call__(self, line: str) -> None:
        """Hear one line."""
        if self._text in line and not self._came.is_set():
            self.line = line
            self._came.set()

    def wait_for(self, started: Started) -> str:
        """Give the line, once it has come.

        Raises:
            DemoFault: it does not come, or the process ends before.
        """
        for _ in range(int(START_WITHIN_S / 0.1)):
            if self._came.wait(0.1):
                return self.line
            if started.ended() is not None:
                break
        said = started.log.read_text(encoding="utf-8") if started.log.exists() else ""
        raise DemoFault(f"{started.name} did not start; it said:\n{said.strip()}")


def free_port() -> int:
    """Find a TCP port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_broker(folder: Path, port: int, stack: ExitStack) -> Started:
    """Start a real mosquitto on loopback.

    Raises:
        DemoFault: it is not installed or does not start.
    """
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise DemoFault("mosquitto is not installed: apt-get install mosquitto (scripts/demo does)")
    settings = folder / "mosquitto.conf"
    settings.write_text(MOSQUITTO.format(port=port), encoding="utf-8")
    running = Signal(" running")
    broker = Started("mosquitto", [program, "-c", settings], folder / "mosquitto.log", running)
    stack.callback(broker.stop)
    running.wait_for(broker)
    return broker


def start_city(verb: str, folder: Path, port: int, stack: ExitStack) -> Started:
    """Start one of the city's two workers, `ingest` or `lookup`, on the city's embedded SQLite.

    Raises:
        DemoFault: it does not start.
    """
    subscribed = Signal("city: subscribed")
    command = [sys.executable, "-m", "city", verb, "--broker", f"127.0.0.1:{port}"]
    command += ["--print"] if verb == "ingest" else []
    worker = Started(f"city {verb}", [*command, "--database", database(folder)], folder / f"{verb}.log", subscribed)
    stack.callback(worker.stop)
    subscribed.wait_for(worker)
    return worker


def database(folder: Path) -> str:
    """The address of the city's database."""
    return f"sqlite:///{folder / 'city.sqlite3'}"


def start_kiosk(folder: Path, stack: ExitStack) -> tuple[Started, str]:
    """Start the daemon; the answer has the address of its screen."""
    screen = Signal("screen at ")
    kiosk = Started(
        "kiosk", [sys.executable, "-m", "kiosk", "run", "--config", folder / "kiosk.toml"], folder / "kiosk.log", screen
    )
    stack.callback(kiosk.stop)
    return kiosk, screen.wait_for(kiosk).rpartition("screen at ")[2]
