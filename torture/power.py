"""Power cuts under the outbox: what was confirmed before the cut must be there after it, and the file sound.

    scripts/torture power [--cuts 300] [--events 300] [--seed 1] [--control] [--json]

A process with the real outbox stores, lets go and drops events under strace, which records every write to the file and
its log and every sync. Each cut then stops that recording at a random call and makes the disk's contents anew: what was
synced is there; of what was not, nothing, a part in any order, or a part torn at sectors of 512 bytes survives, as the
seed has it. File names made or removed survive in order, up to a random one, unless their folder was synced. The real
outbox opens each disk. The long form has 10,000 cuts. `--control` writes with synchronous = NORMAL, and fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import verdict
import writes

from kiosk import wire
from kiosk.drops import explained
from kiosk.messages import Alert, Direction, Event, Fault, Reason
from kiosk.outbox import Outbox
from kiosk.outbox_file import Bounds
from kiosk.set_aside import damaged_beside

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
NAME, NOTES = "outbox.sqlite3", "notes"
SECTOR = 512
EVERYTHING = 1_000_000
WAYS = ("nothing", "everything", "reordered", "torn", "torn at its end")
"""What survives of writes that were not synced."""


def event(number: int, random: Random) -> Event:
    """An event that tells its number, of a length of its own; some are alerts."""
    if random.random() < 0.1:
        return Alert(
            at=AT,
            utc_trusted=True,
            direction=Direction.ENTRY,
            reasons=(Reason.AT_RISK_AREA,),
            scheme=None,
            subject=f"{number:032x}",
            sealed="A" * random.randrange(600),
        )
    detail = f"{number} {'x' * random.randrange(600)}"
    return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=detail)


def number_of(payload: bytes) -> int | None:
    """The number of one of our events."""
    read = wire.decode_event(wire.event_topic("door-01", "alert"), payload)
    if isinstance(read, wire.Unreadable):
        read = wire.decode_event(wire.event_topic("door-01", "fault"), payload)
    match read:
        case wire.Received(stored=stored) if isinstance(stored.event, Alert):
            return int(stored.event.subject or "", 16)
        case wire.Received(stored=stored) if isinstance(stored.event, Fault) and stored.event.stage == "camera":
            return int(stored.event.detail.split()[0])
    return None


def work(folder: Path, events: int, seed: int, *, control: bool) -> None:
    """The process that is recorded: confirms in notes what it has, each note one write."""
    random = Random(seed)
    notes = os.open(folder / NOTES, os.O_WRONLY | os.O_CREAT)
    number, waiting = 0, list[int]()
    while number < events:
        box = Outbox(
            folder / NAME, ORIGIN, on_health=print, on_change=lambda: None, bounds=Bounds(most_events=events // 4)
        )
        if control:
            box._file.writer.execute("PRAGMA synchronous = NORMAL")
        writer = threading.Thread(target=box.write, args=(lambda: None,))
        writer.start()
        for _ in range(random.randrange(events // 6, events // 3)):
            numbers = range(number + 1, number + 1 + random.choice((1, 1, 1, 2, 4)))
            receipt = box.append([event(one, random) for one in numbers])
            if not receipt.wait(30.0):
                raise TimeoutError("not stored")
            confirmed = " ".join(f"{at}={one}" for at, one in zip(receipt.sequences, numbers, strict=True))
            os.write(notes, f"stored {box.ledger} {confirmed}\n".encode())
            number, waiting = numbers[-1], [*waiting, *receipt.sequences]
            if random.random() < 0.3:
                told = random.sample(waiting, min(len(waiting), random.randrange(1, 12)))
                os.write(notes, f"let-go {' '.join(map(str, told))}\n".encode())
                box.acknowledge(box.ledger, told)
                waiting = [at for at in waiting if at not in told]
        box.close()
        writer.join()


@dataclass(slots=True)
class Inode:
    """One file's content: what is safe, and what was done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[writes.Did] = field(default_factory=list)

    def sync(self) -> None:
        """All of it is safe now."""
        for did in self.since:
            apply(self.safe, did)
        self.since.clear()

    def after_cut(self, random: Random) -> bytes:
        """What is found after a power cut."""
        found, way = bytearray(self.safe), random.choice(WAYS)
        last = random.randrange(len(self.since) + 1)
        for at, did in enumerate(self.since):
            match way:
                case "everything":
                    apply(found, did)
                case "reordered" if random.random() < 0.5:
                    apply(found, did)
                case "torn":
                    tear(found, did, random)
                case "torn at its end" if at < last:
                    apply(found, did)
                case "torn at its end" if at == last:
                    tear(found, did, random)
        longest = max([len(found), *(did.at + len(did.content) for did in self.since if did.call == "write")])
        if random.random() < 0.25:
            found.extend(bytes(longest - len(found)))  # the length is safe, what stood there is not
        return bytes(found)


def apply(content: bytearray, did: writes.Did) -> None:
    """Do it."""
    if did.call == "truncate":
        del content[did.at :]
        content.extend(bytes(did.at - len(content)))
        return
    content.extend(bytes(max(0, did.at - len(content))))
    content[did.at : did.at + len(did.content)] = did.content


