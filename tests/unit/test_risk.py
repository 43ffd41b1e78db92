from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from kiosk.clock import Now
from kiosk.messages import (
    Credential,
    Decision,
    Declaration,
    Direction,
    Reason,
    Refusal,
    Scheme,
    Symptom,
    Verdict,
    Visit,
)
from kiosk.risk import Circumstances, EpidemicArea, verdict_for
from tests.builders import (
    COUGHING,
    FOREIGN,
    HEALTHY,
    RULES,
    START,
    at_ms,
    card,
    declaration,
    declared,
    rules_with,
)

NOW = at_ms(0)
TODAY = date(2021, 11, 22)
HOUR = 3600
ENTRY = Circumstances(direction=Direction.ENTRY, granted_lately=False, left=False, recordable=True)
EXIT = replace(ENTRY, direction=Direction.EXIT)
AREA_RULES = replace(
    RULES,
    look_back_days=21,
    areas=(EpidemicArea(code="79", since=date(2021, 11, 5), until=date(2021, 11, 15)),),
)


def _judge(read: Credential | Refusal, around: Circumstances = ENTRY, now: Now = NOW) -> Verdict:
    return verdict_for(read, rules=RULES, around=around, now=now)


def _verdict(decision: Decision, *reasons: Reason, alarm: bool = False, age_s: int | None = HOUR) -> Verdict:
    return Verdict(decision=decision, reasons=reasons, alarm=alarm, direction=Direction.ENTRY, data_age_s=age_s)


GRANTED = _verdict(Decision.GRANTED, Reason.NO_RISK)


def test_a_healthy_declaration_is_granted() -> None:
    """Its age goes with the verdict."""
    assert _judge(declared()) == GRANTED


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *((declaration(symptoms=(symptom,)), Reason.AT_RISK_SYMPTOM) for symptom in Symptom),
        (declaration(visits=(Visit(area="79", left_on=TODAY),)), Reason.AT_RISK_AREA),
        (declaration(contact=True), Reason.AT_RISK_CONTACT),
    ],
)
def test_a_person_at_risk_is_stopped_with_an_alarm(said: Declaration, reason: Reason) -> None:
    """Each symptom, a stay in an epidemic area, or a contact is enough."""
    assert _judge(declared(said)) == _verdict(Decision.DENIED, reason, alarm=True)


def test_every_reason_is_named_weightiest_first() -> None:
    """Alarms come first, then denials, then holds, and those alike in the order of the list of reasons."""
    said = declaration(
        symptoms=(Symptom.FEVER,),
        contact=True,
        issued_at=START - timedelta(hours=2),
        lifetime=timedelta(hours=1),
    )
    around = replace(ENTRY, granted_lately=True, left=True, recordable=False)
    assert _judge(declared(said), around, at_ms(0, utc_trusted=False)) == _verdict(
        Decision.DENIED,
        Reason.AT_RISK_SYMPTOM,
        Reason.AT_RISK_CONTACT,
        Reason.DECLARATION_EXPIRED,
        Reason.ALREADY_PRESENTED,
        Reason.LEFT_BEFORE_VERDICT,
        Reason.CLOCK_UNTRUSTED,
        Reason.RECORD_UNAVAILABLE,
        alarm=True,
        age_s=2 * HOUR,
    )


@pytest.mark.parametrize("reason", [Reason.SIGNATURE_INVALID, Reason.ISSUER_UNKNOWN, Reason.MALFORMED])
def test_a_code_that_is_not_a_credential_is_denied_for_its_own_reason(reason: Reason) -> None:
    """There is no alarm and no age: nothing in it is known to be true."""
    refusal = Refusal(reason=reason, detail="kid", scheme=Scheme.DECLARATION)
    assert _judge(refusal) == _verdict(Decision.DENIED, reason, age_s=None)


def test_a_denial_outweighs_a_hold() -> None:
    """A foreign code that also left before its turn is denied first of all."""
    assert _judge(FOREIGN, replace(ENTRY, left=True)) == _verdict(
        Decision.DENIED, Reason.UNKNOWN_FORMAT, Reason.LEFT_BEFORE_VERDICT, age_s=None
    )


def test_an_identity_card_alone_is_held() -> None:
    """It says who, and nothing about health."""
    assert _judge(card()) == _verdict(Decision.HELD, Reason.NO_DECLARATION, age_s=None)


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (-1, GRANTED),
        (0, _verdict(Decision.HELD, Reason.DECLARATION_EXPIRED)),
    ],
)
def test_a_declaration_has_expired_from_its_last_moment_on(ms: int, expected: Verdict) -> None:
    """A millisecond earlier it still lets in."""
    said = declaration(issued_at=START - timedelta(hours=1), lifetime=timedelta(hours=1))
    assert _judge(declared(said), now=at_ms(ms)) == replace(expected, data_age_s=HOUR + (ms // 1000 if ms else 0))


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(minutes=5), _verdict(Decision.GRANTED, Reason.NO_RISK, age_s=0)),
        (
            timedelta(minutes=5, seconds=1),
            _verdict(Decision.HELD, Reason.DECLARATION_NOT_YET_VALID, age_s=0),
        ),
    ],
)
def test_a_declaration_may_be_five_minutes_ahead_of_the_kiosk(ahead: timedelta, expected: Verdict) -> None:
    """A second more is held; the age of what comes from the future is nought."""
    assert _judge(declared(declaration(issued_at=START + ahead))) == expected


