"""The heartbeats of many doors, and what the city's own watch (city/doors.py) says: one falls silent, or all do.

Times are seconds of a clock of its own; what a heartbeat costs the city is the processor time of this process.
"""

import time
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
from herd import Scene, peak
from numpy.typing import NDArray

from city.doors import SILENT_AFTER, Change, Condition, Doors, Nobody, Told
from kiosk.clock import S

BEAT_S = 60.0
"""[uplink] heartbeat_s; the first comes with the connection."""
BEGINS_S, STOPS_S, ENDS_S = -60, 200, 900
"""When the city begins to listen, when doors fall silent, and when it ends."""
LOOKS_S = 1
"""The city looks so often whether time has gone by."""


class Watch:
    """The city's watch, and what it said."""

    def __init__(self) -> None:
        self._doors = Doors(round(BEAT_S * S), BEGINS_S * S)
        self.silent_s: dict[int, float] = {}
        self.nobody_s: float | None = None
        self.cpu_s = 0.0

    def listen(self, times_s: NDArray[np.float64], doors: NDArray[np.intp], away_s: tuple[float, float] | None) -> None:
        """Hear these beats, in order; the city itself has no connection while it is away."""
        names = {door: f"door-{door:05}" for door in np.unique(doors).tolist()}
        began_s, at = time.process_time(), 0
        whens_ns, whose = (times_s * S).astype(np.int64).tolist(), [names[door] for door in doors.tolist()]
        for look_s in range(BEGINS_S, ENDS_S, LOOKS_S):
            until_ns = (look_s + LOOKS_S) * S
            while at < len(whens_ns) and whens_ns[at] < until_ns:
                self._note(self._doors.heard(whose[at], whens_ns[at]), look_s)
                at += 1
            if away_s and look_s + LOOKS_S == away_s[0]:
                self._doors.lost(until_ns)
            if away_s and look_s + LOOKS_S == away_s[1]:
                self._doors.listens(until_ns)
            self._note(self._doors.elapsed(until_ns), look_s + LOOKS_S)
        self.cpu_s = time.process_time() - began_s

    def _note(self, told: list[Told], now_s: float) -> None:
        for one in told:
            if isinstance(one, Nobody) and one.deaf:
                self.nobody_s = now_s
            elif isinstance(one, Change) and one.condition is not Condition.ONLINE:
                self.silent_s[int(one.device.removeprefix("door-"))] = now_s


def beats(since_s: NDArray[np.float64], until_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """When each door beats, in order, and which it is."""
    times = [np.arange(since, until, BEAT_S) for since, until in zip(since_s, until_s, strict=True)]
    doors = np.repeat(np.arange(len(times)), [len(one) for one in times])
    whole = np.concatenate(times)
    order = np.argsort(whole, kind="stable")
    return whole[order], doors[order]


def one_and_all(doors: int, random: Random) -> tuple[dict[str, Any], list[str]]:
    """One door falls silent among the others; then all of them, while the city's own connection stands."""
    since_s = np.array([random.uniform(BEGINS_S, 0) for _ in range(doors)])
    until_s = np.full(doors, float(ENDS_S))
    until_s[0] = STOPS_S
    one, every = Watch(), Watch()
    times_s, whose = beats(since_s, until_s)
    one.listen(times_s, whose, None)
    last_s = times_s[whose == 0].max()
    every.listen(*beats(since_s, np.full(doors, float(STOPS_S))), None)
    figures: dict[str, Any] = {
        "beats_a_second": peak(times_s),
        "cpu_us_a_beat": round(one.cpu_s * 1e6 / len(times_s), 2),
        "one_silent_after_s": round(float(one.silent_s.get(0, ENDS_S) - last_s), 1),
        "false_alarms": len(one.silent_s.keys() - {0}) + len(every.silent_s),
        "all_silent_after_s": None if every.nobody_s is None else every.nobody_s - STOPS_S,
    }
    faults = []
    if one.nobody_s is not None or every.nobody_s is None:
        faults.append("heartbeats: all fell silent and it was not said, or one did and that was said")
    if figures["one_silent_after_s"] > SILENT_AFTER * BEAT_S + LOOKS_S:
        faults.append(f"heartbeats: silence was noticed after {figures['one_silent_after_s']} s")
    if figures["false_alarms"]:
        faults.append(f"heartbeats: {figures['false_alarms']} false alarms")
    return figures, faults


def return_of_all(scene: Scene, back_s: Mapping[int, float], random: Random) -> dict[str, Any]:
    """The broker ends under all, the city's own connection too; then each is heard again as it comes back."""
    doors = len(back_s)
    before_s, begun = beats(np.array([random.uniform(BEGINS_S, 0) for _ in range(doors)]), np.zeros(doors))
    whose = np.array(list(back_s))
    after_s, again = beats(np.array(list(back_s.values())), np.full(doors, float(ENDS_S)))
    watch = Watch()
    end_s = max(end for _, end in scene.outages)
    watch.listen(np.concatenate([before_s, after_s]), np.concatenate([begun, whose[again]]), (0.0, end_s + LOOKS_S))
    false = [door for door, said_s in watch.silent_s.items() if back_s[door] < said_s]
    away = len(watch.silent_s) - len(false)
    return {"beats_a_second": peak(after_s), "said_silent_while_away": away, "false_alarms": len(false)}
