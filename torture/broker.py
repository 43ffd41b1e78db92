"""The broker and the way to it fail again and again: what the doors accepted, the city has, once and in order.

    scripts/torture broker [--blows 60] [--doors 2] [--seed 1] [--seconds 3600] [--json]

Real outboxes, uplinks, mosquitto and ingest; doors store events all the time. The broker is killed, stopped with
SIGSTOP, restarted (each time empty), and refuses the doors by password and by ACL; the network, two namespaces and a
cable, is cut, half-open, slow, and cut while the broker dies; the city's acknowledgements are lost or doubled. The
doors' time runs ten times as fast, so that their timers do too. In the end the city's database must have each event
once, as it was stored, in the order of its door. Without root the blows to the network are left out, and the verdict
says so.
"""

import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import network
import verdict
from bad_broker import PASSWORD, Mosquitto
from sqlalchemy import select

from city.ingest import Ingest
from city.schema import EVENTS
from demo.link import Door, Impatient, Ingesting, QuickClock
from demo.processes import DemoFault
from kiosk.broker import Broker
from kiosk.clock import S, SystemClock
from kiosk.messages import Alert, Direction, Event, Fault, Reason
from kiosk.window import PARKED_S, WINDOW

AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
QUICKER = 10
STORE_EVERY_S = 0.03
ALERT_EVERY = 20
LOST, DOUBLED = 0.3, 0.3
"""Shares of the city's acknowledgements, while they are tampered with."""
DRAIN_WITHIN_S = 120.0
PAUSE = threading.Event()


class Tampering(Ingest):
    """Loses and doubles acknowledgements while it is told to; the events are committed all the same."""

    random = Random(0)
    on = False
    lost = doubled = 0

    def _answers(self, read: Iterable[Any]) -> Iterator[tuple[str, bytes]]:
        for topic, payload in super()._answers(read):
            luck = self.random.random() if Tampering.on else 1.0
            if luck < LOST:
                Tampering.lost += 1
                continue
            yield topic, payload
            if luck < LOST + DOUBLED:
                Tampering.doubled += 1
                yield topic, payload


class Lane:
    """What happens at one door: events all the time, each noted once it is on disk."""

    def __init__(self, door: Door, random: Random) -> None:
        self.door = door
        self.accepted: dict[int, int] = {}
        self.most_in_flight = 0
        self._random = random
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._happen)
        self._thread.start()

    def end(self) -> None:
        """No more of it."""
        self._ending.set()
        self._thread.join()

    def _happen(self) -> None:
        number = 0
        while not self._ending.wait(self._random.uniform(0.0, 2 * STORE_EVERY_S)):
            number += 1
            (sequence,) = self.door.store(event(number))
            self.accepted[sequence] = number
            in_flight = len(self.door.uplink._exchange._window._in_flight)
            self.most_in_flight = max(self.most_in_flight, in_flight)


def event(number: int) -> Event:
    """An event that tells its number; some are alerts."""
    if number % ALERT_EVERY:
        return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=str(number))
    return Alert(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        reasons=(Reason.AT_RISK_AREA,),
        scheme=None,
        subject=f"{number:032x}",
    )


def number_of(body: dict[str, Any]) -> int:
    """Read it back."""
    return int(body["detail"]) if "detail" in body else int(body["subject"], 16)


class Blows:
    """What is done to the broker and the network, each with its end."""

    def __init__(self, broker: Mosquitto, cable: network.Cable | None, clock: QuickClock, random: Random) -> None:
        self._broker, self._clock, self._random = broker, clock, random
        self.all: dict[str, Callable[[], None]] = {
            "killed": self._killed,
            "stopped": self._stopped,
            "restarted": self._restarted,
            "bad_user": self._bad_user,
            "not_authorized": self._not_authorized,
            "tampered": self._tampered,
        }
        if cable:
            self._cable = cable
            self.all |= {"cut": self._cut, "half_open": self._half_open, "slow": self._slow, "both": self._both}

    def _wait(self, least_s: float, most_s: float) -> None:
        PAUSE.wait(self._random.uniform(least_s, most_s))

    def _killed(self) -> None:
        self._broker.end(signal.SIGKILL)
        self._wait(0.0, 1.0)
        self._broker.start()

    def _stopped(self) -> None:
        self._broker.signal(signal.SIGSTOP)
        self._wait(0.2, 4.0)
        self._broker.signal(signal.SIGCONT)

    def _restarted(self) -> None:
        self._broker.end(signal.SIGTERM)
        self._broker.start()

    def _bad_user(self) -> None:
        self._broker.let_in(log_in=False)
        self._broker.end(signal.SIGKILL)
        self._broker.start()
        self._wait(1.0, 2.0)
        self._broker.let_in()
        self._broker.signal(signal.SIGHUP)

    def _not_authorized(self) -> None:
        self._broker.let_in(publish=False)
        self._broker.signal(signal.SIGHUP)
        self._wait(0.5, 2.0)
        self._broker.let_in()
        self._broker.signal(signal.SIGHUP)
        PAUSE.wait(0.5)
        self._clock.jump(PARKED_S + 1)

    def _tampered(self) -> None:
        Tampering.on = True
        self._wait(2.0, 4.0)
        Tampering.on = False

    def _cut(self) -> None:
        self._cable.cut()
        self._wait(0.2, 4.0)
        self._cable.mend()

    def _half_open(self) -> None:
        self._cable.half_open()
        self._wait(0.2, 4.0)
        self._cable.whole()

    def _slow(self) -> None:
        self._cable.slow()
        self._wait(2.0, 5.0)
        self._cable.quick()

    def _both(self) -> None:
        """The broker dies while nobody can tell: the doors hold connections to nobody."""
        self._cable.cut()
        self._broker.end(signal.SIGKILL)
        self._wait(0.2, 1.0)
        self._broker.start()
        self._wait(0.2, 1.0)
        self._cable.mend()


