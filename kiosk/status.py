"""PURE. A running door in a few lines, from what its page shows and what is on its disk.

Decides what a technician reads first. Refuses to know where it comes from; `kiosk.technician` gathers it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

_SHOWN = {
    "attract": "open, waiting for the next visitor",
    "reading": "open, reading a code",
    "granted": "open, somebody is let in",
    "held": "open, somebody is held for staff",
    "denied": "open, somebody is sent away",
    "at_risk": "open, somebody at risk is stopped",
    "out_of_order": "OUT OF ORDER",
    "locked": "LOCKED by the city's order",
    "fire": "FIRE: the lane is free until staff reset it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A door that runs. `view` is what its page has (`messages.View`), `outbox` what waits by kind.

    Versions are 0 and ages None where the door has nothing, or its clock is not trusted. `service` is systemd's word.
    """

    device: str
    version: str
    view: dict[str, Any]
    outbox: dict[str, int]
    trust_version: int
    trust_age_s: int | None
    risk_list_version: int
    risk_list_age_s: int | None
    temperature_c: float | None
    memory_free_mb: int | None
    disk_free_mb: int | None
    up_s: int | None
    service: str


def document(status: Status) -> str:
    """Write it as JSON; the view without wording and initials."""
    told = asdict(status)
    told["view"] = {name: value for name, value in status.view.items() if name not in {"wording", "initials"}}
    return json.dumps({"running": True, **told}, ensure_ascii=False, indent=2)


def lines(status: Status) -> str:
    """Write it for a terminal; nothing of the person who stands there."""
    view = status.view
    rows = {
        "door": f"{status.device}, {view.get('direction')}: {_SHOWN.get(str(view.get('screen')), view.get('screen'))}",
        "service": status.service or "not by systemd",
        "city": _city(view),
        "outbox": _outbox(view, status.outbox),
        "alert": f"{view['alert']}, not closed" if view.get("alert") else "none open",
        "today": _today(view.get("today")),
        "faults": str(view.get("fault") or "none").replace(" · ", "\n"),
        "trust": _held(status.trust_version, status.trust_age_s),
        "risk list": _held(status.risk_list_version, status.risk_list_age_s),
        "computer": _computer(status),
        "firmware": status.version,
    }
    rows |= {"sound": "muted by the city's order"} if view.get("muted") else {}
    return "\n".join(f"{name:10} {text}".replace("\n", "\n" + 11 * " ") for name, text in rows.items())


def _city(view: dict[str, Any]) -> str:
    since = f" since {view['link_since']}" if view.get("link_since") else ""
    return f"{'online' if view.get('online') else 'OFFLINE'}{since}"


def _outbox(view: dict[str, Any], kinds: dict[str, int]) -> str:
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    return f"{view.get('waiting', 0)} waiting{f' (in the file: {told})' if told else ''}"


def _today(tally: dict[str, int] | None) -> str:
    if tally is None:
        return "not counted: this lane has no passage sensor"
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in tally.items())


def _held(version: int, age_s: int | None) -> str:
    if not version:
        return "none"
    return f"version {version}, {long(age_s)} old" if age_s is not None else f"version {version}, age unknown"


def _computer(status: Status) -> str:
    facts = {
        "up {}": None if status.up_s is None else long(status.up_s),
        "{} °C": None if status.temperature_c is None else f"{status.temperature_c:.0f}",
        "{} MB of memory left": status.memory_free_mb,
        "{} MB of disk left": status.disk_free_mb,
    }
    return ", ".join(text.format(value) for text, value in facts.items() if value is not None) or "tells nothing"


def long(seconds: int) -> str:
    """A duration as people say it."""
    units = ((86_400, 2, "days"), (3600, 2, "h"), (60, 1, "min"))
    size, word = next(((size, word) for size, most, word in units if seconds >= most * size), (1, "s"))
    return f"{seconds // size} {word}"
