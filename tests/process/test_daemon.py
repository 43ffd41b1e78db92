"""The real daemon, a real mosquitto and the real ingest, each as a process: what they do to each other's failures."""

import http.client
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from city import declare, signing
from city.provision import new_secrets, provision
from kiosk.clock import S, SystemClock
from kiosk.testing.carriers import code_modules
from tests.mosquitto import PROGRAM, Mosquitto, free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
CONFIG = """rules_file = {rules}
[door]
device = "{device}"
[camera]
source = "{source}"
path = "{path}"
width = 1280
height = 720
fps = 10
[lines]
{lines}
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
[outbox]
path = "outbox.sqlite3"
[uplink]
host = "127.0.0.1"
port = {broker}
tls = false
[screen]
port = {screen}
[clock]
trust = "always"
"""
MOCK = 'pin_factory = "mock"'
SUBJECT_KEY = b"a process test's pseudonym key.."
SECRETS = new_secrets(SUBJECT_KEY)

PERSON = "Nguyen Van Xuan"
CCCD = f"048095001234||{PERSON}|01011995|Nam|1 Bach Dang, Hai Chau|01042021"
JUNK = np.random.default_rng(7).bytes(2953)
PAYLOADS: dict[str, bytes] = {
    "cccd": CCCD.encode(),
    "junk": JUNK,
    "noughts": bytes(20),
    "not-utf-8": b"\xff\xfe\xfd tieng Viet \xc3",
    "unlock": b"KIOSK:UNLOCK",
}
PRIVATE = (
    *(b"048095001234", PERSON.encode(), b"Bach Dang", b"X.Y.Z", b"N.V.X", b"KIOSK:UNLOCK", b"tieng Viet"),
    *(b"\xff\xfe\xfd", b"\\xff\\xfe", b"\0\0\0\0", b"\\x00\\x00", JUNK[:8], repr(JUNK[:8]).encode()[2:-1]),
)
"""What payloads say, also as repr writes it; none of it may be in a log or leave the door."""


def declaration(person: str) -> bytes:
    """A signed declaration of a healthy person, issued now; the pseudonym is any 32 hex digits."""
    return declare.declaration_payload(
        key=signing.load_key(SECRETS.declaration),
        sub=person.encode().hex().rjust(32, "0"),
        initials="X.Y.Z.",
        issued_at=SystemClock().now().utc,
    )


def write_code(payload: bytes, path: Path) -> None:
    """A QR code of three pixels a module, black on white."""
    modules = np.pad(code_modules(payload), 4)
    assert cv2.imwrite(str(path), np.where(modules, 0, 255).astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1))


@dataclass
class Site:
    """One door's folder: keys, configuration, outbox, and everything its daemons said."""

    folder: Path
    device: str
    source: str = "images"
    path: str = "images"
    lines: str = MOCK
    broker: int = 1
    screen: int = 0
    runs: int = 0
    said: list[Path] = field(default_factory=list)

    def prepare(self) -> None:
        """Write what provisioning would."""
        (self.folder / "images").mkdir(parents=True)
        provision(self.folder, SECRETS, SystemClock().now().utc)

    def show(self, *payloads: bytes) -> None:
        """Put these in front of the camera at the next run, and nothing else."""
        for old in (self.folder / "images").iterdir():
            old.unlink()
        for number, payload in enumerate(payloads):
            write_code(payload, self.folder / "images" / f"{number:02}.png")

    def run(self, stack: ExitStack) -> "Run":
        """Start the daemon."""
        config = self.folder / "kiosk.toml"
        shown = {name: getattr(self, name) for name in ("device", "source", "path", "lines", "broker", "screen")}
        config.write_text(CONFIG.format(rules=json.dumps(str(ROOT / "config" / "rules.toml")), **shown), "utf-8")
        self.runs += 1
        self.said.append(self.folder / f"stderr-{self.runs}.log")
        run = Run(["-m", "kiosk", "run", "--config", str(config)], self.said[-1])
        stack.callback(run.kill)
        return run

    def outbox(self) -> list[int]:
        """Sequences that wait, read by another connection; none before there is a file."""
        with suppress(sqlite3.OperationalError), closing(read_only(self.folder / "outbox.sqlite3")) as file:
            return [row[0] for row in file.execute("SELECT sequence FROM events WHERE NOT acknowledged")]
        return []

    def accepted(self) -> int:
        """How many events it has ever accepted."""
        with closing(read_only(self.folder / "outbox.sqlite3")) as file:
            return int(file.execute("SELECT max(sequence) FROM events").fetchone()[0])


