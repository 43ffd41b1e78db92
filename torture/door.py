"""The real daemon killed, stopped, hung and starved, stage by stage, while people are at its door.

    scripts/torture door [--only CASE ...] [--rounds 3] [--seed 1] [--seconds 3600] [--json]

The daemon is a process of its own, with a real mosquitto, the real ingest and the real page. Camera, contacts and lines
are the torture's (haunted.py, board.py); the lines keep their levels when the process dies. What systemd does is done
by service.py, from the unit's own settings, with the real rest_lines.py. Each round strikes at a random moment while a
visitor is being let in or the alarm sounds, and lets somebody hold up a code until they are in. "right" is when page
and city see nothing wrong and somebody was let in after the last start. Figures are of the slowest round.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import verdict
from rich.table import Table
from scene import Scene

from demo.processes import DemoFault
from kiosk.clock import MS, S
from kiosk.gpio_alerts import RELAY_MARGIN_NS
from kiosk.messages import Line

LIMIT_MS = 500 + RELAY_MARGIN_NS // MS
"""[lines] relay_pulse_ms, as it is by default, and the interlock's margin."""
REST_WITHIN_MS, BACK_WITHIN_S = 100, 5.0
START_S = 60.0
BURN = "while True: pass"
LADDER_RATE = 4.0

Strike = Callable[[Scene], Callable[[], object] | None]
"""Does the harm; the answer ends it, where somebody else must."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to harm the door.

    `right_s`: the aim; None where there is none. `relay_s`: for how long a relay may be on beyond its limit, until
    somebody ends the core. `restarts`: it takes another process to be right again. `patience_s`: for how long it may
    be wrong before that is given up.
    """

    strike: Strike
    right_s: float | None = None
    relay_s: float = 0.0
    restarts: bool = True
    noticed: bool = True
    patience_s: float = 60.0


def word(said: str) -> Strike:
    """Have it done by the process itself."""
    return lambda scene: scene.service.tell(said)


def send(number: signal.Signals) -> Strike:
    """From outside."""
    return lambda scene: os.kill(scene.service.pid, number)


def no_broker(scene: Scene) -> Callable[[], object]:
    """Gone for 6 s."""
    scene.kill_broker()
    return scene.start_broker


def busy(scene: Scene) -> Callable[[], object]:
    """Two greedy processes a core, at the daemon's own priority."""
    del scene
    greedy = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(2 * (os.cpu_count() or 1))]

    def end() -> None:
        for one in greedy:
            one.kill()
            one.wait()

    return end


def no_memory(scene: Scene) -> None:
    """No page more than it has."""
    status = Path(f"/proc/{scene.service.pid}/statm").read_text(encoding="ascii")
    have = int(status.split()[0]) * resource.getpagesize()
    resource.prlimit(scene.service.pid, resource.RLIMIT_AS, (have, have))


STAGES = ("decode", "search", "inputs", "outbox", "uplink", "screen", "machine", "mirror")
CASES = {
    "kill": Case(send(signal.SIGKILL), BACK_WITHIN_S),
    "stop": Case(send(signal.SIGSTOP), relay_s=11.0),
    "core hung": Case(word("hang core"), relay_s=6.0),
    "core hung, with the lock": Case(word("lock core"), relay_s=6.0),
    "core crashed": Case(word("crash core")),
    "camera hung": Case(word("hang camera"), 30.0, restarts=False),
    "camera hung for good": Case(word("lose camera"), 30.0),
    "capture crashed": Case(word("crash capture")),
    **{f"{stage} hung": Case(word(f"hang {stage}")) for stage in STAGES},
    "uplink hung": Case(word("hang uplink"), patience_s=180.0),
    "machine hung": Case(word("hang machine"), patience_s=360.0),
    "mirror hung": Case(word("hang mirror"), restarts=False, noticed=False),  # nobody needs it, and nobody watches it
    **{f"{stage} crashed": Case(word(f"crash {stage}")) for stage in STAGES},
    "uplink crashed": Case(word("crash uplink"), 10.0, restarts=False),
    "broker dead": Case(no_broker, restarts=False, patience_s=180.0),
    "starved": Case(busy, restarts=False, noticed=False),
    "no memory": Case(no_memory),
}


