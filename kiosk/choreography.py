"""PURE. A verdict becomes lights, sounds and a relay pulse.

The table below is the whole of it. Every pulse has its end beside its start, so an actuation ends at rest by
construction. It decides no verdict and drives no line; the gate calls it, the interlock checks the outcome.
"""

from kiosk.clock import MS
from kiosk.messages import RELAYS, Actuation, Decision, Direction, Line, LineChange, Verdict

Pulse = tuple[Line, int, int]
"""A line, on from the first to the second number of milliseconds after the start."""

GRANTED: tuple[Pulse, ...] = ((Line.GREEN, 0, 2500), (Line.BUZZER, 0, 120))
HELD: tuple[Pulse, ...] = ((Line.AMBER, 0, 3000), (Line.BUZZER, 0, 120), (Line.BUZZER, 240, 360))
DENIED: tuple[Pulse, ...] = ((Line.RED, 0, 3000), (Line.BUZZER, 0, 500))
ALARM: tuple[Pulse, ...] = (
    (Line.RED, 0, 4000),
    *((Line.BUZZER, start, start + 400) for start in range(0, 3600, 600)),
)
OUT_OF_ORDER: tuple[Pulse, ...] = ((Line.AMBER, 0, 1000),)

TAMPER: tuple[Pulse, ...] = ((Line.RED, 0, 1000),)
FIRE = {Direction.ENTRY: ((Line.RED, 0, 1000),), Direction.EXIT: ((Line.GREEN, 0, 1000),)}
"""No sound: the building's own alarm must be heard. Red: nobody comes in here; green: this is a way out."""

BLINK_EVERY_NS = 2000 * MS
"""What lasts blinks, half on and half off: half a hertz, far below the 3 Hz that harms."""
ALARM_NS = 4000 * MS
ALARM_EVERY_NS = 6000 * MS
"""An alarm that nobody has acknowledged sounds again so often."""

RELAY_REST_MS = 450
"""Between two releases of one turnstile: the 200 ms that the interlock asks for, and the 250 ms by which it lets the
end of a pulse be late on a busy machine. Any less, and a grant may meet the interlock and open nothing."""

_BUSY_MS = {Decision.HELD: 1000, Decision.DENIED: 1000}
_ALARM_BUSY_MS = 3000


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
    if verdict.alarm:
        return _ALARM_BUSY_MS
    return _BUSY_MS.get(verdict.decision, relay_pulse_ms + RELAY_REST_MS)


def opening(direction: Direction, relay_pulse_ms: int, *, alarm: bool) -> Actuation:
    """One opening without a code; the other relay gives way first, and a siren that sounds goes on."""
    other = next(relay for way, relay in RELAYS.items() if way is not direction)
    pulses = ((RELAYS[direction], 0, relay_pulse_ms), *(ALARM if alarm else GRANTED))
    return Actuation(changes=(LineChange(after_ms=0, line=other, on=False), *changes_of(pulses)), grant=direction)


def halt(*, alarm: bool) -> Actuation:
    """Both relays to rest; a siren that sounds goes on."""
    at_rest = tuple(LineChange(after_ms=0, line=relay, on=False) for relay in RELAYS.values())
    return Actuation(changes=(*at_rest, *(changes_of(ALARM) if alarm else ())))


def alarm() -> Actuation:
    """The alarm once more, without a relay."""
    return Actuation(changes=changes_of(ALARM))


def quiet() -> Actuation:
    """Lights and sounds end; a relay's pulse goes on to its own end."""
    return Actuation(changes=())


def tamper() -> Actuation:
    """One blink of red, for an open housing."""
    return Actuation(changes=changes_of(TAMPER))


def fire(direction: Direction) -> Actuation:
    """One blink, for a door that has been released."""
    return Actuation(changes=changes_of(FIRE[direction]))


def out_of_order() -> Actuation:
    """One blink of amber, for a door one of whose stages is down."""
    return Actuation(changes=changes_of(OUT_OF_ORDER))


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
