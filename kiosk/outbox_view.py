"""What waits in an outbox, for a technician: looked at while the daemon runs, and never changed.

Decides what is shown and exported. Refuses to write: it opens the file read-only. `kiosk outbox` calls it.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kiosk.errors import OutboxFault
from kiosk.outbox_file import Row
from kiosk.set_aside import damaged_beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One outbox as it stands.

    `waiting` counts by kind; of them up to 19 may have reached the city already. `oldest` and `newest` are sequence and
    time of what waits, empty where nothing does. `disk_bytes` has the log too; `set_aside` has damaged files by name.
    """

    schema: int
    ledger: str
    device: str
    waiting: dict[str, int]
    oldest: str
    newest: str
    dropped: int
    disk_bytes: int
    set_aside: dict[str, int]


def standing(path: Path) -> Standing:
    """Look at an outbox.

    Raises:
        OutboxFault: it is not there, or no outbox.
    """
    with _looked_at(path) as file:
        (schema,) = file.execute("PRAGMA user_version").fetchone()
        ledger, device = file.execute("SELECT name, device FROM ledger").fetchone() or ("", "")
        counts = file.execute("SELECT kind, count(*) FROM events WHERE NOT acknowledged GROUP BY kind ORDER BY kind")
        waiting = dict(counts.fetchall())
        (dropped,) = file.execute("SELECT max(dropped) FROM ledger").fetchone() if schema else (0,)
        oldest, newest = _end_of(file, "ASC"), _end_of(file, "DESC")
    parts = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
    return Standing(
        schema=schema,
        ledger=ledger,
        device=device,
        waiting=waiting,
        oldest=oldest,
        newest=newest,
        dropped=dropped or 0,
        disk_bytes=sum(part.stat().st_size for part in parts if part.exists()),
        set_aside={
            part.name: part.stat().st_size for _, beside in sorted(damaged_beside(path).items()) for part in beside
        },
    )


def told(path: Path, found: Standing) -> str:
    """Write a standing as lines for a terminal."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in found.waiting.items())
    lines = [
        f"outbox     {path}, schema {found.schema}, {found.disk_bytes} bytes on disk",
        f"ledger     {found.ledger} of {found.device}",
        f"waiting    {sum(found.waiting.values())}{': ' if kinds else ''}{kinds}",
        f"oldest     {found.oldest or '-'}",
        f"newest     {found.newest or '-'}",
        f"dropped    {found.dropped} beyond its bounds, since this ledger began",
        *(f"set aside  {name}, {size} bytes" for name, size in found.set_aside.items()),
    ]
    return "\n".join(lines)


def export(path: Path, to: Path) -> int:
    """Write what waits as lines of JSON, each an event as it would be published; the answer is how many.

    Identities in them are sealed to the health authority. The file is readable by its owner only.

    Raises:
        OutboxFault: the outbox cannot be read, or `to` is there already or cannot be written.
    """
    number = 0
    with _looked_at(path) as file:
        try:
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as lines:
                for (payload,) in file.execute("SELECT payload FROM events WHERE NOT acknowledged ORDER BY sequence"):
                    lines.write(payload + b"\n")
                    number += 1
        except OSError as error:
            raise OutboxFault(f"{to}: cannot be written ({error.strerror}); name a new file") from error
    return number


def repeatable(path: Path) -> tuple[Row, int] | None:
    """Read an event that may be sent once more without a gap at the city, and the newest one's sequence.

    The oldest that waits, else the newest: the file keeps that one even when the city has it. None without any.

    Raises:
        OutboxFault: as `standing`.
    """
    with _looked_at(path) as file:
        (last,) = file.execute("SELECT max(sequence) FROM events").fetchone()
        rows = file.execute("SELECT sequence, kind, payload FROM events ORDER BY acknowledged, sequence LIMIT 1")
        row = rows.fetchone()
    return (Row(sequence=row[0], kind=row[1], payload=row[2]), last) if row else None


def damage(path: Path, within_s: float) -> str | None:
    """What SQLite's own check says is wrong, empty where nothing is; None where the time was too short.

    Raises:
        OutboxFault: as `standing`.
    """
    over = threading.Event()
    timer = threading.Timer(within_s, over.set)
    timer.start()
    try:
        with _looked_at(path) as file:
            file.set_progress_handler(over.is_set, 10_000)
            try:
                (said,) = file.execute("PRAGMA quick_check(1)").fetchone()
            except sqlite3.OperationalError:
                if over.is_set():
                    return None
                raise
    finally:
        timer.cancel()
    return "" if said == "ok" else str(said)


def _end_of(file: sqlite3.Connection, order: str) -> str:
    found = file.execute(
        f"SELECT sequence, payload FROM events WHERE NOT acknowledged ORDER BY sequence {order} LIMIT 1"  # noqa: S608
    ).fetchone()
    return f"sequence {found[0]}, {json.loads(found[1])['data']['at']}" if found else ""


@contextmanager
def _looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """Open it so that nothing is written: without a log nobody has it open, and it need not be guarded against."""
    log = path.with_name(path.name + "-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=5.0)) as file:
            file.execute("BEGIN")
            yield file
    except (sqlite3.Error, ValueError, KeyError) as error:
        raise OutboxFault(f"{path}: cannot be read as an outbox ({error})") from error
