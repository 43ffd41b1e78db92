"""The real daemon killed with signal 9 at random moments, again and again: what it accepted, the city has, once.

    scripts/torture kill [--kills 5] [--seed 1] [--seconds 3600] [--json]

A real mosquitto, the real ingest, and the daemon before a folder of pictures with six signed declarations each. Every
daemon is forked from a process that has imported it already, lives for a random time and is killed. What its outbox
held then, and how many doors it had opened with the record on disk, is compared in the end with the city's database:
nothing missing, nothing twice, no sequence without its event. The long form has 1,000 kills.
"""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import cv2
import numpy as np
import verdict

from city.declare import declaration_payload
from city.provision import new_secrets, provision
from city.signing import load_key
from demo.processes import DemoFault, database, free_port, start_broker, start_city
from kiosk.camera import Luma
from kiosk.clock import SystemClock
from kiosk.testing.carriers import code_modules

ROOT = Path(__file__).parents[1]
CONFIG = """rules_file = {rules}
[camera]
source = "images"
path = "images"
fps = 10
[lines]
pin_factory = "mock"
relay_pulse_ms = 100
[door]
absence_ms = 200
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
look_up = false
[outbox]
path = "outbox.sqlite3"
[uplink]
host = "127.0.0.1"
port = {broker}
tls = false
[screen]
port = 0
[clock]
trust = "always"
"""
NURSERY = """
import os, sys
sys.path[:0] = [sys.argv[2]]
from kiosk import cli
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        log = os.open(line.strip(), os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(log, 2)
        os._exit(cli.main(["run", "--config", sys.argv[1]]))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
CODES = 6
PICTURES = 8
DRAINS = 10
LIFE_S = (0.05, 3.0)
"""Of each daemon before it is killed: from before its outbox is open until well after its first check-ins."""


@dataclass(slots=True)
class Tally:
    """What was seen at the door."""

    kills: int = 0
    opened: int = 0
    accepted: dict[int, str] = field(default_factory=dict)
    last: int = 0
    faults: list[str] = field(default_factory=list)


def picture(payloads: list[bytes]) -> Luma:
    """Codes side by side, three pixels a module."""
    tiles = [np.pad(code_modules(payload), 6) for payload in payloads]
    side = max(tile.shape[0] for tile in tiles)
    whole = [np.pad(tile, ((0, side - tile.shape[0]), (0, side - tile.shape[1]))) for tile in tiles]
    half = len(whole) // 2
    grid = np.concatenate([np.concatenate(whole[:half], 1), np.concatenate(whole[half:], 1)])
    return np.where(grid, 0, 255).astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1)


def prepare(folder: Path, port: int) -> Path:
    """Make a door's folder; the answer is its configuration."""
    held, now = new_secrets(b"the torture's pseudonym key....."), SystemClock().now().utc
    (folder / "images").mkdir()
    provision(folder, held, now)
    key = load_key(held.declaration)
    for at in range(PICTURES):
        people = [f"{at * CODES + number + 1:032x}" for number in range(CODES)]
        payloads = [declaration_payload(key=key, sub=person, initials="N.V.A.", issued_at=now) for person in people]
        cv2.imwrite(str(folder / "images" / f"{at}.png"), picture(payloads))
    config = folder / "kiosk.toml"
    config.write_text(CONFIG.format(rules=json.dumps(str(ROOT / "config" / "rules.toml")), broker=port), "utf-8")
    return config


def look(outbox: Path, tally: Tally) -> int:
    """Note what is accepted, by what the file holds; the answer is how many wait."""
    if not outbox.exists():
        return 0
    with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True, timeout=10.0)) as file:
        rows = file.execute("SELECT sequence, payload, acknowledged FROM events").fetchall()
    for sequence, payload, _ in rows:
        said = digest(json.loads(payload)["data"])
        if tally.accepted.setdefault(sequence, said) != said:
            tally.faults.append(f"changed: sequence {sequence} is another event than it was")
        tally.last = max(tally.last, sequence)
    return sum(not acknowledged for _, _, acknowledged in rows)


def digest(data: dict[str, object]) -> str:
    """An event's own fields, short; a late mark may come after it was first seen."""
    whole = {name: value for name, value in data.items() if name not in LEFT_OUT}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


LEFT_OUT = {"late_record", "boot_id", "ledger", "sequence", "place", "access_point"}


