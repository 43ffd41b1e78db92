"""The journal in plain words."""

import json
from datetime import UTC, datetime

import pytest

from kiosk.log_words import line_of, plain, read

AT = datetime(2021, 11, 22, 1, 30, tzinfo=UTC)


def saved(message: object, **fields: str) -> str:
    """One line of `journalctl -o json`."""
    return json.dumps({"__REALTIME_TIMESTAMP": str(int(AT.timestamp()) * 1_000_000), "MESSAGE": message, **fields})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("entry granted (no_risk) declaration", "somebody going in was let through: no risk"),
        (
            "entry denied (at_risk.symptom, data_stale) declaration",
            "somebody going in was not let through: at risk: symptom, data stale",
        ),
        ("exit held (clock_untrusted) cccd", "somebody going out was held for staff: clock untrusted"),
        ("camera: works again", "the camera works again"),
        (
            "machine: hotter than 80 °C: give the housing air or shade",
            "the computer: hotter than 80 °C: give the housing air or shade",
        ),
        ("capture has crashed", "a bug ended the part 'capture'; the program starts anew. Please report it"),
        ("Started kiosk.service - Check-in kiosk at the door.", "the door is up"),
        ("Stopping kiosk.service - Check-in kiosk at the door...", "systemd stops the door"),
        (
            "kiosk.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
            "the program ended (exited, 3: the configuration has mistakes; kiosk check-config names them)",
        ),
        ("Something new", "Something new"),
    ],
)
def test_each_message_has_its_words(message: str, words: str) -> None:
    """One that is not known stays as it is."""
    assert plain(message) == words


def test_a_line_has_vietnamese_time_and_its_level() -> None:
    """The journal is in UTC and microseconds."""
    (said,) = read([saved("WARNING camera: the picture is black: uncover the lens")])
    assert line_of(said) == "2021-11-22 08:30:00 warning the camera: the picture is black: uncover the lens"


def test_systemd_s_own_lines_have_their_level_by_priority() -> None:
    """They do not begin with it."""
    (said,) = read([saved("kiosk.service: Watchdog timeout (limit 10s)!", PRIORITY="3")])
    assert (said.level, said.text) == ("error", "the program did not answer, and is ended")


def test_lines_that_are_no_journal_are_read_as_they_are() -> None:
    """Plain text, broken JSON, bytes that journalctl writes as numbers, and nothing for empty lines."""
    lines = ["INFO hello\n", "{broken", "\n", saved([104, 105]), saved(None)]
    assert [said.text for said in read(lines)] == ["hello", "{broken", "hi", ""]
