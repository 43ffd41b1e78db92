from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from kiosk.clock import Now
from kiosk.messages import (
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
    Verdict,
    Visit,
)
from kiosk.risk import CertificateRules, Circumstances, EpidemicArea, Freshness, LookUp, Rules, verdict_for
from tests.builders import (
    COUGHING,
    FOREIGN,
    HEALTHY,
    RULES,
    START,
    at_ms,
    card,
    certified,
    declaration,
    declared,
    rules_with,
)

NOW = at_ms(0)
TODAY = date(2021, 11, 22)
HOUR = 3600
ENTRY = Circumstances(direction=Direction.ENTRY, granted_lately=False, left=False, recordable=True)
EXIT = replace(ENTRY, direction=Direction.EXIT)
FRESHNESS = Freshness(fresh_s=HOUR, limit_s=24 * HOUR)
AREA_RULES = replace(
    RULES,
    look_back_days=21,
    areas=(EpidemicArea(code="79", since=date(2021, 11, 5), until=date(2021, 11, 15)),),
)


LINK = replace(card("e1"), scheme=Scheme.LINK, initials="")
POSITIVE = certified(CertificateKind.TEST, date(2021, 11, 20), detected=True)
ASKED = replace(RULES, certificates=CertificateRules(admit=True, dose_days=14, recovery_days=180, test_days=3))


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
    around = replace(
        ENTRY,
        granted_lately=True,
        left=True,
        recordable=False,
        flag=Flag.F1,
        freshness=FRESHNESS,
        trusting=False,
    )
    assert _judge(declared(said), around, at_ms(0, utc_trusted=False)) == _verdict(
        Decision.DENIED,
        Reason.AT_RISK_SYMPTOM,
        Reason.AT_RISK_CONTACT,
        Reason.AT_RISK_LISTED,
        Reason.DECLARATION_EXPIRED,
        Reason.ALREADY_PRESENTED,
        Reason.LEFT_BEFORE_VERDICT,
        Reason.CLOCK_UNTRUSTED,
        Reason.DATA_TOO_OLD,
        Reason.TRUST_MISSING,
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


@pytest.mark.parametrize("read", [declared(), declared(COUGHING), card(), FOREIGN, LINK, POSITIVE])
@pytest.mark.parametrize(
    "changes",
    [
        {"granted_lately": True, "recordable": False},
        {"flag": Flag.F0, "trusting": False},
        {"freshness": FRESHNESS, "city_age_s": None, "look_up": LookUp.UNAVAILABLE},
        {"freshness": FRESHNESS, "city_age_s": 2 * HOUR},
    ],
)
def test_an_exit_is_never_denied(read: Credential | Refusal, changes: dict[str, Any]) -> None:
    """Reasons, alarm and ages are those of an entry; the decision is always granted."""
    around = replace(EXIT, **changes)
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


@pytest.mark.parametrize("flag", Flag)
@pytest.mark.parametrize("read", [declared(), card(), certified(CertificateKind.VACCINATION, None)])
def test_who_is_on_the_risk_list_is_stopped_whatever_they_show(read: Credential, flag: Flag) -> None:
    """A healthy declaration does not outweigh the city; the first reason is the flag, with an alarm."""
    verdict = _judge(read, replace(ENTRY, flag=flag))
    assert (verdict.decision, verdict.reasons[0], verdict.alarm) == (Decision.DENIED, Reason.AT_RISK_LISTED, True)


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0, _verdict(Decision.GRANTED, Reason.NO_RISK)),
        (HOUR, _verdict(Decision.GRANTED, Reason.NO_RISK)),
        (HOUR + 1, _verdict(Decision.GRANTED, Reason.DATA_STALE)),
        (24 * HOUR, _verdict(Decision.GRANTED, Reason.DATA_STALE)),
        (24 * HOUR + 1, _verdict(Decision.HELD, Reason.DATA_TOO_OLD)),
        (None, _verdict(Decision.HELD, Reason.DATA_TOO_OLD)),
    ],
)
def test_the_citys_data_is_fresh_then_stale_then_too_old(age_s: int | None, expected: Verdict) -> None:
    """Both limits are included; no list at all is as bad as the oldest. Its age goes with the verdict."""
    around = replace(ENTRY, freshness=FRESHNESS, city_age_s=age_s)
    assert _judge(declared(), around) == replace(expected, city_age_s=age_s)


@pytest.mark.parametrize("age_s", [0, 10**6, None])
def test_a_site_that_goes_without_the_list_does_not_ask_for_its_age(age_s: int | None) -> None:
    """It still says how old it is, if there is one."""
    assert _judge(declared(), replace(ENTRY, city_age_s=age_s)) == replace(GRANTED, city_age_s=age_s)


