"""[lines] and [inputs]: what a technician may wire, and what is refused."""

from typing import get_args

import pytest
from pydantic import ValidationError

from kiosk.messages import InputLine, Line
from kiosk.settings import (
    DEBOUNCE_MS,
    Contact,
    InputName,
    InputSettings,
    LineName,
    LineSettings,
    Settings,
)


def said_of(text: dict[str, dict[str, object]]) -> list[str]:
    """What is refused, and where."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(text)
    return [".".join(map(str, item["loc"])) + ": " + item["msg"] for item in caught.value.errors()]


def test_the_configuration_names_every_line_and_input_there_is() -> None:
    """A line that the firmware can drive or sense is one that a technician can fit."""
    assert get_args(LineName) == tuple(Line)
    assert get_args(InputName) == tuple(InputLine)
    assert set(InputLine) <= set(InputSettings.model_fields)
    assert set(Line) <= set(LineSettings.model_fields)


def test_without_a_word_about_inputs_a_door_has_none() -> None:
    """A configuration from before there were inputs means what it meant."""
    settings = Settings.model_validate({"lines": {"green": 5}})
    assert settings.inputs.contacts() == {}
    assert settings.lines.gpios()[Line.GREEN] == 5
    assert Line.SPARE_1 not in settings.lines.gpios()


def test_an_input_is_wired_as_its_kind_mostly_is_unless_it_is_named() -> None:
    """A passage contact closes to speak; a fire contact opens, so that a broken wire is a fire."""
    inputs = InputSettings(entry_passage=5, fire=6, tamper=13, pull={"tamper": "none"}, debounce_ms={"fire": 50})
    assert inputs.contacts() == {
        InputLine.ENTRY_PASSAGE: Contact(gpio=5, active_high=False, pull="up", debounce_ms=DEBOUNCE_MS),
        InputLine.FIRE: Contact(gpio=6, active_high=True, pull="up", debounce_ms=50),
        InputLine.TAMPER: Contact(gpio=13, active_high=True, pull="none", debounce_ms=DEBOUNCE_MS),
    }


FIRE_SAYS = "inputs: Value error, fire: a broken wire must count as fire"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"inputs": {"fire": 5, "tamper": 5}}, "inputs: Value error, GPIO 5 is used by fire and tamper: give each"),
        (
            {"inputs": {"fire": 24}},
            ": Value error, GPIO 24 is used by lines.entry_relay and inputs.fire: give each of them its own",
        ),
        ({"lines": {"spare_1": 17}}, "lines: Value error, GPIO 17 is used by green and spare_1: give each line its"),
        ({"lines": {"exit_relay": 3}}, "lines: Value error, exit_relay: the board pulls GPIO 2 and 3 up"),
        ({"inputs": {"tamper": 2, "pull": {"tamper": "none"}}}, "inputs: Value error, pull: the board pulls GPIO 2"),
        ({"inputs": {"fire": 5, "active_high": []}}, FIRE_SAYS),
        ({"inputs": {"fire": 5, "pull": {"fire": "none"}}}, FIRE_SAYS),
        ({"inputs": {"debounce_ms": {"fire": 400}}}, "inputs.debounce_ms.fire: Input should be less than or equal to"),
        ({"inputs": {"pull": {"fier": "up"}}}, "inputs.pull.fier.[key]: Input should be 'entry_passage'"),
        ({"lines": {"hold": ["green"]}}, "lines.hold.0: Input should be 'entry_relay' or 'exit_relay'"),
    ],
)
def test_what_could_not_work_or_not_safely_is_refused(text: dict[str, dict[str, object]], said: str) -> None:
    """The sentence names the section, the lines and what to do."""
    (sentence,) = said_of(text)
    assert sentence.startswith(said)


def test_a_fire_contact_may_also_hold_its_input_high() -> None:
    """Between the GPIO and 3.3 V, pulled down: broken is low, and low is a fire."""
    inputs = InputSettings(fire=5, active_high=[], pull={"fire": "down"})
    assert inputs.contacts()[InputLine.FIRE] == Contact(gpio=5, active_high=False, pull="down", debounce_ms=30)


def test_a_held_relay_is_on_for_the_holding_time() -> None:
    """Only the one that is named; the other gives its pulse."""
    lines = LineSettings(hold=["exit_relay"], relay_hold_ms=4000, relay_pulse_ms=300)
    assert [lines.relay_ms(relay) for relay in (Line.ENTRY_RELAY, Line.EXIT_RELAY)] == [300, 4000]
