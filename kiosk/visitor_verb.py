"""`kiosk test visitor`: sends a visitor that is nobody through a running door, and tells each step on the way.

It speaks to `kiosk.visitor_desk`. Added to the command line by `kiosk.cli`.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from kiosk.clock import MS, Clock, SystemClock
from kiosk.visitor_desk import ACKNOWLEDGED_WITHIN_S, NAME, OPEN, SHUT

ARRIVED, STUCK = 0, 1
RUNTIME = Path("/run/kiosk")
"""RuntimeDirectory of systemd/kiosk.service."""
JUDGED_WITHIN_S = 10.0

_STEPS = ("judged", "stored", "acknowledged")
_MISSING = {
    "judged": "the door did not answer; see kiosk logs",
    "stored": "the door could not store it: kiosk doctor looks at the outbox",
    "acknowledged": "the city has not acknowledged it; it waits in the outbox: kiosk doctor",
}


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it."""
    test = verbs.add_parser("test", help="send a test visitor through a running door, as far as the city")
    test.add_argument("what", choices=["visitor"])
    test.add_argument("--open", action="store_true", help="open the lane for it; keep people out of the way")
    test.add_argument(
        "--wait",
        type=float,
        default=ACKNOWLEDGED_WITHIN_S,
        metavar="SECONDS",
        help="for the city; default: %(default)s",
    )
    test.set_defaults(do=_visit)


def _visit(parsed: argparse.Namespace) -> int:
    path = Path(os.environ.get("RUNTIME_DIRECTORY", RUNTIME)) / NAME
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as line:
        try:
            line.connect(str(path))
        except PermissionError:
            return _end(f"{path} is for the door's user and root: use sudo -u kiosk")
        except OSError as error:
            return _end(f"no door answers at {path} ({error.strerror}): systemctl start kiosk, then kiosk status")
        return _follow(line, SystemClock(), wants_open=parsed.open, wait_s=parsed.wait)


def _follow(line: socket.socket, clock: Clock, *, wants_open: bool, wait_s: float) -> int:
    began_ns, shown = clock.now().monotonic_ns, True
    line.settimeout(JUDGED_WITHIN_S)
    line.send(OPEN if wants_open else SHUT)
    steps = iter(_STEPS)
    for told in _heard(line):
        took_ms = (clock.now().monotonic_ns - began_ns) // MS
        step = next(steps)
        sys.stdout.write(f"{took_ms:7} ms  {_said(told)}\n")
        sys.stdout.flush()
        shown = shown and bool(told.get("shown", True))
        line.settimeout(wait_s if step == "stored" else JUDGED_WITHIN_S)
        if step == "acknowledged":
            return ARRIVED if shown else STUCK
    return _end(_MISSING[next(steps)])


def _heard(line: socket.socket) -> Iterator[dict[str, Any]]:
    while True:
        try:
            content = line.recv(1024)
        except OSError:
            return
        if not content:
            return
        yield json.loads(content)


def _said(told: dict[str, Any]) -> str:
    match told["step"]:
        case "judged" if told["shown"]:
            lane = "the lane opens" if told["opened"] else "the lane stays shut"
            return f"the door shows green and sounds; {lane}"
        case "judged":
            return f"the door shows nothing: {told['detail']}"
        case "stored":
            return f"stored as event {told['sequence']}, as a trial"
    return f"the city has stored event {told['sequence']}"


def _end(sentence: str) -> int:
    sys.stderr.write(f"kiosk test visitor: {sentence}\n")
    return STUCK
