"""PURE. Which doors the city hears, and which it does not.

A birth, a heartbeat and any event are signs of life. A door is offline when its broker says so (the will), silent when
no sign of it came for `SILENT_AFTER` heartbeats though no will did. A will is believed after a while without a sign:
one of an older connection may come after the birth of the newer. When nobody at all is heard, that is one thing, and
nothing is said about any door. It reads no clock and knows no broker and no database; `city.lookout` asks it.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

SILENT_AFTER = 2.5
"""Heartbeats without a sign of life."""
NOBODY_AFTER = 1.25
"""Heartbeats in which each living door has given a sign; so if none came, it is not the doors."""
MANY = 10
"""Living doors from which on it cannot be chance that none gives a sign."""
WILL_AFTER_NS = 5_000_000_000
"""A door that comes back within this was not offline; a new connection often ends the old one."""
NEW_NS = 30_000_000_000
"""Since a birth; a will may come so late, 1.5 times the keep-alive of 15 s. One that comes by then is believed only
after `NOBODY_AFTER` heartbeats without a sign."""


class Condition(StrEnum):
    """What the city knows of a door. The last two need a person."""

    ONLINE = "online"
    OFFLINE = "offline"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A door has another condition. `since_ns` is when it began, `lasted_ns` how long the one before had lasted.

    `was` is None for a door that was not known. Silence begins with the last sign of life.
    """

    device: str
    was: Condition | None
    condition: Condition
    since_ns: int
    lasted_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nobody:
    """The city hears no door at all, or again some: the broker, or our own link. `doors` are those it waits for."""

    deaf: bool
    since_ns: int
    doors: int


Told = Change | Nobody


@dataclass(slots=True, kw_only=True)
class _Door:
    condition: Condition
    since_ns: int
    heard_ns: int
    born_ns: int | None = None
    will_ns: int | None = None


