"""PURE. What is told to the city, and how it is made of what the door knows. The gate decides when."""

from datetime import datetime
from typing import TypedDict

from kiosk.alerts import Overdue
from kiosk.clock import Now
from kiosk.lane import Told
from kiosk.messages import (
    Alert,
    Answered,
    Cause,
    CheckIn,
    ClockStep,
    CommandAnswer,
    Credential,
    Direction,
    Escalation,
    Event,
    Opening,
    Passage,
    Refusal,
    TrialVisit,
    TrialVisitor,
    Verdict,
)


class Stamp(TypedDict):
    """The fields of `Happening`, to be spread into an event."""

    at: datetime
    utc_trusted: bool
    boot_ns: int


def stamp(now: Now) -> Stamp:
    """What every event says of its time."""
    return Stamp(at=now.utc, utc_trusted=now.utc_trusted, boot_ns=now.monotonic_ns)


def of_verdict(verdict: Verdict, read: Credential | Refusal, now: Now) -> tuple[Event, ...]:
    """A check-in, with an alert before it where there is an alarm."""
    subject, sealed = (read.subject, read.sealed) if isinstance(read, Credential) else (None, "")
    check_in = CheckIn(
        **stamp(now),
        direction=verdict.direction,
        decision=verdict.decision,
        reasons=verdict.reasons,
        scheme=read.scheme,
        subject=subject,
        data_age_s=verdict.data_age_s,
        city_age_s=verdict.city_age_s,
        sealed=sealed,
    )
    if not verdict.alarm:
        return (check_in,)
    alert = Alert(
        **stamp(now),
        direction=verdict.direction,
        reasons=tuple(reason for reason in verdict.reasons if reason.startswith("at_risk.")),
        scheme=read.scheme,
        subject=subject,
        sealed=sealed,
    )
    return (alert, check_in)


def of_passage(told: Told, now: Now) -> Passage:
    """What the lane has told; it knows whose grant is void, the city is not told."""
    return Passage(**stamp(now), direction=told.direction, outcome=told.outcome)


def of_opening(direction: Direction, cause: Cause, now: Now) -> Opening:
    """An opening without a code."""
    return Opening(**stamp(now), direction=direction, cause=cause)


def of_escalation(overdue: Overdue, now: Now) -> Escalation:
    """Nobody has acknowledged an alert in time."""
    return Escalation(
        **stamp(now),
        alert_ledger=overdue.ledger,
        alert_sequence=overdue.sequence,
        delivered=overdue.delivered,
        count=overdue.count,
    )


def of_trial_visit(visitor: TrialVisitor, why_not: str, direction: Direction, now: Now) -> TrialVisit:
    """What became of somebody who is nobody; `why_not` is empty where the door had time for it."""
    return TrialVisit(
        **stamp(now),
        mark=visitor.mark,
        direction=direction,
        shown=not why_not,
        opened=visitor.opens and not why_not,
        detail=why_not,
    )


def of_clock_step(step_ms: int, now: Now) -> ClockStep:
    """The wall clock has jumped."""
    return ClockStep(**stamp(now), step_ms=step_ms)


def of_answer(answered: Answered, now: Now) -> CommandAnswer:
    """What came of a command."""
    return CommandAnswer(
        **stamp(now), number=answered.number, order=answered.order, done=answered.done, detail=answered.detail
    )
