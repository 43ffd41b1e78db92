"""The door's own entrance for a trial visitor: a socket in the daemon's runtime folder, for its user and root alone.

Decides who may send one (whoever the file system lets connect: mode 0600, before anybody can reach it), one at a time,
and tells that program what becomes of the visit: judged, stored, acknowledged by the city. No code at the camera can
do this, and the lane opens only if the technician asks for it (docs/decisions/0018). Refuses to know what a visit
means; the gate does. The daemon runs it in a thread of its own.
"""

import json
import logging
import os
import secrets
import select
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

from kiosk.messages import TrialVisit, TrialVisitor
from kiosk.receipts import Receipt

log = logging.getLogger("kiosk")

NAME = "trial-visitor"
OPEN, SHUT = b"visit and open", b"visit"
"""All that may be said here."""
TICK_S, LOOK_S = 0.5, 0.05
STORED_WITHIN_S = 5.0
ACKNOWLEDGED_WITHIN_S = 120.0
"""Longer than the longest wait between two attempts to reach the city (`kiosk.back_off`)."""


class VisitorDesk:
    """One socket.

    Args:
        folder: the runtime folder that systemd made for the daemon; None: there is no such entrance.
        on_visitor: gets each trial visitor, in this thread.
    """

    def __init__(self, folder: Path | None, on_visitor: Callable[[TrialVisitor], None]) -> None:
        self._on_visitor = on_visitor
        self._changed = threading.Condition()
        self._mark = ""
        self._judged: tuple[TrialVisit, Receipt] | None = None
        self._acknowledged: set[int] = set()
        self._path = (folder or Path()) / NAME
        self._socket = _listening(self._path) if folder else None

    def judged(self, visit: TrialVisit, receipt: Receipt) -> None:
        """The gate has seen it, and it is on its way to the disk; from the core thread."""
        with self._changed:
            if visit.mark == self._mark:
                self._judged = visit, receipt
            self._changed.notify()

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """The city has these events; from any thread."""
        with self._changed:
            self._acknowledged.update(sequences if self._mark else ())
            self._changed.notify()

    def run(self, stopping: threading.Event) -> None:
        """Serve one program after the other until `stopping`."""
        if self._socket is None:
            return
        with closing(self._socket):
            while not stopping.is_set():
                with suppress(OSError):  # nobody came, or who came has left
                    line, _ = self._socket.accept()
                    with closing(line):
                        line.settimeout(1.0)
                        self._serve(line, stopping)
        self._path.unlink(missing_ok=True)

    def _serve(self, line: socket.socket, stopping: threading.Event) -> None:
        asked = line.recv(64)
        if asked not in {OPEN, SHUT}:
            return
        with self._changed:
            self._mark = secrets.token_hex(8)
            self._judged, self._acknowledged = None, set()
        try:
            self._on_visitor(TrialVisitor(mark=self._mark, opens=asked == OPEN))
            self._tell(line, stopping)
        finally:
            self._mark = ""

    def _tell(self, line: socket.socket, stopping: threading.Event) -> None:
        """Say each step when it has been taken; an end without one more step says that it was not."""
        if not self._comes(lambda: self._judged is not None, STORED_WITHIN_S, line, stopping) or self._judged is None:
            return
        visit, receipt = self._judged
        _send(line, step="judged", shown=visit.shown, opened=visit.opened, detail=visit.detail)
        if not self._comes(lambda: bool(receipt.sequences), STORED_WITHIN_S, line, stopping):
            return
        sequence = receipt.sequences[0]
        _send(line, step="stored", sequence=sequence)
        if self._comes(lambda: sequence in self._acknowledged, ACKNOWLEDGED_WITHIN_S, line, stopping):
            _send(line, step="acknowledged", sequence=sequence)

    def _comes(self, so: Callable[[], bool], within_s: float, line: socket.socket, stopping: threading.Event) -> bool:
        with self._changed:
            for _ in range(round(within_s / LOOK_S)):
                if so() or stopping.is_set() or _has_left(line):
                    break
                self._changed.wait(LOOK_S)
            return so()


def _has_left(line: socket.socket) -> bool:
    """Whether the other program has ended, or says more than it may: the next one is not to wait for it."""
    return bool(select.select([line], [], [], 0)[0])


def _listening(path: Path) -> socket.socket | None:
    """A socket that nobody else could ever connect to; without one the door works all the same."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        made.bind(str(path))
        made.listen(1)
    except OSError as error:
        made.close()
        log.warning("%s: cannot be made (%s); kiosk test visitor has no entrance", path, error.strerror or error)
        return None
    finally:
        os.umask(before)
    made.settimeout(TICK_S)
    return made


def _send(line: socket.socket, **told: str | int | bool) -> None:
    line.send(json.dumps(told).encode())
