"""PURE. What `city desk` and `city watch` tell people: as values, as lines for scripts, and as words in colour.

A subject is shortened to its first digits: enough to see that two alerts are of one person. Decides nothing else.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from city.doors import Condition

DA_NANG = timezone(timedelta(hours=7))
SUBJECT_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotice:
    """Of one alert. `news`: raised, unanswered (told again), escalated (by its kiosk), acknowledged or closed.

    `at` is when that came about, `count` how often the kiosk has escalated it, `by` who acknowledged or closed it.
    """

    news: str
    at: datetime
    device: str
    place: str
    access_point: str
    ledger: str
    sequence: int
    direction: str = ""
    reasons: tuple[str, ...] = ()
    subject: str = ""
    count: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorNotice:
    """A door has another condition since `at`; the one before had lasted `lasted_s`, 0 where there was none."""

    news: Condition
    at: datetime
    device: str
    lasted_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorsNotice:
    """Many doors have another condition at once; `devices` are the first of them."""

    news: Condition
    at: datetime
    doors: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNotice:
    """The city hears nobody since `at`, or (`hears`) somebody again. `doors` are those it waits for."""

    hears: bool
    at: datetime
    doors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GapNotice:
    """Events of a ledger are missing, or no more (`missing` 0). Between `first` and `last` others may be there."""

    at: datetime
    device: str
    ledger: str
    missing: int
    first: int
    last: int


Notice = AlertNotice | DoorNotice | DoorsNotice | LinkNotice | GapNotice

_NAMES = {AlertNotice: "alert", DoorNotice: "door", DoorsNotice: "doors", LinkNotice: "link", GapNotice: "gap"}
_ALERTS = {
    "raised": ("bold white on red", "ALERT"),
    "unanswered": ("bold red", "ALERT, NOBODY ANSWERS"),
    "escalated": ("bold white on magenta", "ESCALATED by its kiosk"),
    "acknowledged": ("yellow", "acknowledged"),
    "closed": ("green", "closed"),
}
_DOORS = {
    Condition.ONLINE: ("green", "online"),
    Condition.OFFLINE: ("yellow", "offline"),
    Condition.SILENT: ("bold yellow", "SILENT since then"),
}


def shortened(subject: str | None) -> str:
    """As much of a pseudonym as is shown."""
    return (subject or "")[:SUBJECT_SHOWN]


def line(notice: Notice) -> dict[str, Any]:
    """Write a notice as JSON values; `notice` says of which kind it is."""
    fields = asdict(notice)
    return {"notice": _NAMES[type(notice)], **fields, "at": notice.at.isoformat()}


def words(notice: Notice) -> tuple[str, str]:
    """Write a notice for people: a style of rich, and one line of plain text with the time in Da Nang."""
    style, text = _words(notice)
    return style, f"{clock_time(notice.at)}  {printable(text)}"


def printable(text: str) -> str:
    """What a terminal can be given of what a kiosk said: no line ends, no orders to the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def clock_time(at: datetime) -> str:
    """Day and time in Da Nang."""
    return at.astimezone(DA_NANG).strftime("%d.%m. %H:%M:%S")


def _words(notice: Notice) -> tuple[str, str]:
    match notice:
        case AlertNotice():
            style, said = _ALERTS[notice.news]
            return style, f"{said}  {_about(notice)}"
        case DoorNotice():
            style, said = _DOORS[notice.news]
            lasted = f", after {timedelta(seconds=notice.lasted_s)}" if notice.lasted_s else ""
            return style, f"{notice.device}  {said}{lasted}"
        case DoorsNotice():
            style, said = _DOORS[notice.news]
            return style, f"{notice.doors} doors  {said}: {', '.join(notice.devices)}, ..."
        case LinkNotice():
            return _of_link(notice)
        case GapNotice():
            return _of_gap(notice)


def _about(notice: AlertNotice) -> str:
    where = f"{notice.device} {notice.ledger} {notice.sequence}  {notice.place}/{notice.access_point}"
    times = f"{notice.count} times escalated" if notice.count else ""
    by = f"by {notice.by}" if notice.by else ""
    subject = f"subject {notice.subject}" if notice.subject else ""
    return "  ".join(part for part in (where, notice.direction, ", ".join(notice.reasons), subject, times, by) if part)


def _of_link(notice: LinkNotice) -> tuple[str, str]:
    if notice.hears:
        return "green", f"the city hears doors again, after {clock_time(notice.at)}; {notice.doors} are waited for"
    return "bold white on red", f"the city hears nobody: the broker or our link; {notice.doors} doors are waited for"


def _of_gap(notice: GapNotice) -> tuple[str, str]:
    if not notice.missing:
        return "green", f"{notice.device}  no gap any more in ledger {notice.ledger}"
    span = f"{notice.first} to {notice.last}"
    return "bold yellow", f"{notice.device}  GAP in ledger {notice.ledger}: {notice.missing} missing in {span}"
