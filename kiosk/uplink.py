"""The connection to the city's broker over MQTT 5: events go out, and what the city sends comes in.

paho is bare transport here and gets no thread of its own: this module turns its socket in the uplink thread, so that
none of the faults of paho's queue and thread can occur (docs/decisions/0003). It publishes only after CONNACK, keeps
at most `WINDOW` events unacknowledged, and a row leaves the outbox only when the city says it has committed it.
Look-ups go before events, once, and only on a live connection. What the city sends to all kiosks is handed to the feed,
and the whole risk list is fetched only while the feed wants it. Reconnects back off with full jitter. Birth and will
are retained. The daemon runs `Uplink.run`.
"""

import select
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from kiosk import wire
from kiosk.broker import Broker, tls_context
from kiosk.clock import Clock, S
from kiosk.errors import OutboxFault
from kiosk.messages import Answer, LinkStatus
from kiosk.outbox_file import Row
from kiosk.questions import ANSWER_WITHIN_S, Questions

WINDOW = 16
"""Events in flight; below mosquitto's default Receive Maximum of 20, which paho itself does not honour."""
ACKNOWLEDGE_WITHIN_S = 10
"""A row not acknowledged by then is published again on a new connection; paho never resends on a live one."""
CONNECT_WITHIN_S = 5.0
"""For TCP and TLS together, and again for CONNACK. Name resolution has the system's own limit."""
BIGGEST_MESSAGE = 48 * 1024 * 1024
"""Bytes we let the broker send at once (Maximum Packet Size): a risk list of 5 million people, on a Pi of 1 GB."""
FETCH_WITHIN_S = 600
"""So long may acknowledgements wait behind a risk list that is coming; 9 MB over a poor line."""
KEEP_ALIVE_S = 15
"""A dead broker is noticed within one and a half of these."""
BACK_OFF_FIRST_S = 1.0
BACK_OFF_LONGEST_S = 60.0
"""Full jitter: 32,000 doors coming back over a minute are 533 connects a second."""
TICK_S = 0.5
"""Longest the thread waits without stamping its progress."""
DISCONNECT_WITH_WILL = 0x04
"""MQTT 5, 3.14.2.1: the broker announces this door as offline although it left politely."""


class Source(Protocol):
    """What the uplink needs of the outbox."""

    @property
    def ledger(self) -> str:
        """The file's own name."""

    @property
    def waiting(self) -> int:
        """Events not acknowledged yet."""

    def after(self, sequence: int, limit: int) -> list[Row]:
        """Read the oldest rows above a sequence."""

    def alerts_after(self, sequence: int, limit: int) -> list[Row]:
        """As `after`, alerts only."""

    def acknowledge(self, ledger: str, sequences: Iterable[int]) -> None:
        """Let rows go."""