def one_round(scene: Scene, case: Case, random: Random) -> tuple[dict[str, Any], list[str]]:
    """Harm it once, and look on until it is right again."""
    service, ill = scene.service, random.random() < 0.3
    service.reset_failed()
    scene.take_away()
    if not scene.until(lambda: service.since(0, "ready") and scene.right() and not scene.board.on(), START_S):
        return {}, [f"not right before: page {scene.page.now.trouble!r}, city {scene.city.now.trouble!r}"]
    scene.wait(1.0)  # who stood there has gone
    began_ns, line = scene.now_ns(), Line.BUZZER if ill else Line.ENTRY_RELAY
    scene.show(ill=ill)
    if not scene.until(lambda: line in scene.board.on(), START_S):
        return {}, ["nobody was let in before"]
    scene.wait(random.uniform(0.0, 0.4))
    struck_ns = scene.now_ns()
    mend = case.strike(scene)
    scene.show()
    if mend:
        scene.wait(6.0)
        mend()
    healed = scene.until(partial(_healed, scene, case, struck_ns), case.patience_s)
    right_ns = scene.now_ns()
    scene.take_away()
    told = _told(scene, case, began_ns, struck_ns, right_ns if healed else None)
    if not healed:
        os.kill(scene.service.pid, signal.SIGKILL)  # for the next to begin with
        scene.until(lambda: scene.service.since(right_ns, "ready"), START_S)
    return told


def _healed(scene: Scene, case: Case, struck_ns: int) -> bool:
    """Right again, after it was not."""
    ready = scene.service.since(struck_ns, "ready")
    seen = scene.page.first_trouble(struck_ns) or scene.city.first_trouble(struck_ns) or not case.noticed
    since_ns = ready[-1].at_ns if ready else struck_ns
    return bool(scene.right() and (ready or not case.restarts) and seen and scene.let_in(since_ns + 1))


def _told(
    scene: Scene, case: Case, began_ns: int, struck_ns: int, right_ns: int | None
) -> tuple[dict[str, Any], list[str]]:
    """The figures of one round, and what was not good enough."""
    scene.until(lambda: not scene.board.on(), 10.0)
    ends, ready = scene.service.since(struck_ns, "end"), scene.service.since(struck_ns, "ready")
    rested = [scene.board.rested_ns(end.at_ns) for end in ends]
    rest_ms = max([(at - end.at_ns) / MS for end, at in zip(ends, rested, strict=True) if at], default=None)
    page, told = scene.page.first_trouble(struck_ns), [at for at, _ in scene.faults if at >= struck_ns]
    state = scene.city.first_trouble(struck_ns)
    city_ns = min([*told, *([state.at_ns] if state else [])], default=None)
    figures: dict[str, Any] = {
        "relay_ms": scene.board.longest_relay_ms(began_ns),
        "ends": ",".join(end.detail for end in ends),
        "end_s": _s(ends[0].at_ns if ends else None, struck_ns),
        "rest_ms": rest_ms and round(rest_ms, 1),
        "rest_cpu_ms": max((int(one.detail) for one in scene.service.since(struck_ns, "rested")), default=None),
        "page_s": _s(page.at_ns if page else None, struck_ns),
        "city_s": _s(city_ns, struck_ns),
        "ready_s": _s(ready[-1].at_ns if ready else None, struck_ns),
        "ready_cpu_s": float(ready[-1].detail) if ready else None,
        "right_s": _s(right_ns, struck_ns),
    }
    faults = []
    if right_ns is None:
        seen = f"page {scene.page.now.trouble!r}, city {scene.city.now.trouble!r}"
        faults.append(f"not right after {case.patience_s:.0f} s: {len(ready)} starts, {seen}")
    elif case.right_s and (right_ns - struck_ns) / S > case.right_s:
        faults.append(f"right after {figures['right_s']} s, not within {case.right_s} s")
    if figures["relay_ms"] > LIMIT_MS + case.relay_s * 1000:
        faults.append(f"a relay was on for {figures['relay_ms']} ms")
    if rest_ms and rest_ms > REST_WITHIN_MS:
        faults.append(f"at rest {rest_ms:.0f} ms after the end, not within {REST_WITHIN_MS} ms")
    if scene.board.on():
        faults.append(f"still on: {', '.join(scene.board.on())}")
    return figures, faults


def _s(at_ns: int | None, since_ns: int) -> float | None:
    return None if at_ns is None else round((at_ns - since_ns) / S, 2)


