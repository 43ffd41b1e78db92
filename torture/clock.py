"""Doors whose clock is wrong: from 1970, behind, ahead, for a day or for ever; and TLS with such a clock.

    scripts/torture clock [--boots 40] [--seed 1] [--seconds 600] [--json]

A door is switched on again and again. Its clock begins in 1970, or years behind or ahead, and is set after up to a day,
or never; it stores events all the time, on a time of its own that only this torture knows to be true. Then it comes to
the city (real outbox, uplink, mosquitto, ingest), which must have every event, in order, and say when each happened:
to the millisecond where the clock was ever set in that boot, and nothing where it was not. Last, a door in 1970 by its
broker's certificate, which is not valid yet, must say so and connect by itself once it is.
"""

import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import verdict

from city import certificates
from demo.broker import program
from demo.link import Door, Impatient, Ingesting
from demo.processes import DemoFault, Signal, Started, free_port, start_broker
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import Now, S, SystemClock
from kiosk.events import stamp
from kiosk.messages import ClockStep, Event, Fault
from kiosk.outbox import Outbox
from kiosk.outbox_file import Bounds

DAY_S = 86_400
WRONG = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2019, 4, 1, tzinfo=UTC), datetime(2038, 1, 19, tzinfo=UTC))
NEVER_SET = 0.2
"""Share of boots."""
EVENTS_A_BOOT = 12
BOUNDS = Bounds(most_days=3650)
"""What is tried is not how long an event may wait."""
TOLERANCE_S = 0.001
DRAIN_WITHIN_S = 60.0
VALID_IN_S = 3.0
BACKDATED_S = 3600
"""As `city.certificates` does."""
TLS = "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {folder}/b.pem\nkeyfile {folder}/b.key\n"


class Wandering:
    """A clock with the time it shows and the true one."""

    def __init__(self, true: datetime) -> None:
        self.true = true
        self.boot(WRONG[0])

    def boot(self, shown: datetime) -> None:
        """Switch the door on: the time since boot is 0, and UTC is what it happens to be."""
        self._boot_ns, self._error, self._trusted = 0, shown - self.true, False

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.true += timedelta(microseconds=round(seconds * 1e6))
        self._boot_ns += round(seconds * 1e6) * 1000

    def set(self) -> int:
        """Somebody tells the time; by how many milliseconds it jumps."""
        jump, self._error, self._trusted = -self._error, timedelta(), True
        return round(jump / timedelta(milliseconds=1))

    def now(self) -> Now:
        """What the door sees."""
        return Now(monotonic_ns=self._boot_ns, utc=self.true + self._error, utc_trusted=self._trusted)


@dataclass(frozen=True, slots=True)
class Happened:
    """What really happened: when, and whether anybody can ever tell."""

    true: datetime
    known: bool


def live(folder: Path, clock: Wandering, boot: int, random: Random) -> list[Happened]:
    """One boot, from switching on to switching off."""
    clock.boot(random.choice(WRONG) + timedelta(seconds=random.uniform(0, DAY_S)))
    is_set = random.random() >= NEVER_SET
    times = sorted(random.uniform(1, DAY_S) for _ in range(EVENTS_A_BOOT))
    set_at = random.uniform(0.0, times[-1]) if is_set else float("inf")
    origin = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id=f"boot-{boot}")
    box = Outbox(
        folder / "door-01.sqlite3", origin, on_health=print, on_change=lambda: None, bounds=BOUNDS, clock=clock
    )
    happened, passed_s = [], 0.0
    events: list[Event] = []
    for at in sorted([*times, set_at] if is_set else times):
        clock.advance(at - passed_s)
        passed_s = at
        jumped_ms = clock.set() if at == set_at else None
        now = clock.now()
        detail = str(boot * 1000 + len(events))
        events.append(
            Fault(**stamp(now), stage="camera", recovered=False, detail=detail)
            if jumped_ms is None
            else ClockStep(**stamp(now), step_ms=jumped_ms)
        )
        happened.append(Happened(clock.true, is_set))
        box.append([events[-1]])
    box.close()
    box.write(lambda: None)
    clock.advance(random.uniform(1, 600))
    return happened