class Feed(Protocol):
    """What takes the city's messages to all kiosks; `kiosk.city_feed` in the daemon."""

    @property
    def wants_snapshot(self) -> bool:
        """Whether the whole risk list is needed."""

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message."""


_Came = tuple[str, bytes, bytes]
"""Topic, payload and correlation data."""


class _Ended(Exception):
    """Why a connection is over."""


class Uplink:
    """One device's connection to the city.

    Args:
        broker: where to.
        origin: who we are; the device is also the client id.
        outbox: what to drain.
        clock: for timers.
        feed: takes what the city sends to all kiosks.
        on_status: told whenever online or the number waiting changes.
        on_answer: told what the city answers to `ask`.
        on_trouble: told one sentence when the link goes down, for the log.
        version: of this firmware, for the birth.
        random: jitter.
    """

    def __init__(  # noqa: PLR0913 - two of them only where the city sends something
        self,
        broker: Broker,
        origin: wire.Origin,
        outbox: Source,
        clock: Clock,
        *,
        feed: Feed | None = None,
        on_status: Callable[[LinkStatus], None],
        on_answer: Callable[[Answer], None] = lambda _: None,
        on_trouble: Callable[[str], None],
        version: str,
        random: Random,
    ) -> None:
        self._broker = broker
        self._device = origin.device
        self._outbox = outbox
        self._clock = clock
        self._feed = feed
        self._on_status = on_status
        self._on_answer = on_answer
        self._on_trouble = on_trouble
        self._version = version
        self._random = random
        self._tls = tls_context(broker) if broker.tls else None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._closing = threading.Event()
        self._told: LinkStatus | None = None
        self._failures = 0
        self._in_flight: dict[int, int] = {}
        self._cursor = self._alert_cursor = 0
        self._questions = Questions(random)
        self._came = deque[_Came]()
        self._fetching = False
        self._heard_ns = self._fetch_until_ns = 0
        self._ending = ""

    def ask(self, subject: str) -> None:
        """Look somebody up with the city; `on_answer` gets the answer, if one comes. From any thread."""
        self._questions.ask(subject)
        self.nudge()

    def nudge(self) -> None:
        """Something was stored or let go: look at the outbox now. From any thread."""
        try:
            self._wake_in.send(b"!")
        except OSError:
            return  # it has enough wake-ups waiting, or has ended

    def close(self) -> None:
        """Say goodbye and let `run` end. From any thread."""
        self._closing.set()
        self.nudge()

    def run(self, stamp: Callable[[], None]) -> None:
        """Connect, drain, and connect again until `close`; `stamp` is called at least every `TICK_S`.

        Name resolution and the connect itself may take longer than a tick; the supervisor allows for it.
        """
        while not self._closing.is_set():
            try:
                self._live_one_connection(stamp)
            except (_Ended, OutboxFault) as end:
                if not self._closing.is_set():
                    self._on_trouble(str(end))
            self._tell(online=False)
            self._failures += 1
            ceiling_s = min(BACK_OFF_LONGEST_S, BACK_OFF_FIRST_S * 2 ** min(self._failures, 10))
            self._idle(self._random.uniform(0.0, ceiling_s), stamp)
        self._wake_in.close()
        self._wake_out.close()

    def _live_one_connection(self, stamp: Callable[[], None]) -> None:
        self._in_flight.clear()
        self._came.clear()
        self._cursor = self._alert_cursor = 0
        self._fetching = False
        self._fetch_until_ns = 0
        self._ending = ""
        client = self._client()
        self._connect(client)
        try:
            self._await_connack(client, stamp)
            self._greet(client)
            while not self._closing.is_set():
                stamp()
                self._tell(online=True)
                self._follow(client)
                self._publish_look_ups(client)
                self._publish_next(client)
                self._turn(client, TICK_S)
                self._take_in(stamp)
                self._check_overdue()
            client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL))
            while client.want_write():
                self._turn(client, TICK_S)
        finally:
            client.on_disconnect = None
            client.disconnect()

    def _connect(self, client: mqtt.Client) -> None:
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = BIGGEST_MESSAGE
        host, port = self._broker.host, self._broker.port
        try:
            client.connect(host, port, keepalive=KEEP_ALIVE_S, clean_start=True, properties=limits)
            if isinstance(line := client.socket(), socket.socket):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a question waits for nothing
        except (OSError, ValueError) as error:
            raise _Ended(f"cannot reach the broker at {host}:{port} ({error}); check network, name and TLS") from error

    def _await_connack(self, client: mqtt.Client, stamp: Callable[[], None]) -> None:
        deadline_ns = self._clock.now().monotonic_ns + int(CONNECT_WITHIN_S * S)
        while not client.is_connected():
            if self._closing.is_set() or self._clock.now().monotonic_ns > deadline_ns:
                raise _Ended(f"the broker did not answer CONNECT within {CONNECT_WITHIN_S:.0f} s; is it overloaded?")
            stamp()
            self._turn(client, TICK_S)

    def _greet(self, client: mqtt.Client) -> None:
        client.subscribe([(wire.acknowledgement_topic(self._device), 1), (wire.answer_topic(self._device), 0)])
        if self._feed:
            client.subscribe([(wire.TRUST_TOPIC, 1), (wire.DELTA_TOPIC, 1)])
        self._questions.forget()
        birth = wire.State(
            device=self._device,
            online=True,
            version=self._version,
            ledger=self._outbox.ledger,
            at=self._clock.now().utc,
        )
        client.publish(wire.state_topic(self._device), birth.model_dump_json(), qos=1, retain=True)

    def _follow(self, client: mqtt.Client) -> None:
        """Fetch the whole risk list while it is wanted, and no longer: each one is megabytes."""
        wanted = self._feed is not None and self._feed.wants_snapshot
        if wanted and not self._fetching:
            client.subscribe(wire.SNAPSHOT_TOPIC, qos=1)
            self._fetch_until_ns = self._clock.now().monotonic_ns + FETCH_WITHIN_S * S
        elif self._fetching and not wanted:
            client.unsubscribe(wire.SNAPSHOT_TOPIC)
            self._fetch_until_ns = 0
        self._fetching = wanted

    def _publish_look_ups(self, client: mqtt.Client) -> None:
        """QoS 0: beside the window, never repeated, and no reason to end a connection."""
        while question := self._questions.next(self._clock.now().monotonic_ns):
            about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            about.ResponseTopic = wire.answer_topic(self._device)
            about.CorrelationData = question.correlation
            about.MessageExpiryInterval = ANSWER_WITHIN_S
            request = wire.LookUp(subject=question.subject).model_dump_json()
            client.publish(wire.look_up_topic(self._device), request, qos=0, properties=about)

    def _publish_next(self, client: mqtt.Client) -> None:
        """Fill the window: alerts first, then the rest in order of sequence."""
        room = WINDOW - len(self._in_flight)
        for row in self._outbox.alerts_after(self._alert_cursor, room) if room > 0 else ():
            self._publish(client, row)
            self._alert_cursor = row.sequence
        room = WINDOW - len(self._in_flight)
        for row in self._outbox.after(self._cursor, room) if room > 0 else ():
            self._cursor = row.sequence
            if row.kind != "alert" or row.sequence > self._alert_cursor:
                self._publish(client, row)

    def _publish(self, client: mqtt.Client, row: Row) -> None:
        client.publish(wire.event_topic(self._device, row.kind), row.payload, qos=1)
        self._in_flight[row.sequence] = self._clock.now().monotonic_ns

    def _turn(self, client: mqtt.Client, timeout_s: float) -> None:
        """Move bytes for one round: until something comes, somebody nudges, or the time is over."""
        line = client.socket()
        if line is None:
            raise _Ended("the broker closed the connection")
        writers = [line] if client.want_write() else []
        readable, writable, _ = select.select([line, self._wake_out], writers, [], timeout_s)
        if self._wake_out in readable:
            self._wake_out.recv(4096)
        try:
            if line in readable:
                self._heard_ns = self._clock.now().monotonic_ns
                self._read(client)
            if writable:
                client.loop_write()
            client.loop_misc()
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise _Ended(f"the broker sent what is not MQTT 5 ({type(error).__name__})") from error
        if self._ending:
            raise _Ended(self._ending)

    def _read(self, client: mqtt.Client) -> None:
        client.loop_read()
        while isinstance(line := client.socket(), ssl.SSLSocket) and line.pending():
            client.loop_read()  # TLS holds decrypted bytes that select cannot see

    def _check_overdue(self) -> None:
        since_ns = min(self._in_flight.values(), default=None)
        if since_ns is None:
            return
        since_ns = max(since_ns, min(self._heard_ns, self._fetch_until_ns))
        if self._clock.now().monotonic_ns - since_ns > ACKNOWLEDGE_WITHIN_S * S:
            raise _Ended(f"the city has not acknowledged within {ACKNOWLEDGE_WITHIN_S} s; is its ingest running?")

    def _tell(self, *, online: bool) -> None:
        status = LinkStatus(online=online, waiting=self._outbox.waiting)
        if status != self._told:
            self._told = status
            self._on_status(status)

    def _idle(self, seconds: float, stamp: Callable[[], None]) -> None:
        deadline_ns = self._clock.now().monotonic_ns + int(seconds * S)
        while not self._closing.is_set() and (left_ns := deadline_ns - self._clock.now().monotonic_ns) > 0:
            stamp()
            self._tell(online=False)
            if select.select([self._wake_out], [], [], min(TICK_S, left_ns / S))[0]:
                self._wake_out.recv(4096)

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._tls:
            client.tls_set_context(self._tls)
        will = wire.State(device=self._device, online=False, version=self._version, ledger=self._outbox.ledger)
        client.will_set(wire.state_topic(self._device), will.model_dump_json(), qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._received
        return client

    # paho calls these from `_turn`, in our own thread; a connection they find at its end is ended there.

    def _connected(self, _c: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None) -> None:
        if reason.is_failure:
            self._ending = f"the broker refuses this device: {reason}; check uplink.username, certificate and ACL"

    def _disconnected(self, _c: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None) -> None:
        self._ending = self._ending or f"the connection to the broker is gone: {reason}"

    def _published(self, _c: mqtt.Client, _u: object, _m: int, reason: ReasonCode, _p: Properties | None) -> None:
        if reason.is_failure:
            self._ending = f"the broker refuses to take an event: {reason}; check the ACL of {self._device}"

    def _received(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        self._came.append((message.topic, bytes(message.payload), correlation))

    # What came is taken in outside of paho: a fault of ours is no fault of the broker's.

    def _take_in(self, stamp: Callable[[], None]) -> None:
        while self._came:
            topic, payload, correlation = self._came.popleft()
            if topic == wire.acknowledgement_topic(self._device):
                self._let_go(payload)
            elif topic == wire.answer_topic(self._device):
                answer = self._questions.answered(correlation, payload, self._clock.now().monotonic_ns)
                if answer:
                    self._on_answer(answer)
            elif self._feed and topic in (wire.TRUST_TOPIC, wire.SNAPSHOT_TOPIC, wire.DELTA_TOPIC):
                self._feed.receive(topic, payload)
            stamp()

    def _let_go(self, payload: bytes) -> None:
        said = wire.decode_acknowledgement(payload)
        if isinstance(said, wire.Unreadable):
            self._on_trouble(f"an acknowledgement cannot be read: {said.why}")
            return
        self._outbox.acknowledge(said.ledger, said.sequences)
        if said.ledger == self._outbox.ledger:
            self._failures = 0
            for sequence in said.sequences:
                self._in_flight.pop(sequence, None)
