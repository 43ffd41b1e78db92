"""The reference subscriber: every event of every kiosk, stored once, then acknowledged to the kiosk.

It takes its share of the events (`$share/ingest/...`), so several may run side by side. An MQTT acknowledgement and
the city's own go out only after the database commit; whoever is not acknowledged sends again, and the store keeps one.
What cannot be read is reported and passed over, never stored. The command line runs it; it has no thread.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import paho.mqtt.client as mqtt

from city.store import Arrival, Store
from city.worker import Worker
from kiosk import wire
from kiosk.clock import Clock
from kiosk.messages import Alert, CheckIn

EVENTS_TOPIC = f"$share/ingest/{wire.ROOT}/+/event/+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One event that came in, and whether it was new."""

    arrival: Arrival
    new: bool


class Ingest:
    """One worker.

    Args:
        host: the broker's.
        port: the broker's.
        store: where to.
        clock: for the time of receipt.
        on_ready: told when the broker has confirmed the subscription.
        on_stored: told of each event after its commit.
        on_trouble: told one sentence about a message or a connection that is no good.
        client_id: several workers need several.
    """

    def __init__(
        self,
        host: str,
        port: int,
        store: Store,
        clock: Clock,
        *,
        on_ready: Callable[[], None],
        on_stored: Callable[[Stored], None],
        on_trouble: Callable[[str], None],
        client_id: str = "city-ingest",
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._worker = Worker(
            host,
            port,
            topic=EVENTS_TOPIC,
            client_id=client_id,
            settle=self._settle,
            on_ready=on_ready,
            on_trouble=on_trouble,
        )

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        self._worker.run(stopped)

    def _settle(self, client: mqtt.Client, came: list[mqtt.MQTTMessage]) -> None:
        """Commit what came, then acknowledge it to the broker and to each kiosk."""
        arrivals = [arrival for message in came if (arrival := self._opened(message))]
        new = {arrival.key for arrival in self._store.add(arrivals, self._clock.now().utc)}
        for message in came:
            client.ack(message.mid, message.qos)
        for (device, ledger), sequences in _by_kiosk(arrivals).items():
            said = wire.Acknowledgement(ledger=ledger, sequences=sequences)
            client.publish(wire.acknowledgement_topic(device), said.model_dump_json(), qos=1)
        for arrival in arrivals:
            self._on_stored(Stored(arrival=arrival, new=arrival.key in new))
            new.discard(arrival.key)

    def _opened(self, message: mqtt.MQTTMessage) -> Arrival | None:
        received = wire.decode_event(message.topic, bytes(message.payload))
        if isinstance(received, wire.Unreadable):
            self._on_trouble(f"{message.topic}: passed over: {received.why}")
            return None
        stored, origin = received.stored, received.origin
        happened = stored.event
        return Arrival(
            **asdict(origin),
            ledger=stored.ledger,
            sequence=stored.sequence,
            kind=wire.kind_of(happened),
            at=happened.at,
            utc_trusted=happened.utc_trusted,
            subject=happened.subject if isinstance(happened, CheckIn | Alert) else None,
            body=wire.body_of(happened),
        )


def _by_kiosk(arrivals: list[Arrival]) -> dict[tuple[str, str], list[int]]:
    grouped: dict[tuple[str, str], list[int]] = {}
    for arrival in arrivals:
        grouped.setdefault((arrival.device, arrival.ledger), []).append(arrival.sequence)
    return grouped
