"""The door that is examined: its configuration, its hardware, and the daemon that may hold it.

Decides who holds the door, and asks a daemon that runs what its page shows. Made by `kiosk.technician`.
"""

import fcntl
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiosk.camera import FrameSource
from kiosk.clock import Clock
from kiosk.config import Loaded
from kiosk.screen import LOOPBACK

ANSWER_WITHIN_S = 2.0
LONGEST_COMMAND = 250
"""Characters of another program's command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A daemon that runs, by what its page shows (`messages.View`)."""

    view: dict[str, Any]

    def fault(self, *stages: str) -> str:
        """What the door says of these stages; empty where they work."""
        parts = [part.partition(": ") for part in str(self.view.get("fault", "")).split(" · ")]
        return "; ".join(said for stage, _, said in parts if stage in stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Who has the door. `by` names a program, empty where nobody does; `running` is a daemon that answered."""

    by: str = ""
    running: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that checks look at.

    `systemctl` runs it with these words and gives what it printed, None where systemd does not run. `pause` waits so
    many seconds. `root` is where /proc, /sys and /etc are.
    """

    loaded: Loaded
    clock: Clock
    held: Held
    open_camera: Callable[[], FrameSource]
    pin_factory: Callable[[], Any]
    systemctl: Callable[[list[str]], str | None]
    hold_a_code_s: float = 0.0
    pause: Callable[[float], object] = field(default_factory=lambda: threading.Event().wait)
    root: Path = Path("/")

    @property
    def running(self) -> Running | None:
        """The daemon, if it runs and answers."""
        return self.held.running

    @property
    def busy(self) -> str:
        """Why the hardware is not to be touched; empty where it is free."""
        return "not tried: another program has the door" if self.held.by and not self.running else ""


def held(config: Path, port: int, stack: ExitStack, root: Path = Path("/")) -> Held:
    """Take the door for as long as `stack` lasts, or say who has it.

    Args:
        config: the file that every program of ours locks while it moves lines.
        port: of the page; 0 where it is not known.
        stack: lets go of it.
        root: where /proc is.
    """
    file = stack.enter_context(config.open("rb"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        view = view_at(port)
        return Held(by=_lock_holder(config, root), running=None if view is None else Running(view=view))
    return Held()


def view_at(port: int) -> dict[str, Any] | None:
    """What the page at this port shows; None where nobody of ours answers."""
    try:
        with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_WITHIN_S)) as line:
            line.request("GET", "/view")
            view = json.loads(line.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return view if isinstance(view, dict) and "screen" in view else None


def _lock_holder(config: Path, root: Path) -> str:
    """Who holds the lock on a file, by proc_locks(5); by inode alone, because an overlay shows another device."""
    inode = str(config.stat().st_ino)
    try:
        rows = [line.split() for line in (root / "proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        rows = []
    pids = (row[4] for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode)
    return next((program(pid, root) for pid in pids), "another kiosk program")


def program(pid: str, root: Path = Path("/")) -> str:
    """Name a process so that a technician can find it."""
    try:
        words = (root / "proc" / pid / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        words = []
    first, *rest = (word.decode(errors="replace") for word in words or [b""])
    command = " ".join([Path(first).name, *rest])[:LONGEST_COMMAND]
    return f"process {pid} ({command})" if command else f"process {pid}"


def programs_with(pattern: str, root: Path = Path("/")) -> list[str]:
    """Name the processes, but this one, that have a file open whose path fits; of other users only root sees them."""
    found = {pid for pid, name in _open_files(root) if name.match(pattern) and pid != str(os.getpid())}
    return [program(pid, root) for pid in sorted(found, key=int)]


def _open_files(root: Path) -> Iterator[tuple[str, Path]]:
    for process in (root / "proc").glob("[0-9]*"):
        try:
            names = [(process.name, link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue  # another user's, or it has just ended
        yield from names
