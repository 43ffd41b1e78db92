"""PURE. What the contacts of a door ask for: fire, staff override, request to exit, emergency stop, tamper.

It decides when a contact asks for something, once for each press, and when staff have reset a fire. What is done about
it, and whether, the gate decides; what a line does in a fire, the interlock. Passage sensors are the lane's.
"""

from collections.abc import Mapping
from enum import StrEnum

from kiosk.clock import S
from kiosk.interlock import FIRE_LAW, Fire, FireInput
from kiosk.messages import InputLine, Sensed

RESET_NS = 3 * S
"""How long staff hold their key to reset the door after a fire: nobody does that by leaning on it for a moment."""
LEANT_ON_NS = 10 * S
"""A key or button held for so long is stuck, or somebody leans on it."""

KEYS = (InputLine.STAFF_OVERRIDE, InputLine.REQUEST_TO_EXIT)


class Asked(StrEnum):
    """What contacts ask for."""

    FIRE = "fire"
    FIRE_OVER = "fire_over"
    RESET = "reset"
    OVERRIDE = "override"
    EXIT = "exit"
    STOP = "stop"


_ON_PRESS = {
    InputLine.STAFF_OVERRIDE: Asked.OVERRIDE,
    InputLine.REQUEST_TO_EXIT: Asked.EXIT,
    InputLine.EMERGENCY_STOP: Asked.STOP,
}


class Contacts:
    """The contacts of one door; one that is not fitted is never heard of."""

    def __init__(self) -> None:
        self.fire = Fire.NONE
        self._fire_ended_ns = 0
        self._heard: set[InputLine] = set()
        self._active_ns: dict[InputLine, int] = {}
        self._trouble: dict[InputLine, str] = {}
        self._leant_on: set[InputLine] = set()

    @property
    def free(self) -> bool:
        """Whether there is a fire, or was one that staff have not reset: the lane is free, and nobody is judged."""
        return self.fire is not Fire.NONE

    def is_active(self, line: InputLine) -> bool:
        """Whether a contact speaks, or cannot be believed and must be taken to."""
        return line in self._active_ns

    @property
    def deadline_ns(self) -> int | None:
        """When `elapse` will next have something to ask or to find fault with."""
        ends = [self._active_ns[key] + LEANT_ON_NS for key in KEYS if key in self._active_ns.keys() - self._leant_on]
        if (reset_ns := self._reset_ns()) is not None:
            ends.append(reset_ns)
        return min(ends, default=None)

    def sense(self, sensed: Sensed) -> list[Asked]:
        """Take what a contact says; the answer is what is new to ask for."""
        line, before, first = sensed.line, self.is_active(sensed.line), sensed.line not in self._heard
        self._heard.add(line)
        self._trouble[line] = sensed.trouble
        if sensed.active:
            self._active_ns.setdefault(line, sensed.at_ns)
        else:
            self._active_ns.pop(line, None)
            self._leant_on.discard(line)
        if sensed.active is before:
            return []
        if line is InputLine.FIRE:
            return self._fire_step(sensed)
        # A staff key that is worked when the program starts was not pressed for it.
        pressed = sensed.active and not (first and line is InputLine.STAFF_OVERRIDE)
        return [_ON_PRESS[line]] if pressed and line in _ON_PRESS else []

    def elapse(self, now_ns: int) -> list[Asked]:
        """Notice what has been held for long enough, or for too long."""
        for key in KEYS:
            if key in self._active_ns and now_ns >= self._active_ns[key] + LEANT_ON_NS:
                self._leant_on.add(key)
        reset_ns = self._reset_ns()
        if reset_ns is None or now_ns < reset_ns:
            return []
        self.fire = FIRE_LAW[self.fire, FireInput.RESET]
        return [Asked.RESET]

    def faults(self) -> Mapping[str, str]:
        """What a technician or the guard should know of each contact; empty where nothing is the matter."""
        return {line: self._trouble[line] or self._fault(line) for line in sorted(self._heard)}

    def _fire_step(self, sensed: Sensed) -> list[Asked]:
        self.fire = FIRE_LAW[self.fire, FireInput.STARTS if sensed.active else FireInput.ENDS]
        if sensed.active:
            return [Asked.FIRE]
        self._fire_ended_ns = sensed.at_ns
        return [Asked.FIRE_OVER]

    def _reset_ns(self) -> int | None:
        pressed_ns = self._active_ns.get(InputLine.STAFF_OVERRIDE)
        if self.fire is not Fire.OVER or pressed_ns is None:
            return None
        return max(pressed_ns, self._fire_ended_ns) + RESET_NS

    def _fault(self, line: InputLine) -> str:
        if line is InputLine.FIRE:
            return _FIRE_FAULTS[self.fire]
        if line in self._leant_on:
            return "held for 10 s; nothing more opens until it is let go"
        return _FAULTS.get(line, "") if self.is_active(line) else ""


_FIRE_FAULTS = {
    Fire.NONE: "",
    Fire.ALARM: "the fire alarm is on, or its wire is broken",
    Fire.OVER: "the fire alarm has ended; staff reset the door by holding their key for 3 s",
}
_FAULTS = {
    InputLine.TAMPER: "the housing is open, or the contact's wire is broken",
    InputLine.EMERGENCY_STOP: "the emergency stop is pressed, or its wire is broken",
}