def compare(ingesting: Ingesting, lanes: list[Lane]) -> tuple[dict[str, int], list[str]]:
    """Hold the city's database against what the doors had on disk."""
    figures, faults = Counter[str](), list[str]()
    with ingesting.store.reading() as reading:
        columns = (EVENTS.c.device, EVENTS.c.ledger, EVENTS.c.sequence, EVENTS.c.body)
        rows = reading.execute(select(*columns).order_by(EVENTS.c.id)).all()
    for lane in lanes:
        own, others = [], Counter[int]()
        for device, ledger, sequence, body in rows:
            if device == lane.door.device and ledger == lane.door.outbox.ledger:
                others[sequence] += 1
                if sequence in lane.accepted:
                    own.append((sequence, number_of(body)))
        stored = dict(own)
        in_order = [number for _, number in sorted(own)]
        figures["accepted"] += len(lane.accepted)
        figures["stored"] += len(stored)
        figures["lost"] += len(lane.accepted.keys() - stored.keys())
        figures["doubled"] += sum(count - 1 for count in others.values())
        figures["wrong"] += sum(stored.get(sequence, number) != number for sequence, number in lane.accepted.items())
        figures["out_of_order"] += sum(a >= b for a, b in pairwise(in_order))
        figures["connections"] += lane.door.times_online
        figures["most_in_flight"] = max(figures["most_in_flight"], lane.most_in_flight)
    faults += [f"{name}: {figures[name]}" for name in ("lost", "doubled", "wrong", "out_of_order") if figures[name]]
    if figures["most_in_flight"] > WINDOW:
        faults.append(f"{figures['most_in_flight']} in flight")
    order = ("accepted", "stored", "lost", "doubled", "wrong", "out_of_order", "connections", "most_in_flight")
    return {name: figures[name] for name in order}, faults


def torture(folder: Path, blows: int, doors: int, seconds: int, random: Random) -> tuple[dict[str, Any], list[str]]:
    """Strike, drain, compare."""
    names = [f"door-{number:02}" for number in range(1, doors + 1)]
    clock, done, again = QuickClock(QUICKER), Counter[str](), Counter[bool]()
    Tampering.random = Random(random.random())
    with network.laid() as cable, ExitStack() as stack:
        host = network.CITY if cable else "127.0.0.1"
        broker = Mosquitto(folder, host, names, cable.city if cable else "")
        stack.callback(broker.end, signal.SIGKILL)

        def login(name: str) -> Broker:
            return Broker(host=host, port=broker.port, tls=False, username=name, password=PASSWORD)

        city = network.enter(cable.city) if cable else (lambda: None)
        there = network.enter(cable.doors) if cable else (lambda: None)
        ingesting = stack.enter_context(
            Ingesting(
                folder,
                login("city-ingest"),
                make=Tampering,
                before=city,
                on_stored=lambda stored: again.update([stored.new]),
            )
        )
        lanes = []
        for name in names:
            jitter = Impatient(random.random())
            door = Door(folder, [login(name)], device=name, clock=clock, random=jitter, before=there)
            lanes.append(Lane(stack.enter_context(door), Random(random.random())))
            stack.callback(lanes[-1].end)
        strokes = Blows(broker, cable, clock, random)
        kinds: list[str] = []
        for _ in verdict.bounded(range(blows), blows, seconds, "blows"):
            kinds = kinds or random.sample(sorted(strokes.all), len(strokes.all))
            kind = kinds.pop()
            strokes.all[kind]()
            done[kind] += 1
            PAUSE.wait(random.uniform(0.0, 2.0))
        for lane in lanes:
            lane.end()
        deadline_ns = SystemClock().now().monotonic_ns + round(DRAIN_WITHIN_S * S)
        while any(lane.door.outbox.waiting for lane in lanes) and SystemClock().now().monotonic_ns < deadline_ns:
            PAUSE.wait(0.1)
        waiting = sum(lane.door.outbox.waiting for lane in lanes)
        figures, faults = compare(ingesting, lanes)
    if waiting:
        faults.append(f"{waiting} events still wait after {DRAIN_WITHIN_S:.0f} s: {lanes[0].door.troubles[-1:]}")
    if sum(done.values()) < blows:
        faults.append("the time was over first")
    way = "namespaces" if cable else "loopback: no blows to the network without root"
    told = {"blows": sum(done.values()), **dict(sorted(done.items())), **figures}
    tampered = {"acknowledgements_lost": Tampering.lost, "acknowledgements_doubled": Tampering.doubled}
    return {**told, "sent_again": again[False], **tampered, "network": way}, faults


def main() -> int:
    """Strike, and say."""
    parser = verdict.parser("broker", __doc__, seconds=3600)
    parser.add_argument("--blows", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--doors", type=int, default=2, help="default: %(default)s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        try:
            figures, faults = torture(Path(name), given.blows, given.doors, given.seconds, Random(given.seed))
        except DemoFault as fault:
            print(f"broker: {fault}", file=sys.stderr)
            return verdict.UNABLE
    return verdict.tell("broker", {**figures, "seed": given.seed}, faults, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
