"""PURE. Facts and rules give the verdict, with its reasons and the age of what it was decided on.

The table of rules (`config/rules.toml`) says what each reason does and what it says; this module only finds which
reasons hold and lets the weightiest decide. It knows no format and no line. The gate calls it.

Laws: on an exit the decision is always granted, reasons and alarm stay; as the city's data gets older, no verdict gets
milder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import Enum, auto

from kiosk.clock import Now
from kiosk.messages import (
    Certificate,
    CertificateKind,
    Credential,
    Decision,
    Declaration,
    Direction,
    Flag,
    Hint,
    Reason,
    Refusal,
    Scheme,
    Screen,
    Symptom,
    Verdict,
    Wording,
)

VIETNAM = timezone(timedelta(hours=7))
"""Calendar days in declarations and areas are Vietnamese days."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A declaration may seem this far from the future: phones and issuers are not exact to the second."""

NEVER = 10**9
"""Older than anything: what has no date, in days or seconds."""

WEIGHT = {Decision.GRANTED: 0, Decision.HELD: 1, Decision.DENIED: 2}
"""How grave a decision is; of several the gravest holds."""
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
class CertificateRules:
    """Whether a vaccination, test or recovery certificate stands in for a declaration, and which one does.

    Days are counted in Vietnam: from the last dose of a whole course, from the first positive test of a recovery, from
    the sample of a negative test. Da Nang's green card of 2021: two doses, or recovered less than six months ago.
    """

    admit: bool = False
    dose_days: int = 14
    recovery_days: int = 180
    test_days: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The whole table. `look_back_days`: stays that ended earlier no longer count (Decision 2666: 21 days).

    `declaration_hours`: an older declaration has expired, whatever it says of itself. `symptom_sets`: somebody is at
    risk who declares all symptoms of one of them.

    `exits` words the two verdicts of an exit, where nobody is stopped: granted, and granted with an alarm. A hint
    without wording is not given. `links` are the beginnings of links and tokens that only the city can resolve.
    """

    version: str
    look_back_days: int
    areas: tuple[EpidemicArea, ...]
    reasons: Mapping[Reason, Rule]
    screens: Mapping[Screen, Wording]
    exits: Mapping[Screen, Wording]
    hints: Mapping[Hint, Wording] = field(default_factory=dict)
    certificates: CertificateRules = CertificateRules()
    declaration_hours: int = 24
    symptom_sets: tuple[tuple[Symptom, ...], ...] = tuple((symptom,) for symptom in Symptom)
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old the city's data may be: `fresh_s` is as it should be, beyond `limit_s` nobody is let in by it."""

    fresh_s: int
    limit_s: int