@pytest.mark.parametrize(
    ("around", "reason"),
    [
        (replace(ENTRY, granted_lately=True), Reason.ALREADY_PRESENTED),
        (replace(ENTRY, left=True), Reason.LEFT_BEFORE_VERDICT),
        (replace(ENTRY, recordable=False), Reason.RECORD_UNAVAILABLE),
    ],
)
def test_what_is_around_a_healthy_person_can_hold_them(around: Circumstances, reason: Reason) -> None:
    """The same code again, a code that has gone, and an event that cannot be stored are all held."""
    assert _judge(declared(), around) == _verdict(Decision.HELD, reason)


def test_a_clock_nobody_has_set_holds_what_depends_on_a_date() -> None:
    """A declaration is held for it; a card without one, and a refusal, have no date to doubt."""
    now = at_ms(0, utc_trusted=False)
    assert [_judge(read, now=now) for read in (declared(), card(), FOREIGN)] == [
        _verdict(Decision.HELD, Reason.CLOCK_UNTRUSTED),
        _verdict(Decision.HELD, Reason.NO_DECLARATION, age_s=None),
        _verdict(Decision.DENIED, Reason.UNKNOWN_FORMAT, age_s=None),
    ]


@pytest.mark.parametrize("read", [declared(), declared(COUGHING), card(), FOREIGN])
def test_an_exit_is_never_denied(read: Credential | Refusal) -> None:
    """Reasons, alarm and age are those of an entry; the decision is always granted."""
    around = replace(EXIT, granted_lately=True, recordable=False)
    at_entry = _judge(read, replace(around, direction=Direction.ENTRY))
    assert _judge(read, around) == replace(at_entry, decision=Decision.GRANTED, direction=Direction.EXIT)


@pytest.mark.parametrize(
    ("area", "left_on", "at_risk"),
    [
        ("79", date(2021, 11, 5), True),
        ("79", date(2021, 11, 4), False),
        ("79", date(2021, 11, 15), True),
        ("79", date(2021, 11, 16), False),
        ("79783", date(2021, 11, 10), True),
        ("7", date(2021, 11, 10), False),
        ("48", date(2021, 11, 10), False),
    ],
)
def test_a_stay_counts_on_the_days_and_in_the_units_of_an_area(area: str, left_on: date, at_risk: bool) -> None:  # noqa: FBT001 - a table's column
    """First and last day are included; a unit inside the area is, a unit around it is not."""
    said = declared(declaration(visits=(Visit(area="48", left_on=TODAY), Visit(area=area, left_on=left_on))))
    expected = _verdict(Decision.DENIED, Reason.AT_RISK_AREA, alarm=True) if at_risk else GRANTED
    assert verdict_for(said, rules=AREA_RULES, around=ENTRY, now=NOW) == expected


@pytest.mark.parametrize(("left_on", "at_risk"), [(date(2021, 11, 1), True), (date(2021, 10, 31), False)])
def test_a_stay_that_ended_before_the_look_back_no_longer_counts(left_on: date, at_risk: bool) -> None:  # noqa: FBT001 - a table's column
    """Twenty-one days ago is the last day that does, in an area that never ended."""
    rules = replace(AREA_RULES, areas=(EpidemicArea(code="79", since=date(2021, 5, 27)),))
    said = declared(declaration(visits=(Visit(area="79", left_on=left_on),)))
    expected = _verdict(Decision.DENIED, Reason.AT_RISK_AREA, alarm=True) if at_risk else GRANTED
    assert verdict_for(said, rules=rules, around=ENTRY, now=NOW) == expected


def test_days_are_vietnamese_days() -> None:
    """At five in the afternoon UTC the next day has begun at the door, and the oldest day no longer counts."""
    rules = replace(AREA_RULES, areas=(EpidemicArea(code="79", since=date(2021, 5, 27)),))
    said = declared(declaration(visits=(Visit(area="79", left_on=date(2021, 11, 1)),)))
    times = [datetime(2021, 11, 22, 16, 59, 59, tzinfo=UTC), datetime(2021, 11, 22, 17, 0, tzinfo=UTC)]
    verdicts = [verdict_for(said, rules=rules, around=ENTRY, now=replace(NOW, utc=utc)).reasons for utc in times]
    assert verdicts == [(Reason.AT_RISK_AREA,), (Reason.NO_RISK,)]


def test_a_site_may_let_cards_in_but_not_past_a_stricter_reason() -> None:
    """A reason with an alarm is named first; what is decided is still the strictest of all."""
    rules = rules_with(Reason.NO_DECLARATION, Decision.GRANTED, alarm=True)
    around = replace(ENTRY, recordable=False)
    assert [verdict_for(card(), rules=rules, around=it, now=NOW) for it in (ENTRY, around)] == [
        _verdict(Decision.GRANTED, Reason.NO_DECLARATION, alarm=True, age_s=None),
        _verdict(Decision.HELD, Reason.NO_DECLARATION, Reason.RECORD_UNAVAILABLE, alarm=True, age_s=None),
    ]


def test_the_age_is_in_whole_seconds() -> None:
    """Parts of a second are cut off."""
    assert _judge(declared(HEALTHY), now=at_ms(1999)).data_age_s == HOUR + 1
