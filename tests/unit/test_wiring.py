"""The pin table, the lines for config.txt, and the pages that hold them for the default configuration."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kiosk.messages import InputLine, Line
from kiosk.settings import NO_LINE, InputSettings, LineSettings
from kiosk.wiring import HANGS_ON, HEADER_PIN, WORKED_BY, boot_config, cautions, pin_table

ROOT = Path(__file__).parents[2]
POWER_AND_GROUND = {1, 2, 4, 6, 9, 14, 17, 20, 25, 30, 34, 39}
DRAWINGS = sorted((ROOT / "docs").glob("wiring-*.svg"))


def test_every_gpio_has_its_own_pin_and_the_rest_is_power_and_ground() -> None:
    """The header's forty pins, each once."""
    assert sorted([*HEADER_PIN, *POWER_AND_GROUND]) == list(range(1, 41))
    assert [HEADER_PIN[gpio] for gpio in (2, 17, 24, 25, 26)] == [3, 11, 18, 22, 37]


def test_every_line_and_input_says_what_is_at_its_other_end() -> None:
    """None is left to guessing."""
    assert (set(HANGS_ON), set(WORKED_BY)) == (set(Line), set(InputLine))


def test_the_table_has_a_row_for_each_line_with_level_resistor_and_control() -> None:
    """Active low means a resistor up; a relay says whether it is pulsed or held."""
    relays = LineSettings(active_low=["entry_relay"], hold=["exit_relay"])
    lines = relays.model_copy(update=dict.fromkeys(("green", "amber", "red", "buzzer"), NO_LINE))
    table = pin_table(lines, InputSettings(fire=5, tamper=13, pull={"tamper": "none"}))
    assert [", ".join(cell.strip() for cell in row.strip("|").split("|")) for row in table.splitlines()[2:]] == [
        "18, 24, entry_relay, output, low, 10 kΩ to 3.3 V, unlocks the lane inwards, pulse of 500 ms",
        "22, 25, exit_relay, output, high, 10 kΩ to ground, unlocks the lane outwards, held up to 5000 ms",
        "29, 5, fire, input, high, the Pi's own, up, fire panel's contact, second pole",
        "33, 13, tamper, input, high, outside, lid switch",
    ]


def test_the_board_holds_every_line_at_rest_and_every_input_at_its_pull() -> None:
    """In the words of the Pi's firmware."""
    lines = LineSettings(active_low=["entry_relay"])
    inputs = InputSettings(fire=5, entry_passage=6, tamper=13, pull={"tamper": "none"})
    assert boot_config(lines, inputs) == (
        "[all]\ngpio=17,22,23,25,27=op,dl\ngpio=24=op,dh\ngpio=5,6=ip,pu\ngpio=13=ip,np\ndtparam=strict_gpiod\n"
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (LineSettings(), []),
        (LineSettings(active_low=["entry_relay"]), ["entry_relay: GPIO 24 is pulled low"]),
        (LineSettings(exit_relay=7), ["exit_relay: GPIO 7 is pulled high"]),
        (LineSettings(exit_relay=7, active_low=["exit_relay"]), []),
    ],
)
def test_a_relay_that_power_on_would_switch_is_told(lines: LineSettings, said: list[str]) -> None:
    """GPIO 0 to 8 wake up high, the others low."""
    assert [caution.split(" from ")[0] for caution in cautions(lines)] == said


def test_the_page_and_the_file_are_those_of_the_default_configuration() -> None:
    """What a technician reads is what `kiosk wiring` prints."""
    page = (ROOT / "docs" / "wiring.md").read_text(encoding="utf-8")
    assert pin_table(LineSettings(), InputSettings()) in page
    file = (ROOT / "config" / "boot-config.txt").read_text(encoding="utf-8")
    text = "".join(line for line in file.splitlines(keepends=True) if not line.startswith("#"))
    assert text == boot_config(LineSettings(), InputSettings())


def test_three_kinds_of_door_are_drawn_and_the_page_shows_them() -> None:
    """Each drawing is XML with a title, and names the GPIOs that the defaults have."""
    assert [path.stem for path in DRAWINGS] == ["wiring-desk", "wiring-magnetic-lock", "wiring-tripod"]
    page = (ROOT / "docs" / "wiring.md").read_text(encoding="utf-8")
    for path in DRAWINGS:
        assert f"]({path.name})" in page
        root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
        texts = " ".join(node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text"))
        assert f"GPIO {LineSettings().green}" in texts
