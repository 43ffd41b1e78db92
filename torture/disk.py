"""A disk that is full, read-only, failing or slow: told in words, and the door waits no longer than its bound.

    scripts/torture disk [--only full] [--events 60] [--visitors 100] [--stall 5.0] [--seed 1] [--json]

Each in a process of its own with the real outbox, which is handed events one by one as the door does it: no longer than
150 ms for each. `full` is a real file system without room, a tmpfs in a mount namespace of its own. The others are real
calls of SQLite's that strace answers in the kernel's place: `read-only` (EROFS) and `failing` (EIO) on writes to the
log and the file, `slow` by holding up syncs. In the end every event must be there, in order, once, and the fault told
and over. `relay` is a whole door (torture/stalled_door.py) whose every sync is held up, from the first visitor on: of
a hundred grants 99 must have the relay on within 300 ms of the code, and all must be stored in the end.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import stalled_door
import verdict

from kiosk import wire
from kiosk.clock import MS, SystemClock
from kiosk.messages import Fault
from kiosk.outbox import Outbox

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
WITHIN_S = 0.150
"""As `kiosk.daemon.RECORD_WITHIN_S`."""
AIM_MS = 300
EVERYTHING = 1_000_000
MOUNT = 'mount -t tmpfs -o size=400k none "$0" && exec "$@"'
SYNCS, WRITES = "fdatasync,fsync", "pwrite64"
SETTLED_SYNCS = 8
"""Of each thread; a new outbox is made with fewer."""
HOW = ("full", "read-only", "failing", "slow", "relay")


def event(number: int) -> Fault:
    """An event that tells its number."""
    return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=f"{number}")


def fill(folder: Path) -> None:
    """Leave no room."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            pass


def work(folder: Path, events: int, *, full: bool) -> dict[str, Any]:
    """Be the door: hand over events, and see what becomes of them."""
    clock, health, waits, receipts = SystemClock(), list[str](), list[float](), []
    box = Outbox(folder / "outbox.sqlite3", ORIGIN, on_health=health.append, on_change=lambda: None)
    writer = threading.Thread(target=box.write, args=(lambda: None,))
    writer.start()
    for number in range(1, events + 1):
        if full and number == events // 3:
            fill(folder)
        if full and number == events * 2 // 3:
            (folder / "ballast").unlink()
        began_ns = clock.now().monotonic_ns
        receipts.append(box.append([event(number)]))
        receipts[-1].wait(WITHIN_S)
        waits.append((clock.now().monotonic_ns - began_ns) / MS)
    stored = [receipt.wait(60.0) for receipt in receipts]
    found = [(row.sequence, json.loads(row.payload)["data"]) for row in box.after(0, EVERYTHING)]
    box.close()
    writer.join()
    numbers = [(sequence, int(data["detail"])) for sequence, data in found]
    return {
        "stored": sum(stored),
        "in_order": numbers == [(number, number) for number in range(1, events + 1)],
        "late": sum(data["late_record"] for _, data in found),
        "wait_ms_longest": round(max(waits), 1),
        "health": health,
    }


