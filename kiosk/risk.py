"""PURE. Facts and rules give the verdict, with its reasons and the age of what it was decided on.

The table of rules (`config/rules.toml`) says what each reason does and what it says; this module only finds which
reasons hold and lets the weightiest decide. It knows no format and no line. The gate calls it.

Law: on an exit the decision is always granted; reasons and alarm stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from kiosk.clock import Now
from kiosk.messages import (
    Credential,
    Decision,
    Declaration,
    Direction,
    Reason,
    Refusal,
    Screen,
    Verdict,
    Wording,
)

VIETNAM = timezone(timedelta(hours=7))
"""Calendar days in declarations and areas are Vietnamese days."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A declaration may seem this far from the future: phones and issuers are not exact to the second."""

_WEIGHT = {Decision.GRANTED: 0, Decision.HELD: 1, Decision.DENIED: 2}
_ORDER = {reason: place for place, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one reason does at an entry and what it says. `alarm` calls staff and raises an alert to the city."""

    decision: Decision
    alarm: bool = False
    wording: Wording


@dataclass(frozen=True, slots=True, kw_only=True)
class EpidemicArea:
    """An area and the Vietnamese days, both included, on which having been there counts as a risk."""

    code: str
    since: date
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The whole table. `look_back_days`: stays that ended earlier no longer count (Decision 2666: 21 days).

    `exits` words the two verdicts of an exit, where nobody is stopped: granted, and granted with an alarm.
    """

    version: str
    look_back_days: int
    areas: tuple[EpidemicArea, ...]
    reasons: Mapping[Reason, Rule]
    screens: Mapping[Screen, Wording]
    exits: Mapping[Screen, Wording]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the gate knows beside the credential."""

    direction: Direction
    granted_lately: bool
    left: bool
    recordable: bool


def verdict_for(read: Credential | Refusal, *, rules: Rules, around: Circumstances, now: Now) -> Verdict:
    """Judge one presentation."""
    found = [*_reasons_in(read, rules, now), *_reasons_around(around, now, read)]
    reasons = sorted(found or [Reason.NO_RISK], key=lambda reason: _gravity(rules.reasons[reason], reason))
    decision = max((rules.reasons[reason].decision for reason in reasons), key=_WEIGHT.__getitem__)
    if around.direction is Direction.EXIT:
        decision = Decision.GRANTED
    return Verdict(
        decision=decision,
        reasons=tuple(reasons),
        alarm=any(rules.reasons[reason].alarm for reason in reasons),
        direction=around.direction,
        data_age_s=_age_s(read, now),
    )


def _gravity(rule: Rule, reason: Reason) -> tuple[bool, int, int]:
    return (not rule.alarm, -_WEIGHT[rule.decision], _ORDER[reason])


def _age_s(read: Credential | Refusal, now: Now) -> int | None:
    if isinstance(read, Refusal) or read.declaration is None:
        return None
    return max(0, int((now.utc - read.declaration.issued_at).total_seconds()))


def _reasons_in(read: Credential | Refusal, rules: Rules, now: Now) -> list[Reason]:
    if isinstance(read, Refusal):
        return [read.reason]
    if read.declaration is None:
        return [Reason.NO_DECLARATION]
    declared = read.declaration
    holds = {
        Reason.AT_RISK_SYMPTOM: bool(declared.symptoms),
        Reason.AT_RISK_AREA: _was_in_epidemic_area(declared, rules, now.utc),
        Reason.AT_RISK_CONTACT: declared.contact,
        Reason.DECLARATION_EXPIRED: now.utc >= declared.expires_at,
        Reason.DECLARATION_NOT_YET_VALID: declared.issued_at > now.utc + CLOCK_TOLERANCE,
    }
    return [reason for reason, true in holds.items() if true]


def _reasons_around(around: Circumstances, now: Now, read: Credential | Refusal) -> list[Reason]:
    dated = isinstance(read, Credential) and read.declaration is not None
    holds = {
        Reason.ALREADY_PRESENTED: around.granted_lately,
        Reason.LEFT_BEFORE_VERDICT: around.left,
        Reason.CLOCK_UNTRUSTED: dated and not now.utc_trusted,
        Reason.RECORD_UNAVAILABLE: not around.recordable,
    }
    return [reason for reason, true in holds.items() if true]


def _was_in_epidemic_area(declared: Declaration, rules: Rules, utc: datetime) -> bool:
    oldest = utc.astimezone(VIETNAM).date() - timedelta(days=rules.look_back_days)
    return any(
        visit.area.startswith(area.code)
        and visit.left_on >= max(oldest, area.since)
        and (area.until is None or visit.left_on <= area.until)
        for visit in declared.visits
        for area in rules.areas
    )
