"""A door under torture and those who look on: systemd's side, the board, the page, the city, and people who want in.

Decides nothing about what is good enough; `torture/door.py` does. Every time is CLOCK_BOOTTIME in ns.
"""

import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import paho.mqtt.client as mqtt
from board import Board
from paho.mqtt.enums import CallbackAPIVersion
from service import ROOT, Service

from city.declare import declaration_payload
from city.provision import new_secrets, provision
from city.signing import load_key
from demo.processes import free_port, start_broker, start_city
from kiosk import wire
from kiosk.clock import S, SystemClock
from kiosk.config import load
from kiosk.messages import Line, Screen, Symptom
from kiosk.testing.carriers import code_modules

DEVICE = "door-01"
CONFIG = """rules_file = "{root}/config/rules.toml"
[camera]
width = 640
height = 480
fps = 10
[inputs]
tamper = 5
[door]
absence_ms = 200
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
look_up = false
[outbox]
path = "outbox.sqlite3"
[uplink]
host = "127.0.0.1"
port = {broker}
tls = false
[screen]
port = {screen}
[clock]
trust = "always"
"""
LOOK_S = 0.03


class Look(NamedTuple):
    """What somebody saw from one moment on; empty is all well."""

    at_ns: int
    trouble: str


class Story:
    """What somebody saw, each change with its time."""

    def __init__(self) -> None:
        self.looks: list[Look] = [Look(0, "nothing yet")]

    def note(self, at_ns: int, trouble: str) -> None:
        """It looks so now."""
        if self.looks[-1].trouble != trouble:
            self.looks.append(Look(at_ns, trouble))

    def first_trouble(self, since_ns: int) -> Look | None:
        """What was seen first, from then on."""
        return next((look for look in self.looks if look.at_ns >= since_ns and look.trouble), None)

    @property
    def now(self) -> Look:
        """The newest."""
        return self.looks[-1]


class Scene:
    """All of it, ended with the stack.

    Args:
        rate: how fast the daemon's own clock goes.

    Raises:
        demo.processes.DemoFault: something does not start.
    """

    def __init__(self, folder: Path, random: Random, stack: ExitStack, *, rate: float = 1.0) -> None:
        self.clock, self.folder, self._random = SystemClock(), folder, random
        self._held, self._persons, self._pause = new_secrets(b"the torture's pseudonym key....."), 0, threading.Event()
        self._broker_stack, self._port, screen = stack.enter_context(ExitStack()), free_port(), free_port()
        provision(folder, self._held, self.clock.now().utc)
        config = folder / "kiosk.toml"
        config.write_text(CONFIG.format(root=ROOT, broker=self._port, screen=screen), encoding="utf-8")
        (folder / "dev").mkdir()
        (folder / "dev" / "gpiochip0").touch()
        self.board = Board(load(config).settings.lines.gpios(), folder / "board")
        self.page, self.city = Story(), Story()
        self.faults: list[tuple[int, str]] = []
        """Stages whose fault the city has heard of, and when."""
        self._url, self._ending = f"http://127.0.0.1:{screen}/view", threading.Event()
        self.start_broker()
        ingest = start_city("ingest", folder, self._port, stack)
        threading.Thread(target=lambda: [None for _ in ingest.output], daemon=True).start()
        self._ear = self._listening()
        stack.callback(self._ear.loop_stop)
        command = [sys.executable, str(ROOT / "torture" / "haunted.py"), str(config), str(folder), str(rate)]
        environment = {
            "BOARD": str(folder / "board"),
            "DEVICES": str(folder / "dev"),
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.service = Service(command, folder, config, environment)
        stack.callback(self.service.close)
        looking = threading.Thread(target=self._look, name="look")
        looking.start()
        stack.callback(looking.join)
        stack.callback(self._ending.set)

    def now_ns(self) -> int:
        """The time."""
        return self.clock.now().monotonic_ns

    def start_broker(self) -> None:
        """Start it, on the same port each time."""
        self._broker = start_broker(self.folder, self._port, self._broker_stack)

    def kill_broker(self) -> None:
        """With signal 9."""
        os.kill(self._broker.pid, signal.SIGKILL)

    def until(self, holds: Callable[[], object], within_s: float) -> bool:
        """Wait; whether it came true."""
        deadline_ns = self.now_ns() + round(within_s * S)
        while not holds():
            if self.now_ns() > deadline_ns:
                return False
            self._pause.wait(0.005)
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._pause.wait(seconds)

    def show(self, *, ill: bool = False) -> None:
        """Somebody new holds up a code."""
        self._persons += 1
        payload = declaration_payload(
            key=load_key(self._held.declaration),
            sub=f"{self._persons:032x}",
            initials="N.V.A.",
            issued_at=self.clock.now().utc,
            symptoms=[Symptom.FEVER] if ill else [],
        )
        code = np.where(np.pad(code_modules(payload), 5), 0, 255).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
        with (self.folder / "shown.new").open("wb") as file:
            np.save(file, code)
        (self.folder / "shown.new").replace(self.folder / "shown.npy")

    def take_away(self) -> None:
        """Nobody holds up anything."""
        (self.folder / "shown.npy").unlink(missing_ok=True)

    def let_in(self, since_ns: int) -> int | None:
        """When the entry's relay went on, first from then on."""
        return next((at for at, line, on in self.board.changes(since_ns) if line is Line.ENTRY_RELAY and on), None)

    def right(self) -> bool:
        """Whether all who look on see nothing wrong."""
        return not self.page.now.trouble and not self.city.now.trouble

    def _look(self) -> None:
        while not self._ending.wait(LOOK_S):
            self.page.note(self.now_ns(), self._on_page())

    def _on_page(self) -> str:
        try:
            with urllib.request.urlopen(self._url, timeout=1.0) as answer:  # noqa: S310 - our own page on loopback
                view: dict[str, Any] = json.loads(answer.read() or b"{}")
        except (OSError, HTTPException):  # the second of a process that dies while it answers
            return "the page is gone"
        if view.get("screen") == Screen.OUT_OF_ORDER:
            return f"out of order: {view['fault']}"
        return str(view.get("fault", "nothing yet"))

    def _listening(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        topics = [(wire.state_topic(DEVICE), 1), (wire.event_topic(DEVICE, "fault"), 1)]
        client.on_connect = lambda client, *_: client.subscribe(topics)
        client.on_disconnect = lambda *_: self.city.note(self.now_ns(), "no broker")
        client.on_message = lambda _c, _u, message: self._heard(message.topic, json.loads(message.payload))
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        return client

    def _heard(self, topic: str, said: dict[str, Any]) -> None:
        if topic == wire.state_topic(DEVICE):
            self.city.note(self.now_ns(), "" if said["online"] else "offline")
        elif not said["data"]["recovered"]:
            self.faults.append((self.now_ns(), said["data"]["stage"]))
