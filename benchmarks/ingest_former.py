"""The ingest as it was before: paho reads, each event is a statement of its own. benchmarks/ingest.py runs it.

What it stores and when it acknowledges is the same.
"""

import argparse
import signal
import sys
import threading
from contextlib import closing
from dataclasses import asdict

import paho.mqtt.client as mqtt

from city.ingest import EVENTS_TOPIC
from city.intake import read
from city.schema import EVENTS
from city.store import Arrival, Store
from city.worker import Worker
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import SystemClock


class Former:
    """Stores what came, a row at a time in one transaction, then acknowledges."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clock = SystemClock()

    def settle(self, client: mqtt.Client, came: list[mqtt.MQTTMessage]) -> None:
        """As the former ingest did."""
        arrivals = [one for message in came if isinstance(one := read(message.topic, bytes(message.payload)), Arrival)]
        received_at = self._clock.now().utc
        with self._store.writing() as connection:
            for arrival in arrivals:
                insert = self._store.insert(EVENTS).on_conflict_do_nothing()
                connection.execute(insert.values(received_at=received_at, **asdict(arrival)))
        for message in came:
            client.ack(message.mid, message.qos)
        by_ledger: dict[tuple[str, str], list[int]] = {}
        for arrival in arrivals:
            by_ledger.setdefault((arrival.device, arrival.ledger), []).append(arrival.sequence)
        for (device, ledger), sequences in by_ledger.items():
            said = wire.Acknowledgement(ledger=ledger, sequences=sequences)
            client.publish(wire.acknowledgement_topic(device), said.model_dump_json(), qos=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--database")
    parser.add_argument("--client-id")
    parsed = parser.parse_args()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with closing(Store(parsed.database)) as store:
        Worker(
            Broker(host="127.0.0.1", port=parsed.port, tls=False),
            topic=f"$share/ingest/{EVENTS_TOPIC}",
            client_id=parsed.client_id,
            settle=Former(store).settle,
            on_ready=lambda: print("city: subscribed", file=sys.stderr, flush=True),
            on_trouble=print,
        ).run(stopping.wait)
