"""`kiosk doctor`, `status` and `logs` as processes; what docs/operations.md shows is what they print."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kiosk.choreography import Lasting
from kiosk.cli import main
from kiosk.messages import AlertState, Reason, Screen
from scripts import make_operations
from tests.builders import REPOSITORY
from tests.doctor_cases import CASES, door, examined
from tests.mosquitto import PROGRAM, free_port
from tests.process.test_daemon import Run

PAGE = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")


Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Ran:
    """The command line, in this process: its exit code, and what it printed."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed: apt-get install mosquitto")
@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_the_doctor_prints(tmp_path: Path, name: str) -> None:
    """`python scripts/make_operations.py` writes it anew."""
    with ExitStack() as stack:
        found = CASES[name](tmp_path, stack)
    assert f"<!-- {name} -->\n```text\n{found.wrong}\n```\n<!-- end -->" in PAGE
    assert found.code == 1


def test_the_page_has_the_lights_and_sounds_of_this_version() -> None:
    """As the tables of the choreography have them."""
    assert f"<!-- signals -->\n{make_operations.signals()}<!-- end -->" in PAGE


@pytest.mark.parametrize("word", [*Reason, *Screen])
def test_the_page_says_what_to_do_about_each_reason_and_screen(word: str) -> None:
    """In a row of its own or with its like."""
    assert re.search(rf"^\| [^|]*`{re.escape(word)}`", PAGE, re.MULTILINE)


def test_the_page_says_what_to_do_about_each_alert_and_what_lasts() -> None:
    """As the strip and the lights say it."""
    assert [state for state in AlertState if f"| alert {state} |" not in PAGE] == []
    assert len(Lasting) == 5  # fire, alarm, locked, tamper, out of order: each has its row of lights


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Run]]:
    """A daemon without a broker, at a port of its own, with one code before its camera for ever."""
    folder = tmp_path_factory.mktemp("running")
    port = free_port()
    config = door(folder, "port = 1\ntls = false\n")
    text = config.read_text(encoding="utf-8").replace("[screen]\nport = 0", f"[screen]\nport = {port}")
    config.write_text(text, encoding="utf-8")
    for number in range(2, 200):  # 1.5 s each
        (folder / "images" / f"{number}.png").symlink_to("1.png")
    run = Run(["-m", "kiosk", "run", "--config", str(config)], folder / "run.log")
    run.says("screen at ")
    run.says("entry denied")
    yield config, run
    run.kill()


def test_a_running_door_is_asked_and_goes_on(running: tuple[Path, Run]) -> None:
    """The doctor reads its page and its outbox; the camera and the lines stay the daemon's."""
    config, run = running
    found = examined(config, config.parent)
    told = {finding.name: f"{finding.mark}: {finding.said}" for finding in found.findings}
    assert told["door"] == "ok: runs; it is asked and not disturbed"
    assert told["lines"] == "ok: the running door has no fault of them"
    assert told["picture"] == "unknown: needs the camera; stop the door first: systemctl stop kiosk"
    assert told["broker line"] == "bad: nothing listens there"
    assert told["page"].startswith("ok: the door answers at ")
    assert "Traceback" not in run.said


def test_the_status_of_a_running_door(running: tuple[Path, Run], ran: Ran) -> None:
    """A dozen lines for people, one document for programs; nobody's initials are in either."""
    config, _ = running
    code, told, _ = ran("status", "--config", str(config))
    assert (code, [line[:10].strip() for line in told.splitlines()][:4]) == (0, ["door", "service", "city", "outbox"])
    document = json.loads(ran("status", "--json", "--config", str(config))[1])
    assert (document["running"], document["device"], document["view"]["online"]) == (True, "door-01", False)
    assert {"wording", "initials"}.isdisjoint(document["view"])


def test_the_status_of_a_door_that_does_not_run(tmp_path: Path, ran: Ran) -> None:
    """One sentence, and exit code 1."""
    config = str(door(tmp_path, "port = 1\ntls = false\n"))
    assert ran("status", "--config", config) == (1, "door door-01 does not run; start it: systemctl start kiosk\n", "")
    told = {"running": False, "device": "door-01", "held_by": "", "service": ""}
    assert json.loads(ran("status", "--json", "--config", config)[1]) == told


def test_a_mistake_in_the_configuration_is_no_finding(tmp_path: Path, ran: Ran) -> None:
    """It is told as every verb tells it, with exit code 3."""
    config = door(tmp_path, "port = 1\ntls = false\n")
    config.write_text(config.read_text(encoding="utf-8") + "hots = 1\n", encoding="utf-8")
    code, _, errors = ran("doctor", "--config", str(config))
    assert (code, "unknown key; did you mean 'host'?" in errors) == (3, True)


def test_a_saved_log_is_put_into_plain_words(running: tuple[Path, Run], ran: Ran) -> None:
    """The daemon's own lines, as systemd would have kept them."""
    config, run = running
    log = config.parent / "saved.log"
    log.write_text(run.said, encoding="utf-8")
    code, told, _ = ran("logs", "--file", str(log))
    assert code == 0
    assert "the program of door-01 has started; page http://127.0.0.1:" in told
    assert "somebody going in was not let through: unknown format" in told
    assert "warning the city's broker at 127.0.0.1:1 cannot be reached: nothing listens there" in told


def test_an_empty_log_is_said_to_be_empty(tmp_path: Path, ran: Ran) -> None:
    """With exit code 1, so that nobody takes silence for health."""
    log = tmp_path / "empty.log"
    log.touch()
    code, told, errors = ran("logs", "--file", str(log))
    assert (code, told, "has nothing" in errors) == (1, "", True)
    assert ran("logs", "--file", str(tmp_path / "gone.log"))[0] == 1