def judge(ingesting: Ingesting, ledger: str, happened: list[Happened]) -> tuple[dict[str, Any], list[str]]:
    """Hold what the city says against what was true; a sequence is the place in the list."""
    kept = {one.sequence: one for one in ingesting.store.events("door-01") if one.ledger == ledger}
    lost = [number for number in range(1, len(happened) + 1) if number not in kept]
    wrong, guessed, off_s = 0, 0, [0.0]
    numbers = [int(kept[at].body["detail"]) for at in sorted(kept) if "detail" in kept[at].body]
    for sequence, true in enumerate(happened, 1):
        told = kept[sequence].corrected if sequence in kept else None
        if told and not true.known:
            guessed += 1
        elif told:
            off_s.append(abs((told - true.true).total_seconds()))
        elif true.known and sequence in kept:
            wrong += 1
    figures = {
        "events": len(happened),
        "stored": len(kept),
        "lost": len(lost),
        "out_of_order": sum(a >= b for a, b in pairwise(numbers)),
        "corrected": len(off_s) - 1,
        "off_ms_at_most": round(max(off_s) * 1000, 3),
        "unknown": sum(not one.known for one in happened),
        "guessed": guessed,
    }
    faults = [f"{name}: {figures[name]}" for name in ("lost", "out_of_order", "guessed") if figures[name]]
    if wrong:
        faults.append(f"not corrected: {wrong}")
    if max(off_s) > TOLERANCE_S:
        faults.append(f"corrected wrongly, by {max(off_s)} s")
    return figures, faults


def wander(folder: Path, boots: int, seconds: int, random: Random) -> tuple[dict[str, Any], list[str]]:
    """Live, come to the city, and be judged."""
    clock, happened, done = Wandering(SystemClock().now().utc - timedelta(days=boots + 1)), list[Happened](), 0
    for boot in verdict.bounded(range(boots), boots, seconds, "boots"):
        happened += live(folder, clock, boot, random)
        done += 1
    with ExitStack() as stack:
        port = free_port()
        start_broker(folder, port, stack)
        broker = Broker(host="127.0.0.1", port=port, tls=False)
        ingesting = stack.enter_context(Ingesting(folder, broker))
        ingesting.ready.wait(10.0)
        jitter = Impatient(random.random())
        door = stack.enter_context(Door(folder, [broker], clock=SystemClock(), random=jitter, bounds=BOUNDS))
        wait(lambda: not door.outbox.waiting, DRAIN_WITHIN_S)
        figures, faults = judge(ingesting, door.outbox.ledger, happened)
    if done < boots:
        faults.append("the time was over first")
    return {"boots": done, **figures}, faults


def wait(condition: Any, within_s: float) -> bool:  # noqa: ANN401 - whatever can be asked
    """Whether it came true in time."""
    clock, pause = SystemClock(), threading.Event()
    deadline_ns = clock.now().monotonic_ns + round(within_s * S)
    while not (true := condition()) and clock.now().monotonic_ns < deadline_ns:
        pause.wait(0.02)
    return bool(true)


def be_early(folder: Path, random: Random) -> tuple[dict[str, Any], list[str]]:
    """Connect to a broker whose certificate begins shortly, as every certificate does for a door in 1970."""
    now, faults = SystemClock().now().utc, list[str]()
    authority = certificates.new_authority("city", now, timedelta(days=9))
    (folder / "ca.pem").write_bytes(certificates.certificate_pem(authority.certificate))
    begins = now + timedelta(seconds=VALID_IN_S + BACKDATED_S)
    certificate, key = certificates.new_server(authority, ["127.0.0.1"], begins, timedelta(days=1))
    (folder / "b.pem").write_bytes(certificate)
    (folder / "b.key").write_bytes(key)
    port, running = free_port(), Signal(" running")
    settings = folder / "tls.conf"
    settings.write_text(TLS.format(port=port, folder=folder), encoding="utf-8")
    with ExitStack() as stack:
        broker = Started("mosquitto", [program(), "-c", settings], folder / "tls.log", running)
        stack.callback(broker.stop)
        running.wait_for(broker)
        login = Broker(host="127.0.0.1", port=port, tls=True, ca_file=str(folder / "ca.pem"))
        jitter = Impatient(random.random())
        door = stack.enter_context(Door(folder, [login], device="door-02", clock=SystemClock(), random=jitter))
        connected = wait(door.online.is_set, 30.0)
        said = sorted({trouble.partition(": ")[2] for trouble in door.troubles})
    if not connected:
        faults.append("it has not connected by itself")
    if len(said) != 1 or not said[0].startswith("its certificate is not valid yet by this door's clock"):
        faults.append(f"it said {said}")
    return {"too_early_attempts": len(door.troubles), "then_connected": connected}, faults


def main() -> int:
    """Wander, and say."""
    parser = verdict.parser("clock", __doc__, seconds=600)
    parser.add_argument("--boots", type=int, default=40, help="default: %(default)s")
    given = parser.parse_args()
    random = Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        try:
            figures, faults = wander(Path(name), given.boots, given.seconds, random)
            early, more = be_early(Path(name), random)
        except DemoFault as fault:
            print(f"clock: {fault}", file=sys.stderr)
            return verdict.UNABLE
    return verdict.tell("clock", {**figures, **early, "seed": given.seed}, [*faults, *more], as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
