"""A card after a power cut, looked into without a machine: e2fsck does what the boot does, debugfs takes files out.

Called by tests/system/test_power.py. Knows the outbox's place and tables, nothing else of the firmware.
"""

import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

OUTBOX = "/var/lib/kiosk/outbox.sqlite3"
MENDED = 1
"""Of e2fsck: 0 nothing to do, 1 done; more is damage that wants a person (e2fsck(8))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a card holds. `stored`: ledger and sequence of each event that waits in the outbox."""

    file_system: str
    """What e2fsck could not mend by itself; empty: nothing."""
    outbox: list[str]
    """What SQLite's integrity_check says."""
    stored: frozenset[tuple[str, int]]


def look_into(card: Path, folder: Path) -> Found:
    """Replay the journal of the file system, check it whole, and read the outbox as the kiosk would find it.

    The card is afterwards as it was.
    """
    undo = folder / "mended"
    undo.unlink(missing_ok=True)
    words = ["e2fsck", "-f", "-p", "-z", str(undo), str(card)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        return _found(card, folder, checked.stdout + checked.stderr if checked.returncode > MENDED else "")
    finally:
        subprocess.run(["e2undo", str(undo), str(card)], capture_output=True, check=True)


def _found(card: Path, folder: Path, wrong: str) -> Found:
    outbox = folder / Path(OUTBOX).name
    for end in ("", "-wal"):
        taken = outbox.with_name(outbox.name + end)
        taken.unlink(missing_ok=True)
        subprocess.run(["debugfs", "-R", f"dump {OUTBOX}{end} {taken}", str(card)], capture_output=True, check=True)
    with closing(sqlite3.connect(outbox)) as base:
        whole = [row[0] for row in base.execute("pragma integrity_check")]
        rows = base.execute("select ledger.name, sequence from ledger, events").fetchall()
    return Found(file_system=wrong, outbox=whole, stored=frozenset(rows))
