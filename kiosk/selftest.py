"""Walks a technician through every line of a door: each output is driven and asked about, each input is waited for.

Outputs go through the interlock, as in the daemon, so what it would refuse is refused here. It needs the lines for
itself: while the daemon holds them, claiming them is a `LineFault`. The command line calls it and gives it its
hardware, its time, and the person it asks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kiosk.clock import MS, Clock, S
from kiosk.gpio_alerts import Lines, Player, limits_for
from kiosk.interlock import Interlock
from kiosk.line_inputs import POLL_S, Inputs, InputWatch
from kiosk.messages import RELAYS, Actuation, InputLine, Line, LineChange, Sensed
from kiosk.settings import InputSettings, LineSettings
from kiosk.wiring import HANGS_ON, HEADER_PIN, WORKED_BY

LAMP_MS = 1500
SOUND_MS = 300
WAIT_NS = 30 * S
"""For a hand to work a contact."""
SETTLE_NS = 1 * S
"""For an input to say what it is at rest: more than the longest debounce."""

QUESTIONS = {
    Line.GREEN: "Did the green light shine?",
    Line.AMBER: "Did the amber light shine?",
    Line.RED: "Did the red light shine?",
    Line.BUZZER: "Did the buzzer sound?",
    Line.ENTRY_RELAY: "Could the lane be passed inwards, for a moment?",
    Line.EXIT_RELAY: "Could the lane be passed outwards, for a moment?",
    Line.SPARE_1: "Did what hangs on spare_1 work?",
    Line.SPARE_2: "Did what hangs on spare_2 work?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the walk is done with.

    `pause` waits so many seconds. `ask` puts a question and gives the answer; without it nobody is asked or waited for:
    every output is driven, every input is read.
    """

    lines: Lines
    inputs: Inputs
    clock: Clock
    pause: Callable[[float], object]
    say: Callable[[str], None]
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one line; `trouble` is empty where nothing is wrong."""

    line: Line | InputLine
    gpio: int
    done: str
    trouble: str = ""


def walk(outputs: LineSettings, inputs: InputSettings, bench: Bench) -> list[Finding]:
    """Try every line that is fitted, outputs first; they are at rest afterwards.

    Raises:
        KeyboardInterrupt: the technician leaves; the lines are at rest then too.
    """
    gpios = outputs.gpios()
    player = Player(bench.lines, frozenset(gpios), Interlock(limits_for(gpios, outputs.relay_pulse_ms)))
    try:
        findings = [_try_output(line, outputs, player, bench) for line in gpios]
    finally:
        player.rest(bench.clock.now().monotonic_ns)
    watch = InputWatch(bench.inputs, inputs.contacts())
    at_rest = _first_levels(watch, bench)
    findings += [_try_input(line, inputs, watch, at_rest[line], bench) for line in inputs.contacts()]
    return findings


def _try_output(line: Line, outputs: LineSettings, player: Player, bench: Bench) -> Finding:
    gpio = outputs.gpios()[line]
    bench.say(f"{line}, GPIO {gpio}, pin {HEADER_PIN[gpio]}: {HANGS_ON[line]}")
    if line in RELAYS.values() and bench.ask:
        bench.ask("  It opens the lane. Keep people out of it, then press Enter: ")
    trouble = _drive(line, outputs.relay_pulse_ms, player, bench)
    if not trouble and bench.ask and not bench.ask(f"  {QUESTIONS[line]} [y/n] ").strip().lower().startswith("y"):
        trouble = "the technician saw nothing; check the wire, the driver and active_low"
    return Finding(line=line, gpio=gpio, done="driven", trouble=trouble)


def _drive(line: Line, pulse_ms: int, player: Player, bench: Bench) -> str:
    """Put a line on and to rest again; the answer is what went wrong."""
    direction = next((way for way, relay in RELAYS.items() if relay is line), None)
    long_ms = pulse_ms if direction else SOUND_MS if line is Line.BUZZER else LAMP_MS
    changes = (LineChange(after_ms=0, line=line, on=True), LineChange(after_ms=long_ms, line=line, on=False))
    now_ns = bench.clock.now().monotonic_ns
    ends_ns = now_ns + long_ms * MS
    objections = player.play(Actuation(changes=changes, grant=direction), now_ns)
    while line not in player.faults and now_ns < ends_ns:
        bench.pause(max(0, min(player.deadline_ns or ends_ns, ends_ns) - now_ns) / S)
        now_ns = bench.clock.now().monotonic_ns
        objections += player.advance(now_ns)
    return player.faults.get(line, "; ".join(objections))


def _first_levels(watch: InputWatch, bench: Bench) -> dict[InputLine, Sensed]:
    """Read every input until it has said what it is when nobody works it."""
    levels: dict[InputLine, Sensed] = {}
    until_ns = bench.clock.now().monotonic_ns + SETTLE_NS
    while (now_ns := bench.clock.now().monotonic_ns) < until_ns:
        levels |= {sensed.line: sensed for sensed in watch.poll(now_ns)}
        bench.pause(POLL_S)
    return levels


def _try_input(line: InputLine, inputs: InputSettings, watch: InputWatch, at_rest: Sensed, bench: Bench) -> Finding:
    gpio = inputs.contacts()[line].gpio
    if at_rest.trouble:
        return Finding(line=line, gpio=gpio, done="read", trouble=at_rest.trouble)
    if at_rest.active:
        why = "active although nobody works it; check the contact, its cable, active_high and pull"
        return Finding(line=line, gpio=gpio, done="read", trouble=why)
    if bench.ask is None:
        return Finding(line=line, gpio=gpio, done="at rest")
    seconds = WAIT_NS // S
    bench.say(f"{line}, GPIO {gpio}, pin {HEADER_PIN[gpio]}: work the {WORKED_BY[line]}, within {seconds} s")
    until_ns = bench.clock.now().monotonic_ns + WAIT_NS
    while (now_ns := bench.clock.now().monotonic_ns) < until_ns:
        if news := [sensed for sensed in watch.poll(now_ns) if sensed.line is line and sensed.active]:
            return Finding(line=line, gpio=gpio, done="worked", trouble=news[0].trouble)
        bench.pause(POLL_S)
    return Finding(line=line, gpio=gpio, done="waited for", trouble="nothing came; check the contact and its cable")


def table(findings: list[Finding]) -> str:
    """Write what was found, a line each."""
    cells = [("line", "GPIO", "pin", "", "result")]
    cells += [(f.line, str(f.gpio), str(HEADER_PIN[f.gpio]), f.done, f.trouble or "ok") for f in findings]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join("  ".join([*map(str.ljust, row[:4], widths), row[4]]) for row in cells)
