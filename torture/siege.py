"""A city under siege: config/broker, the real ingest, a kiosk that is spoken for, and those who look on.

What an attempt leaves behind is read here: the broker's log, the ingest's log, the city's database. The two kiosks
have certificates of the city's, and one of them is in the wrong hands. Called by `torture/intruder.py`.
"""

import re
import sqlite3
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from city import certificates_cli
from demo.broker import USERS, prepare, program
from demo.processes import Signal, Started, database, free_port
from kiosk import wire
from kiosk.broker import Broker, tls_context
from kiosk.clock import S, SystemClock

INTRUDER, VICTIM = "door-01", "door-02"
WITHIN_S = 10.0
HOST = "localhost"


def until(condition: Callable[[], object], within_s: float = WITHIN_S) -> bool:
    """Wait until it holds; whether it came to that."""
    clock, pause = SystemClock(), threading.Event()
    deadline_ns = clock.now().monotonic_ns + round(within_s * S)
    while not condition():
        if clock.now().monotonic_ns > deadline_ns:
            return False
        pause.wait(0.005)
    return True


class Client:
    """Somebody at the broker: keeps what it hears, and every reason it is given."""

    def __init__(self, broker: Broker, client_id: str, *topics: str, will: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.gone = threading.Event()
        self.refused = threading.Event()
        self._answers: dict[int, int] = {}
        self._subscribed: set[int] = set()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        self._client.tls_set_context(tls_context(broker))
        if will:
            self._client.will_set(will, b"the intruder's will", qos=1, retain=True)
        up = threading.Event()
        self._client.on_connect = lambda _c, _u, _f, reason, _p: (self.refused if reason.is_failure else up).set()
        self._client.on_disconnect = lambda *_: self.gone.set()
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._answers.update({mid: reason.value})
        self._client.on_subscribe = lambda _c, _u, mid, _r, _p: self._subscribed.add(mid)
        self._client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.connect(broker.host, broker.port, keepalive=15)
        self._client.loop_start()
        until(lambda: up.is_set() or self.gone.is_set())
        if topics:
            self.subscribe(*topics)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, *topics: str) -> None:
        """Subscribe, and wait for the answer, whatever it is."""
        mid = self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])[1]
        until(lambda: mid in self._subscribed or self.gone.is_set())

    def unsubscribe(self, *topics: str) -> None:
        """Subscribe no longer."""
        self._client.unsubscribe(list(topics))

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish; the answer is the broker's reason code, or -1 from one that has closed the connection."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        until(lambda: mid in self._answers or self.gone.is_set())
        return self._answers.get(mid, -1)

    def has_heard(self, token: bytes) -> bool:
        """Whether a payload with this in it has come."""
        return any(token in payload for _, payload in self.heard)

    def vanish(self) -> None:
        """Be gone without a word, so that the broker publishes the will."""
        if isinstance(line := self._client.socket(), ssl.SSLSocket):
            line.shutdown(2)

    def close(self) -> None:
        """Leave politely."""
        self._client.disconnect()
        self._client.loop_stop()


