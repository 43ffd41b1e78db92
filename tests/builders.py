"""Values for tests, each with a usual case that a test changes one thing of. Synthetic people only."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from kiosk.clock import MS, Now
from kiosk.config import load_rules
from kiosk.gate_settings import CityData, GateSettings
from kiosk.messages import (
    Certificate,
    CertificateKind,
    Credential,
    Decision,
    Declaration,
    Direction,
    Flag,
    Reason,
    Refusal,
    Scheme,
    Sighting,
    Symptom,
    Verdict,
    Visit,
)
from kiosk.risk import Rules
from kiosk.risk_list import RiskList, entries

REPOSITORY = Path(__file__).parents[1]
RULES = load_rules(REPOSITORY / "config" / "rules.toml")
"""The rules that ship."""

START = datetime(2021, 11, 22, 1, 0, tzinfo=UTC)
"""Eight o'clock in Da Nang; millisecond 0 of `at_ms`."""

QUAD = ((10, 10), (90, 10), (90, 90), (10, 90))
FOREIGN = Refusal(reason=Reason.UNKNOWN_FORMAT, detail="payload: none of the formats this kiosk reads")


def at_ms(ms: int, *, utc_trusted: bool = True) -> Now:
    """Both hands of a clock that started at zero when UTC was `START`."""
    return Now(monotonic_ns=ms * MS, utc=START + timedelta(milliseconds=ms), utc_trusted=utc_trusted)


def rules_with(reason: Reason, decision: Decision, *, alarm: bool) -> Rules:
    """Give the shipped rules with another answer to one reason."""
    rule = replace(RULES.reasons[reason], decision=decision, alarm=alarm)
    return replace(RULES, reasons={**RULES.reasons, reason: rule})


def declaration(
    *,
    symptoms: tuple[Symptom, ...] = (),
    visits: tuple[Visit, ...] = (),
    contact: bool = False,
    issued_at: datetime = START - timedelta(hours=1),
    lifetime: timedelta = timedelta(hours=24),
) -> Declaration:
    """By default a healthy one of an hour ago, good for a day."""
    return Declaration(
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
        symptoms=symptoms,
        visits=visits,
        contact=contact,
        by_proxy=False,
    )


HEALTHY = declaration()
COUGHING = declaration(symptoms=(Symptom.COUGH,))


def declared(declared: Declaration = HEALTHY, subject: str = "a1") -> Credential:
    """Give a person with a declaration; `subject` is repeated to the length of a pseudonym."""
    return Credential(scheme=Scheme.DECLARATION, subject=(subject * 32)[:32], initials="N.V.A.", declaration=declared)


def card(subject: str = "c1") -> Credential:
    """Give a person with an identity card, which says nothing about health."""
    return Credential(scheme=Scheme.CCCD, subject=(subject * 32)[:32], initials="T.T.B.")


def certified(kind: CertificateKind, on: date | None, subject: str = "f1", **changes: Any) -> Credential:  # noqa: ANN401 - any field
    """Give a person with a certificate that never expires and says nothing but its day, and whatever a test wants."""
    never = datetime(9999, 12, 31, tzinfo=UTC)
    usual = Certificate(kind=kind, country="VN", issued_at=None, expires_at=never, on=on)
    said = replace(usual, **changes)
    return Credential(scheme=Scheme.HC1, subject=(subject * 32)[:32], initials="V.T.", certificate=said)


def risk_list(flags: Mapping[str, Flag], *, made_at: datetime = START, version: int = 1) -> RiskList:
    """The city's list of these people, each named as in `declared`."""
    keys, kinds, _ = entries({(subject * 32)[:32]: flag for subject, flag in flags.items()})
    return RiskList(version=version, made_at=made_at, keys=keys, kinds=kinds)


def sighting(payload: bytes, ms: int, *, engine: str = "zxing") -> Sighting:
    """One decode of a payload at a millisecond; frames come 30 a second."""
    return Sighting(payload=payload, engine=engine, frame_number=ms * 30 // 1000, captured_ns=ms * MS, quad=QUAD)


def verdict(
    decision: Decision,
    reason: Reason,
    *,
    alarm: bool = False,
    direction: Direction = Direction.ENTRY,
) -> Verdict:
    """A verdict with one reason."""
    return Verdict(decision=decision, reasons=(reason,), alarm=alarm, direction=direction)


def site(direction: Direction = Direction.ENTRY, relay_pulse_ms: int = 500, **changes: Any) -> GateSettings:  # noqa: ANN401 - any setting
    """A site that goes without risk list and look-up, and whatever else a test wants; both relays have one pulse."""
    usual = GateSettings(
        direction=direction,
        relay_ms=dict.fromkeys(Direction, relay_pulse_ms),
        hold=frozenset(),
        absence_ms=1500,
        repeat_window_s=30,
        frame_size=(1280, 720),
        freshness=None,
        look_up=False,
        pass_within_s=5,
        alarm_waits=False,
        escalate_after_s=60,
        most_escalations=3,
    )
    return replace(usual, **changes)


def city(codes: Mapping[bytes, Credential | Refusal], rules: Rules = RULES, **changes: Any) -> CityData:  # noqa: ANN401 - any part
    """What the city sent, with a table of codes in place of keys."""
    return replace(CityData(rules=rules, read=reader(codes)), **changes)


def reader(codes: Mapping[bytes, Credential | Refusal]) -> Callable[[bytes], Credential | Refusal]:
    """Read payloads from a table; what is not in it is foreign."""
    return lambda payload: codes.get(payload, FOREIGN)
