"""Write into docs/operations.md what the lights and sounds are, and what `kiosk doctor` prints at four broken doors.

Run from the repository root, with mosquitto installed: `python scripts/make_operations.py`. Tests hold the page against
the tables of `kiosk.choreography` and against the same four doors (tests/process/test_doctor.py).
"""

import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kiosk import choreography  # noqa: E402 - the page is of this checkout
from kiosk.choreography import Pulse  # noqa: E402
from kiosk.messages import Direction, Line  # noqa: E402
from tests.doctor_cases import CASES  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"

SIGNALS: tuple[tuple[tuple[Pulse, ...], str, str, str], ...] = (
    (choreography.GRANTED, "", "come in, or goodbye", "nothing"),
    (choreography.HELD, "", "staff must decide", "look at the screen, then at the person's paper or card"),
    (choreography.DENIED, "", "this code lets nobody in", "the person reads why and shows another code"),
    (choreography.ALARM, "", "somebody at risk", "keep them here and apart, call the number on the screen"),
    (
        choreography.ESCALATED,
        "",
        "nobody at the health authority has answered an alert",
        "telephone the health authority; the strip shows how far the alert has come",
    ),
    (choreography.TAILGATING, "", "somebody went without a grant", "ask them to come back and show a code"),
    (choreography.TEST, "", "a test, ordered by the city", "nothing; who saw no light reports it"),
    (choreography.OUT_OF_ORDER, "blinks: ", "the door cannot do its work", "read the strip, then `kiosk doctor`"),
    (choreography.LOCKED, "blinks: ", "the city has closed this entrance", "send people to another entrance"),
    (choreography.TAMPER, "blinks: ", "the housing is open", "close it; nobody opens it but the technician"),
    (choreography.FIRE[Direction.ENTRY], "blinks: ", "fire, at an entrance", "everybody out; do not go in"),
    (
        choreography.FIRE[Direction.EXIT],
        "blinks: ",
        "fire, at a way out",
        "out here; after it staff hold their key for 3 s",
    ),
)
"""Of each: its table, how it shows, what it means, what to do."""


def lights(pulses: tuple[Pulse, ...]) -> str:
    """Name the lights of a table and how long each is on."""
    return ", ".join(f"{line} {(end - start) / 1000:g} s" for line, start, end in pulses if line is not Line.BUZZER)


def sounds(pulses: tuple[Pulse, ...]) -> str:
    """Say how often a table sounds, and how long each sound is."""
    long = [end - start for line, start, end in pulses if line is Line.BUZZER]
    return f"{len(long)} x {long[0] / 1000:g} s" if long else "none"


def signals() -> str:
    """Make the table of lights and sounds."""
    rows = [(how + lights(pulses), sounds(pulses), means, do) for pulses, how, means, do in SIGNALS]
    cells = [("light", "sound", "means", "what to do"), ("---",) * 4, *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def examples() -> dict[str, str]:
    """Examine the four doors."""
    told = {}
    for name, examined in CASES.items():
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            told[name] = f"```text\n{examined(Path(folder), stack).wrong}\n```\n"
    return told


def put(page: str, name: str, content: str) -> str:
    """Replace what stands between a block's two marks."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    put_in, times = re.subn(pattern, lambda found: found[1] + content + found[2], page, flags=re.DOTALL)
    if times != 1:
        raise SystemExit(f"{PAGE}: has {times} blocks {name}")
    return put_in


def main() -> None:
    """Write the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, content in ({"signals": signals()} | examples()).items():
        page = put(page, name, content)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
