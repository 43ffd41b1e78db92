"""The city commands a whole daemon over a real broker: desk, gate, lines, errands, outbox, and a start after."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from city import command, office, publish, risk, signing
from city.provision import BUNDLE, CITY_KEY
from kiosk import wire
from kiosk.broker import Broker
from kiosk.camera import FrameSource
from kiosk.clock import SystemClock
from kiosk.command_desk import FILE
from kiosk.config import load
from kiosk.daemon import Daemon
from kiosk.errors import CameraFault
from kiosk.messages import CommandAnswer, Line, Order
from kiosk.parts import Parts
from kiosk.supervisor import ServiceNotifier
from kiosk.testing.lines import RecordingLines
from tests.builders import REPOSITORY
from tests.doors import CONFIG
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

DEVICE = "door-01"
CLOCK = SystemClock()


def no_camera() -> FrameSource:
    """Commands need none."""
    raise CameraFault("no camera is fitted")


class City:
    """A folder of keys, a broker, and one door; the door's files and the city's are the same folder."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder = folder / "city"
        office.make_keys(self.folder, CLOCK.now().utc)
        text = CONFIG.format(rules=REPOSITORY / "config" / "rules.toml").replace(
            "port = 1\n", f"port = {broker.port}\n"
        )
        self._config = self.folder / "kiosk.toml"
        self._config.write_text(f'{text}[door]\ndevice = "{DEVICE}"\n', encoding="utf-8")
        self.broker = Broker(host="127.0.0.1", port=broker.port, tls=False)
        self.ear = Ear(broker.port, wire.event_topic(DEVICE, "+"), wire.state_topic(DEVICE), wire.command_topic(DEVICE))

    def door(self, stack: ExitStack) -> "Door":
        """Start the door; it has told the city of its birth."""
        heard = len(self.ear.heard)
        door = Door(self._config)
        stack.callback(door.stop)
        until(lambda: any(b'"online":true' in each for _, each, _ in self.ear.heard[heard:]), what="the door is online")
        return door

    def orders(self, order: Order, seconds: int = 0) -> CommandAnswer:
        """Command the door, and wait."""
        life = timedelta(minutes=5)
        sent = command.command(self.folder, DEVICE, order, CLOCK.now().utc, seconds=seconds, lifetime=life)
        answer = command.send(sent, self.broker, CLOCK, within_s=8.0)
        assert answer is not None, order
        assert (answer.number, answer.order) == (sent.number, order)
        return answer

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the door has said, once each; it says again what no city acknowledges."""
        topic = wire.event_topic(DEVICE, kind)
        said = {payload: None for heard, payload, _ in list(self.ear.heard) if heard == topic}
        return [json.loads(payload)["data"] for payload in said]


class Door:
    """One start of the door."""

    def __init__(self, config: Path) -> None:
        loaded = load(config)
        self.lines = RecordingLines(frozenset(loaded.settings.lines.gpios()))
        self.daemon = Daemon(
            Parts(loaded=loaded, clock=CLOCK, open_camera=no_camera, lines=self.lines, notifier=ServiceNotifier(""))
        )
        self.thread = threading.Thread(target=self.daemon.run)
        self.thread.start()

    @property
    def screen(self) -> str:
        """What people see."""
        with urlopen(f"{self.daemon.screen.address}view", timeout=2) as answer:  # noqa: S310 - our own page
            view: dict[str, Any] = json.loads(answer.read() or b"{}")
        return str(view.get("screen"))

    def stop(self) -> None:
        """End it."""
        self.daemon.stop()
        self.thread.join(10.0)
        assert not self.thread.is_alive()


@pytest.fixture
def city(tmp_path: Path, broker: Mosquitto) -> Iterator[City]:
    """A city with one door."""
    made = City(tmp_path, broker)
    yield made
    made.ear.close()


def test_a_door_does_what_the_city_commands_and_keeps_a_lock_over_a_restart(city: City) -> None:
    """Diagnostics, unlock, lock and restart; the next start is locked, refuses a repetition, and is released."""
    with ThreadPoolExecutor(1) as beside, ExitStack() as stack:
        first = city.door(stack)
        told = city.orders(Order.DIAGNOSTICS)
        report = json.loads(told.detail)
        assert (told.done, report["trust_version"], report["utc_trusted"]) == (True, 1, True)
        assert city.orders(Order.UNLOCK, 5).done
        until(lambda: [event["cause"] for event in city.events("opening")][:1] == ["command"])
        until(lambda: first.lines.of(Line.ENTRY_RELAY)[:1] == [True])
        assert not city.orders(Order.UNLOCK, 6000).done
        assert city.orders(Order.LOCK, 600).done
        restarted = beside.submit(city.orders, Order.RESTART)
        first.thread.join(10.0)
        assert not first.thread.is_alive()
        assert first.lines.of(Line.ENTRY_RELAY)[-1:] == [False]

        second = city.door(stack)
        assert restarted.result(10.0).detail == "restarting"
        until(lambda: second.screen == "locked")
        lock = next(
            payload for topic, payload, _ in city.ear.heard if topic.endswith("/command") and b"dlock" in payload
        )
        city.ear.say(wire.command_topic(DEVICE), lock)
        until(lambda: any("is not newer than" in event["detail"] for event in city.events("command-answer")))
        assert second.screen == "locked"
        assert city.orders(Order.RELEASE).done
        until(lambda: second.screen != "locked")
        until(lambda: json.loads((city.folder / FILE).read_bytes())["lock"] is None)


def test_a_door_fetches_everything_anew_when_told_to(city: City) -> None:
    """What is retained at the broker comes again, although nothing is new; the answer says what is held."""
    key = signing.load_key((city.folder / CITY_KEY).read_bytes())
    public = office.public_key(city.folder)
    listed = risk.snapshot({}, version=3, made_at=CLOCK.now().utc, key=key)
    bundle = (city.folder / BUNDLE).read_bytes()
    publish.send([publish.trust_bundle(bundle, public), publish.risk_list(listed, public)], city.broker)
    with ExitStack() as stack:
        city.door(stack)
        for _ in range(2):
            answer = city.orders(Order.RESYNC)
            assert (answer.done, answer.detail) == (True, "trust bundle version 1, risk list version 3")
        answer = city.orders(Order.ROTATE_KEY)
        assert (answer.done, answer.detail.startswith("this door logs in without a certificate")) == (False, True)
