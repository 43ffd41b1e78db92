"""PURE. What the screen says: a view for a verdict, a state of the door, a hint. The gate decides which one counts."""

from dataclasses import replace

from kiosk.choreography import Lasting
from kiosk.messages import Credential, Direction, Hint, Reason, Refusal, Screen, Verdict, View, Wording
from kiosk.risk import Rules

SCREENS = {Lasting.FIRE: Screen.FIRE, Lasting.LOCKED: Screen.LOCKED, Lasting.OUT_OF_ORDER: Screen.OUT_OF_ORDER}
"""What lasts and has a screen of its own. An alarm keeps its verdict's; an open housing is the guard's strip's."""


def of_state(rules: Rules, direction: Direction, screen: Screen) -> View:
    """A door without anybody before it."""
    return _view(direction, screen, rules.screens[screen])


def of_hint(rules: Rules, direction: Direction, hint: Hint | None) -> View:
    """A door that asks for a code, or says how to hold it where there is a wording for that."""
    if hint and (wording := rules.hints.get(hint)):
        return replace(_view(direction, Screen.READING, wording), hint=hint)
    return of_state(rules, direction, Screen.ATTRACT)


def of_verdict(rules: Rules, verdict: Verdict, read: Credential | Refusal) -> View:
    """What somebody reads about their code; nobody's initials stand beside a word about their health."""
    screen = Screen.AT_RISK if verdict.alarm else Screen(verdict.decision.value)
    going = verdict.direction is Direction.EXIT
    wording = rules.exits[screen] if going else rules.reasons[verdict.reasons[0]].wording
    initials = read.initials if isinstance(read, Credential) and not verdict.alarm else ""
    return _view(verdict.direction, screen, wording, initials)


def of_trial_visit(rules: Rules, direction: Direction) -> View:
    """What somebody healthy reads."""
    going = direction is Direction.EXIT
    wording = rules.exits[Screen.GRANTED] if going else rules.reasons[Reason.NO_RISK].wording
    return _view(direction, Screen.GRANTED, wording)


def _view(direction: Direction, screen: Screen, wording: Wording, initials: str = "") -> View:
    return View(screen=screen, wording=wording, direction=direction, initials=initials)
