"""`kiosk test visitor`: nobody goes through a real daemon, a real broker and the city's real ingest."""

import io
import json
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kiosk.cli import main
from kiosk.visitor_desk import NAME
from tests.builders import REPOSITORY
from tests.doctor_cases import door
from tests.mosquitto import PROGRAM, Mosquitto
from tests.process.test_daemon import Run, read_only
from tests.waiting import until


@dataclass(frozen=True, kw_only=True)
class Told:
    """Exit code and output of one run of the verb."""

    code: int
    said: str
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Days:
    """What came of everything that was tried at one door."""

    mode: int
    stranger: bytes
    shut: Told
    opened: Told
    without_city: Told
    events: list[tuple[str, dict[str, Any]]]
    waiting: list[str]
    logs: str


def send(*words: str) -> Told:
    """Run the verb."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()) as wrong:
        code = main(["test", "visitor", *words])
    return Told(code=code, said=re.sub(r"^ *\d+ ms  ", "", said.getvalue(), flags=re.MULTILINE), wrong=wrong.getvalue())


def sent_when_there_is_time(*words: str) -> Told:
    """Again and again while the door still serves the visitor before."""
    told: list[Told] = []

    def served() -> bool:
        told.append(send(*words))
        return "somebody is being served" not in told[-1].said

    until(served, 30.0, what="the door has time")
    return told[-1]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Days]:
    """Start a door, its broker and its city; then try."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    folder = tmp_path_factory.mktemp("trial")
    database, entrance = folder / "city.sqlite3", folder / NAME
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        broker = Mosquitto(folder)
        stack.callback(broker.start().stop)
        config = door(folder, f"port = {broker.port}\ntls = false\n", covered=True)
        for number in range(2, 200):  # 1.5 s each
            (folder / "images" / f"{number}.png").symlink_to("1.png")
        patch.setenv("RUNTIME_DIRECTORY", str(folder))
        address = f"127.0.0.1:{broker.port}"
        city = Run(
            ["-m", "city", "ingest", "--broker", address, "--database", f"sqlite:///{database}"], folder / "c.log"
        )
        stack.callback(city.kill)
        daemon = Run(["-m", "kiosk", "run", "--config", str(config)], folder / "run.log")
        stack.callback(daemon.kill)
        city.says("city: subscribed")
        daemon.says("screen at ")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(10.0)
            line.connect(str(entrance))
            line.send(b"open sesame")
            stranger = line.recv(64)
        shut, opened = send(), sent_when_there_is_time("--open")
        city.kill()
        without_city = sent_when_there_is_time("--wait", "1")
        with closing(read_only(database)) as file:
            events = [(kind, json.loads(body)) for kind, body in file.execute("SELECT kind, body FROM events")]
        with closing(read_only(folder / "outbox.sqlite3")) as file:
            waiting = [kind for (kind,) in file.execute("SELECT kind FROM events ORDER BY sequence DESC LIMIT 1")]
        mode = stat.S_IMODE(entrance.stat().st_mode)
        yield Days(
            mode=mode,
            stranger=stranger,
            shut=shut,
            opened=opened,
            without_city=without_city,
            events=events,
            waiting=waiting,
            logs=daemon.said + city.said,
        )


def test_nobody_goes_as_far_as_the_city_and_the_lane_stays_shut(days: Days) -> None:
    """Each step is told when it has been taken."""
    assert (days.shut.code, days.shut.wrong) == (0, "")
    assert days.shut.said.splitlines() == [
        "the door shows green and sounds; the lane stays shut",
        "stored as event 1, as a trial",
        "the city has stored event 1",
    ]
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [line for line in days.shut.said.replace("event 1", "event 2").splitlines() if line not in page] == []


def test_the_lane_opens_only_if_it_was_asked_for(days: Days) -> None:
    """And that is recorded as every opening is."""
    assert (days.opened.code, days.opened.said.splitlines()[0]) == (
        0,
        "the door shows green and sounds; the lane opens",
    )
    assert [body["cause"] for kind, body in days.events if kind == "opening"] == ["trial"]


def test_no_check_in_is_made_of_nobody(days: Days) -> None:
    """Tracing and counts go by check-ins; trials are a kind of their own, and those that found no time say so."""
    assert {kind for kind, _ in days.events} == {"trial-visit", "opening"}
    trials = [(body["shown"], body["opened"]) for kind, body in days.events if kind == "trial-visit"]
    assert (trials[0], trials[-1]) == ((True, False), (True, True))
    assert {body["detail"] for _, body in days.events if not body.get("shown", True)} <= {
        "somebody is being served; try again"
    }


def test_the_entrance_is_for_the_door_s_user_alone(days: Days) -> None:
    """Who says something unknown gets no answer, and keeps nobody from coming next."""
    assert (days.mode, days.stranger) == (0o600, b"")


def test_without_the_city_the_verb_says_where_the_visit_waits(days: Days) -> None:
    """It goes when the city is there again."""
    assert (days.without_city.code, "it waits in the outbox" in days.without_city.wrong) == (1, True)
    assert days.waiting == ["trial-visit"]
    assert "Traceback" not in days.logs


def test_without_a_door_the_verb_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    told = send()
    assert (told.code, told.said) == (1, "")
    assert told.wrong.endswith("(No such file or directory): systemctl start kiosk, then kiosk status\n")