class Run:
    """One process of ours."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=errors, cwd=ROOT
            )

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return self._log.read_text("utf-8")

    def says(self, text: str, within_s: float = 20.0) -> str:
        """Wait for a line that holds this; the answer is the line."""
        until(lambda: text in self.said or self._process.poll() is not None, within_s, what=text)
        return next(line for line in self.said.splitlines() if text in line)

    def view(self) -> dict[str, Any]:
        """What the page shows."""
        host = self.says("screen at ").rpartition("http://")[2].rstrip("/")
        with closing(http.client.HTTPConnection(host, timeout=5.0)) as line:
            line.request("GET", "/view")
            body = line.getresponse().read()
        view: dict[str, Any] = json.loads(body or b"{}")
        return view

    def terminate(self) -> int:
        """Ask it to end; the answer is its exit code, which must come within five seconds."""
        self._process.terminate()
        return self._process.wait(5.0)

    def kill(self) -> None:
        """Signal 9."""
        self._process.kill()
        self._process.wait()

    def ends(self, within_s: float) -> int:
        """Wait for its end; the answer is its exit code."""
        return self._process.wait(within_s)


def read_only(path: Path) -> sqlite3.Connection:
    """Look into somebody else's database."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)


def stored(database: Path, device: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Sequence, kind and body of what the city has of one door."""
    with closing(read_only(database)) as file:
        wanted = "SELECT sequence, kind, body FROM events WHERE device = ? ORDER BY sequence"
        return [(number, kind, json.loads(body)) for number, kind, body in file.execute(wanted, (device,))]


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """What is to be ended after this file."""
    with ExitStack() as stack:
        yield stack


@dataclass
class Lives:
    """What a door left behind that was started three times: without a broker, killed, and to its end."""

    site: Site
    database: Path
    view_without_broker: dict[str, Any]
    waited: int
    first_exit: int
    first_took_s: float
    last_exit: int


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> Lives:
    """Run them."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    folder = tmp_path_factory.mktemp("lives")
    broker, database = Mosquitto(folder), folder / "city.sqlite3"
    site = Site(folder / "door", "door-lives", broker=broker.port)
    site.prepare()

    site.show(declaration("first"), *PAYLOADS.values())
    first = site.run(stack)
    until(lambda: len(site.outbox()) == 1 + len(PAYLOADS), 30.0, what=f"all are recorded: {first.said}")
    view, began_ns = first.view(), SystemClock().now().monotonic_ns
    first_exit = first.terminate()
    took_s = (SystemClock().now().monotonic_ns - began_ns) / S
    waited = len(site.outbox())

    stack.callback(broker.start().stop)
    city = Run(
        ["-m", "city", "ingest", "--broker", f"127.0.0.1:{broker.port}", "--database", f"sqlite:///{database}"],
        folder / "ingest.log",
    )
    stack.callback(city.kill)
    city.says("city: subscribed")
    site.show(declaration("second"), declaration("third"), declaration("fourth"))
    killed = site.run(stack)
    until(lambda: site.accepted() >= waited + 2, 20.0, what=f"two more are recorded: {killed.said}")
    killed.kill()

    site.show(declaration("fifth"))
    last = site.run(stack)
    return Lives(site, database, view, waited, first_exit, took_s, last.ends(20.0))


def test_without_a_broker_the_door_judges_and_its_events_wait_in_the_outbox(lives: Lives) -> None:
    """Every code got its check-in; the page says that the door is offline and how many wait."""
    view = lives.view_without_broker
    assert (lives.waited, view["online"], view["waiting"], view["fault"]) == (6, False, 6, "")


def test_sigterm_ends_the_daemon_in_time_with_code_0(lives: Lives) -> None:
    """In the middle of its wait for a city that is not there."""
    assert (lives.first_exit, lives.first_took_s < 5.0) == (0, True)


def test_a_recording_that_is_over_ends_the_daemon_with_code_0(lives: Lives) -> None:
    """When all is judged, at rest and acknowledged."""
    assert (lives.last_exit, lives.site.outbox()) == (0, [])


def test_nothing_accepted_is_lost_or_doubled_by_a_kill_or_a_missing_broker(lives: Lives) -> None:
    """The city has every sequence once, from the first start to the last."""
    sequences = [sequence for sequence, _, _ in stored(lives.database, "door-lives")]
    assert sequences == list(range(1, lives.site.accepted() + 1))
    assert len(sequences) >= lives.waited + 3


def test_every_code_got_its_verdict(lives: Lives) -> None:
    """A healthy declaration is granted; an identity card without one, junk and commands are not."""
    events = stored(lives.database, "door-lives")
    assert {kind for _, kind, _ in events} == {"check-in"}
    verdicts = [(body["decision"], *body["reasons"], body["scheme"]) for _, _, body in events]
    foreign = ("denied", "unknown_format", None)
    healthy = ("granted", "no_risk", "declaration")
    assert verdicts[:6] == [healthy, ("held", "lookup_unavailable", "cccd"), foreign, foreign, foreign, foreign]
    assert set(verdicts[6:]) == {healthy}
    assert [body["late_record"] for _, _, body in events[:1]] == [False]


def test_no_payload_is_in_any_log_nor_in_what_was_stored_and_no_log_has_a_traceback(lives: Lives) -> None:
    """Not a name, a number, initials, nor a byte of what a stranger printed on a code."""
    logs = {path.name: path.read_bytes() for path in [*lives.site.said, lives.database.parent / "ingest.log"]}
    files = [*lives.site.folder.glob("outbox.sqlite3*"), *lives.database.parent.glob("city.sqlite3*")]
    texts = [text for text in PRIVATE if not set(text) <= {0}]  # a database pads with noughts
    assert [(name, text) for name, log in logs.items() for text in PRIVATE if text in log] == []
    assert [(file.name, text) for file in files for text in texts if text in file.read_bytes()] == []
    assert [name for name, log in logs.items() if b"Traceback" in log] == []


# Cameras that do not work.


def write_video(path: Path, level: int, *, noise: bool = False) -> str:
    """Seven seconds of one and the same picture; each frame is encoded alike, so identical stays identical."""
    rng = np.random.default_rng(3)
    picture = np.full((480, 640, 3), level, dtype=np.uint8)
    if noise:
        picture = rng.integers(60, 200, size=picture.shape, dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    assert writer.isOpened()
    for _ in range(70):
        writer.write(picture)
    writer.release()
    return str(path)


FAULTS = {
    "black": "the picture is black: uncover the lens, or give the door light",
    "white": "the picture is white: turn the camera away from the sun or the lamp that blinds it",
    "frozen": "the picture is frozen: check the camera's cable, then restart the kiosk",
    "absent": "there is no /dev/video99: plug the camera in, or correct [camera] path",
}


@dataclass
class Blind:
    """What four doors with broken cameras showed, recorded and said."""

    views: dict[str, dict[str, Any]]
    exits: dict[str, int]
    said: dict[str, str]
    faults: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> Blind:
    """Run all four at once, without a city: their outboxes tell."""
    folder = tmp_path_factory.mktemp("blind")
    videos = {
        "black": write_video(folder / "black.avi", 8),
        "white": write_video(folder / "white.avi", 250),
        "frozen": write_video(folder / "frozen.avi", 0, noise=True),
    }
    sites = {
        name: Site(folder / name, f"door-{name}", "video", path, broker=free_port()) for name, path in videos.items()
    }
    sites["absent"] = Site(folder / "absent", "door-absent", "v4l2", "/dev/video99", broker=free_port())
    runs = {}
    for name, site in sites.items():
        site.prepare()
        runs[name] = site.run(stack)
    views = {}
    for name, run in runs.items():
        until(lambda run=run: run.view().get("fault"), 25.0, what=f"{name} says so: {run.said}")  # type: ignore[misc]
        views[name] = run.view()
    exits = {name: run.terminate() for name, run in runs.items()}
    faults = {name: recorded(site.folder / "outbox.sqlite3") for name, site in sites.items()}
    return Blind(views, exits, {name: run.said for name, run in runs.items()}, faults)


def recorded(outbox: Path) -> list[dict[str, Any]]:
    """The data of every event in an outbox."""
    with closing(read_only(outbox)) as file:
        return [json.loads(row[0])["data"] for row in file.execute("SELECT payload FROM events ORDER BY sequence")]


@pytest.mark.parametrize("name", FAULTS)
def test_a_camera_that_does_not_work_is_told_on_the_page_and_recorded(blind: Blind, name: str) -> None:
    """The door says at large that it is out of order, in both languages, and the daemon stays up."""
    view = blind.views[name]
    assert (view["screen"], view["fault"]) == ("out_of_order", f"camera: {FAULTS[name]}")
    assert view["wording"]["vi"] != view["wording"]["en"]
    assert [(data["stage"], data["recovered"], data["detail"]) for data in blind.faults[name]] == [
        ("camera", False, FAULTS[name])
    ]
    assert (blind.exits[name], "Traceback" in blind.said[name]) == (0, False)
    assert f"WARNING camera: {FAULTS[name]}" in blind.said[name]


# What keeps a daemon from starting.


def ended(site: Site, stack: ExitStack) -> tuple[int, str]:
    """Exit code and last words of a daemon that cannot start."""
    run = site.run(stack)
    return run.ends(20.0), run.said


def test_two_lines_on_one_gpio_are_a_mistake_in_the_configuration(tmp_path: Path, stack: ExitStack) -> None:
    """Exit code 3, with both names and the number."""
    site = Site(tmp_path / "door", "door-01", lines=MOCK + "\ngreen = 17\nred = 17")
    site.prepare()
    code, said = ended(site, stack)
    assert (code, said.splitlines()[0]) == (3, "1 to mend:")
    assert "GPIO 17 is used by green and red: give each line its own" in said


def test_a_pin_factory_that_cannot_work_here_ends_the_daemon(tmp_path: Path, stack: ExitStack) -> None:
    """Exit code 4 and one sentence; no other factory is taken instead."""
    if any(Path("/dev").glob("gpiochip*")):
        pytest.skip("this machine has GPIO")
    site = Site(tmp_path / "door", "door-01", lines='pin_factory = "lgpio"')
    site.prepare()
    site.show(b"anything")
    code, said = ended(site, stack)
    assert code == 4
    (sentence,) = said.splitlines()
    assert sentence.startswith("kiosk: lines.pin_factory: 'lgpio' cannot be used here (")


def test_a_taken_screen_port_ends_the_daemon(tmp_path: Path, stack: ExitStack) -> None:
    """Exit code 4; the sentence names the key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        site = Site(tmp_path / "door", "door-01", screen=port)
        site.prepare()
        site.show(b"anything")
        code, said = ended(site, stack)
    assert code == 4
    (sentence,) = said.splitlines()
    assert sentence.startswith(f"kiosk: screen.port {port} is taken by another program: ")


def test_an_outbox_that_is_none_is_set_aside_and_the_door_goes_on(tmp_path: Path, stack: ExitStack) -> None:
    """Its bytes stay under another name, and the new outbox begins with the event that tells of it."""
    site = Site(tmp_path / "door", "door-01")
    site.prepare()
    site.show(b"anything")
    outbox = site.folder / "outbox.sqlite3"
    outbox.write_bytes(b"photos" * 1000)
    code, _ = ended(site, stack)
    assert (code, outbox.with_name("outbox.sqlite3.damaged-1").read_bytes()) == (0, b"photos" * 1000)
    with closing(sqlite3.connect(outbox)) as connection:
        (kind, payload) = connection.execute("SELECT kind, payload FROM events ORDER BY sequence LIMIT 1").fetchone()
    assert (kind, json.loads(payload)["data"]["stage"]) == ("fault", "outbox")
