"""Damaged outbox files: given names of their own, so that nothing overwrites them, and found again.

Decides the names and how many are kept. Refuses to open any. `kiosk.outbox` calls it; `kiosk.outbox_view` lists them.
"""

import os
from pathlib import Path

MOST_SET_ASIDE = 5
"""Damaged files kept beside the outbox. The sixth has the oldest removed, and says so in its event."""
_SUFFIXES = ("", "-wal", "-shm")


def set_aside(path: Path) -> str:
    """Give the file and its log names of their own, so that nothing overwrites them; the answer says which.

    The file goes first: without it SQLite takes up no log. Callers hold no connection: the last one to close would
    remove the log of whatever has the old name by then.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = damaged_beside(path)
    number = max(kept, default=0) + 1
    name = f"{path.name}.damaged-{number}"
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(name + suffix))
    removed = sorted(kept)[: max(0, len(kept) + 1 - MOST_SET_ASIDE)]
    for old in removed:
        for part in kept[old]:
            part.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return name + "".join(f"; damaged-{old} was removed, {MOST_SET_ASIDE} are kept" for old in removed)


def damaged_beside(path: Path) -> dict[int, list[Path]]:
    """Files set aside so far, by number; each with its log, where it had one."""
    found: dict[int, list[Path]] = {}
    for part in sorted(path.parent.glob(f"{path.name}.damaged-*")):
        number = part.name.removeprefix(f"{path.name}.damaged-").partition("-")[0]
        if number.isdecimal():
            found.setdefault(int(number), []).append(part)
    return found