def tear(content: bytearray, did: writes.Did, random: Random) -> None:
    """Do some sectors of it; a truncation is done or not."""
    if did.call == "truncate":
        if random.random() < 0.5:
            apply(content, did)
        return
    at, end = did.at, did.at + len(did.content)
    while at < end:
        upto = min(end, (at // SECTOR + 1) * SECTOR)
        if random.random() < 0.5:
            apply(content, writes.Did("write", did.name, at, did.content[at - did.at : upto - did.at]))
        at = upto


@dataclass(slots=True)
class Disk:
    """The folder as the process sees it, and as much of it as is safe; and what was confirmed so far."""

    seen: dict[str, Inode] = field(default_factory=dict)
    safe: dict[str, Inode] = field(default_factory=dict)
    renamed: list[tuple[str, Inode | None]] = field(default_factory=list)
    stored: dict[int, int] = field(default_factory=dict)
    let_go: set[int] = field(default_factory=set)
    ledger: str = ""

    def do(self, did: writes.Did) -> None:
        """Follow the recording by one call."""
        match did:
            case writes.Did(call="create", name=name) if name not in self.seen:
                self.seen[name] = Inode()
                self.renamed.append((name, self.seen[name]))
            case writes.Did(call="remove", name=name):
                self.renamed.append((name, None))
                self.seen.pop(name, None)
            case writes.Did(call="sync", name=""):
                self.safe = dict(self.seen)
                self.renamed.clear()
            case writes.Did(call="sync", name=name):
                self.seen[name].sync()
            case writes.Did(call="write" | "truncate", name=name):
                self.seen[name].since.append(did)
            case writes.Did(call="note", content=content):
                self._note(content.decode().split())

    def _note(self, words: list[str]) -> None:
        if words[0] == "let-go":
            self.let_go |= {int(word) for word in words[1:]}
            return
        self.ledger = words[1]
        self.stored |= {int(at): int(number) for at, _, number in (word.partition("=") for word in words[2:])}

    def after_cut(self, random: Random) -> dict[str, bytes]:
        """The folder's files after a power cut."""
        names = dict(self.safe)
        for name, inode in self.renamed[: random.randrange(len(self.renamed) + 1)]:
            if inode:
                names[name] = inode
            else:
                names.pop(name, None)
        return {name: inode.after_cut(random) for name, inode in names.items()}


def faults_of(disk: Disk, files: dict[str, bytes], folder: Path) -> Iterator[str]:
    """Open what the cut left with the real outbox; what is wrong with it, if anything."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    box = Outbox(folder / NAME, ORIGIN, on_health=print, on_change=lambda: None)
    rows = {row.sequence: row.payload for row in box.after(0, EVERYTHING)}
    last = box._file.last
    box._file.close()
    if not disk.stored:
        return  # nothing was confirmed yet, and a file may be half made
    if damaged_beside(folder / NAME) or box.ledger != disk.ledger:
        yield "damaged: the file was set aside"
        return
    dropped = {at for payload in rows.values() for span in spans_of(payload) for at in span}
    for at, number in disk.stored.items():
        if at in rows and number_of(rows[at]) != number:
            yield f"wrong: sequence {at} is not event {number}"
        if at not in rows and at not in disk.let_go and at not in dropped:
            yield f"lost: event {number}, sequence {at}"
    if last < max(disk.stored):
        yield f"renumbered: {last} is the newest, {max(disk.stored)} was given"


def spans_of(payload: bytes) -> list[range]:
    """The sequences a report of the outbox explains."""
    read = wire.decode_event(wire.event_topic("door-01", "fault"), payload)
    is_fault = isinstance(read, wire.Received) and isinstance(read.stored.event, Fault)
    return explained(read.stored.event.detail) if is_fault else []  # type: ignore[union-attr]


def record(folder: Path, events: int, seed: int, *, control: bool) -> list[writes.Did]:
    """Let the outbox work in a process of its own, and give all it did."""
    inside = folder / "inside"
    inside.mkdir()
    ours = [sys.executable, __file__, "--work-in", str(inside), "--events", str(events), "--seed", str(seed)]
    recorder = writes.command(folder / "trace")
    subprocess.run([*recorder, *ours, *(["--control"] if control else [])], check=True, stdin=subprocess.DEVNULL)
    return list(writes.done(folder / "trace", inside, NOTES))


def main() -> int:
    """Record, cut, and say."""
    parser = verdict.parser("power", __doc__, seconds=1800)
    parser.add_argument("--cuts", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--events", type=int, default=300, help="that are stored; default: %(default)s")
    parser.add_argument("--control", action="store_true", help="with synchronous = NORMAL: this must fail")
    parser.add_argument("--work-in", type=Path, help="be the process that is recorded")
    given = parser.parse_args()
    if given.work_in:
        work(given.work_in, given.events, given.seed, control=given.control)
        return verdict.PASSED
    if not shutil.which("strace"):
        print("power: strace is not installed: apt-get install strace (scripts/torture does)", file=sys.stderr)
        return verdict.UNABLE
    random, disk, faults, cuts, unsynced = Random(given.seed), Disk(), list[str](), 0, 0
    with tempfile.TemporaryDirectory() as name:
        did = record(Path(name), given.events, given.seed, control=given.control)
        at = 0
        places = sorted(random.randrange(1, len(did) + 1) for _ in range(given.cuts))
        for place in verdict.bounded(places, given.cuts, given.seconds, "power cuts"):
            while at < place:
                disk.do(did[at])
                at += 1
            unsynced += any(inode.since for inode in disk.seen.values())
            with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as after:  # noqa: S108
                faults += [
                    f"cut {cuts} at call {place}: {fault}"
                    for fault in faults_of(disk, disk.after_cut(random), Path(after))
                ]
            cuts += 1
    figures = {
        "cuts": cuts,
        "with_unsynced_writes": unsynced,
        "calls": len(did),
        "confirmed": len(disk.stored),
        "cuts_with_a_fault": len({fault.split()[1] for fault in faults}),
        **{
            kind: sum(f": {kind}: " in fault for fault in faults) for kind in ("lost", "wrong", "renumbered", "damaged")
        },
        "seed": given.seed,
    }
    return verdict.tell(
        "power", figures, faults if cuts == given.cuts else [*faults, "the time was over first"], as_json=given.json
    )


if __name__ == "__main__":
    sys.exit(main())
