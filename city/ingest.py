"""The reference subscriber: every event of every kiosk, stored once, then acknowledged to the kiosk.

It takes its share of the events (`$share/ingest/...`), so several may run side by side. An MQTT acknowledgement and
the city's own go out only after the database commit; whoever is not acknowledged sends again, and the store keeps one.
What cannot be read is reported and passed over, never stored. The command line runs it; it has no thread.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from city.store import Arrival, Store
from kiosk import wire
from kiosk.clock import Clock
from kiosk.messages import Fault

EVENTS_TOPIC = f"$share/ingest/{wire.ROOT}/+/event/+"
TURN_S = 0.5
"""Longest wait for a message; also how soon `close` is noticed."""
RECONNECT_S = 1.0


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
        self._host, self._port = host, port
        self._store = store
        self._clock = clock
        self._on_ready = on_ready
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._client_id = client_id
        self._came: list[mqtt.MQTTMessage] = []

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        while not stopped(0):
            client = self._client()
            self._came.clear()  # the broker gives again what was not acknowledged on the old connection
            try:
                client.connect(self._host, self._port, keepalive=15)
                while not stopped(0) and client.loop(TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    self._settle(client)
                client.disconnect()
            except OSError as error:
                self._on_trouble(f"cannot reach the broker at {self._host}:{self._port} ({error})")
            if stopped(RECONNECT_S):
                return

    def _settle(self, client: mqtt.Client) -> None:
        """Commit what came, then acknowledge it to the broker and to each kiosk."""
        came, self._came = self._came, []
        if not came:
            return
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
            subject=None if isinstance(happened, Fault) else happened.subject,
            body=wire.body_of(happened),
        )

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=mqtt.MQTTv5, manual_ack=True
        )
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        return client

    def _connected(
        self, client: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            self._on_trouble(f"the broker refuses the ingest: {reason}")
            return
        client.subscribe(EVENTS_TOPIC, qos=1)

    def _subscribed(
        self,
        _c: mqtt.Client,
        _u: object,
        _m: int,
        reasons: list[ReasonCode],
        _p: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._on_trouble(f"the broker refuses the subscription {EVENTS_TOPIC}: {reasons[0]}")
        else:
            self._on_ready()

    def _received(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        self._came.append(message)


def _by_kiosk(arrivals: list[Arrival]) -> dict[tuple[str, str], list[int]]:
    grouped: dict[tuple[str, str], list[int]] = {}
    for arrival in arrivals:
        grouped.setdefault((arrival.device, arrival.ledger), []).append(arrival.sequence)
    return grouped
