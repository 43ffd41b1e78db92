"""Many doors and their broker on a clock of their own: who connects when, with the doors' real waiting.

A door that has lost its connection notices, asks its law how long to wait, tries, and asks again if that fails. Alerts
are raised at random doors. The broker refuses, is silent or takes only so many a second, as the scene has it.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kiosk.connection import CONNECT_WITHIN_S

STOOD_S = 3600.0
"""All connections had stood so long before a scene begins."""
IN_FLIGHT_S = 1.0
"""An alert raised so shortly before the broker's end has not reached the city."""


class Law(Protocol):
    """How a door waits; `kiosk.back_off.BackOff`, or a control."""

    def next_s(self, *, stood_s: float, alert: bool) -> float:
        """Seconds to wait."""

    def hurry(self) -> None:
        """An alert has been raised."""


class FullJitter:
    """Control: the usual full jitter, its ceiling doubled from 1 s to 60 s; an alert's first try is at once."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._failures = 0

    def next_s(self, *, stood_s: float, alert: bool) -> float:  # noqa: ARG002 - it is all the same to it
        """Up to a ceiling."""
        self._failures = 1 if stood_s else self._failures + 1
        return self._uniform(0.0, min(60.0, 2.0 ** min(self._failures, 10)))

    def hurry(self) -> None:
        """It does not."""


class LockStep(FullJitter):
    """Control: paho's own, which doubles from 1 s and leaves nothing to chance."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:  # noqa: ARG002 - chance has no part in it
        super().__init__(lambda _, ceiling_s: ceiling_s / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What becomes of the broker. Seconds; the doors of node k lose their connections when outage k begins."""

    about: str
    outages: tuple[tuple[float, float], ...]
    nodes: int = 1
    noticed_s: tuple[float, float] = (0.005, 0.2)
    """When after it: at once if the broker's machine still answers."""
    silent: bool = False
    """Nobody refuses an attempt; it waits for its answer in vain."""
    most_a_second: int = 1_000_000
    dark: bool = False
    """The doors have no power either, until they notice."""


@dataclass(slots=True)
class Door:
    """One door, as the world sees it."""

    law: Law
    node: int
    since_s: float = -STOOD_S
    """When it connected; only of meaning while it is connected."""
    connected: bool = True
    trying: bool = False
    turn: int = 0
    """Number of its newest plan; older ones are void."""
    lost_s: float = 0.0
    raised_s: float | None = None
    """When the oldest alert was raised that waits, or was the last to go."""


@dataclass(slots=True)
class Seen:
    """What came to the broker, and when the doors were back."""

    connects_s: list[float] = field(default_factory=list)
    refused: int = 0
    back_s: dict[int, float] = field(default_factory=dict)
    """When each door connected last."""
    away_s: list[float] = field(default_factory=list)
    """How long doors stayed away, since they lost the broker or it could be reached again, whichever was later."""
    alerts_s: list[float] = field(default_factory=list)
    """How long alerts waited at doors without a connection, likewise."""

    def peak(self) -> int:
        """Most connects in any window of 1 s."""
        return peak(np.sort(np.array(self.connects_s)))


def peak(sorted_s: NDArray[np.float64]) -> int:
    """Most of these times in any window of 1 s."""
    return int((np.searchsorted(sorted_s, sorted_s + 1.0) - np.arange(len(sorted_s))).max(initial=0))


class Herd:
    """Plays one scene."""

    def __init__(self, scene: Scene, laws: Sequence[Law], random: Random, alerts_a_second: float) -> None:
        self._scene = scene
        self._random = random
        self._doors = [Door(law, at % scene.nodes) for at, law in enumerate(laws)]
        self._plans: list[tuple[float, int, int, Callable[[float, int], None], int]] = []
        self._planned = 0
        self._away = set[int]()
        self._second, self._taken = 0, 0
        self._alerts_a_second = alerts_a_second
        self.seen = Seen()

    def play(self) -> Seen:
        """From a second before the first outage until every door is back."""
        for node, (begin_s, _) in enumerate(self._scene.outages):
            self._plan(begin_s, self._outage, node % self._scene.nodes)
        if self._alerts_a_second:
            self._plan(-IN_FLIGHT_S, self._alert, self._random.randrange(len(self._doors)))
        begun_s = max(begin_s for begin_s, _ in self._scene.outages)
        while self._plans:
            now_s, _, at, what, turn = heapq.heappop(self._plans)
            if now_s > begun_s and not self._away:
                break
            if turn in (0, self._doors[at].turn):
                what(now_s, at)
        return self.seen

    def _plan(self, at_s: float, what: Callable[[float, int], None], at: int, turn: int = 0) -> None:
        self._planned += 1
        heapq.heappush(self._plans, (at_s, self._planned, at, what, turn))

    def _outage(self, now_s: float, node: int) -> None:
        for at, door in enumerate(self._doors):
            if door.connected and door.node == node:
                self._away.add(at)
                door.lost_s = now_s
                if door.raised_s is not None and now_s - door.raised_s > IN_FLIGHT_S:
                    door.raised_s = None
                self._plan(now_s + self._random.uniform(*self._scene.noticed_s), self._notice, at)

    def _notice(self, now_s: float, at: int) -> None:
        door = self._doors[at]
        door.connected = False
        if self._scene.dark:
            door.lost_s = now_s
        self._wait(now_s, at, now_s - door.since_s)

    def _wait(self, now_s: float, at: int, stood_s: float) -> None:
        door = self._doors[at]
        door.trying = False
        door.turn += 1
        wait_s = door.law.next_s(stood_s=stood_s, alert=door.raised_s is not None)
        self._plan(now_s + wait_s, self._try, at, door.turn)

    def _try(self, now_s: float, at: int) -> None:
        self.seen.connects_s.append(now_s)
        door = self._doors[at]
        nodes = list(self._up(now_s))
        if nodes and self._takes(now_s):
            door.connected, door.node, door.since_s = True, self._random.choice(nodes), now_s
            self._away.discard(at)
            self._count(now_s, at)
        else:
            self.seen.refused += 1
            door.trying = self._scene.silent and not nodes
            self._plan(now_s + CONNECT_WITHIN_S * door.trying, self._failed, at, door.turn)

    def _failed(self, now_s: float, at: int) -> None:
        self._wait(now_s, at, 0.0)

    def _up(self, now_s: float) -> Iterator[int]:
        outages = enumerate(self._scene.outages)
        down = {number % self._scene.nodes for number, (begin_s, end_s) in outages if begin_s <= now_s < end_s}
        return (node for node in range(self._scene.nodes) if node not in down)

    def _count(self, now_s: float, at: int) -> None:
        door = self._doors[at]
        ends_s = [end_s for _, end_s in self._scene.outages if end_s <= now_s]
        reachable_s = door.lost_s if self._scene.nodes > 1 else max(ends_s)
        self.seen.back_s[at] = now_s
        self.seen.away_s.append(now_s - max(door.lost_s, reachable_s))
        if door.raised_s is not None:
            self.seen.alerts_s.append(now_s - max(door.raised_s, reachable_s))
            door.raised_s = None

    def _takes(self, now_s: float) -> bool:
        if int(now_s) != self._second:
            self._second, self._taken = int(now_s), 0
        self._taken += 1
        return self._taken <= self._scene.most_a_second

    def _alert(self, now_s: float, at: int) -> None:
        """One door raises an alert, and the next is planned."""
        wait_s = self._random.expovariate(self._alerts_a_second)
        self._plan(now_s + wait_s, self._alert, self._random.randrange(len(self._doors)))
        door = self._doors[at]
        if door.connected and self._scene.dark:
            return
        if door.connected and at not in self._away:
            door.raised_s = now_s
            return
        door.raised_s = now_s if door.raised_s is None else door.raised_s
        if not door.connected and not door.trying:
            door.law.hurry()
            door.turn += 1
            self._plan(now_s, self._try, at, door.turn)