class Siege:
    """All of it, ended with the stack.

    Raises:
        demo.processes.DemoFault: something does not start.
    """

    def __init__(self, folder: Path, stack: ExitStack, *, everything_allowed: bool = False) -> None:
        self.folder, self.port, self.city_port = folder, free_port(), free_port()
        now = SystemClock().now().utc
        certificates_cli.make(folder, broker=[HOST, "127.0.0.1"], devices=[INTRUDER, VICTIM], users=USERS, now=now)
        running = Signal(" running")
        settings = prepare(folder, self.port, self.city_port)
        if everything_allowed:
            (folder / "acl").write_text("pattern readwrite #\n", "utf-8")
        self._broker = Started("mosquitto", [program(), "-c", settings], folder / "mosquitto.log", running)
        stack.callback(self._broker.stop)
        running.wait_for(self._broker)
        self._ingest = self._started_ingest(stack)
        self._stack = stack
        self.intruder = self.enter(INTRUDER)
        self.victim = self.enter(VICTIM, *heard(VICTIM), wire.DELTA_TOPIC)
        self.watch = self.enter("city-watch", "kiosk/v1/#", "city/v1/#")
        self.publisher = self.enter("city-publish")
        self.commander = self.enter("city-command")
        self.speakers = [
            (self.enter("city-ingest"), wire.acknowledgement_topic(VICTIM)),
            (self.enter("city-lookup"), wire.answer_topic(VICTIM)),
            (self.enter("city-desk"), wire.alert_states_topic(VICTIM)),
            (self.commander, wire.command_topic(VICTIM)),
        ]
        """Users of the city's, and what each says to the other kiosk."""
        self._last = 0

    def _started_ingest(self, stack: ExitStack) -> Started:
        subscribed, broker = Signal("city: subscribed"), self.broker("city-ingest")
        login = ["--ca", broker.ca_file, "--certificate", broker.certificate_file, "--key", broker.key_file]
        command = [sys.executable, "-m", "city", "ingest", "--broker", f"{HOST}:{self.city_port}", *login]
        ingest = Started("city ingest", [*command, "--database", database(self.folder)], self._log_of(""), subscribed)
        stack.callback(ingest.stop)
        subscribed.wait_for(ingest)
        return ingest

    def broker(self, name: str, *, port: int = 0) -> Broker:
        """How somebody logs in, at the listener that is meant for them unless another is named."""
        own = self.city_port if name.startswith("city-") else self.port
        return Broker(
            host=HOST,
            port=port or own,
            tls=True,
            ca_file=str(self.folder / "city-ca.pem"),
            certificate_file=str(self.folder / f"{name}.pem"),
            key_file=str(self.folder / f"{name}.key"),
        )

    def enter(self, name: str, *topics: str) -> Client:
        """Somebody who stays; of the city's users beside those whose programs run."""
        client_id = f"{name}-siege" if name.startswith("city-") else name
        return self._stack.enter_context(Client(self.broker(name), client_id, *topics))

    def settle(self) -> None:
        """Return when all that was said before has been given to everybody who may have it."""
        self._last += 1
        token = f"settled {self._last}".encode()
        self.publisher.say(wire.DELTA_TOPIC, token)
        until(lambda: self.victim.has_heard(token) and self.watch.has_heard(token))

    def broke(self, token: bytes) -> str:
        """What is wrong after an attempt; empty if nothing is."""
        self.settle()
        if self.victim.has_heard(token) or self.watch.has_heard(token):
            return "it came through"
        if self.victim.gone.is_set():
            return "the other kiosk was thrown out"
        if self._broker.ended() is not None or self._ingest.ended() is not None:
            return "the broker or the ingest has ended"
        return ""

    def marks(self) -> dict[str, int]:
        """How long the logs are now."""
        return {name: len(self._text(name)) for name in ("mosquitto", "ingest")}

    def shows(self, log: str, pattern: str, since: dict[str, int]) -> bool:
        """Whether a line that fits comes into a log, within a time."""
        wanted = re.compile(pattern)
        return until(lambda: wanted.search(self._text(log)[since[log] :]), 5.0)

    def events(self) -> list[tuple[str, str, int, str, str]]:
        """What the city has: device, ledger, sequence, kind, body."""
        with closing(sqlite3.connect(self.folder / "city.sqlite3", timeout=10.0)) as file:
            return file.execute("SELECT device, ledger, sequence, kind, body FROM events ORDER BY id").fetchall()

    def _text(self, log: str) -> str:
        return self._log_of(log).read_text("utf-8", errors="replace")

    def _log_of(self, log: str) -> Path:
        return self.folder / f"{log or 'ingest'}.log"


def spoken(device: str) -> list[str]:
    """Where a kiosk publishes."""
    own = (wire.state_topic, wire.heartbeat_topic, wire.look_up_topic)
    return [*(wire.event_topic(device, kind) for kind in wire.KINDS), *(topic(device) for topic in own)]


def heard(device: str) -> list[str]:
    """What a kiosk is told, and nobody else."""
    told = (wire.acknowledgement_topic, wire.answer_topic, wire.alert_states_topic, wire.command_topic)
    return [topic(device) for topic in told]