def test_a_kiosk_without_a_trust_bundle_holds_everybody() -> None:
    """Also who shows a card; a code that is no good is denied as ever."""
    around = replace(ENTRY, trusting=False)
    assert [
        (_judge(read, around).decision, _judge(read, around).reasons) for read in (declared(), card(), FOREIGN)
    ] == [
        (Decision.HELD, (Reason.TRUST_MISSING,)),
        (Decision.HELD, (Reason.NO_DECLARATION, Reason.TRUST_MISSING)),
        (Decision.DENIED, (Reason.UNKNOWN_FORMAT, Reason.TRUST_MISSING)),
    ]


@pytest.mark.parametrize(
    ("read", "look_up", "reason"),
    [
        (card(), LookUp.NOT_NEEDED, Reason.NO_DECLARATION),
        (card(), LookUp.UNAVAILABLE, Reason.LOOKUP_UNAVAILABLE),
        (LINK, LookUp.UNAVAILABLE, Reason.UNRESOLVED_CODE),
        (LINK, LookUp.NOT_NEEDED, Reason.UNRESOLVED_CODE),
    ],
)
def test_who_has_nothing_said_about_their_health_is_held(read: Credential, look_up: LookUp, reason: Reason) -> None:
    """It is told apart whether the city knew of none or could not be asked; a link names nobody either way."""
    assert _judge(read, replace(ENTRY, look_up=look_up)) == _verdict(Decision.HELD, reason, age_s=None)


def test_what_is_looked_up_is_judged_like_what_is_shown() -> None:
    """A card with a declaration that the city knew of gets the verdict of that declaration, with its age."""
    known = replace(card(), declaration=HEALTHY)
    assert _judge(known) == GRANTED
    assert _judge(replace(known, declaration=COUGHING)) == _verdict(Decision.DENIED, Reason.AT_RISK_SYMPTOM, alarm=True)


def _by_certificate(read: Credential, rules: Rules = ASKED, now: Now = NOW) -> tuple[Decision, tuple[Reason, ...]]:
    verdict = verdict_for(read, rules=rules, around=ENTRY, now=now)
    return verdict.decision, verdict.reasons


LET_IN = (Decision.GRANTED, (Reason.NO_RISK,))
NOT_ENOUGH = (Decision.HELD, (Reason.CERTIFICATE_INSUFFICIENT,))
VACCINATION, TEST, RECOVERY = CertificateKind.VACCINATION, CertificateKind.TEST, CertificateKind.RECOVERY


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"dose": 2, "doses": 2, "on": date(2021, 11, 8)}, LET_IN),
        ({"dose": 2, "doses": 2, "on": date(2021, 11, 9)}, NOT_ENOUGH),
        ({"dose": 1, "doses": 2, "on": date(2021, 6, 1)}, NOT_ENOUGH),
        ({"dose": 3, "doses": 2, "on": date(2021, 6, 1)}, LET_IN),
        ({"dose": 1, "doses": 1, "on": date(2021, 6, 1)}, LET_IN),
        ({"dose": 1, "on": date(2021, 6, 1)}, LET_IN),
        ({"dose": 0, "on": date(2021, 6, 1)}, NOT_ENOUGH),
        ({"on": date(2021, 6, 1)}, NOT_ENOUGH),
        ({"dose": 2, "doses": 2, "on": None}, NOT_ENOUGH),
        ({"dose": 2, "doses": 2, "on": date(2021, 11, 23)}, NOT_ENOUGH),
    ],
)
def test_a_vaccination_counts_when_it_is_whole_and_fourteen_days_old(said: dict[str, Any], expected: object) -> None:
    """Counted from the last dose, in days; a dose without a number or a day, or one of tomorrow, is none."""
    assert _by_certificate(certified(VACCINATION, **said)) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"on": date(2021, 5, 26)}, LET_IN),
        ({"on": date(2021, 5, 25)}, NOT_ENOUGH),
        ({"on": None}, NOT_ENOUGH),
        ({"on": date(2021, 11, 23)}, NOT_ENOUGH),
        ({"on": date(2021, 10, 1), "valid_from": TODAY, "valid_until": TODAY}, LET_IN),
        ({"on": date(2021, 10, 1), "valid_from": date(2021, 11, 23)}, NOT_ENOUGH),
        ({"on": date(2021, 10, 1), "valid_until": date(2021, 11, 21)}, NOT_ENOUGH),
    ],
)
def test_a_recovery_counts_within_its_window_and_for_180_days(said: dict[str, Any], expected: object) -> None:
    """First and last day are included, of the certificate's own window and of the rules'."""
    assert _by_certificate(certified(RECOVERY, **said)) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"detected": False, "on": TODAY}, LET_IN),
        ({"detected": False, "on": date(2021, 11, 19)}, LET_IN),
        ({"detected": False, "on": date(2021, 11, 18)}, NOT_ENOUGH),
        ({"detected": False, "on": date(2021, 11, 23)}, NOT_ENOUGH),
        ({"detected": False, "on": None}, NOT_ENOUGH),
        ({"detected": None, "on": TODAY}, NOT_ENOUGH),
        ({"detected": True, "on": date(2021, 10, 31)}, NOT_ENOUGH),
    ],
)
def test_a_negative_test_counts_for_three_days(said: dict[str, Any], expected: object) -> None:
    """A test that does not say its result, or its day, counts for nothing; nor does an old positive one."""
    assert _by_certificate(certified(TEST, **said)) == expected


