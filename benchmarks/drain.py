"""How fast a backlog drains over TLS, and how fast alerts pass it: real outbox, uplink, broker and ingest.

    scripts/bench drain [--events 10000] [--alerts-every 1.0] [--seed 1] [--json]

A door was offline for three days and comes back with its events, on this machine and by loopback. While they drain,
people at risk come: each alert's time is from its hand-over at the gate to the city's commit. Fails beyond 60 s, or
beyond 1 s for any alert.
"""

import argparse
import json
import sys
import tempfile
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from link_city import percentile, start_city_broker

from city.ingest import Stored
from demo.link import Door, Impatient, Ingesting
from kiosk import wire
from kiosk.clock import MS, S, SystemClock
from kiosk.messages import Alert, CheckIn, Decision, Direction, Reason, Scheme
from kiosk.outbox import Outbox

AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
WITHIN_S, ALERT_WITHIN_S = 60.0, 1.0
ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
SEALED = "A" * 200


def check_in(number: int) -> CheckIn:
    """As long as a real one, identity sealed."""
    return CheckIn(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        decision=Decision.GRANTED,
        reasons=(Reason.NO_RISK,),
        scheme=Scheme.DECLARATION,
        subject=f"{number:032x}",
        data_age_s=3600,
        city_age_s=60,
        sealed=SEALED,
    )


def alert(number: int) -> Alert:
    """Somebody at risk."""
    return Alert(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        reasons=(Reason.AT_RISK_SYMPTOM,),
        scheme=Scheme.DECLARATION,
        subject=f"{number:032x}",
        sealed=SEALED,
    )


class Heard:
    """When the city had what."""

    def __init__(self) -> None:
        self.at_ns: dict[int, int] = {}
        self.came = 0
        self.doubled = 0
        self._clock = SystemClock()

    def __call__(self, stored: Stored) -> None:
        """An event has been committed."""
        self.came += stored.new
        self.doubled += not stored.new
        if stored.new and stored.arrival.kind == "alert":
            self.at_ns[stored.arrival.sequence] = self._clock.now().monotonic_ns


def fill(folder: Path, events: int) -> None:
    """Be offline for three days."""
    box = Outbox(folder / "door-01.sqlite3", ORIGIN, on_health=print, on_change=lambda: None)
    for first in range(0, events, 100):
        box.append([check_in(number) for number in range(first, min(first + 100, events))])
    box.close()
    box.write(lambda: None)


def drain(folder: Path, events: int, every_s: float, random: Random) -> dict[str, float]:
    """Come back; the figures."""
    fill(folder, events)
    clock, heard, pause = SystemClock(), Heard(), threading.Event()
    raised: dict[int, int] = {}
    with ExitStack() as stack:
        broker = start_city_broker(folder, stack)
        ingest = stack.enter_context(Ingesting(folder, broker, on_stored=heard))
        ingest.ready.wait(10.0)
        began_ns = clock.now().monotonic_ns
        door = stack.enter_context(Door(folder, [broker], clock=clock, random=Impatient(random.random())))
        door.online.wait(10.0)
        while heard.came < events + len(raised) and clock.now().monotonic_ns - began_ns < 10 * WITHIN_S * S:
            if heard.came < events:
                at_ns = clock.now().monotonic_ns
                (sequence,) = door.store(alert(len(raised)))
                raised[sequence] = at_ns
            pause.wait(random.uniform(0.0, 2 * every_s) if heard.came < events else 0.005)
        took_s = (clock.now().monotonic_ns - began_ns) / S
    waits_ms = [(heard.at_ns[sequence] - at_ns) / MS for sequence, at_ns in raised.items() if sequence in heard.at_ns]
    return {
        "events": events,
        "alerts": len(raised),
        "stored": heard.came,
        "sent_again": heard.doubled,
        "drained_s": round(took_s, 2),
        "events_per_s": round(heard.came / took_s),
        "alert_ms_median": round(percentile(waits_ms, 0.5), 1),
        "alert_ms_longest": round(max(waits_ms), 1),
    }


def main() -> int:
    """Measure, and say."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench drain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--alerts-every", type=float, default=0.5, help="seconds, on average; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = drain(Path(name), given.events, given.alerts_every, Random(given.seed))  # noqa: S311 - seeded, not secret
    good = (
        figures["stored"] == figures["events"] + figures["alerts"]
        and figures["drained_s"] < WITHIN_S
        and figures["alert_ms_longest"] < ALERT_WITHIN_S * 1000
    )
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
    print(json.dumps({"passed": good, **figures}) if given.json else f"drain: {'passed' if good else 'FAILED'}: {said}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
