"""PURE. The daemon's journal in plain words: what happened at the door, and what it means.

Decides the words for each kind of line; a line it does not know stays as it is. Refuses to know where lines come from;
`kiosk.technician` reads the journal, or a file that was saved with `journalctl -o json`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

VIETNAM = timezone(timedelta(hours=7), "+07")
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL)
_SAVED_US = 1_000_000

_DECISIONS = {"granted": "was let through", "held": "was held for staff", "denied": "was not let through"}
_WAYS = {"entry": "in", "exit": "out"}
_STAGES = {
    "camera": "the camera",
    "view": "the camera's view",
    "lines": "lights, buzzer or relays",
    "interlock": "the guard of the relays",
    "inputs": "the contacts",
    "outbox": "the outbox",
    "uplink": "the connection to the city",
    "city-data": "what the city has sent",
    "machine": "the computer",
    "supervisor": "the watchdog",
    "alarm": "an alarm",
}


def _visited(found: re.Match[str]) -> str:
    way, decision, reasons = _WAYS[found["way"]], _DECISIONS[found["decision"]], found["reasons"].replace("_", " ")
    return f"somebody going {way} {decision}: {reasons.replace('.', ': ')}"


def _staged(found: re.Match[str]) -> str:
    stage = _STAGES.get(found["stage"], found["stage"])
    return f"{stage} works again" if found["said"] == "works again" else f"{stage}: {found['said']}"


_WORDS = (
    (r"(?P<way>entry|exit) (?P<decision>granted|held|denied) \((?P<reasons>[^)]*)\) .*", _visited),
    (
        r"door (?P<door>\S+), screen at (?P<url>\S+)",
        lambda f: f"the program of {f['door']} has started; page {f['url']}",
    ),
    (r"the record is late: .*", lambda _: "the card was slow: the door opened before the visit was stored"),
    (
        r"out of order for (\d+) s: asking for a (\w+)",
        lambda f: f"the door did not recover in {f[1]} s and asks for a {f[2]}",
    ),
    (r"(\w+) has crashed.*", lambda f: f"a bug ended the part '{f[1]}'; the program starts anew. Please report it"),
    (r"the uplink has crashed.*", lambda _: "a bug ended the connection; it begins anew. Please report it"),
    (r"(\w+) does not end; leaving without it", lambda f: f"the part '{f[1]}' hung at the end"),
    (r"cannot reach the broker at (\S+): (.*)", lambda f: f"the city's broker at {f[1]} cannot be reached: {f[2]}"),
    (r"the city has not acknowledged within (\d+) s.*", lambda f: f"the city stores nothing: no answer for {f[1]} s"),
    (
        r"Start(?:ed|ing) kiosk\.service.*",
        lambda f: "systemd starts the door" if "ing" in f[0][:8] else "the door is up",
    ),
    (
        r"Stopp(?:ed|ing) kiosk\.service.*",
        lambda f: "systemd stops the door" if "ing" in f[0][:8] else "the door is down",
    ),
    (
        r"kiosk\.service: Main process exited, code=(\w+), status=(\S+).*",
        lambda f: f"the program ended ({f[1]}, {_code(f[2])})",
    ),
    (r"kiosk\.service: Watchdog timeout.*", lambda _: "the program did not answer, and is ended"),
    (
        r"kiosk\.service: Scheduled restart job, restart counter is at (\d+)\.",
        lambda f: f"it is started again, for the {f[1]}. time",
    ),
    (
        r"kiosk\.service: Start request repeated too quickly\.",
        lambda _: "it was started too often; kiosk-recover takes over",
    ),
    (r"(?P<stage>[a-z][a-z_-]*): (?P<said>.+)", _staged),
)
_TABLE = tuple((re.compile(pattern, re.DOTALL), words) for pattern, words in _WORDS)

_CODES = {
    "3/NOTIMPLEMENTED": "3: the configuration has mistakes; kiosk check-config names them",
    "4/NOPERMISSION": "4: a part cannot start",
    "5/NOTINSTALLED": "5: asked to be started again",
    "6/NOTCONFIGURED": "6: asked for a reboot",
    "9/KILL": "killed",
}
"""As systemd writes exit codes (systemd.exec(5)), and what ours say (kiosk/cli.py)."""


def _code(status: str) -> str:
    return _CODES.get(status, status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line of the journal. `at` is None in a file that has no times; `level` is "", "warning" or "error"."""

    at: datetime | None
    level: str
    text: str


def read(lines: Iterable[str]) -> Iterator[Said]:
    """Read lines of `journalctl -o json`, or of a log that was saved as it is; each in plain words."""
    for line in lines:
        if not line.strip():
            continue
        entry = _entry(line)
        message, at = entry.get("MESSAGE", line.rstrip("\n")), entry.get("__REALTIME_TIMESTAMP")
        if not isinstance(message, str):
            message = bytes(message).decode(errors="replace") if isinstance(message, list) else ""
        leveled = _LEVEL.fullmatch(message)
        level, text = (leveled[1], leveled[2]) if leveled else (_priority(entry), message)
        yield Said(
            at=datetime.fromtimestamp(int(at) / _SAVED_US, VIETNAM) if at else None,
            level={"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}.get(level, ""),
            text=plain(text),
        )


def plain(message: str) -> str:
    """Say one message in plain words; as it is where it is not known."""
    for pattern, words in _TABLE:
        if found := pattern.fullmatch(message):
            return words(found)
    return message


def line_of(said: Said) -> str:
    """Write one line for a terminal."""
    at = f"{said.at:%Y-%m-%d %H:%M:%S} " if said.at else ""
    return f"{at}{said.level:7} {said.text}".rstrip()


def _entry(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _priority(entry: dict[str, Any]) -> str:
    """syslog(3): 0 to 3 are errors, 4 is a warning."""
    priority = str(entry.get("PRIORITY", ""))
    return "ERROR" if priority in {"0", "1", "2", "3"} else "WARNING" if priority == "4" else ""
