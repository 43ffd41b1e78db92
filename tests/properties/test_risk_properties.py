from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations_with_replacement

from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk.clock import Now
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
    Symptom,
    Visit,
)
from kiosk.risk import WEIGHT, CertificateRules, Circumstances, Freshness, LookUp, Rules, verdict_for
from tests.builders import RULES, START

DAYS = st.dates(date(2021, 9, 1), date(2022, 1, 31))
TIMES = st.datetimes(datetime(2021, 9, 1), datetime(2022, 1, 31), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone
BY_AGE = (Reason.NO_RISK, Reason.DATA_STALE, Reason.DATA_TOO_OLD)
FREE = (Reason.NO_DECLARATION, Reason.LOOKUP_UNAVAILABLE, Reason.ALREADY_PRESENTED, Reason.CLOCK_UNTRUSTED)
AGES = st.one_of(st.integers(0, 10**6), st.none())

declarations = st.builds(
    Declaration,
    issued_at=TIMES,
    expires_at=TIMES,
    symptoms=st.lists(st.sampled_from(Symptom), max_size=2).map(tuple),
    visits=st.lists(st.builds(Visit, area=st.sampled_from(["48", "79783", "74"]), left_on=DAYS), max_size=2).map(tuple),
    contact=st.booleans(),
    by_proxy=st.booleans(),
)
certificates = st.builds(
    Certificate,
    kind=st.sampled_from(CertificateKind),
    country=st.just("VN"),
    issued_at=st.none() | TIMES,
    expires_at=TIMES,
    on=st.none() | DAYS,
    dose=st.none() | st.integers(0, 3),
    doses=st.none() | st.integers(0, 3),
    detected=st.none() | st.booleans(),
    valid_from=st.none() | DAYS,
    valid_until=st.none() | DAYS,
)
credentials = st.builds(
    Credential,
    scheme=st.sampled_from(Scheme),
    subject=st.just("a1" * 16),
    initials=st.just(""),
    declaration=st.none() | declarations,
    certificate=st.none() | certificates,
)
refused = [
    *(Reason.SIGNATURE_INVALID, Reason.ISSUER_UNKNOWN, Reason.ISSUER_NOT_ENTITLED, Reason.CERTIFICATE_REVOKED),
    *(Reason.MALFORMED, Reason.UNSUPPORTED_CERTIFICATE, Reason.PLACE_CODE, Reason.UNKNOWN_FORMAT),
]
reads = credentials | st.builds(Refusal, reason=st.sampled_from(refused), detail=st.just(""))
circumstances = st.builds(
    Circumstances,
    direction=st.sampled_from(Direction),
    granted_lately=st.booleans(),
    left=st.booleans(),
    recordable=st.booleans(),
    flag=st.none() | st.sampled_from(Flag),
    city_age_s=AGES,
    freshness=st.none() | st.builds(Freshness, fresh_s=st.just(3600), limit_s=st.integers(3600, 10**5)),
    trusting=st.booleans(),
    look_up=st.sampled_from(LookUp),
)
clocks = st.builds(Now, monotonic_ns=st.just(0), utc=st.just(START) | TIMES, utc_trusted=st.booleans())
everyday = settings(max_examples=100, deadline=None)


def _table(by_age: tuple[Decision, ...], free: Decision, *, admit: bool) -> Rules:
    decisions = {**dict(zip(BY_AGE, by_age, strict=True)), **dict.fromkeys(FREE, free)}
    tuned = {reason: replace(RULES.reasons[reason], decision=decision) for reason, decision in decisions.items()}
    return replace(RULES, reasons={**RULES.reasons, **tuned}, certificates=CertificateRules(admit=admit))


TABLES = [
    _table(by_age, free, admit=admit)
    for by_age in combinations_with_replacement(WEIGHT, len(BY_AGE))
    if by_age[-1] is not Decision.GRANTED
    for free in Decision
    for admit in (True, False)
]
"""Rules as a site may tune them, within the law that its configuration is held to."""
tables = st.integers(0, len(TABLES) - 1)


@everyday
@given(read=reads, table=tables, around=circumstances, now=clocks)
def test_every_verdict_has_its_reasons_and_no_risk_stands_alone(
    read: Credential | Refusal, table: int, around: Circumstances, now: Now
) -> None:
    """At least one, none twice, the alarming first; the age of the city's data is the one it was judged by."""
    verdict = verdict_for(read, rules=TABLES[table], around=around, now=now)
    assert verdict.reasons
    assert len(set(verdict.reasons)) == len(verdict.reasons)
    assert Reason.NO_RISK not in verdict.reasons or verdict.reasons == (Reason.NO_RISK,)
    assert (verdict.direction, verdict.city_age_s) == (around.direction, around.city_age_s)
    alarming = [TABLES[table].reasons[reason].alarm for reason in verdict.reasons]
    assert alarming == sorted(alarming, reverse=True)


@everyday
@given(read=reads, table=tables, around=circumstances, now=clocks)
def test_a_risk_always_alarms_and_enters_nowhere(
    read: Credential | Refusal, table: int, around: Circumstances, now: Now
) -> None:
    """Nothing else alarms; a flag is always among the reasons."""
    verdict = verdict_for(read, rules=TABLES[table], around=around, now=now)
    at_risk = any(reason.startswith("at_risk.") for reason in verdict.reasons)
    assert verdict.alarm == at_risk
    assert not at_risk or verdict.decision is Decision.DENIED or around.direction is Direction.EXIT
    assert (Reason.AT_RISK_LISTED in verdict.reasons) == (around.flag is not None)


@everyday
@given(read=reads, table=tables, around=circumstances, now=clocks)
def test_an_exit_opens_whatever_holds(read: Credential | Refusal, table: int, around: Circumstances, now: Now) -> None:
    """And its reasons, alarm and ages are those of an entry."""
    out, into = (
        verdict_for(read, rules=TABLES[table], around=replace(around, direction=direction), now=now)
        for direction in (Direction.EXIT, Direction.ENTRY)
    )
    assert out == replace(into, direction=Direction.EXIT, decision=Decision.GRANTED)


@everyday
@given(read=reads, table=tables, around=circumstances, now=clocks, ages=st.tuples(AGES, AGES))
def test_no_verdict_gets_milder_as_the_citys_data_gets_older(
    read: Credential | Refusal, table: int, around: Circumstances, now: Now, ages: tuple[int | None, int | None]
) -> None:
    """None is older than any age; the alarm stays as it is."""
    newer, older = (
        verdict_for(read, rules=TABLES[table], around=replace(around, city_age_s=age_s), now=now)
        for age_s in sorted(ages, key=lambda age_s: (age_s is None, age_s or 0))
    )
    assert WEIGHT[newer.decision] <= WEIGHT[older.decision]
    assert newer.alarm == older.alarm


@everyday
@given(
    said=declarations,
    table=tables,
    around=circumstances,
    now=clocks,
    later=st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_a_declaration_that_lets_nobody_in_for_its_age_never_does_again(
    said: Declaration, table: int, around: Circumstances, now: Now, later: timedelta
) -> None:
    """Once expired it stays so."""
    read = Credential(scheme=Scheme.DECLARATION, subject="a1" * 16, initials="", declaration=said)
    first, then = (
        verdict_for(read, rules=TABLES[table], around=around, now=replace(now, utc=now.utc + by))
        for by in (timedelta(0), later)
    )
    assert Reason.DECLARATION_EXPIRED not in first.reasons or Reason.DECLARATION_EXPIRED in then.reasons
