"""PURE. Says what hangs on which pin of the header, and how the firmware of the board holds it through boot.

`kiosk wiring` prints it for a door; docs/wiring.md and config/boot-config.txt hold it for the default configuration.
It reads the settings only: whether a wire is where it says, `kiosk selftest lines` asks the technician.
"""

from collections.abc import Iterator

from kiosk.messages import RELAYS, InputLine, Line
from kiosk.settings import InputSettings, LineSettings

HEADER_PIN = (
    *(27, 28, 3, 5, 7, 29, 31, 26, 24, 21),  # GPIO 0 to 9
    *(19, 23, 32, 33, 8, 10, 36, 11, 12, 35),
    *(38, 40, 15, 16, 18, 22, 37, 13),
)
"""Pin of the 40-pin header for each Broadcom GPIO number, on every Pi that has one."""
PULLED_UP_AT_POWER_ON = range(9)
"""GPIO 0 to 8 wake up pulled high, the others low (BCM2835 ARM Peripherals, table 6-31; the later chips the same)."""

HANGS_ON = {
    Line.GREEN: "green lamp's driver",
    Line.AMBER: "amber lamp's driver",
    Line.RED: "red lamp's driver",
    Line.BUZZER: "buzzer's driver",
    Line.ENTRY_RELAY: "unlocks the lane inwards",
    Line.EXIT_RELAY: "unlocks the lane outwards",
    Line.SPARE_1: "free",
    Line.SPARE_2: "free",
}
WORKED_BY = {
    InputLine.ENTRY_PASSAGE: "turnstile's passage contact, inwards",
    InputLine.EXIT_PASSAGE: "turnstile's passage contact, outwards",
    InputLine.FIRE: "fire panel's contact, second pole",
    InputLine.TAMPER: "lid switch",
    InputLine.STAFF_OVERRIDE: "key switch of the staff",
    InputLine.REQUEST_TO_EXIT: "exit button",
    InputLine.EMERGENCY_STOP: "emergency-stop button, second pole",
}
COLUMNS = ("pin", "GPIO", "line", "direction", "active at", "resistor", "at the other end")


def pin_table(lines: LineSettings, inputs: InputSettings) -> str:
    """Make a Markdown table of all that is fitted, in order of the header's pins."""
    rows = sorted([*_output_rows(lines), *_input_rows(inputs)], key=lambda row: int(row[0]))
    cells = [COLUMNS, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    ruler = tuple("-" * width for width in widths)
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (COLUMNS, ruler, *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in padded)


def _output_rows(lines: LineSettings) -> Iterator[tuple[str, ...]]:
    for line, gpio in lines.gpios().items():
        low = line.value in lines.active_low
        control = ""
        if line in RELAYS.values():
            held = line.value in lines.hold
            control = f", held up to {lines.relay_hold_ms} ms" if held else f", pulse of {lines.relay_pulse_ms} ms"
        if line is Line.BUZZER:
            control = f" ({lines.buzzer_kind})"
        resistor = "10 kΩ to 3.3 V" if low else "10 kΩ to ground"
        yield _row(gpio, line, "output", "low" if low else "high", resistor, HANGS_ON[line] + control)


def _input_rows(inputs: InputSettings) -> Iterator[tuple[str, ...]]:
    resistors = {"up": "the Pi's own, up", "down": "the Pi's own, down", "none": "outside"}
    for line, contact in inputs.contacts().items():
        level = "high" if contact.active_high else "low"
        yield _row(contact.gpio, line, "input", level, resistors[contact.pull], WORKED_BY[line])


def _row(gpio: int, *cells: str) -> tuple[str, ...]:
    return (str(HEADER_PIN[gpio]), str(gpio), *cells)


def boot_config(lines: LineSettings, inputs: InputSettings) -> str:
    """Make the lines for config.txt that hold every line at rest, and every input at its pull, through boot.

    The Pi's firmware obeys `gpio=`; `strict_gpiod` has the kernel make a line an input again when its program is gone.
    """
    levels = {f"op,d{'h' if low else 'l'}": _outputs(lines, low=low) for low in (False, True)}
    pulls = {"up": "pu", "down": "pd", "none": "np"}
    contacts = inputs.contacts().values()
    levels |= {f"ip,{word}": [c.gpio for c in contacts if c.pull == pull] for pull, word in pulls.items()}
    held = "".join(f"gpio={','.join(map(str, sorted(gpios)))}={word}\n" for word, gpios in levels.items() if gpios)
    return f"[all]\n{held}dtparam=strict_gpiod\n"


def _outputs(lines: LineSettings, *, low: bool) -> list[int]:
    return [gpio for line, gpio in lines.gpios().items() if (line.value in lines.active_low) is low]


def cautions(lines: LineSettings) -> list[str]:
    """Say which relays would move between power-on and the Pi's firmware, if nothing outside holds them."""
    return [
        f"{relay}: GPIO {gpio} is pulled {'high' if high else 'low'} from power-on until the firmware reads config.txt;"
        f" without the resistor the relay is on for those seconds"
        for relay, gpio in lines.gpios().items()
        if relay in RELAYS.values() and (high := gpio in PULLED_UP_AT_POWER_ON) is not (relay.value in lines.active_low)
    ]
