"""What this door and the city say to each other over a live connection.

Out go birth, heartbeats, look-ups and events; in come acknowledgements, answers, commands, how far alerts have come,
and what the city sends to all kiosks. Decides in which order things go and when the city has been silent for too
long. Refuses to know brokers, TLS and waiting. `kiosk.uplink` owns it and its thread.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from kiosk import wire
from kiosk.alert_news import AlertStandings
from kiosk.clock import Clock, S
from kiosk.connection import Came, Connection, Ended
from kiosk.messages import AlertNews, Answer, LinkStatus
from kiosk.questions import ANSWER_WITHIN_S, Questions
from kiosk.window import ACKNOWLEDGE_WITHIN_S, Rows, Window

FETCH_WITHIN_S = 600
"""So long may acknowledgements wait behind a risk list that is coming; 9 MB over a poor line."""
LIST_SILENT_S = 5
"""If nothing came for so long, no list is coming."""
QUOTA_FIRST_S, QUOTA_LONGEST_S = 1.0, 60.0
"""Ceilings of the jittered wait after a broker's "quota exceeded"; doubled each time."""
FAILURE = 0x80
NOT_AUTHORIZED, TOPIC_INVALID, PACKET_TOO_LARGE, QUOTA_EXCEEDED, FORMAT_INVALID = 0x87, 0x90, 0x95, 0x97, 0x99
"""MQTT 5, 2.4; from `FAILURE` on a reason code says no."""
PARKED = {NOT_AUTHORIZED, TOPIC_INVALID, PACKET_TOO_LARGE, FORMAT_INVALID}
"""The same row would be refused again at once. Any other refusal but that of a quota ends the connection."""
MOST_FAULTS, LONGEST_FAULT = 64, 64
"""Of a heartbeat (`wire.Heartbeat`)."""


class Source(Rows, Protocol):
    """What the uplink needs of the outbox."""

    @property
    def ledger(self) -> str:
        """The file's own name."""

    @property
    def waiting(self) -> int:
        """Events not acknowledged yet."""

    @property
    def newest(self) -> int:
        """The highest sequence that is stored."""

    def acknowledge(self, ledger: str, sequences: Iterable[int]) -> None:
        """Let rows go."""


class Feed(Protocol):
    """What takes the city's messages to all kiosks; `kiosk.city_feed` in the daemon."""

    @property
    def wants_snapshot(self) -> bool:
        """Whether the whole risk list is needed."""

    @property
    def wants_trust(self) -> bool:
        """Whether the trust bundle is to come once more."""

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hears:
    """Whom the uplink tells, from its own thread.

    Args:
        on_status: told whenever online or the number waiting changes.
        on_trouble: told one sentence for the log, such as why the link went down.
        on_fault: told one sentence when the uplink needs a person although it may be up, and "" when it does not.
        on_answer: told what the city answers to a look-up.
        on_command: given each command, as it came.
        on_alert: told when people at the city have taken an alert further.
        faults: asked for the stages that have a fault, for the heartbeat.
    """

    on_status: Callable[[LinkStatus], None]
    on_trouble: Callable[[str], None]
    on_fault: Callable[[str], None] = lambda _: None
    on_answer: Callable[[Answer], None] = lambda _: None
    on_command: Callable[[bytes], None] = lambda _: None
    on_alert: Callable[[AlertNews], None] = lambda _: None
    faults: Callable[[], list[str]] = list