def gone_for_good(folder: Path, random: Random) -> tuple[dict[str, Any], list[str]]:
    """The camera cannot be opened any more: restarts, a reboot, and then peace. The daemon's clock goes faster."""
    with ExitStack() as stack:
        scene = Scene(folder, random, stack, rate=LADDER_RATE)
        if not scene.until(lambda: scene.service.since(0, "ready"), START_S):
            return {}, ["it does not start"]
        struck_ns = scene.now_ns()
        (folder / "no-camera").touch()
        scene.service.tell("lose camera")
        rebooted = scene.until(lambda: scene.service.since(0, "reboot"), 180.0)
        ends = [end.detail for end in scene.service.since(struck_ns, "end")]
        scene.until(lambda: scene.service.happened[-1].what == "ready", START_S)
        count = len(scene.service.happened)
        scene.wait(2.5 * 60 / LADDER_RATE)
        peace = len(scene.service.happened) == count
        said = scene.page.now.trouble
        (folder / "no-camera").unlink()
        mended_ns = scene.now_ns()
        scene.show()
        scene.until(lambda: scene.let_in(mended_ns), 30.0)
        figures = {
            "ends": ",".join(ends),
            "peace": peace,
            "page": said,
            "right_s": _s(scene.let_in(mended_ns), mended_ns),
        }
    faults = [] if rebooted and ends[-1:] == ["6"] else [f"no reboot after the ends {ends}"]
    faults += [] if peace else ["no peace after the reboot"]
    faults += [] if said.startswith("out of order") else [f"the page said {said!r}"]
    return figures, faults if figures["right_s"] else [*faults, "not right once the camera was back"]


def torture(only: list[str], rounds: int, seconds: int, random: Random) -> tuple[dict[str, Any], list[str]]:
    """Every case so often."""
    figures: dict[str, Any] = {}
    faults: list[str] = []
    names = [name for name in CASES if not only or name in only]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        scene = Scene(folder, random, stack)
        turns = [each for each in names for _ in range(rounds)]
        for turn in verdict.bounded(range(len(turns)), len(turns), seconds, "strikes"):
            told, wrong = one_round(scene, CASES[turns[turn]], random)
            said = ", ".join(f"{key} {value}" for key, value in told.items())
            verdict.ERRORS.print(f"{turns[turn]}: {said} {'; '.join(wrong)}", soft_wrap=True, highlight=False)
            slowest = figures.setdefault(turns[turn], told)
            figures[turns[turn]] = max(slowest, told, key=_slowness)
            if told and slowest:
                for key in ("relay_ms", "rest_ms"):
                    figures[turns[turn]][key] = max(slowest[key] or 0, told[key] or 0) or None
            faults += [f"{turns[turn]}: {one}" for one in wrong]
    if not only or "camera gone for good" in only:
        with tempfile.TemporaryDirectory() as name:
            figures["camera gone for good"], wrong = gone_for_good(Path(name), random)
            faults += [f"camera gone for good: {one}" for one in wrong]
    return figures, faults


def _slowness(told: dict[str, Any]) -> float:
    return float(told.get("right_s") or 1e9)


def table_of(figures: dict[str, Any]) -> Table:
    """One row a case."""
    table = Table(
        title="after the strike; relay: longest on; rest: after the end; cpu: of the rest command, of the start"
    )
    heads = (
        "relay_ms",
        "ends",
        "end_s",
        "rest_ms",
        "rest_cpu_ms",
        "page_s",
        "city_s",
        "ready_s",
        "ready_cpu_s",
        "right_s",
    )
    for head in ("case", *heads):
        table.add_column(head.replace("_", " "), justify="left" if head == "case" else "right")
    for name, told in figures.items():
        table.add_row(name, *("-" if told.get(head) in (None, "") else str(told[head]) for head in heads))
    return table


def main() -> int:
    """Strike, and say."""
    parser = verdict.parser("door", __doc__, seconds=3600)
    choices = [*CASES, "camera gone for good"]
    parser.add_argument("--only", action="append", choices=choices, default=[], help="this case; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="of each case; default: %(default)s")
    given = parser.parse_args()
    try:
        figures, faults = torture(given.only, given.rounds, given.seconds, Random(given.seed))
    except DemoFault as fault:
        print(f"door: {fault}", file=sys.stderr)
        return verdict.UNABLE
    if given.json:
        return verdict.tell("door", {"cases": figures, "seed": given.seed}, faults, as_json=True)
    verdict.ERRORS.print(table_of(figures))
    return verdict.tell(
        "door", {"cases": len(figures), "rounds": given.rounds, "seed": given.seed}, faults, as_json=False
    )


if __name__ == "__main__":
    sys.exit(main())
