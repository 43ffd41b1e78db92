"""PURE. A verdict, and whatever else the door has to say, becomes lights, sounds and a relay pulse.

The tables below are the whole of it. Every pulse has its end beside its start, so an actuation ends at rest by
construction. It decides no verdict and drives no line; the gate calls it, the interlock checks the outcome.
"""

from dataclasses import replace
from enum import StrEnum

from kiosk.clock import MS
from kiosk.messages import RELAYS, Actuation, Decision, Direction, Line, LineChange, Verdict

Pulse = tuple[Line, int, int]
"""A line, on from the first to the second number of milliseconds after the start."""

GRANTED: tuple[Pulse, ...] = ((Line.GREEN, 0, 2500), (Line.BUZZER, 0, 120))
HELD: tuple[Pulse, ...] = ((Line.AMBER, 0, 3000), (Line.BUZZER, 0, 120), (Line.BUZZER, 240, 360))
DENIED: tuple[Pulse, ...] = ((Line.RED, 0, 3000), (Line.BUZZER, 0, 500))
ALARM: tuple[Pulse, ...] = (
    (Line.RED, 0, 4000),
    *((Line.BUZZER, 600 * tone, 600 * tone + 400) for tone in range(6)),
)
ESCALATED: tuple[Pulse, ...] = (
    (Line.RED, 0, 5600),
    *((Line.BUZZER, 400 * tone, 400 * tone + 300) for tone in range(14)),
)
"""An alarm that nobody at the health authority has acknowledged: longer and denser than the first. The light is steady;
flashes faster than three a second can harm (WCAG 2.3.1)."""
TAILGATING: tuple[Pulse, ...] = ((Line.AMBER, 0, 1500), (Line.BUZZER, 0, 60), (Line.BUZZER, 120, 180))
TEST: tuple[Pulse, ...] = (
    (Line.GREEN, 0, 500),
    (Line.AMBER, 500, 1000),
    (Line.RED, 1000, 1500),
    (Line.BUZZER, 1500, 1800),
)

OUT_OF_ORDER: tuple[Pulse, ...] = ((Line.AMBER, 0, 1000),)
TAMPER: tuple[Pulse, ...] = ((Line.RED, 0, 1000),)
LOCKED: tuple[Pulse, ...] = ((Line.RED, 0, 1000),)
FIRE = {Direction.ENTRY: ((Line.RED, 0, 1000),), Direction.EXIT: ((Line.GREEN, 0, 1000),)}
"""No sound: the building's own alarm must be heard. Red: nobody comes in here; green: this is a way out."""

BLINK_EVERY_NS = 2000 * MS
"""What lasts blinks, half on and half off: half a hertz, far below the 3 Hz that harms."""
ALARM_NS = 4000 * MS
ALARM_EVERY_NS = 6000 * MS
"""An alarm that staff have not acknowledged sounds again so often."""
ESCALATED_NS = 5600 * MS
TEST_NS = 1800 * MS

RELAY_REST_MS = 450
"""Between two releases of one turnstile: the 200 ms that the interlock asks for, and the 250 ms by which it lets the
end of a pulse be late on a busy machine. Any less, and a grant may meet the interlock and open nothing."""

_BUSY_MS = {Decision.HELD: 1000, Decision.DENIED: 1000}
_ALARM_BUSY_MS = 3000


class Lasting(StrEnum):
    """What a door signals again and again while it is so. The first of several counts."""

    FIRE = "fire"
    ALARM = "alarm"
    LOCKED = "locked"
    TAMPER = "tamper"
    OUT_OF_ORDER = "out_of_order"


def actuation_for(verdict: Verdict, relay_pulse_ms: int) -> Actuation:
    """Lights and sounds for a verdict, and the relay if it is a grant.

    Args:
        verdict: the decision.
        relay_pulse_ms: how long the relay is on; turnstiles ask for at least 100 (PERCo TTR manuals).
    """
    pulses = _pulses_for(verdict)
    granted = verdict.decision is Decision.GRANTED
    if granted:
        pulses = ((RELAYS[verdict.direction], 0, relay_pulse_ms), *pulses)
    return Actuation(changes=changes_of(pulses), grant=verdict.direction if granted else None)


def busy_ms(verdict: Verdict, relay_pulse_ms: int) -> int:
    """How long the door keeps to this verdict before it judges the next code."""
    own_ms = _BUSY_MS.get(verdict.decision, relay_pulse_ms + RELAY_REST_MS)
    return max(own_ms, _ALARM_BUSY_MS) if verdict.alarm else own_ms


def opening(direction: Direction, relay_pulse_ms: int, *, alarm: bool) -> Actuation:
    """One opening without a code; the other relay gives way first, and a siren that sounds goes on."""
    other = next(relay for way, relay in RELAYS.items() if way is not direction)
    pulses = ((RELAYS[direction], 0, relay_pulse_ms), *(ALARM if alarm else GRANTED))
    return Actuation(changes=(LineChange(after_ms=0, line=other, on=False), *changes_of(pulses)), grant=direction)


def halt(*, alarm: bool) -> Actuation:
    """Both relays to rest; a siren that sounds goes on."""
    at_rest = tuple(LineChange(after_ms=0, line=relay, on=False) for relay in RELAYS.values())
    return Actuation(changes=(*at_rest, *(changes_of(ALARM) if alarm else ())))


def shut(direction: Direction, *, alarm: bool) -> Actuation:
    """One relay to rest, lights out; a siren that sounds goes on."""
    at_rest = LineChange(after_ms=0, line=RELAYS[direction], on=False)
    return Actuation(changes=(at_rest, *(changes_of(ALARM) if alarm else ())))


def quiet() -> Actuation:
    """Lights and sounds end; a relay's pulse goes on to its own end."""
    return Actuation(changes=())


def signal(pulses: tuple[Pulse, ...]) -> Actuation:
    """Lights and sounds of one of the tables, without a relay."""
    return Actuation(changes=changes_of(pulses))


def lasting(what: Lasting, direction: Direction) -> Actuation:
    """One blink, or one siren, of what lasts."""
    return signal(LASTING.get(what) or FIRE[direction])


def every_ns(what: Lasting) -> int:
    """How often it is signalled."""
    return ALARM_EVERY_NS if what is Lasting.ALARM else BLINK_EVERY_NS


def without_sound(actuation: Actuation) -> Actuation:
    """The same lights and relays, the buzzer at rest."""
    return replace(actuation, changes=tuple(change for change in actuation.changes if change.line is not Line.BUZZER))


def changes_of(pulses: tuple[Pulse, ...]) -> tuple[LineChange, ...]:
    """Both edges of every pulse, in order of time."""
    edges = [
        LineChange(after_ms=at, line=line, on=on)
        for line, start, end in pulses
        for at, on in ((start, True), (end, False))
    ]
    return tuple(sorted(edges, key=lambda edge: edge.after_ms))


def _pulses_for(verdict: Verdict) -> tuple[Pulse, ...]:
    if verdict.alarm:
        return ALARM
    return {Decision.GRANTED: GRANTED, Decision.HELD: HELD, Decision.DENIED: DENIED}[verdict.decision]


LASTING = {
    Lasting.ALARM: ALARM,
    Lasting.LOCKED: LOCKED,
    Lasting.TAMPER: TAMPER,
    Lasting.OUT_OF_ORDER: OUT_OF_ORDER,
}
