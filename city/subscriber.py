"""What the kiosks say, as typed values: the library for programs of the city that want to know at once.

Decides nothing. It hears what is said while it listens, and reconnects by itself; what was said while it was away is
in the database (`city.store`), where the ingest has put every event once. docs/city.md has an example.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import paho.mqtt.client as mqtt

from city.schema import NAME
from city.session import Session
from kiosk import wire
from kiosk.broker import Broker

STATE, HEARTBEAT, ALERTS = "state", "heartbeat", "alerts"
KINDS = (*wire.KINDS, STATE, HEARTBEAT)
"""All that there is to hear: the kinds of events, births and wills, signs of life."""
TURN_S = 0.5

_TOPIC = re.compile(rf"{wire.ROOT}/([^/]+)/(event/[a-z-]+|{STATE}|{HEARTBEAT})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """A birth or a will. `retained`: it was said at some time before, and the broker remembers it."""

    device: str
    state: wire.State
    retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life."""

    device: str
    heartbeat: wire.Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """Our own connection stands now (`up`), or no more; while it does not, doors speak and nobody hears."""

    up: bool


Heard = wire.Received | Stood | Beat | Linked


class Subscriber:
    """Hears kiosks for as long as one iterates over it, or takes turns.

    Args:
        broker: where to, and how to log in.
        kinds: of `KINDS`.
        client_id: who we are; two with one name throw each other out.
        on_trouble: told one sentence about a message or a connection that is no good; holds none of its content.

    Raises:
        ValueError: there is no such kind.
        kiosk.errors.UplinkFault: a certificate cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        kinds: Collection[str] = KINDS,
        client_id: str,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        topics = [topic_of(kind) for kind in kinds]
        self.session = Session(broker, client_id=client_id, topics=topics, on_trouble=on_trouble)
        self._on_trouble = on_trouble
        self._was_up: bool | None = None

    def __iter__(self) -> Iterator[Heard]:
        """Everything that is heard, for ever."""
        while True:
            yield from self.turn(TURN_S)

    def turn(self, within_s: float) -> list[Heard]:
        """Wait at most so long, a connect excepted; give what was heard, beginning with `Linked` if that is new."""
        came = self.session.turn(within_s)
        heard: list[Heard] = []
        up = self.session.up
        if up is not None and up != self._was_up:
            self._was_up = up
            heard.append(Linked(up=up))
        for message in came:
            said = read(message)
            if isinstance(said, wire.Unreadable):
                self._on_trouble(f"{message.topic[:80]}: passed over: {said.why}")
            else:
                heard.append(said)
        return heard

    def close(self) -> None:
        """End the connection."""
        self.session.close()


def topic_of(kind: str) -> tuple[str, int]:
    """Where all kiosks say things of one kind, and with which QoS. Raises ValueError: there is no such kind."""
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}: one of {', '.join(KINDS)}")
    topics = {STATE: (wire.state_topic("+"), 1), HEARTBEAT: (wire.heartbeat_topic("+"), 0)}
    return topics.get(kind, (wire.event_topic("+", kind), 1))


def read(message: mqtt.MQTTMessage) -> wire.Received | Stood | Beat | wire.Unreadable:
    """Read a message; the device is the topic's, which the broker vouches for."""
    place, payload = _TOPIC.fullmatch(message.topic), bytes(message.payload)
    if place is None or len(place[1]) > NAME or len(payload) > wire.BIGGEST_PAYLOAD:
        return wire.Unreadable(why="not a topic of a kiosk, or too long")
    device = place[1]
    if place[2] == STATE:
        state = wire.decode_state(payload)
        return (
            state if isinstance(state, wire.Unreadable) else Stood(device=device, state=state, retained=message.retain)
        )
    if place[2] == HEARTBEAT:
        beat = wire.decode_heartbeat(payload)
        return beat if isinstance(beat, wire.Unreadable) else Beat(device=device, heartbeat=beat)
    return wire.decode_event(message.topic, payload)
