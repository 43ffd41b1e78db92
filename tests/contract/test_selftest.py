"""The walk through a door's lines, over the fakes that pass the lines' contracts, in manual time."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from city.signing import new_key, public_pem
from kiosk.cli import main
from kiosk.clock import S
from kiosk.messages import InputLine, Line
from kiosk.selftest import WAIT_NS, Bench, Finding, table, walk
from kiosk.settings import InputSettings, LineSettings
from kiosk.testing.clock import ManualClock
from kiosk.testing.lines import RecordingInputs, RecordingLines

OUTPUTS = LineSettings(amber=-1, exit_relay=-1)
INPUTS = InputSettings(fire=5, entry_passage=6)


class Door:
    """A door with a technician before it, who answers and works what they are told to."""

    def __init__(self) -> None:
        self.lines = RecordingLines(OUTPUTS.gpios())
        self.inputs = RecordingInputs(INPUTS.contacts())
        self.clock = ManualClock()
        self.said: list[str] = []
        self.answers: Callable[[str], str] = lambda _question: "y"
        self.hand_moves = True

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(max(1, int(seconds * S)))

    def say(self, text: str) -> None:
        """Hear what is to be worked, and work it."""
        self.said.append(text)
        for line in INPUTS.contacts():
            if text.startswith(f"{line},") and self.hand_moves:
                self.inputs.work(line, active=True)

    def walk(self, *, asking: bool = True) -> list[Finding]:
        """Do it."""
        return walk(
            OUTPUTS,
            INPUTS,
            Bench(
                lines=self.lines,
                inputs=self.inputs,
                clock=self.clock,
                pause=self.pause,
                say=self.say,
                ask=self.answers if asking else None,
            ),
        )


def troubles(findings: list[Finding]) -> dict[str, str]:
    """What is wrong, by line."""
    return {finding.line.value: finding.trouble for finding in findings if finding.trouble}


def test_a_good_door_has_every_output_driven_once_and_every_input_worked() -> None:
    """Each line goes on and to rest, one after another; the table says ok for all."""
    door = Door()
    findings = door.walk()
    fitted = [Line.GREEN, Line.RED, Line.BUZZER, Line.ENTRY_RELAY]
    assert door.lines.history == [(line, on) for line in fitted for on in (True, False)]
    assert troubles(findings) == {}
    assert [finding.done for finding in findings] == ["driven"] * 4 + ["worked"] * 2
    assert table(findings).splitlines()[-2:] == [
        "entry_passage  6     31   worked  ok",
        "fire           5     29   worked  ok",
    ]


def test_a_relay_opens_only_when_the_technician_says_that_nobody_is_in_the_lane() -> None:
    """The warning comes before the pulse."""
    door = Door()
    before: list[list[bool]] = []

    def answer(question: str) -> str:
        if "Keep people out" in question:
            before.append(door.lines.of(Line.ENTRY_RELAY))
        return "y"

    door.answers = answer
    door.walk()
    assert before == [[]]


def test_what_the_technician_did_not_see_is_told() -> None:
    """One dark lamp is one line of the table."""
    door = Door()
    door.answers = lambda question: "n" if "red" in question else "y"
    assert troubles(door.walk()) == {"red": "the technician saw nothing; check the wire, the driver and active_low"}


def test_an_input_that_nobody_works_is_given_up_after_its_time() -> None:
    """Half a minute each."""
    door = Door()
    door.hand_moves = False
    assert set(troubles(door.walk()).values()) == {"nothing came; check the contact and its cable"}
    assert door.clock.now().monotonic_ns > 2 * WAIT_NS


def test_a_contact_that_is_active_at_rest_is_told_and_not_waited_for() -> None:
    """As a fire loop with a broken wire is."""
    door = Door()
    door.inputs.work(InputLine.FIRE, active=True)
    assert list(troubles(door.walk())) == ["fire"]
    assert not [text for text in door.said if text.startswith("fire,")]


def test_a_driver_that_refuses_is_told_and_the_others_are_tried() -> None:
    """Lines and inputs alike."""
    door = Door()
    door.lines.failing.add(Line.GREEN)
    door.inputs.failing.add(InputLine.FIRE)
    found = troubles(door.walk())
    assert list(found) == ["green", "fire"]
    assert found["green"].startswith("lines.green: its level cannot be set")
    assert door.lines.of(Line.ENTRY_RELAY) == [True, False]


def test_without_questions_nobody_is_waited_for() -> None:
    """For a bench without a person: every output driven, every input read."""
    door = Door()
    assert [finding.done for finding in door.walk(asking=False)] == ["driven"] * 4 + ["at rest"] * 2
    assert door.clock.now().monotonic_ns < WAIT_NS


def test_a_technician_who_leaves_leaves_the_lines_at_rest() -> None:
    """Control-C in a question."""
    door = Door()

    def leave(_question: str) -> str:
        raise KeyboardInterrupt

    door.answers = leave
    with pytest.raises(KeyboardInterrupt):
        door.walk()
    assert door.lines.history == [(Line.GREEN, True), (Line.GREEN, False)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A kiosk.toml as provisioning leaves it, without hardware."""
    shipped = Path(__file__).parents[2] / "config"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "subject.key").write_bytes(bytes(32))
    (tmp_path / "keys" / "city.pem").write_bytes(public_pem(new_key()))
    shutil.copy(shipped / "rules.toml", tmp_path)
    path = tmp_path / "kiosk.toml"
    path.write_text('[lines]\npin_factory = "mock"\n[inputs]\nfire = 5\n', encoding="utf-8")
    return path


def test_a_door_whose_daemon_runs_is_not_tested(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the driver would let two programs move one line, as RPi.GPIO does."""
    with config.open("rb") as held_by_the_daemon:
        fcntl.flock(held_by_the_daemon, fcntl.LOCK_EX)
        assert main(["selftest", "lines", "--yes", "--config", str(config)]) == 4
    assert capsys.readouterr().err == (
        f"kiosk: lines: another kiosk program runs with {config}; stop it: systemctl stop kiosk\n"
    )


def test_the_wiring_of_a_door_is_printed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pins, and what its board needs."""
    assert main(["wiring", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "| 29  | 5    | fire " in printed
    assert "gpio=5=ip,pu\ndtparam=strict_gpiod\n" in printed


def test_without_hardware_there_is_nothing_to_put_to_rest(config: Path) -> None:
    """The verb is the program that systemd runs."""
    assert main(["rest-lines", "--config", str(config)]) == 0