@pytest.mark.parametrize("on", [TODAY, date(2021, 11, 1), date(2021, 11, 23)])
@pytest.mark.parametrize("expires_at", [START - timedelta(days=1), START + timedelta(days=1)])
@pytest.mark.parametrize("admit", [True, False])
def test_a_positive_test_of_the_last_21_days_is_a_risk(on: date, expires_at: datetime, admit: bool) -> None:  # noqa: FBT001 - a table's column
    """Also where the certificate has expired, the site admits none, or the day is still to come."""
    rules = replace(ASKED, certificates=CertificateRules(admit=admit))
    found = _by_certificate(certified(TEST, on=on, detected=True, expires_at=expires_at), rules)
    assert found == (Decision.DENIED, (Reason.AT_RISK_POSITIVE_TEST,))


@pytest.mark.parametrize(
    "said", [{"kind": VACCINATION, "dose": 2}, {"kind": RECOVERY}, {"kind": TEST, "detected": False}]
)
def test_a_certificate_counts_until_its_last_moment(said: dict[str, Any]) -> None:
    """That moment is included, as for the EU's own data; a millisecond later it has expired."""
    read = certified(**{"on": date(2021, 11, 20), "expires_at": START, **said})
    whole = replace(ASKED, certificates=CertificateRules(admit=True, dose_days=0))
    assert [_by_certificate(read, whole, at_ms(ms)) for ms in (0, 1)] == [
        LET_IN,
        (Decision.HELD, (Reason.CERTIFICATE_EXPIRED,)),
    ]


def test_a_site_that_admits_no_certificates_asks_for_a_declaration() -> None:
    """The certificate is good, and it says nothing that the site wants to know."""
    rules = replace(ASKED, certificates=CertificateRules(admit=False))
    whole = certified(VACCINATION, on=date(2021, 6, 1), dose=2, doses=2)
    assert _by_certificate(whole, rules) == (Decision.HELD, (Reason.NO_DECLARATION,))


def test_the_days_of_a_certificate_are_vietnamese_days() -> None:
    """At five in the afternoon UTC the fourteenth day after the dose begins at the door."""
    read = certified(VACCINATION, on=date(2021, 11, 9), dose=2, doses=2)
    times = [datetime(2021, 11, 22, 16, 59, 59, tzinfo=UTC), datetime(2021, 11, 22, 17, 0, tzinfo=UTC)]
    assert [_by_certificate(read, now=replace(NOW, utc=utc)) for utc in times] == [NOT_ENOUGH, LET_IN]


def test_a_clock_nobody_has_set_holds_certificates_too() -> None:
    """Their days are counted from today."""
    read = certified(VACCINATION, on=date(2021, 6, 1), dose=2, doses=2)
    assert _by_certificate(read, now=at_ms(0, utc_trusted=False)) == (Decision.HELD, (Reason.CLOCK_UNTRUSTED,))


def test_symptoms_count_by_the_sets_of_the_rules() -> None:
    """Who declares the whole of one set is at risk, who declares a part of one is not."""
    together = replace(RULES, symptom_sets=((Symptom.FEVER,), (Symptom.COUGH, Symptom.SHORT_OF_BREATH)))
    at_risk = []
    for said in ((Symptom.FEVER,), (Symptom.COUGH,), (Symptom.SHORT_OF_BREATH, Symptom.COUGH)):
        verdict = verdict_for(declared(declaration(symptoms=said)), rules=together, around=ENTRY, now=NOW)
        at_risk.append(Reason.AT_RISK_SYMPTOM in verdict.reasons)
    assert at_risk == [True, False, True]


def test_a_site_may_ask_for_a_younger_declaration_than_it_says_of_itself() -> None:
    """At the hour, it has expired, however long its issuer gave it."""
    twelve = replace(RULES, declaration_hours=12)
    long_lived = declared(declaration(issued_at=NOW.utc - timedelta(hours=12), lifetime=timedelta(hours=48)))
    verdict = verdict_for(long_lived, rules=twelve, around=ENTRY, now=NOW)
    assert verdict.reasons == (Reason.DECLARATION_EXPIRED,)
