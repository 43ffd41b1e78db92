"""32,000 doors connect again after the broker's end, with the doors' own back-off: how many come a second.

    scripts/torture fleet [--only restart] [--doors 32000] [--real 4000] [--seed 1] [--control full-jitter] [--json]

Each scene is played on a clock of its own (torture/herd.py), with an alert raised somewhere in the city now and then.
Then so many real connections to a real mosquitto that is killed with signal 9 and started again, on a law scaled to the
same rate (torture/crowd.py); and a city of heartbeats in which one door falls silent, or all do (torture/hearing.py).
More than 600 connects in any second, a door that does not come back, and a false alarm are faults. The controls are
what is usual, full jitter and paho's own, and must fail.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import verdict
from crowd import PROGRAM, restart, room_for
from hearing import one_and_all, return_of_all
from herd import FullJitter, Herd, Law, LockStep, Scene
from rich.console import Console
from rich.table import Table

from kiosk.back_off import SPREAD_S, BackOff

AIM_A_SECOND = 600
CITY = 32_000
ALERTS_A_SECOND = 5.0
"""In the whole city; one of 1,000 events at the 5,000 a second it is built for."""
SCENES = {
    "restart": Scene(about="killed, back after 1 s", outages=((0, 1),)),
    "minute": Scene(about="away for a minute", outages=((0, 60),)),
    "ten-minutes": Scene(about="away for ten minutes", outages=((0, 600),)),
    "silent": Scene(
        about="silent for a minute",
        outages=((0, 60),),
        silent=True,
        noticed_s=(15, 30),
    ),
    "busy": Scene(about="killed, then takes 400 a second", outages=((0, 1),), most_a_second=400),
    "crashing": Scene(about="killed every 30 s, 4 times", outages=((0, 2), (30, 32), (60, 62), (90, 92))),
    "rolling": Scene(
        about="one of four away, in turn",
        outages=((0, 30), (60, 90), (120, 150), (180, 210)),
        nodes=4,
    ),
    "power": Scene(about="all doors boot within 20 s", outages=((0, 1),), noticed_s=(20, 40), dark=True),
}
CONTROLS: dict[str, Callable[[Callable[[float, float], float]], Law]] = {
    "full-jitter": FullJitter,
    "lock-step": LockStep,
}


def laws(control: str | None, doors: int, random: Random, spread_s: float = SPREAD_S) -> list[Law]:
    """One for each door; chance is shared, which is the same as a seed each."""
    if control:
        return [CONTROLS[control](random.uniform) for _ in range(doors)]
    return [BackOff(random.uniform, spread_s) for _ in range(doors)]


def play(scene: Scene, doors: Sequence[Law], random: Random, *, listen: bool) -> dict[str, Any]:
    """One scene's figures; `listen` for what the city says of it too."""
    seen = Herd(scene, doors, random, ALERTS_A_SECOND * len(doors) / CITY).play()
    half, most, last = (round(float(wait_s), 1) for wait_s in np.percentile(seen.away_s or [0.0], [50, 95, 100]))
    heard = return_of_all(scene, seen.back_s, random) if listen and len(scene.outages) == 1 and not scene.dark else {}
    return {
        "connects": len(seen.connects_s),
        "refused": seen.refused,
        "peak": seen.peak(),
        "half_back_s": half,
        "most_back_s": most,
        "all_back_s": last,
        "back": len(seen.back_s),
        "alerts": len(seen.alerts_s),
        "alert_waited_s": round(max(seen.alerts_s, default=0.0), 1),
        **heard,
    }


def faults_of(name: str, did: dict[str, Any], doors: int) -> list[str]:
    """What is wrong with a scene."""
    faults = []
    if did["peak"] > AIM_A_SECOND:
        faults.append(f"{name}: {did['peak']} connects in one second")
    if did["back"] != doors:
        faults.append(f"{name}: {did['back']} of {doors} doors came back")
    if did.get("false_alarms"):
        faults.append(f"{name}: the city says of {did['false_alarms']} doors that they are silent, and they are not")
    return faults


def table(figures: dict[str, dict[str, Any]]) -> Table:
    """The scenes, a line each."""
    made = Table("the broker", caption="seconds since a door lost the broker, or it could be reached again if later")
    for column in ("connects", "peak", "50 %", "95 %", "all back", "alert"):
        made.add_column(column, justify="right")
    for name, did in figures.items():
        about = SCENES[name].about if name in SCENES else f"{did['doors']} real connections"
        keys = ("connects", "peak", "half_back_s", "most_back_s", "all_back_s", "alert_waited_s")
        made.add_row(about, *(f"{did[key]}" if key in did else "" for key in keys))
    return made


def main() -> int:
    """Play each scene, then the real one, and say."""
    parser = verdict.parser("fleet", __doc__, seconds=600)
    parser.add_argument("--only", choices=SCENES, action="append", help="default: all of them")
    parser.add_argument("--doors", type=int, default=CITY, help="simulated; default: %(default)s")
    parser.add_argument("--real", type=int, default=4000, help="real connections, 0 for none; default: %(default)s")
    parser.add_argument("--control", choices=CONTROLS, help="another law, to see it fail")
    given = parser.parse_args()
    if given.real and (PROGRAM is None or not room_for(given.real)):
        print("fleet: --real needs mosquitto, and leave to open as many files (ulimit -Hn)", file=sys.stderr)
        return verdict.UNABLE
    names: list[str] = given.only or list(SCENES)
    figures, faults = dict[str, Any](), list[str]()
    for at in verdict.bounded(range(len(names)), len(names), given.seconds, "scenes"):
        random = Random(given.seed)
        doors = laws(given.control, given.doors, random)
        figures[names[at]] = play(SCENES[names[at]], doors, random, listen=not given.control)
        faults += faults_of(names[at], figures[names[at]], given.doors)
    if len(figures) < len(names):
        faults.append("the time was over first")
    if given.real:
        random, spread_s = Random(given.seed), SPREAD_S * given.real / CITY
        doors = laws(given.control, given.real, random, spread_s)
        figures["real"] = asyncio.run(restart(doors, random, spread_s + 1))
        faults += faults_of("real", figures["real"], given.real)
    if not given.control:
        figures["heartbeats"], deaf = one_and_all(given.doors, Random(given.seed))
        faults += deaf
    played = {name: did for name, did in figures.items() if name != "heartbeats"}
    if not given.json:
        Console().print(table(played))
        figures = {"highest_peak": max(did["peak"] for did in played.values()), **figures.get("heartbeats", {})}
    return verdict.tell("fleet", {**figures, "doors": given.doors, "seed": given.seed}, faults, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