def command(how: str, folder: Path, events: int, stall_s: float, random: Random) -> list[str]:
    """The door's process, on that disk."""
    ours = [sys.executable, __file__, "--work-in", str(folder), "--only", how, "--events", str(events)]
    first = SETTLED_SYNCS if how == "relay" else random.randrange(events // 4, events // 2)
    match how:
        case "full":
            return ["unshare", "--mount", "sh", "-c", MOUNT, str(folder), *ours]
        case "read-only":
            inject = f"{WRITES}:error=EROFS:when={first}..{first + 2}"
        case "failing":
            inject = f"{WRITES}:error=EIO:when={first}..{first + 2}"
        case "relay":
            inject = f"{SYNCS}:delay_exit={round(stall_s * 1e6)}:when={first}+"
        case _:
            inject = f"{SYNCS}:delay_exit={round(stall_s * 1e6)}:when={first}..{first + 1}"
    paths = [word for part in ("", "-wal") for word in ("-P", str(folder / f"outbox.sqlite3{part}"))]
    return ["strace", "-f", "-o", "/dev/null", *paths, "-e", f"inject={inject}", *ours]


def faults_of_relay(did: dict[str, Any], visitors: int) -> list[str]:
    """What is wrong with what visitors saw; the figures get their percentile."""
    faults, took_ms = [], sorted(did.pop("took_ms"))
    did["relay_ms_median"], did["relay_ms_p99"] = took_ms[len(took_ms) // 2], took_ms[-1 - len(took_ms) // 100]
    if did["opened"] != visitors or did["stored"] != visitors:
        faults.append(f"relay: {did['opened']} of {visitors} were let in, {did['stored']} stored")
    if did["relay_ms_p99"] > AIM_MS:
        faults.append(f"relay: p99 is {did['relay_ms_p99']} ms")
    if did["late"] < (visitors - SETTLED_SYNCS) // 2:
        faults.append(f"relay: only {did['late']} were late, so the disk was never as it should have been")
    return faults


def faults_of(how: str, did: dict[str, Any], events: int) -> list[str]:
    """What is wrong with what the door saw."""
    faults = []
    if did["stored"] != events or not did["in_order"]:
        faults.append(f"{how}: {did['stored']} of {events} stored, in order: {did['in_order']}")
    if how != "slow" and not (len(did["health"]) >= 2 and did["health"][-1] == ""):
        faults.append(f"{how}: the fault was not told, or not that it is over: {did['health']}")
    if not did["late"]:
        faults.append(f"{how}: nothing was late, so the disk was never as it should have been")
    if did["wait_ms_longest"] > AIM_MS:
        faults.append(f"{how}: the door waited {did['wait_ms_longest']} ms")
    return faults


def main() -> int:
    """Try each disk, and say."""
    parser = verdict.parser("disk", __doc__, seconds=600)
    parser.add_argument("--only", choices=HOW, action="append", help="default: all of them")
    parser.add_argument("--events", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--visitors", type=int, default=100, help="of `relay`; default: %(default)s")
    parser.add_argument(
        "--stall", type=float, default=5.0, help="seconds a slow disk holds up a sync; default: %(default)s"
    )
    parser.add_argument("--work-in", type=Path, help="be the door on that disk")
    given = parser.parse_args()
    hows = given.only or HOW
    if given.work_in:
        if hows == ["relay"]:
            did = stalled_door.work(given.work_in, given.visitors, Random(given.seed))
        else:
            did = work(given.work_in, given.events, full=hows == ["full"])
        print(json.dumps(did))
        return verdict.PASSED
    missing = [program for program in ("strace", "unshare") if not shutil.which(program)]
    if missing or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        print(
            "disk: needs strace, unshare and the right to mount: root, and no container that forbids it",
            file=sys.stderr,
        )
        return verdict.UNABLE
    random, figures, faults, tried = Random(given.seed), dict[str, Any](), list[str](), 0
    for at in verdict.bounded(range(len(hows)), len(hows), given.seconds, "disks"):
        how = hows[at]
        with tempfile.TemporaryDirectory() as name:
            if how not in ("full", "relay"):  # what is tortured is storing, not making the file
                Outbox(Path(name) / "outbox.sqlite3", ORIGIN, on_health=print, on_change=lambda: None)._file.close()
            words = [*command(how, Path(name), given.events, given.stall, random), "--visitors", f"{given.visitors}"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            faults.append(f"{how}: the door ended with {done.returncode}: {done.stderr.strip()[-300:]}")
            continue
        did = json.loads(done.stdout)
        faults += faults_of_relay(did, given.visitors) if how == "relay" else faults_of(how, did, given.events)
        figures[how] = {name: value for name, value in did.items() if name != "in_order"}
        tried += 1
    if tried < len(hows) and not faults:
        faults.append("the time was over first")
    return verdict.tell("disk", {**figures, "seed": given.seed}, faults, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