class Doors:
    """All doors. Times are nanoseconds of one clock that never steps.

    What a message costs does not depend on how many doors there are: those that live stand in the order in which they
    were last heard, which is the order in which they would fall silent.

    Args:
        beat_ns: between two heartbeats, the same at every door ([uplink] heartbeat_s).
        now_ns: from when on it listens.
    """

    def __init__(self, beat_ns: int, now_ns: int) -> None:
        self._beat_ns = beat_ns
        self._doors: dict[str, _Door] = {}
        self._living: OrderedDict[str, _Door] = OrderedDict()
        self._wills: list[tuple[int, int, str]] = []
        """When to believe it, when it came, whose."""
        self._listening_ns = now_ns
        self._newest_ns = now_ns
        self._deaf = False

    @property
    def deaf(self) -> bool:
        """Nobody is heard."""
        return self._deaf

    @property
    def known(self) -> int:
        """Doors that were ever heard of."""
        return len(self._doors)

    def condition_of(self, device: str) -> Condition | None:
        """What is known of one door."""
        return door.condition if (door := self._doors.get(device)) else None

    def times_of(self, device: str) -> tuple[int, int]:
        """Since when a known door has its condition, and when it was last heard."""
        door = self._doors[device]
        return door.since_ns, door.heard_ns

    def remember(self, device: str, condition: Condition, *, since_ns: int, heard_ns: int) -> None:
        """Take over what was known of a door before; call it in the order of `heard_ns`, before anything else."""
        self._doors[device] = door = _Door(condition=condition, since_ns=since_ns, heard_ns=heard_ns)
        if condition is Condition.ONLINE:
            self._living[device] = door

    def listens(self, now_ns: int) -> None:
        """The city's own connection is new: nobody could have been heard before, so waiting begins anew."""
        self._listening_ns = now_ns

    def lost(self, now_ns: int) -> list[Told]:
        """The city's own connection has ended, or cannot be made: nobody is heard until somebody is, whoever speaks."""
        if self._deaf:
            return []
        self._deaf = True
        return [Nobody(deaf=True, since_ns=now_ns, doors=len(self._living))]

    def heard(self, device: str, now_ns: int) -> list[Told]:
        """A heartbeat or an event came: it lives, whatever a will says."""
        told = self._hears(now_ns)
        door = self._doors.get(device)
        if door is None or door.condition is not Condition.ONLINE:
            told.append(self._changed(device, Condition.ONLINE, since_ns=now_ns, now_ns=now_ns))
            door = self._doors[device]
        door.heard_ns, door.will_ns = now_ns, None
        self._living[device] = door
        self._living.move_to_end(device)
        return told

    def born(self, device: str, now_ns: int, *, retained: bool) -> list[Told]:
        """A birth came. `retained`: the broker only remembers it, so nothing was heard; the door is waited for."""
        if not retained:
            told = self.heard(device, now_ns)
            self._doors[device].born_ns = now_ns
            return told
        told = self._hears(now_ns)
        if self.condition_of(device) in {None, Condition.OFFLINE}:
            told.append(self._changed(device, Condition.ONLINE, since_ns=now_ns, now_ns=now_ns))
            self._living[device] = door = self._doors[device]
            door.heard_ns = now_ns
        return told

    def died(self, device: str, now_ns: int, *, retained: bool) -> list[Told]:
        """A will came, or stands at the broker (`retained`)."""
        told = self._hears(now_ns)
        door = self._doors.get(device)
        if door is None or door.condition is Condition.SILENT:
            told.append(self._changed(device, Condition.OFFLINE, since_ns=now_ns, now_ns=now_ns))
        elif door.condition is Condition.ONLINE and door.will_ns is None:
            new = door.born_ns is not None and now_ns - door.born_ns < NEW_NS
            doubted = new or retained
            wait_ns = round(NOBODY_AFTER * self._beat_ns) if doubted else WILL_AFTER_NS
            door.will_ns = now_ns
            heapq.heappush(self._wills, (now_ns + wait_ns, now_ns, device))
        return told

    def elapsed(self, now_ns: int) -> list[Told]:
        """Time has gone by: which wills are believed, who has fallen silent, and whether all have."""
        told: list[Told] = []
        while self._wills and self._wills[0][0] <= now_ns:
            _, will_ns, device = heapq.heappop(self._wills)
            door = self._doors[device]
            if door.condition is Condition.ONLINE and door.will_ns == will_ns:
                told.append(self._changed(device, Condition.OFFLINE, since_ns=will_ns, now_ns=now_ns))
        quiet_since_ns = max(self._newest_ns, self._listening_ns)
        many = len(self._living) >= MANY
        if not self._deaf and many and now_ns - quiet_since_ns >= NOBODY_AFTER * self._beat_ns:
            self._deaf = True
            told.append(Nobody(deaf=True, since_ns=quiet_since_ns, doors=len(self._living)))
        if not self._deaf and now_ns - self._listening_ns >= SILENT_AFTER * self._beat_ns:
            told += self._silent(now_ns)
        return told

    def _silent(self, now_ns: int) -> list[Told]:
        told: list[Told] = []
        while self._living:
            device, door = next(iter(self._living.items()))
            if now_ns - door.heard_ns < SILENT_AFTER * self._beat_ns:
                break
            told.append(self._changed(device, Condition.SILENT, since_ns=door.heard_ns, now_ns=now_ns))
        return told

    def _hears(self, now_ns: int) -> list[Told]:
        """Somebody was heard; if nobody had been, everybody gets the whole time again."""
        since_ns, self._newest_ns = self._newest_ns, now_ns
        if not self._deaf:
            return []
        self._deaf = False
        self._listening_ns = now_ns
        return [Nobody(deaf=False, since_ns=since_ns, doors=len(self._living))]

    def _changed(self, device: str, condition: Condition, *, since_ns: int, now_ns: int) -> Change:
        door = self._doors.get(device)
        if door is None:
            self._doors[device] = _Door(condition=condition, since_ns=since_ns, heard_ns=now_ns)
            return Change(device=device, was=None, condition=condition, since_ns=since_ns, lasted_ns=0)
        lasted_ns = since_ns - door.since_ns
        change = Change(device=device, was=door.condition, condition=condition, since_ns=since_ns, lasted_ns=lasted_ns)
        door.condition, door.since_ns, door.will_ns = condition, since_ns, None
        if condition is not Condition.ONLINE:
            self._living.pop(device, None)
        return change
