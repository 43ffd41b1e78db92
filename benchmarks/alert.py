"""How long an alert takes from its hand-over at the gate to a subscriber, over TLS: real outbox, uplink and broker.

    scripts/bench alert [--alerts 500] [--seed 1] [--json]

The subscriber is somebody at the health authority who looks on, beside the ingest, which stores and acknowledges.
Check-ins come in between, as on a busy lane. The record's sync is part of it. Fails where the 99th of 100 takes 250 ms.
"""

import argparse
import json
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from random import Random

import paho.mqtt.client as mqtt
from drain import alert, check_in
from link_city import percentile, start_city_broker
from paho.mqtt.enums import CallbackAPIVersion

from demo.link import Door, Impatient, Ingesting
from kiosk import wire
from kiosk.broker import Broker, tls_context
from kiosk.clock import MS, Clock, SystemClock

AIM_MS = 250.0
APART_S = (0.005, 0.06)
"""Between two alerts: far more of them than any door has."""
CHECK_INS = 3
"""Between two alerts."""


class Watch:
    """Hears alerts, and notes when."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self.at_ns: dict[int, int] = {}
        self.ready = threading.Event()
        self._clock = clock
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.tls_set_context(tls_context(broker))
        client.on_message = self._came
        client.on_subscribe = lambda *_: self.ready.set()
        client.connect(broker.host, broker.port)
        client.subscribe(f"{wire.ROOT}/+/event/alert", qos=1)
        client.loop_start()

    def close(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    def _came(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        now_ns = self._clock.now().monotonic_ns
        received = wire.decode_event(message.topic, bytes(message.payload))
        assert isinstance(received, wire.Received)
        self.at_ns.setdefault(received.stored.sequence, now_ns)


def measure(folder: Path, alerts: int, random: Random) -> list[float]:
    """Milliseconds of each alert."""
    clock, pause, handed = SystemClock(), threading.Event(), dict[int, int]()
    with ExitStack() as stack:
        broker = start_city_broker(folder, stack)
        ingest = stack.enter_context(Ingesting(folder, broker))
        watch = Watch(broker, clock)
        stack.callback(watch.close)
        door = stack.enter_context(Door(folder, [broker], clock=clock, random=Impatient(random.random())))
        for ready in (ingest.ready, watch.ready, door.online):
            assert ready.wait(10.0)
        for number in range(alerts):
            for _ in range(CHECK_INS):
                door.outbox.append([check_in(number)])
            pause.wait(random.uniform(*APART_S))
            at_ns = clock.now().monotonic_ns
            receipt = door.outbox.append([alert(number), check_in(number)])
            assert receipt.wait(30.0)
            handed[receipt.sequences[0]] = at_ns
        for _ in range(3000):
            if len(watch.at_ns) == alerts:
                break
            pause.wait(0.01)
    return [(watch.at_ns[sequence] - at_ns) / MS for sequence, at_ns in handed.items() if sequence in watch.at_ns]


def main() -> int:
    """Measure, and say."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench alert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alerts", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        took_ms = measure(Path(name), given.alerts, Random(given.seed))  # noqa: S311 - seeded, not secret
    figures: dict[str, float] = {"alerts": given.alerts, "heard": len(took_ms)}
    figures |= {f"p{share:.0%}"[:-1] + "_ms": round(percentile(took_ms, share), 1) for share in (0.5, 0.9, 0.99)}
    figures["longest_ms"] = round(max(took_ms), 1)
    good = len(took_ms) == given.alerts and figures["p99_ms"] < AIM_MS
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
    print(json.dumps({"passed": good, **figures}) if given.json else f"alert: {'passed' if good else 'FAILED'}: {said}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
