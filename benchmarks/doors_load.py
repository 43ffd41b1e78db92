"""Many kiosks at once for benchmarks/ingest.py: real connections, real events, and what the city acknowledged.

Each has a connection, at most 16 events in flight as a kiosk has, and sends again what is not acknowledged in time.
"""

import json
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from city import packets
from kiosk import wire
from kiosk.clock import S, SystemClock
from kiosk.messages import CheckIn, Decision, Direction, Reason, Scheme, StoredEvent

WINDOW = 16
AGAIN_S = 10
DOUBLED_ON_PURPOSE = 200
"""One event in so many is sent twice at once; on a real wire 0.6 % were."""


@dataclass(slots=True)
class Figures:
    """What became of the events. Latencies are from sending to the city's acknowledgement, at the kiosk."""

    sent: int = 0
    again: int = 0
    acknowledged: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    latencies_ns: list[int] = field(default_factory=list)


def check_ins(device: str, ledger: str, first: int, count: int, random: Random) -> Iterator[bytes]:
    """Events of one door as its outbox would have them, each of another person."""
    origin = wire.Origin(
        device=device, place="place-0001", access_point="main", boot_id=f"{random.getrandbits(128):032x}"
    )
    at = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
    for sequence in range(first, first + count):
        event = CheckIn(
            at=at + timedelta(seconds=sequence),
            utc_trusted=True,
            boot_ns=sequence * S,
            direction=Direction.ENTRY,
            decision=Decision.GRANTED,
            reasons=(Reason.NO_RISK,),
            scheme=Scheme.DECLARATION,
            subject=f"{random.getrandbits(128):032x}",
            data_age_s=3600,
            city_age_s=60,
            sealed="A" * 140,
        )
        yield wire.encode_event(StoredEvent(ledger=ledger, sequence=sequence, event=event), origin)


class Door:
    """One kiosk."""

    def __init__(self, port: int, number: int, count: int, random: Random) -> None:
        self.device = f"door-{number:05}"
        self.ledger = f"{random.getrandbits(64):016x}"
        topic = wire.event_topic(self.device, "check-in")
        payloads = check_ins(self.device, self.ledger, 1, count, random)
        self._packets = [packets.publish(topic, payload, at % 0xFFFF + 1) for at, payload in enumerate(payloads, 1)]
        self.next = 1
        self.in_flight: dict[int, int] = {}
        self._came = bytearray()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = packets.connect(self.device, "", "", keep_alive_s=600, receive_maximum=100, biggest=65_536)
        self.socket.sendall(hello + packets.subscribe(wire.acknowledgement_topic(self.device), 1))
        kinds: set[int] = set()
        while not kinds >= {packets.CONNACK, packets.SUBACK}:
            kinds |= {first >> 4 for first, _ in self._read()}

    @property
    def able(self) -> bool:
        """It has an event, and room in its window."""
        return self.next <= len(self._packets) and len(self.in_flight) < WINDOW

    def send(self, now_ns: int) -> None:
        """Send the next event; now and then twice."""
        packet = self._packets[self.next - 1]
        self.in_flight[self.next] = now_ns
        self.socket.sendall(packet * 2 if self.next % DOUBLED_ON_PURPOSE == 0 else packet)
        self.next += 1

    def send_again(self, before_ns: int, now_ns: int) -> int:
        """Send what has waited since then; how many."""
        late = [sequence for sequence, sent_ns in self.in_flight.items() if sent_ns < before_ns]
        for sequence in late:
            self.in_flight[sequence] = now_ns
            self.socket.sendall(self._packets[sequence - 1])
        return len(late)

    def take(self) -> Iterator[int]:
        """When the events were sent that have been acknowledged now."""
        replies = []
        for first, body in self._read():
            if first >> 4 == packets.PUBLISH:
                message = packets.message(first, body)
                replies.append(packets.puback(message.packet))
                for sequence in json.loads(message.payload)["sequences"]:
                    sent_ns = self.in_flight.pop(sequence, None)
                    if sent_ns is not None:
                        yield sent_ns
        if replies:
            self.socket.sendall(b"".join(replies))

    def _read(self) -> list[tuple[int, bytes]]:
        self._came += self.socket.recv(65_536)
        whole, used = packets.split(self._came)
        del self._came[:used]
        return whole


class Doors:
    """All of them.

    Args:
        port: the broker's, on loopback.
        doors: how many kiosks.
        events: of each.
        seed: of their ledgers and people.
    """

    def __init__(self, port: int, doors: int, events: int, seed: int) -> None:
        random = Random(seed)  # noqa: S311 - the same people each time
        self.doors = [Door(port, number, events, random) for number in range(doors)]
        self._clock = SystemClock()
        self._selector = selectors.DefaultSelector()
        for door in self.doors:
            self._selector.register(door.socket, selectors.EVENT_READ, door)

    def run(self, rate: int, seconds: float, drain_s: float) -> Figures:
        """Send at a rate (0: as fast as the windows allow) for so long, then wait for the rest."""
        figures = Figures(began_ns=self._clock.now().monotonic_ns)
        turn, again_ns = 0, figures.began_ns
        while True:
            now_ns = self._clock.now().monotonic_ns
            past_s = (now_ns - figures.began_ns) / S
            if past_s < seconds:
                due = round(past_s * rate) - figures.sent if rate else WINDOW * len(self.doors)
                turn = self._send(figures, min(due, WINDOW * len(self.doors)), turn, now_ns)
            elif past_s > seconds + drain_s or not any(door.in_flight for door in self.doors):
                figures.ended_ns = now_ns
                return figures
            for key, _ in self._selector.select(0.002):
                door: Door = key.data
                took = [now_ns - sent_ns for sent_ns in door.take()]
                figures.acknowledged += len(took)
                figures.latencies_ns += took
            if now_ns - again_ns > S:
                again_ns = now_ns
                figures.again += sum(door.send_again(now_ns - AGAIN_S * S, now_ns) for door in self.doors)

    def close(self) -> None:
        """End."""
        self._selector.close()
        for door in self.doors:
            door.socket.close()

    def _send(self, figures: Figures, due: int, turn: int, now_ns: int) -> int:
        """Send so many, from the door whose turn it is; the answer is whose turn is next."""
        idle = 0
        while due > 0 and idle < len(self.doors):
            door = self.doors[turn]
            turn = (turn + 1) % len(self.doors)
            if door.able:
                door.send(now_ns)
                figures.sent, due, idle = figures.sent + 1, due - 1, 0
            else:
                idle += 1
        return turn