def doors_opened(log: Path) -> int:
    """How often the daemon said that it granted with the record on disk."""
    lines = log.read_text("utf-8").splitlines()
    late = sum("the record is late" in line for line in lines)
    return sum(" entry granted (no_risk)" in line for line in lines) - late


def compare(address: str, tally: Tally) -> dict[str, int]:
    """Hold the city's database against what was seen at the door."""
    with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as file:
        found = file.execute("SELECT sequence, kind, body FROM events ORDER BY id").fetchall()
    stored = {sequence: digest(json.loads(body)) for sequence, _, body in found}
    granted = sum(kind == "check-in" and json.loads(body)["decision"] == "granted" for _, kind, body in found)
    lost = [sequence for sequence in range(1, tally.last + 1) if sequence not in stored]
    wrong = [sequence for sequence, said in tally.accepted.items() if sequence in stored and stored[sequence] != said]
    tally.faults += [f"lost: sequence {sequence}" for sequence in lost]
    tally.faults += [f"wrong: sequence {sequence} is another event in the city" for sequence in wrong]
    if len(found) != len(stored):
        tally.faults.append(f"doubled: {len(found) - len(stored)}")
    if granted < tally.opened:
        tally.faults.append(
            f"lost: {tally.opened} doors opened with their record on disk, {granted} grants in the city"
        )
    return {
        "accepted": tally.last,
        "stored": len(stored),
        "lost": len(lost),
        "doubled": len(found) - len(stored),
        "wrong": len(wrong),
        "doors_opened": tally.opened,
        "grants_stored": granted,
    }


class Nursery:
    """A process that has imported the daemon, and forks one at a time."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(config), str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._pause = threading.Event()

    def live(self, log: Path, seconds: float) -> bool:
        """Let a daemon live so long, and kill it; whether it lived until then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(log, file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        self._pause.wait(seconds)
        lived = True
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            lived = False
        self._process.stdout.readline()
        return lived

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def drain(folder: Path, config: Path, tally: Tally) -> None:
    """Run daemons that see nobody until the city has everything; each ends by itself."""
    images, outbox = config.parent / "images", config.parent / "outbox.sqlite3"
    for old in images.iterdir():
        old.unlink()
    cv2.imwrite(str(images / "nobody.png"), np.full((720, 1280), 128, dtype=np.uint8))
    command = [sys.executable, "-m", "kiosk", "run", "--config", str(config)]
    for attempt in range(DRAINS):
        with (folder / f"drain-{attempt}.log").open("wb") as log:
            subprocess.run(command, stderr=log, cwd=ROOT, check=True, timeout=120.0)
        if look(outbox, tally) == 0:
            return
    tally.faults.append("the outbox does not drain")


def torture(kills: int, seconds: int, random: Random, folder: Path) -> tuple[Tally, dict[str, int]]:
    """Kill, and compare."""
    tally, port, door = Tally(), free_port(), folder / "door"
    door.mkdir()
    config = prepare(door, port)
    with ExitStack() as stack:
        start_broker(folder, port, stack)
        ingest = start_city("ingest", folder, port, stack)
        threading.Thread(target=deque, args=(ingest.output, 0), daemon=True).start()  # a full pipe would stop it
        nursery = Nursery(config)
        stack.callback(nursery.close)
        for kill in verdict.bounded(range(kills), kills, seconds, "kills"):
            log = folder / f"kiosk-{kill}.log"
            if not nursery.live(log, random.uniform(*LIFE_S)):
                tally.faults.append(f"ended by itself: {log.read_text('utf-8')[-400:]}")
            look(door / "outbox.sqlite3", tally)
            tally.opened += doors_opened(log)
            tally.kills += 1
        drain(folder, config, tally)
    return tally, compare(database(folder), tally)


def main() -> int:
    """Kill, and say."""
    parser = verdict.parser("kill", __doc__, seconds=3600)
    parser.add_argument("--kills", type=int, default=5, help="default: %(default)s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        try:
            tally, figures = torture(given.kills, given.seconds, Random(given.seed), Path(name))
        except DemoFault as fault:
            print(f"kill: {fault}", file=sys.stderr)
            return verdict.UNABLE
    if tally.kills < given.kills:
        tally.faults.append("the time was over first")
    return verdict.tell("kill", {"kills": tally.kills, **figures, "seed": given.seed}, tally.faults, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
