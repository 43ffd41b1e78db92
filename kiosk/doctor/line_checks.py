"""Can every line be claimed and put to rest, can every input be read, and who has them if not?"""

from typing import Any

from kiosk.clock import S
from kiosk.doctor.case import Case, programs_with
from kiosk.doctor.finding import Finding, bad, ok, parted, unknown
from kiosk.errors import LineFault
from kiosk.gpio_alerts import GpioLines
from kiosk.line_inputs import POLL_S, GpioInputs, InputWatch
from kiosk.messages import Line, Sensed
from kiosk.wiring import HEADER_PIN

SETTLE_NS = 1 * S
"""For an input to say what it is at rest: more than the longest debounce."""
HOLDERS = ("/dev/gpiochip*", "/dev/gpiomem*")
LINES_FIX = "check [lines] in kiosk.toml, and the user's group gpio; then: kiosk selftest lines"
INPUT_FIX = "check the contact, its cable, active_high and pull; then: kiosk selftest lines"


def lines(case: Case) -> list[Finding]:
    """Findings `lines` and, where contacts are fitted, `inputs`."""
    contacts = case.loaded.settings.inputs.contacts()
    names = ("lines", *(["inputs"] if contacts else []))
    if case.running:
        said = {"lines": case.running.fault("lines", "interlock"), "inputs": case.running.fault("inputs", *contacts)}
        return [
            parted(n, said[n], LINES_FIX) if said[n] else ok(n, "the running door has no fault of them") for n in names
        ]
    if case.held.by:
        taken = bad("lines", f"another kiosk program has them: {case.held.by}", "end it, or wait for its end")
        return [taken, *(unknown(name, case.busy) for name in names[1:])]
    try:
        factory = case.pin_factory()
    except LineFault as fault:
        return [parted("lines", str(fault).partition(": ")[2], LINES_FIX), *(unknown(n, "no lines") for n in names[1:])]
    try:
        return [_outputs(case, factory), *([_inputs(case, factory)] if contacts else [])]
    finally:
        factory.close()


def _outputs(case: Case, factory: Any) -> Finding:  # noqa: ANN401 - gpiozero ships no types
    settings = case.loaded.settings.lines
    active_low = frozenset(map(Line, settings.active_low))
    refused = []
    for line, gpio in settings.gpios().items():
        try:
            GpioLines({line: gpio}, active_low, factory).close()
        except LineFault as fault:
            refused.append(str(fault))
    if refused:
        return _taken("lines", "; ".join(refused), case)
    simulated = " (simulated)" if settings.pin_factory == "mock" else ""
    return ok("lines", f"{len(settings.gpios())} can be claimed, and rest{simulated}")


def _taken(name: str, refused: str, case: Case) -> Finding:
    holders = [who for pattern in HOLDERS for who in programs_with(pattern, case.root)]
    who = f"; open at {', '.join(holders)}" if holders else ""
    fix = "end that program" if holders else "find who has them: sudo kiosk doctor, or gpioinfo; or correct the number"
    return bad(name, refused + who, fix)


def _inputs(case: Case, factory: Any) -> Finding:  # noqa: ANN401 - as above
    contacts = case.loaded.settings.inputs.contacts()
    try:
        inputs = GpioInputs(contacts, factory)
    except LineFault as fault:
        return _taken("inputs", str(fault), case)
    watch = InputWatch(inputs, contacts)
    levels: dict[str, Sensed] = {}
    until_ns = case.clock.now().monotonic_ns + SETTLE_NS
    try:
        while (now_ns := case.clock.now().monotonic_ns) < until_ns:
            levels |= {sensed.line: sensed for sensed in watch.poll(now_ns)}
            case.pause(POLL_S)
    finally:
        inputs.close()
    stuck = [
        f"{name}, GPIO {contacts[s.line].gpio}, pin {_pin(contacts[s.line].gpio)}"
        for name, s in levels.items()
        if s.active
    ]
    broken = [sensed.trouble for sensed in levels.values() if sensed.trouble]
    if broken:
        return bad("inputs", "; ".join(broken), INPUT_FIX)
    if stuck:
        return bad("inputs", f"active although nobody should work it: {'; '.join(stuck)}", INPUT_FIX)
    return ok("inputs", f"{len(contacts)} can be read, and rest")


def _pin(gpio: int) -> int:
    return HEADER_PIN[gpio]