class LookUp(Enum):
    """What became of asking the city about somebody whose code only says who they are."""

    NOT_NEEDED = auto()
    UNAVAILABLE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the gate knows beside the credential.

    `flag` is what the city's risk list says of the person; `freshness` is None at a site that goes without the list.
    `city_age_s` is the age of the list, None where the kiosk has none.
    """

    direction: Direction
    granted_lately: bool
    left: bool
    recordable: bool
    flag: Flag | None = None
    city_age_s: int | None = None
    freshness: Freshness | None = None
    trusting: bool = True
    look_up: LookUp = LookUp.NOT_NEEDED


def verdict_for(read: Credential | Refusal, *, rules: Rules, around: Circumstances, now: Now) -> Verdict:
    """Judge one presentation."""
    found = [*_reasons_in(read, around, rules, now), *_reasons_around(around, now, read)]
    reasons = sorted(found or [Reason.NO_RISK], key=lambda reason: _gravity(rules.reasons[reason], reason))
    decision = max((rules.reasons[reason].decision for reason in reasons), key=WEIGHT.__getitem__)
    if around.direction is Direction.EXIT:
        decision = Decision.GRANTED
    return Verdict(
        decision=decision,
        reasons=tuple(reasons),
        alarm=any(rules.reasons[reason].alarm for reason in reasons),
        direction=around.direction,
        data_age_s=_age_s(read, now),
        city_age_s=around.city_age_s,
    )


def _gravity(rule: Rule, reason: Reason) -> tuple[bool, int, int]:
    return (not rule.alarm, -WEIGHT[rule.decision], _ORDER[reason])


def _age_s(read: Credential | Refusal, now: Now) -> int | None:
    if isinstance(read, Refusal) or read.declaration is None:
        return None
    return max(0, int((now.utc - read.declaration.issued_at).total_seconds()))


def _reasons_in(read: Credential | Refusal, around: Circumstances, rules: Rules, now: Now) -> list[Reason]:
    if isinstance(read, Refusal):
        return [read.reason]
    if read.certificate:
        return _reasons_of_certificate(read.certificate, rules, now.utc)
    if read.declaration is None:
        if read.scheme is Scheme.LINK:  # it names nobody, so a site that lets cards in must not let it in
            return [Reason.UNRESOLVED_CODE]
        return [Reason.NO_DECLARATION if around.look_up is LookUp.NOT_NEEDED else Reason.LOOKUP_UNAVAILABLE]
    declared = read.declaration
    holds = {
        Reason.AT_RISK_SYMPTOM: any(set(declared.symptoms).issuperset(some) for some in rules.symptom_sets),
        Reason.AT_RISK_AREA: _was_in_epidemic_area(declared, rules, now.utc),
        Reason.AT_RISK_CONTACT: declared.contact,
        Reason.DECLARATION_EXPIRED: now.utc
        >= min(declared.expires_at, declared.issued_at + timedelta(hours=rules.declaration_hours)),
        Reason.DECLARATION_NOT_YET_VALID: declared.issued_at > now.utc + CLOCK_TOLERANCE,
    }
    return [reason for reason, true in holds.items() if true]


def _reasons_of_certificate(certificate: Certificate, rules: Rules, utc: datetime) -> list[Reason]:
    if _days_since(certificate.on, utc) <= rules.look_back_days and certificate.detected:
        return [Reason.AT_RISK_POSITIVE_TEST]
    if utc > certificate.expires_at:  # its last second counts (EU test data, DK and ES)
        return [Reason.CERTIFICATE_EXPIRED]
    if not rules.certificates.admit:
        return [Reason.NO_DECLARATION]
    return [] if _suffices(certificate, rules.certificates, utc) else [Reason.CERTIFICATE_INSUFFICIENT]


def _suffices(certificate: Certificate, asked: CertificateRules, utc: datetime) -> bool:
    today, days = utc.astimezone(VIETNAM).date(), _days_since(certificate.on, utc)
    if days < 0 or (certificate.issued_at and certificate.issued_at > utc + CLOCK_TOLERANCE):
        return False
    match certificate.kind:
        case CertificateKind.VACCINATION:
            whole = certificate.dose is not None and certificate.dose >= (certificate.doses or 1)
            return whole and asked.dose_days <= days < NEVER
        case CertificateKind.RECOVERY:
            first, last = certificate.valid_from or date.min, certificate.valid_until or date.max
            return first <= today <= last and days <= asked.recovery_days
        case CertificateKind.TEST:
            return certificate.detected is False and days <= asked.test_days


def _days_since(day: date | None, utc: datetime) -> int:
    return NEVER if day is None else (utc.astimezone(VIETNAM).date() - day).days


def _reasons_around(around: Circumstances, now: Now, read: Credential | Refusal) -> list[Reason]:
    dated = isinstance(read, Credential) and bool(read.declaration or read.certificate)
    holds = {
        Reason.AT_RISK_LISTED: around.flag is not None,
        Reason.TRUST_MISSING: not around.trusting,
        **_reasons_of_age(around),
        Reason.ALREADY_PRESENTED: around.granted_lately,
        Reason.LEFT_BEFORE_VERDICT: around.left,
        Reason.CLOCK_UNTRUSTED: dated and not now.utc_trusted,
        Reason.RECORD_UNAVAILABLE: not around.recordable,
    }
    return [reason for reason, true in holds.items() if true]


def _reasons_of_age(around: Circumstances) -> dict[Reason, bool]:
    if around.freshness is None:
        return {}
    age_s = NEVER if around.city_age_s is None else around.city_age_s
    too_old = age_s > around.freshness.limit_s
    return {Reason.DATA_TOO_OLD: too_old, Reason.DATA_STALE: not too_old and age_s > around.freshness.fresh_s}


def _was_in_epidemic_area(declared: Declaration, rules: Rules, utc: datetime) -> bool:
    oldest = utc.astimezone(VIETNAM).date() - timedelta(days=rules.look_back_days)
    return any(
        visit.area.startswith(area.code)
        and visit.left_on >= max(oldest, area.since)
        and (area.until is None or visit.left_on <= area.until)
        for visit in declared.visits
        for area in rules.areas
    )
