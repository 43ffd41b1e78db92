"""The city's processes, as they are run: from a kiosk's alert to what its kiosk and the people see of it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from city.cli import main
from city.store import Arrival, Store
from kiosk import wire
from kiosk.clock import SystemClock
from kiosk.messages import Alert, Direction, Escalation, Event, Reason, Scheme, StoredEvent
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id="b")
SUBJECT = "0123456789abcdef0123456789abcdef"
ESCAPE = "\x1b"


def alert() -> Alert:
    """Of now."""
    return Alert(
        at=SystemClock().now().utc,
        utc_trusted=True,
        direction=Direction.ENTRY,
        reasons=(Reason.AT_RISK_SYMPTOM,),
        scheme=Scheme.DECLARATION,
        subject=SUBJECT,
    )


class City:
    """Processes of `city` beside one database and one broker."""

    def __init__(self, folder: Path, broker: Mosquitto, cleanup: ExitStack) -> None:
        self.database = f"sqlite:///{folder / 'city.sqlite3'}"
        self._folder, self._broker, self._cleanup = folder, broker, cleanup

    def start(self, *verbs: str) -> None:
        """Start some, and wait until all are subscribed."""
        for verb in verbs:
            self._start(*verb.split())
        said = [self.written(verb.split()[0], "err") for verb in verbs]
        until(lambda: all("subscribed" in file.read_text() for file in said), 30.0, what=f"{verbs} are subscribed")

    def written(self, verb: str, to: str = "out") -> Path:
        """What one wrote to its standard output, or to `err`."""
        return self._folder / f"{verb}.{to}"

    def _start(self, verb: str, *more: str) -> None:
        command = [sys.executable, "-m", "city", verb, "--database", self.database]
        command += ["--broker", f"127.0.0.1:{self._broker.port}", *more]
        with self.written(verb).open("wb") as out, self.written(verb, "err").open("wb") as trouble:
            process = subprocess.Popen(command, stdout=out, stderr=trouble)
        self._cleanup.callback(process.wait, 20.0)
        self._cleanup.callback(process.terminate)

    def do(self, *arguments: str) -> int:
        """Run a verb that ends."""
        return main([*arguments, "--database", self.database])


@pytest.fixture
def city(tmp_path: Path, broker: Mosquitto) -> Iterator[City]:
    """Nothing runs yet."""
    with ExitStack() as cleanup:
        yield City(tmp_path, broker, cleanup)


def lines(file: Path) -> list[dict[str, Any]]:
    """What a process has written, as values."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def news(file: Path) -> list[tuple[str, str, int]]:
    """What it has said of alerts."""
    return [(one["news"], one["by"], one["count"]) for one in lines(file) if one["notice"] == "alert"]


def test_an_alert_goes_from_its_kiosk_to_people_and_back(city: City, broker: Mosquitto) -> None:
    """Ingest, desk and watch as processes: raised, escalated, acknowledged by somebody, closed by somebody else."""
    city.start("ingest", "desk", "watch --json")
    shown = city.written("watch")
    kiosk = Ear(broker.port, wire.alert_states_topic("door-01"), wire.acknowledgement_topic("door-01"))

    def send(sequence: int, event: Event) -> None:
        stored = StoredEvent(ledger="aa", sequence=sequence, event=event)
        kiosk.say(wire.event_topic("door-01", wire.kind_of(event)), wire.encode_event(stored, ORIGIN))

    def heard_at(topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for place, payload, _ in kiosk.heard if place == topic]

    def acknowledged() -> list[int]:
        said = heard_at(wire.acknowledgement_topic("door-01"))
        return sorted({number for one in said for number in one["sequences"]})

    def told(*states: tuple[int, str]) -> bool:
        heard = [one["alerts"] for one in heard_at(wire.alert_states_topic("door-01"))]
        return bool(heard) and [(one["sequence"], one["state"]) for one in heard[-1]] == list(states)

    try:
        send(1, alert())
        send(
            2, Escalation(at=alert().at, utc_trusted=True, alert_ledger="aa", alert_sequence=1, delivered=True, count=1)
        )
        until(lambda: acknowledged() == [1, 2] and len(news(shown)) == 2)
        assert city.do("acknowledge", "door-01", "aa", "1", "--by", "Trần B") == 0
        until(lambda: told((1, "acknowledged")))
        until(lambda: len(news(shown)) == 3)
        assert city.do("close", "door-01", "aa", "1", "--by", "Lê C") == 0
        until(lambda: told((1, "closed")))
        until(lambda: len(news(shown)) == 4)
    finally:
        kiosk.close()
    assert news(shown) == [
        ("raised", "", 0),
        ("escalated", "", 1),
        ("acknowledged", "Trần B", 1),
        ("closed", "Lê C", 1),
    ]
    assert [SUBJECT in file.read_text() for file in shown.parent.glob("*.out")] == [False] * 3


def stored(city: City, sequence: int) -> None:
    """The ingest has committed an alert of now."""
    event = alert()
    arrival = Arrival(
        device="door-01",
        ledger="aa",
        sequence=sequence,
        kind="alert",
        place="place-0001",
        access_point="main",
        at=event.at,
        utc_trusted=True,
        subject=SUBJECT,
        body=wire.body_of(event),
    )
    store = Store(city.database)
    store.add([arrival], event.at)
    store.close()


def test_people_list_acknowledge_and_close_alerts(city: City, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is late is told who was first; nothing can be said of an alert that is not there."""
    stored(city, 1)
    stored(city, 2)
    done = [city.do("acknowledge", "door-01", "aa", "1", "--by", name) for name in ("Trần B", "Lê C")]
    said = capsys.readouterr().out.splitlines()
    assert (done, [line.split(" at ")[0] for line in said]) == (
        [0, 0],
        ["door-01 aa 1: acknowledged by Trần B", "door-01 aa 1: already acknowledged by Trần B"],
    )
    assert city.do("close", "door-01", "aa", "1", "--by", "Lê C") == 0
    assert city.do("close", "door-01", "aa", "3", "--by", "Lê C") == 3
    assert "there is no alert door-01 aa 3" in capsys.readouterr().err
    assert city.do("alerts", "--open", "--json") == 0
    assert [one["sequence"] for one in map(json.loads, capsys.readouterr().out.splitlines())] == [2]
    assert city.do("alerts") == 0
    table = capsys.readouterr().out
    assert (ESCAPE in table, SUBJECT in table, SUBJECT[:8] in table) == (False, False, True)
    assert [line.split()[4] for line in table.splitlines()[1:]] == ["2", "1"]


def test_somebody_without_a_name_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither somebody with one that a terminal would obey."""
    for name in ("", "  ", "a\x1b[2J", "a" * 65):
        with pytest.raises(SystemExit):
            main(["close", "door-01", "aa", "1", "--by", name])
        assert "1 to 64 printable characters" in capsys.readouterr().err


def test_watch_is_in_colour_on_a_terminal(city: City, broker: Mosquitto) -> None:
    """An alert that was in the database before it started."""
    stored(city, 1)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "city", "watch", "--database", city.database]
    command += ["--broker", f"127.0.0.1:{broker.port}"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while b"aa 1" not in seen:
            seen += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(20.0)
        os.close(ours)
    assert b"\x1b[1;37;41m" in seen
