"""The reference subscriber: every event of every kiosk, stored once, then acknowledged to the kiosk.

It takes its share of the events (a shared subscription), so several may run side by side. An MQTT acknowledgement and
the city's own go out only after the database commit; whoever is not acknowledged sends again, and the store keeps one.
What cannot be read is kept as it came, reported once, and acknowledged if it says its ledger and sequence: nothing is
lost, and nothing is sent for ever. Without a database it leaves the broker, so that the other workers have all, and
goes on when the database does. The command line runs it; it has no thread.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError

from city import intake
from city.gaps import Key
from city.link import Link, Lost
from city.packets import Message
from city.store import Arrival, Quarantined, Store
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import Clock, S
from kiosk.errors import UplinkFault

EVENTS_TOPIC = f"{wire.ROOT}/+/event/+"
BATCH = 1000
"""Most events in one commit."""
GATHER_S = 0.01
"""A first message waits so long for others: they share a commit, and what a statement costs."""
TURN_S = 0.5
"""Longest wait for a message; also how soon the end is noticed."""
AGAIN_S = 1.0
"""Between two attempts to have a broker and a database."""
GAPS_EVERY_S = 5.0

_DOWN = (OperationalError, InterfaceError, InternalError)
"""What a database says that is down, restarting, full or read-only; anything else is a mistake of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One event that came in, and whether it was new."""

    arrival: Arrival
    new: bool


class Ingest:
    """One worker.

    Args:
        broker: where from.
        store: where to.
        clock: for the time of receipt.
        on_ready: told when the broker has confirmed the subscription.
        on_stored: told of each event after its commit.
        on_trouble: told one sentence about a message, a connection or a database that is no good.
        client_id: several workers need several.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        clock: Clock,
        *,
        on_ready: Callable[[], None],
        on_stored: Callable[[Stored], None] | None,
        on_trouble: Callable[[str], None],
        client_id: str = "city-ingest",
    ) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self._client_id = client_id
        self._on_ready = on_ready
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._trouble = ""
        self._touched: set[Key] = set()
        self._settled: set[Key] = set()
        self._looked_ns = 0

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        again = True
        while not stopped(0):
            try:
                self._store.check()
                if again:
                    self._read_again()
                    again = False
                self._serve(stopped)
            except (Lost, UplinkFault) as lost:
                self._say(str(lost))
            except _DOWN as error:
                self._say(f"the database cannot be used ({_first_line(error)}); trying again")
            if stopped(AGAIN_S):
                return

    def _serve(self, stopped: Callable[[float], bool]) -> None:
        link = Link(self._broker, client_id=self._client_id, topic=self._store.shared(EVENTS_TOPIC), clock=self._clock)
        try:
            self._trouble = ""
            self._on_ready()
            while not stopped(0):
                came = link.take(BATCH, TURN_S)
                if came:
                    stopped(GATHER_S)
                    self._settle(link, came + link.take(BATCH - len(came), 0))
                self._look_for_gaps()
        finally:
            link.close()

    def _settle(self, link: Link, came: list[Message]) -> None:
        """Commit what came, then acknowledge it to the broker and to each kiosk."""
        read = [intake.read(message.topic, message.payload) for message in came]
        good = [(message, one) for message, one in zip(came, read, strict=True) if isinstance(one, Arrival)]
        now = self._clock.now().utc
        new = {arrival.key for arrival in self._add(good, now)}
        self._set_aside([one for one in read if isinstance(one, Quarantined)], now)
        link.settle(came, self._answers(read))
        if self._on_stored:
            for _, arrival in good:
                self._on_stored(Stored(arrival=arrival, new=arrival.key in new))
                new.discard(arrival.key)

    def _add(self, good: list[tuple[Message, Arrival]], now: datetime) -> list[Arrival]:
        """Commit them; what the database itself does not take is set aside, and does not stop its neighbours."""
        try:
            return self._store.add([arrival for _, arrival in good], now)
        except (DataError, IntegrityError):
            if len(good) == 1:
                ((message, _),) = good
                why = "the database does not take it"
                self._set_aside([intake.quarantined(message.topic, message.payload, why)], now)
                return []
            half = len(good) // 2
            return self._add(good[:half], now) + self._add(good[half:], now)

    def _set_aside(self, odd: list[Quarantined], now: datetime) -> None:
        for one in self._store.set_aside(odd, now):
            self._on_trouble(f"{one.topic[:80]}: kept unread: {one.why}")

    def _answers(self, read: Iterable[Arrival | Quarantined]) -> Iterable[tuple[str, bytes]]:
        by_ledger: dict[Key, list[int]] = {}
        for one in read:
            if one.sequence:
                by_ledger.setdefault((one.device, one.ledger), []).append(one.sequence)
        self._touched.update(by_ledger)
        for (device, ledger), sequences in by_ledger.items():
            said = {"ledger": ledger, "sequences": sequences}  # a `wire.Acknowledgement`, whose checks it has passed
            yield wire.acknowledgement_topic(device), json.dumps(said).encode()

    def _look_for_gaps(self) -> None:
        """In what came at least one turn ago: by then what belongs between it has come to the other workers too."""
        now = self._clock.now()
        if now.monotonic_ns - self._looked_ns > GAPS_EVERY_S * S:
            if self._store.look_for_gaps(self._settled, now.utc - timedelta(seconds=GAPS_EVERY_S)):
                self._settled.clear()
            self._settled |= self._touched
            self._touched.clear()
            self._looked_ns = now.monotonic_ns

    def _read_again(self) -> None:
        """An older version may have met what this one can read."""
        moved = self._store.read_again(_readable)
        if moved:
            self._on_trouble(f"{moved} events that could not be read before are stored now")

    def _say(self, trouble: str) -> None:
        """Once, however often it is tried again."""
        if trouble != self._trouble:
            self._on_trouble(trouble)
        self._trouble = trouble


def _readable(topic: str, payload: bytes) -> Arrival | None:
    read = intake.read(topic, payload)
    return read if isinstance(read, Arrival) else None


def _first_line(error: DBAPIError) -> str:
    """What the driver says; the rest may be the statement."""
    return next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