class Exchange:
    """The talk of one device with the city; it outlives connections.

    Args:
        origin: who we are.
        outbox: what to drain.
        clock: for timers.
        hears: whom to tell.
        feed: takes what the city sends to all kiosks.
        heartbeat_s: between signs of life.
        version: of this firmware.
        random: the marks of look-ups, and jitter.
    """

    def __init__(
        self,
        origin: wire.Origin,
        outbox: Source,
        clock: Clock,
        hears: Hears,
        *,
        feed: Feed | None,
        heartbeat_s: int,
        version: str,
        random: Random,
    ) -> None:
        self._origin, self._device = origin, origin.device
        self._outbox = outbox
        self._clock = clock
        self._hears = hears
        self._feed = feed
        self._heartbeat_ns = heartbeat_s * S
        self._version = version
        self._random = random
        self._window = Window(outbox)
        self._questions = Questions(random)
        self._standings = AlertStandings()
        self._quota_s = QUOTA_FIRST_S
        self._fetching = self._asked = False
        self._heard_ns = self._fetch_until_ns = self._beat_ns = 0

    @property
    def will(self) -> tuple[str, str]:
        """Topic and payload that the broker publishes when we have gone."""
        will = wire.State(device=self._device, online=False, version=self._version, ledger=self._outbox.ledger)
        return wire.state_topic(self._device), will.model_dump_json()

    @property
    def trouble(self) -> str:
        """What of ours the broker does not take."""
        return self._window.trouble

    @property
    def is_quiet(self) -> bool:
        """Nothing is on its way that a new connection would have to repeat."""
        now_ns = self._clock.now().monotonic_ns
        coming = self._fetching and now_ns - self._heard_ns < LIST_SILENT_S * S
        return self._window.is_empty and not coming and not self._questions.waits(now_ns)

    def ask(self, subject: str) -> None:
        """Put a look-up. From any thread."""
        self._questions.ask(subject)

    def begin(self, connection: Connection) -> None:
        """Greet: subscriptions before the birth, so that nothing is missed that answers it."""
        self._window.begin(self._outbox.ledger)
        self._questions.forget()
        self._fetching = False
        self._fetch_until_ns = self._beat_ns = 0
        connection.subscribe((wire.acknowledgement_topic(self._device), 1), (wire.answer_topic(self._device), 0))
        connection.subscribe((wire.alert_states_topic(self._device), 1), (wire.command_topic(self._device), 1))
        if self._feed:
            connection.subscribe((wire.TRUST_TOPIC, 1), (wire.DELTA_TOPIC, 1))
        birth = wire.State(
            device=self._device,
            online=True,
            version=self._version,
            ledger=self._outbox.ledger,
            at=self._clock.now().utc,
        )
        connection.publish(wire.state_topic(self._device), birth.model_dump_json(), qos=1, retain=True)

    def say(self, connection: Connection, *, events: bool) -> None:
        """Send what is due; `events` only while more of them may get under way."""
        self._beat(connection)
        self._follow(connection)
        self._publish_look_ups(connection)
        if events:
            self._publish_events(connection)

    def hear(self, connection: Connection, stamp: Callable[[], None], *, came: bool) -> None:
        """Take in what came; `came` if bytes did since the last time.

        Raises:
            Ended: the broker refuses, or the city does not acknowledge.
        """
        if came:
            self._heard_ns = self._clock.now().monotonic_ns
        self._settle(connection)
        while connection.came:
            self._take_in(connection.came.popleft())
            stamp()
        not_before_ns = min(self._heard_ns, self._fetch_until_ns)
        if self._window.overdue(self._clock.now().monotonic_ns, not_before_ns):
            raise Ended(f"the city has not acknowledged within {ACKNOWLEDGE_WITHIN_S} s; is its ingest running?")

    def _beat(self, connection: Connection) -> None:
        now = self._clock.now()
        if self._beat_ns and now.monotonic_ns - self._beat_ns < self._heartbeat_ns:
            return
        self._beat_ns = now.monotonic_ns
        beat = wire.Heartbeat(
            at=now.utc,
            boot_id=self._origin.boot_id,
            boot_ns=now.monotonic_ns,
            ledger=self._outbox.ledger,
            newest=self._outbox.newest,
            waiting=self._outbox.waiting,
            faults=[stage[:LONGEST_FAULT] for stage in self._hears.faults()][:MOST_FAULTS],
            version=self._version,
        )
        connection.publish(wire.heartbeat_topic(self._device), beat.model_dump_json(), qos=0)

    def _follow(self, connection: Connection) -> None:
        """Fetch the whole risk list while it is wanted, and no longer: each one is megabytes; and the bundle again."""
        asked = self._feed is not None and self._feed.wants_trust
        if asked and not self._asked:
            connection.subscribe((wire.TRUST_TOPIC, 1))  # brings what is retained there once more
        self._asked = asked
        wanted = self._feed is not None and self._feed.wants_snapshot
        if wanted and not self._fetching:
            connection.subscribe((wire.SNAPSHOT_TOPIC, 1))
            self._fetch_until_ns = self._clock.now().monotonic_ns + FETCH_WITHIN_S * S
        elif self._fetching and not wanted:
            connection.unsubscribe(wire.SNAPSHOT_TOPIC)
            self._fetch_until_ns = 0
        self._fetching = wanted

    def _publish_look_ups(self, connection: Connection) -> None:
        """QoS 0: beside the window, never repeated, and no reason to end a connection."""
        while question := self._questions.next(self._clock.now().monotonic_ns):
            connection.publish(
                wire.look_up_topic(self._device),
                wire.LookUp(subject=question.subject).model_dump_json(),
                qos=0,
                ResponseTopic=wire.answer_topic(self._device),
                CorrelationData=question.correlation,
                MessageExpiryInterval=ANSWER_WITHIN_S,
            )

    def _publish_events(self, connection: Connection) -> None:
        now_ns = self._clock.now().monotonic_ns
        while rows := self._window.next(min(self._window.room, connection.room), now_ns):
            for row in rows:
                topic = wire.event_topic(self._device, row.kind)
                if connection.takes(topic, row.payload):
                    self._window.sent(row, connection.publish(topic, row.payload, qos=1), now_ns)
                else:
                    self._window.park(row, "Packet too large", now_ns)

    def _settle(self, connection: Connection) -> None:
        """Hear what the broker says to what was published."""
        now_ns = self._clock.now().monotonic_ns
        while connection.settled:
            settled = connection.settled.popleft()
            row = self._window.settled(settled.mid)
            if settled.code < FAILURE:
                self._quota_s = QUOTA_FIRST_S
            elif row and settled.code in PARKED:
                self._window.park(row, settled.reason, now_ns)
            elif row and settled.code == QUOTA_EXCEEDED:
                self._window.hold(row, now_ns + int(self._random.uniform(self._quota_s / 2, self._quota_s) * S))
                self._quota_s = min(QUOTA_LONGEST_S, 2 * self._quota_s)
            else:
                what = "an event" if row else "this device's birth"
                raise Ended(f"the broker refuses to take {what}: {settled.reason}; check the ACL of {self._device}")

    def _take_in(self, came: Came) -> None:
        """Outside of paho: a fault of ours is no fault of the broker's."""
        if came.topic == wire.acknowledgement_topic(self._device):
            self._let_go(came.payload)
        elif came.topic == wire.answer_topic(self._device):
            answer = self._questions.answered(came.correlation, came.payload, self._clock.now().monotonic_ns)
            if answer:
                self._hears.on_answer(answer)
        elif came.topic == wire.command_topic(self._device):
            self._hears.on_command(came.payload)
        elif came.topic == wire.alert_states_topic(self._device):
            self._note_alerts(came.payload)
        elif self._feed and came.topic in (wire.TRUST_TOPIC, wire.SNAPSHOT_TOPIC, wire.DELTA_TOPIC):
            self._feed.receive(came.topic, came.payload)

    def _let_go(self, payload: bytes) -> None:
        said = wire.decode_acknowledgement(payload)
        if isinstance(said, wire.Unreadable):
            self._hears.on_trouble(f"an acknowledgement cannot be read: {said.why}")
            return
        self._outbox.acknowledge(said.ledger, said.sequences)
        if said.ledger == self._outbox.ledger:
            self._window.acknowledged(said.sequences)

    def _note_alerts(self, payload: bytes) -> None:
        if not payload:
            return  # how a broker says that it forgets a retained message
        said = wire.decode_alert_states(payload)
        if isinstance(said, wire.Unreadable):
            self._hears.on_trouble(f"the states of alerts cannot be read: {said.why}")
            return
        for news in self._standings.news(said):
            self._hears.on_alert(news)
