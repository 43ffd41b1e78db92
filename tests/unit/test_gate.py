from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kiosk import choreography, events
from kiosk.clock import MS, Now
from kiosk.gate import UNACKNOWLEDGED, Gate
from kiosk.lane import HEARD_LATE_NS, STUCK
from kiosk.look_ups import WAIT_NS
from kiosk.messages import (
    Alert,
    Answer,
    Ask,
    Cause,
    CheckIn,
    ClockStep,
    Credential,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Fault,
    Fire,
    Flag,
    Glimpse,
    Hint,
    InputLine,
    LinkStatus,
    Opening,
    Outcome,
    Passage,
    Reason,
    Record,
    Refusal,
    Reset,
    Scheme,
    Screen,
    Seen,
    Sensed,
    Show,
    StageHealth,
    Tally,
    View,
)
from kiosk.risk import Freshness, Rules
from tests.builders import (
    COUGHING,
    FOREIGN,
    HEALTHY,
    RULES,
    START,
    at_ms,
    card,
    city,
    declared,
    risk_list,
    rules_with,
    sighting,
    site,
    verdict,
)

PULSE_MS = 500
ABSENCE_MS = 1500
AN, BINH, COUGHER, CARD = b"an", b"binh", b"cougher", b"card"
FOREIGN_CODE = b"https://example.vn"
CODES: dict[bytes, Credential | Refusal] = {
    AN: declared(subject="a1"),
    BINH: declared(subject="b2"),
    COUGHER: declared(COUGHING, subject="c3"),
    CARD: card(subject="d4"),
}
HOUR = 3600
BLINK = Drive(actuation=choreography.signal(choreography.OUT_OF_ORDER))


def _gate(direction: Direction = Direction.ENTRY, rules: Rules = RULES) -> Gate:
    return Gate(site(direction, relay_pulse_ms=PULSE_MS, absence_ms=ABSENCE_MS), city(CODES, rules))


def _see(gate: Gate, ms: int, *payloads: bytes) -> list[Effect]:
    return gate.step(Seen(sightings=tuple(sighting(payload, ms) for payload in payloads)), at_ms(ms))


def _elapse(gate: Gate, ms: int) -> list[Effect]:
    return gate.step(Elapsed(), at_ms(ms))


def _health(gate: Gate, ms: int, stage: str, fault: str) -> list[Effect]:
    return gate.step(StageHealth(stage=stage, fault=fault), at_ms(ms))


def _check_in(payload: bytes, ms: int, decision: Decision, *reasons: Reason) -> CheckIn:
    read, now = CODES.get(payload, FOREIGN), at_ms(ms)
    known = read if isinstance(read, Credential) else None
    return CheckIn(
        **events.stamp(now),
        direction=Direction.ENTRY,
        decision=decision,
        reasons=reasons,
        scheme=read.scheme,
        subject=known.subject if known else None,
        data_age_s=HOUR + ms // 1000 if known and known.declaration else None,
    )


def _alert(payload: bytes, ms: int, *reasons: Reason) -> Alert:
    check_in = _check_in(payload, ms, Decision.DENIED, *reasons)
    return Alert(
        **events.stamp(at_ms(ms)),
        direction=check_in.direction,
        reasons=reasons,
        scheme=check_in.scheme,
        subject=check_in.subject,
    )


def _fault(stage: str, ms: int, detail: str, *, recovered: bool = False) -> Record:
    fault = Fault(**events.stamp(at_ms(ms)), stage=stage, recovered=recovered, detail=detail)
    return Record(events=(fault,), before_drive=False)


def _drive(decision: Decision, *, alarm: bool = False, direction: Direction = Direction.ENTRY) -> Drive:
    judged = verdict(decision, Reason.NO_RISK, alarm=alarm, direction=direction)
    return Drive(actuation=choreography.actuation_for(judged, PULSE_MS))


def _view(screen: Screen, reason: Reason | None = None, initials: str = "", fault: str = "") -> View:
    wording = RULES.reasons[reason].wording if reason else RULES.screens[screen]
    return View(screen=screen, wording=wording, direction=Direction.ENTRY, initials=initials, fault=fault)


def _outward(event: CheckIn | Alert) -> CheckIn | Alert:
    return replace(event, direction=Direction.EXIT)


def _view_out(screen: Screen, initials: str = "") -> View:
    return View(screen=screen, wording=RULES.exits[screen], direction=Direction.EXIT, initials=initials)


ATTRACT = Show(view=_view(Screen.ATTRACT))
LET_IN = Show(view=_view(Screen.GRANTED, Reason.NO_RISK, "N.V.A."))


def test_an_idle_door_asks_for_a_code_and_for_no_deadline() -> None:
    """The first step shows it; nothing else has to be done, and showing it again is not needed."""
    gate = _gate()
    assert gate.deadline_ns is None
    assert (_see(gate, 0), _see(gate, 33), gate.deadline_ns) == ([ATTRACT], [], None)


def test_a_healthy_person_is_recorded_then_let_in() -> None:
    """The record is asked for first, and the drive waits for it."""
    assert _see(_gate(), 0, AN) == [
        Record(events=(_check_in(AN, 0, Decision.GRANTED, Reason.NO_RISK),), before_drive=True),
        _drive(Decision.GRANTED),
        LET_IN,
    ]


def test_a_person_at_risk_is_stopped_and_an_alert_recorded() -> None:
    """Alarm first, then alert before check-in; nobody's initials stand beside a word about their health."""
    assert _see(_gate(), 0, COUGHER) == [
        _drive(Decision.DENIED, alarm=True),
        Record(
            events=(
                _alert(COUGHER, 0, Reason.AT_RISK_SYMPTOM),
                _check_in(COUGHER, 0, Decision.DENIED, Reason.AT_RISK_SYMPTOM),
            ),
            before_drive=False,
        ),
        Show(view=_view(Screen.AT_RISK, Reason.AT_RISK_SYMPTOM)),
    ]


@pytest.mark.parametrize(
    ("payload", "decision", "reason", "screen", "initials"),
    [
        (CARD, Decision.HELD, Reason.NO_DECLARATION, Screen.HELD, "T.T.B."),
        (FOREIGN_CODE, Decision.DENIED, Reason.UNKNOWN_FORMAT, Screen.DENIED, ""),
    ],
)
def test_who_is_not_let_in_is_told_at_once_and_recorded_beside(
    payload: bytes, decision: Decision, reason: Reason, screen: Screen, initials: str
) -> None:
    """Lights first; the record does not hold them up, and there is no alert."""
    assert _see(_gate(), 0, payload) == [
        _drive(decision),
        Record(events=(_check_in(payload, 0, decision, reason),), before_drive=False),
        Show(view=_view(screen, reason, initials)),
    ]


def test_a_code_held_up_is_judged_once() -> None:
    """Further frames of it change nothing until the screen goes back after four seconds."""
    gate = _gate()
    _see(gate, 0, AN)
    assert [_see(gate, ms, AN) for ms in range(33, 4000, 33)] == [[]] * 121
    assert _see(gate, 4000, AN) == [ATTRACT]


def test_two_people_at_once_are_let_in_one_after_the_other() -> None:
    """The second waits for the pulse and the turnstile's rest; the gate asks to be called then."""
    gate = _gate()
    assert [type(effect) for effect in _see(gate, 0, AN, BINH)] == [Record, Drive, Show]
    assert gate.deadline_ns == 950 * MS
    assert _elapse(gate, 949) == []
    assert _elapse(gate, 950) == [
        Record(events=(_check_in(BINH, 950, Decision.GRANTED, Reason.NO_RISK),), before_drive=True),
        _drive(Decision.GRANTED),
    ]
    assert gate.deadline_ns == 1900 * MS


def test_after_a_verdict_the_next_deadline_is_the_screens() -> None:
    """When the door is free again, only the verdict on the screen has an end; then nothing has."""
    gate = _gate()
    _see(gate, 0, AN)
    assert (_elapse(gate, 950), gate.deadline_ns) == ([], 4000 * MS)
    assert (_elapse(gate, 3999), _elapse(gate, 4000), gate.deadline_ns) == ([], [ATTRACT], None)


def test_a_code_that_left_while_the_door_was_busy_is_recorded_only() -> None:
    """Nobody is there to see or pass, so no line moves and the screen stays."""
    gate = _gate()
    _see(gate, 0, COUGHER)
    _see(gate, 100, AN)
    assert _elapse(gate, 100 + ABSENCE_MS + 1) == [
        Record(
            events=(_check_in(AN, 100 + ABSENCE_MS + 1, Decision.HELD, Reason.LEFT_BEFORE_VERDICT),),
            before_drive=False,
        )
    ]


def test_a_code_that_left_a_busy_exit_holds_up_no_drive() -> None:
    """It is granted on paper, as all are on an exit; no line moves, so no drive has to wait for the record."""
    gate = _gate(Direction.EXIT)
    _see(gate, 0, COUGHER)
    _see(gate, 100, AN)
    check_in = _check_in(AN, 1601, Decision.GRANTED, Reason.LEFT_BEFORE_VERDICT)
    assert _elapse(gate, 1601) == [Record(events=(_outward(check_in),), before_drive=False)]


def test_a_person_who_left_before_the_verdict_may_come_back() -> None:
    """Nothing was granted, so the same code shown again is let in."""
    gate = _gate()
    _see(gate, 0, COUGHER)
    _see(gate, 100, AN)
    _elapse(gate, 1601)
    assert _see(gate, 4000, AN)[0] == Record(
        events=(_check_in(AN, 4000, Decision.GRANTED, Reason.NO_RISK),), before_drive=True
    )


def test_a_person_at_risk_who_left_before_the_verdict_still_raises_the_alarm() -> None:
    """Staff hear of it at once, though another verdict was on."""
    gate = _gate()
    _see(gate, 0, FOREIGN_CODE, COUGHER, COUGHER)
    _see(gate, 500, CARD)
    reasons = (Reason.AT_RISK_SYMPTOM, Reason.LEFT_BEFORE_VERDICT)
    assert _elapse(gate, 1501) == [
        _drive(Decision.DENIED, alarm=True),
        Record(
            events=(_alert(COUGHER, 1501, Reason.AT_RISK_SYMPTOM), _check_in(COUGHER, 1501, Decision.DENIED, *reasons)),
            before_drive=False,
        ),
        Show(view=_view(Screen.AT_RISK, Reason.AT_RISK_SYMPTOM)),
    ]


def test_the_same_person_again_within_the_window_is_held() -> None:
    """Up to the last nanosecond of the repeat window; with its end they are let in again."""
    gate = _gate()
    _see(gate, 0, AN)
    again = _see(gate, 10_000, AN)
    just_before = gate.step(
        Seen(sightings=(sighting(AN, 29_999),)),
        Now(monotonic_ns=30_000 * MS - 1, utc=at_ms(29_999).utc, utc_trusted=True),
    )
    assert again == [
        _drive(Decision.HELD),
        Record(events=(_check_in(AN, 10_000, Decision.HELD, Reason.ALREADY_PRESENTED),), before_drive=False),
        Show(view=_view(Screen.HELD, Reason.ALREADY_PRESENTED, "N.V.A.")),
    ]
    assert just_before == [_drive(Decision.HELD)]
    assert _see(gate, 31_500, AN)[1] == _drive(Decision.GRANTED)


def _events(effects: list[Effect]) -> list[str]:
    records = [effect for effect in effects if isinstance(effect, Record)]
    check_ins = [event for record in records for event in record.events if isinstance(event, CheckIn)]
    return [f"{event.decision} {' '.join(event.reasons)}" for event in check_ins]


def _grants(effects: list[Effect]) -> list[Direction]:
    drives = [effect.actuation for effect in effects if isinstance(effect, Drive)]
    return [actuation.grant for actuation in drives if actuation.grant]


def test_a_code_shown_over_and_over_is_one_record_in_each_window() -> None:
    """The guard sees every one; the city is told once that it was tried again, and of each grant."""
    gate = _gate()
    told = [_events(_see(gate, ms, AN)) for ms in range(0, 64_000, 4000)]
    once = [["granted no_risk"], ["held already_presented"], *[[]] * 6]
    assert told == [*once, *once]


def test_a_repetition_that_says_something_new_is_recorded() -> None:
    """Reasons beside the repetition are not lost, nor what comes back after them."""
    gate = _gate()
    _see(gate, 0, AN)
    told = [_see(gate, 4000, AN)]
    _health(gate, 6000, "outbox", "disk full")
    told += [_see(gate, ms, AN) for ms in (8000, 12_000)]
    _health(gate, 14_000, "outbox", "")
    told += [_see(gate, 16_000, AN)]
    assert [_events(effects) for effects in told] == [
        ["held already_presented"],
        ["held already_presented record_unavailable"],
        [],
        ["held already_presented"],
    ]


def test_the_same_person_by_card_and_then_by_phone_is_the_same_person() -> None:
    """The window is the subject's, whichever code bears the number; a repetition is recorded once for both."""
    codes = {**CODES, b"an's card": card(subject="a1")}
    rules = rules_with(Reason.NO_DECLARATION, Decision.GRANTED, alarm=False)
    gate = Gate(site(), city(codes, rules))
    told = [_events(_see(gate, ms, code)) for ms, code in ((0, b"an's card"), (4000, AN), (8000, AN))]
    assert told == [["granted no_declaration"], ["held already_presented"], []]


def test_in_and_then_out_are_two_events() -> None:
    """Each lane counts for itself."""
    into, out = _gate(), _gate(Direction.EXIT)
    told = [_events(_see(into, 0, AN)), _events(_see(out, 4000, AN)), _events(_see(into, 8000, AN))]
    assert told == [["granted no_risk"], ["granted no_risk"], ["held already_presented"]]


def test_soft_anti_passback_lets_in_and_records_each() -> None:
    """Where already_presented is granted, the lane opens each time, and never without a record."""
    gate = _gate(rules=rules_with(Reason.ALREADY_PRESENTED, Decision.GRANTED, alarm=False))
    steps = [_see(gate, ms, AN) for ms in (0, 4000, 8000)]
    assert [_events(effects) for effects in steps] == [["granted no_risk"], *[["granted already_presented"]] * 2]
    assert [effects[:2] for effects in steps] == [
        [Record(events=effects[0].events, before_drive=True), _drive(Decision.GRANTED)]
        for effects in steps
        if isinstance(effects[0], Record)
    ]


def test_hard_anti_passback_may_deny() -> None:
    """The decision is the site's; what is recorded is the same."""
    gate = _gate(rules=rules_with(Reason.ALREADY_PRESENTED, Decision.DENIED, alarm=False))
    assert [_events(_see(gate, ms, AN)) for ms in (0, 4000, 8000)] == [
        ["granted no_risk"],
        ["denied already_presented"],
        [],
    ]


def test_a_repetition_at_an_exit_is_recorded_each_time() -> None:
    """It opens the lane, so it is never silent."""
    gate = _gate(Direction.EXIT)
    assert [_events(_see(gate, ms, AN)) for ms in (0, 4000, 8000)] == [
        ["granted no_risk"],
        ["granted already_presented"],
        ["granted already_presented"],
    ]


def test_the_window_ends_on_time() -> None:
    """Thirty seconds after a grant the person may be granted again."""
    gate = _gate()
    _see(gate, 0, AN)
    assert _see(gate, 30_000, AN)[1] == _drive(Decision.GRANTED)


def test_the_same_code_in_other_hands_does_not_hold_somebody_else() -> None:
    """The window is a person's own."""
    gate = _gate()
    _see(gate, 0, AN)
    assert _see(gate, 10_000, BINH)[1] == _drive(Decision.GRANTED)


@pytest.mark.parametrize(
    ("payload", "reason", "initials"),
    [
        (AN, Reason.NO_RISK, "N.V.A."),
        (CARD, Reason.NO_DECLARATION, "T.T.B."),
        (FOREIGN_CODE, Reason.UNKNOWN_FORMAT, ""),
    ],
)
def test_an_exit_opens_for_everybody(payload: bytes, reason: Reason, initials: str) -> None:
    """Recorded first, with its reason, then the exit relay; the screen says what an exit says."""
    assert _see(_gate(Direction.EXIT), 0, payload) == [
        Record(events=(_outward(_check_in(payload, 0, Decision.GRANTED, reason)),), before_drive=True),
        _drive(Decision.GRANTED, direction=Direction.EXIT),
        Show(view=_view_out(Screen.GRANTED, initials)),
    ]


def test_an_exit_opens_for_a_person_at_risk_with_an_alarm() -> None:
    """The alarm does not wait for the record, and the alert is raised as at an entry."""
    alert = _outward(_alert(COUGHER, 0, Reason.AT_RISK_SYMPTOM))
    check_in = _outward(_check_in(COUGHER, 0, Decision.GRANTED, Reason.AT_RISK_SYMPTOM))
    assert _see(_gate(Direction.EXIT), 0, COUGHER) == [
        _drive(Decision.GRANTED, alarm=True, direction=Direction.EXIT),
        Record(events=(alert, check_in), before_drive=False),
        Show(view=_view_out(Screen.AT_RISK)),
    ]


def test_a_stage_that_fails_is_recorded_and_shown_once() -> None:
    """The same report again is no news; another sentence is."""
    gate = _gate()
    dark = _view(Screen.OUT_OF_ORDER, fault="camera: dark")
    assert _health(gate, 5, "camera", "dark") == [_fault("camera", 5, "dark"), BLINK, Show(view=dark)]
    assert _health(gate, 6, "camera", "dark") == []
    gone = replace(dark, fault="camera: gone")
    assert _health(gate, 7, "camera", "gone") == [_fault("camera", 7, "gone"), Show(view=gone)]


def test_a_stage_that_recovers_is_recorded_with_what_was_wrong() -> None:
    """The door asks for codes again and the blinking ends."""
    gate = _gate()
    _health(gate, 0, "camera", "dark")
    assert _health(gate, 500, "camera", "") == [_fault("camera", 500, "dark", recovered=True), ATTRACT]
    assert (_elapse(gate, 2000), gate.deadline_ns) == ([], None)


def test_a_stage_that_was_never_down_does_not_recover() -> None:
    """Its first good report is no news."""
    assert _health(_gate(), 0, "camera", "") == [ATTRACT]


@pytest.mark.parametrize("stage", ["camera", "lines", "outbox"])
def test_a_door_that_cannot_work_blinks_amber_every_two_seconds(stage: str) -> None:
    """The gate asks to be called for each blink."""
    gate = _gate()
    assert _health(gate, 0, stage, "broken")[1] == BLINK
    assert (gate.deadline_ns, _elapse(gate, 1999), _elapse(gate, 2000), gate.deadline_ns) == (
        2000 * MS,
        [],
        [BLINK],
        4000 * MS,
    )


def test_a_door_without_its_uplink_goes_on() -> None:
    """The guard's strip says so; nothing blinks."""
    view = _view(Screen.ATTRACT, fault="uplink: no route")
    assert _health(_gate(), 0, "uplink", "no route") == [_fault("uplink", 0, "no route"), Show(view=view)]


def test_the_guards_strip_names_every_fault_in_order_of_stage() -> None:
    """One line, whichever came first."""
    gate = _gate()
    _health(gate, 0, "lines", "green")
    view = _view(Screen.OUT_OF_ORDER, fault="camera: dark · lines: green")
    assert _health(gate, 1, "camera", "dark") == [_fault("camera", 1, "dark"), Show(view=view)]


def test_a_verdict_has_the_lights_before_the_blinking() -> None:
    """While the door is busy no blink begins, and the gate asks to be called when it is not, not before."""
    gate = _gate()
    _health(gate, 0, "lines", "green")
    _see(gate, 1500, CARD)
    assert gate.deadline_ns == 2500 * MS
    assert (_elapse(gate, 2000), gate.deadline_ns) == ([], 2500 * MS)
    assert (_elapse(gate, 2500), gate.deadline_ns) == ([BLINK], 4500 * MS)


def test_a_stage_that_fails_while_the_door_is_busy_blinks_after_it() -> None:
    """The fault is recorded and shown on the strip at once; the verdict stays at large."""
    gate = _gate()
    _see(gate, 0, AN)
    view = replace(LET_IN.view, fault="camera: dark")
    assert _health(gate, 100, "camera", "dark") == [_fault("camera", 100, "dark"), Show(view=view)]
    assert (gate.deadline_ns, _elapse(gate, 950)) == (950 * MS, [BLINK])


def test_without_an_outbox_no_entry_is_granted() -> None:
    """A healthy person is held for staff, because nobody would know they came in."""
    gate = _gate()
    _health(gate, 0, "outbox", "disk full")
    assert _see(gate, 100, AN)[:2] == [
        _drive(Decision.HELD),
        Record(events=(_check_in(AN, 100, Decision.HELD, Reason.RECORD_UNAVAILABLE),), before_drive=False),
    ]
    _health(gate, 200, "outbox", "")
    assert _see(gate, 3000, AN)[1] == _drive(Decision.GRANTED)


def test_without_an_outbox_an_exit_still_opens() -> None:
    """Nobody is kept in by a full disk."""
    gate = _gate(Direction.EXIT)
    _health(gate, 0, "outbox", "disk full")
    assert _see(gate, 100, AN)[1] == _drive(Decision.GRANTED, direction=Direction.EXIT)


def test_an_alarm_a_site_asks_for_without_a_risk_alerts_with_no_risk_named() -> None:
    """Only reasons of risk are the health authority's business."""
    rules = rules_with(Reason.SIGNATURE_INVALID, Decision.DENIED, alarm=True)
    forged = Refusal(reason=Reason.SIGNATURE_INVALID, detail="signature")
    gate = Gate(site(relay_pulse_ms=PULSE_MS), city({b"forged": forged}, rules))
    record = _see(gate, 0, b"forged")[1]
    assert isinstance(record, Record)
    assert [type(event) for event in record.events] == [Alert, CheckIn]


def test_the_link_is_shown_and_no_event() -> None:
    """Only news of it reaches the screen."""
    gate = _gate()
    up = LinkStatus(online=True, waiting=4)
    assert [gate.step(up, at_ms(ms)) for ms in (0, 1)] == [
        [Show(view=replace(ATTRACT.view, online=True, waiting=4, link_since=START))],
        [],
    ]


def test_a_new_verdict_takes_the_screen_for_its_own_four_seconds() -> None:
    """The earlier verdict's end does not end it."""
    gate = _gate()
    _see(gate, 0, AN)
    held = Show(view=_view(Screen.HELD, Reason.NO_DECLARATION, "T.T.B."))
    assert _see(gate, 3000, CARD)[2] == held
    assert (_elapse(gate, 4000), _elapse(gate, 7000)) == ([], [ATTRACT])


def test_events_carry_utc_and_whether_it_is_believed() -> None:
    """UTC may jump between steps, which is told; what the door does next goes by the other hand."""
    gate = _gate()
    _see(gate, 0, AN)
    now = replace(at_ms(950, utc_trusted=False), utc=at_ms(0).utc - timedelta(days=400))
    step, _, record = gate.step(Seen(sightings=(sighting(FOREIGN_CODE, 950),)), now)[:3]
    jump_ms = -400 * 86_400_000 - 950
    assert step == Record(events=(ClockStep(**events.stamp(now), step_ms=jump_ms),), before_drive=False)
    expected = replace(
        _check_in(FOREIGN_CODE, 950, Decision.DENIED, Reason.UNKNOWN_FORMAT), at=now.utc, utc_trusted=False
    )
    assert record == Record(events=(expected,), before_drive=False)


def test_a_jump_of_the_clock_makes_an_idle_gate_due() -> None:
    """Whoever calls it must not wait for the next visitor; once told, there is nothing due."""
    gate = _gate()
    _see(gate, 0)
    set_back = replace(at_ms(500), utc=at_ms(500).utc - timedelta(days=7))
    assert (gate.is_due(at_ms(500)), gate.is_due(set_back)) == (False, True)
    told = ClockStep(**events.stamp(set_back), step_ms=-7 * 86_400_000)
    assert gate.step(Elapsed(), set_back) == [Record(events=(told,), before_drive=False)]
    assert not gate.is_due(set_back)


SMALL = Glimpse(
    captured_ns=0,
    quad=((600, 300), (673, 300), (673, 373), (600, 373)),
    module_px=1.5,
    dark=40,
    light=180,
    clipped=0.0,
    edge_px=1.6,
    banding=0.02,
    tilt=5.5,
)


def _glimpse(gate: Gate, from_ms: int, to_ms: int) -> list[tuple[int, Effect]]:
    """A code too small to be read, in thirty frames a second: the effects, each with its ms."""
    frames = ((ms, replace(SMALL, captured_ns=ms * MS)) for ms in range(from_ms, to_ms, 33))
    return [(ms, effect) for ms, glimpse in frames for effect in gate.step(glimpse, at_ms(ms))]


def _advice(hint: Hint) -> Show:
    return Show(view=replace(_view(Screen.ATTRACT), screen=Screen.READING, wording=RULES.hints[hint], hint=hint))


def test_a_code_that_cannot_be_read_gets_advice_and_nothing_else() -> None:
    """One view for all its frames, no record, no line; the view goes by itself when the code is gone."""
    gate = _gate()
    assert _glimpse(gate, 0, 2000) == [(0, ATTRACT), (528, _advice(Hint.CLOSER))]
    assert gate.deadline_ns == 2980 * MS
    assert _elapse(gate, 2979) == []
    assert _elapse(gate, 2980) == [ATTRACT]
    assert _elapse(gate, 10_000) == []


def test_a_verdict_takes_the_screen_from_advice_at_once() -> None:
    """And keeps it for its four seconds, whatever else is glimpsed; then evidence must hold anew."""
    gate = _gate()
    _glimpse(gate, 0, 1000)
    assert _see(gate, 1000, AN)[2] == LET_IN
    assert gate.deadline_ns == 1950 * MS
    _elapse(gate, 1950)
    assert _glimpse(gate, 2000, 6000) == [(5003, ATTRACT), (5531, _advice(Hint.CLOSER))]


def test_a_door_out_of_order_gives_no_advice() -> None:
    """Its own view stays; a door without its uplink reads codes, and so it advises."""
    gate = _gate()
    _health(gate, 0, "lines", "green")
    assert [effect for _, effect in _glimpse(gate, 100, 1900) if isinstance(effect, Show)] == []
    offline = _gate()
    _health(offline, 0, "uplink", "no route")
    advice = replace(_advice(Hint.CLOSER).view, fault="uplink: no route")
    assert _glimpse(offline, 100, 1900) == [(628, Show(view=advice))]


def test_advice_gives_way_to_a_fault_at_once() -> None:
    """A door that cannot work asks nobody to come closer."""
    gate = _gate()
    _glimpse(gate, 0, 1000)
    assert _health(gate, 1000, "camera", "dark")[2] == Show(view=_view(Screen.OUT_OF_ORDER, fault="camera: dark"))


def test_a_hint_without_wording_is_not_given() -> None:
    """A site's rules may leave one out."""
    assert _glimpse(_gate(rules=replace(RULES, hints={})), 0, 2000) == [(0, ATTRACT)]


def test_a_glimpse_at_a_deadline_does_what_is_due() -> None:
    """A stream of glimpses never keeps a waiting visitor waiting."""
    gate = _gate()
    _see(gate, 0, AN, BINH)
    record = gate.step(replace(SMALL, captured_ns=950 * MS), at_ms(950))[0]
    assert record == Record(events=(_check_in(BINH, 950, Decision.GRANTED, Reason.NO_RISK),), before_drive=True)


DATA = Freshness(fresh_s=HOUR, limit_s=24 * HOUR)


def _listed_gate(flags: dict[str, Flag], direction: Direction = Direction.ENTRY) -> Gate:
    data = city(CODES, risk_list=risk_list(flags))
    return Gate(site(direction, relay_pulse_ms=PULSE_MS, freshness=DATA, look_up=True), data)


def _check_ins(effects: list[Effect]) -> list[CheckIn]:
    records = [effect for effect in effects if isinstance(effect, Record)]
    return [event for record in records for event in record.events if isinstance(event, CheckIn)]


def test_who_is_on_the_risk_list_is_stopped() -> None:
    """A healthy declaration does not help, and staff and city hear of it."""
    gate = _listed_gate({"a1": Flag.F1})
    drive, record = _see(gate, 0, AN)[:2]
    assert drive == _drive(Decision.DENIED, alarm=True)
    assert isinstance(record, Record)
    assert record.events[0] == _alert(AN, 0, Reason.AT_RISK_LISTED)
    assert record.events[1] == replace(_check_in(AN, 0, Decision.DENIED, Reason.AT_RISK_LISTED), city_age_s=0)
    assert _events(_see(gate, 4000, BINH)) == ["granted no_risk"]


def test_a_listed_person_opens_an_exit_with_an_alarm() -> None:
    """As every risk does."""
    effects = _see(_listed_gate({"a1": Flag.ISOLATE}, Direction.EXIT), 0, AN)
    assert (effects[0], _events(effects)) == (
        _drive(Decision.GRANTED, alarm=True, direction=Direction.EXIT),
        ["granted at_risk.listed"],
    )


@pytest.mark.parametrize(
    ("age_s", "trusted", "reason"),
    [
        (HOUR, True, Reason.NO_RISK),
        (HOUR + 1, True, Reason.DATA_STALE),
        (24 * HOUR + 1, True, Reason.DATA_TOO_OLD),
        (HOUR, False, Reason.DATA_TOO_OLD),
    ],
)
def test_the_age_of_the_list_counts_and_is_recorded(age_s: int, trusted: bool, reason: Reason) -> None:  # noqa: FBT001 - a table's column
    """Where the clock may be wrong it has no age, and counts as too old."""
    listed = risk_list({}, made_at=START - timedelta(seconds=age_s))
    gate = Gate(site(freshness=DATA), city(CODES, risk_list=listed))
    (event,) = _check_ins(gate.step(Seen(sightings=(sighting(AN, 0),)), at_ms(0, utc_trusted=trusted)))
    assert (reason in event.reasons, event.city_age_s) == (True, age_s if trusted else None)


def test_a_kiosk_that_needs_the_list_and_has_none_holds() -> None:
    """Until the list comes, which then counts at once."""
    gate = Gate(site(freshness=DATA), city(CODES))
    assert _events(_see(gate, 0, AN)) == ["held data_too_old"]
    (shown,) = gate.step(city(CODES, risk_list=risk_list({"b2": Flag.F0})), at_ms(1500))
    assert isinstance(shown, Show)
    assert shown.view.city_age_s == 0
    assert [_events(_see(gate, ms, code)) for ms, code in ((2000, AN), (6000, BINH))] == [
        ["granted no_risk"],
        ["denied at_risk.listed"],
    ]


def test_a_kiosk_without_trust_holds() -> None:
    """It says so on the screen, and in the record."""
    effects = _see(Gate(site(), city(CODES, trusting=False)), 0, AN)
    assert _events(effects) == ["held trust_missing"]
    assert effects[-1] == Show(view=_view(Screen.HELD, Reason.TRUST_MISSING, "N.V.A."))


def test_new_data_from_the_city_counts_from_the_next_verdict_on() -> None:
    """It moves no line and records nothing by itself; the grants of before still count."""
    gate = _gate()
    _see(gate, 0, AN)
    trusted_no_more = Refusal(reason=Reason.ISSUER_UNKNOWN, detail="kid")
    assert gate.step(city({AN: CODES[AN], BINH: trusted_no_more}), at_ms(1500)) == []
    assert _see(gate, 4000, BINH)[0] == _drive(Decision.DENIED)
    assert _events(_see(gate, 8000, AN)) == ["held already_presented"]


SIGNED, EMPTY = b"signed", b""
ASK = Ask(subject="d4" * 16)
BEING_ASKED = Show(
    view=View(
        screen=Screen.READING,
        wording=RULES.hints[Hint.READING],
        direction=Direction.ENTRY,
        online=True,
        hint=Hint.READING,
        link_since=START,
    )
)


def _asking(
    *,
    online: bool = True,
    direction: Direction = Direction.ENTRY,
    codes: dict[bytes, Credential | Refusal] | None = None,
) -> Gate:
    table = {**CODES, SIGNED: declared(subject="d4"), **(codes or {})}
    gate = Gate(site(direction, relay_pulse_ms=PULSE_MS, look_up=True), city(table))
    gate.step(LinkStatus(online=online, waiting=0), at_ms(0))
    return gate


def _answer(gate: Gate, ms: int, payload: bytes, asked: str = ASK.subject) -> list[Effect]:
    return gate.step(Answer(asked=asked, payload=payload), at_ms(ms))


def test_the_city_is_asked_once_about_a_card_and_its_answer_judged() -> None:
    """Nothing moves until then; the person is recorded under their card's scheme, with the declaration's age."""
    gate = _asking()
    assert (_see(gate, 100, CARD), gate.deadline_ns) == ([ASK, BEING_ASKED], 100 * MS + WAIT_NS)
    assert [_see(gate, ms, CARD) for ms in (133, 166, 800)] == [[], [], []]
    granted = replace(_check_in(CARD, 850, Decision.GRANTED, Reason.NO_RISK), data_age_s=HOUR)
    online = replace(_view(Screen.GRANTED, Reason.NO_RISK, "T.T.B."), online=True, link_since=START)
    assert _answer(gate, 850, SIGNED) == [
        Record(events=(granted,), before_drive=True),
        _drive(Decision.GRANTED),
        Show(view=online),
    ]
    assert _answer(gate, 900, SIGNED) == []


def test_without_an_answer_staff_decide_after_800_ms() -> None:
    """Not a millisecond earlier; the answer that comes then is kept for the next showing."""
    gate = _asking()
    _see(gate, 100, CARD)
    assert _elapse(gate, 899) == []
    assert _events(_elapse(gate, 900)) == ["held lookup_unavailable"]
    assert _answer(gate, 1500, SIGNED) == []
    assert _events(_see(gate, 4000, CARD)) == ["granted no_risk"]


def test_offline_staff_decide_at_once() -> None:
    """Nobody waits for what cannot come, and nothing is asked."""
    effects = _see(_asking(online=False), 100, CARD)
    assert (_events(effects), ASK in effects) == (["held lookup_unavailable"], False)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (EMPTY, "held no_declaration"),
        (b"forged", "held lookup_unavailable"),
        (COUGHER, "denied at_risk.symptom"),
    ],
)
def test_an_answer_is_worth_what_it_says(payload: bytes, told: str) -> None:
    """None known, one that cannot be believed, and one that tells of a risk."""
    gate = _asking()
    _see(gate, 100, CARD)
    assert _events(_answer(gate, 200, payload)) == [told]


def test_an_answer_carries_its_own_age() -> None:
    """Ten minutes later the kept declaration is ten minutes older; beyond that the city is asked anew."""
    gate = _asking()
    _see(gate, 100, CARD)
    _answer(gate, 200, SIGNED)
    (event,) = _check_ins(_see(gate, 600_000, CARD))
    assert (event.decision, event.data_age_s) == (Decision.GRANTED, HOUR + 600)
    assert ASK in _see(gate, 640_000, CARD)


def test_one_person_at_a_time_is_asked_about() -> None:
    """Who comes next waits for the answer, and for the lane."""
    gate = _asking(codes={b"card 2": card(subject="e5")})
    assert _see(gate, 100, CARD, b"card 2") == [ASK, BEING_ASKED]
    assert _events(_answer(gate, 200, SIGNED)) == ["granted no_risk"]
    assert _elapse(gate, 1149) == []
    assert _elapse(gate, 1150) == [Ask(subject="e5" * 16)]
    assert _answer(gate, 1200, SIGNED) == []
    assert _events(_elapse(gate, 1950)) == ["held lookup_unavailable"]


def test_nobody_is_asked_about_at_an_exit() -> None:
    """It opens at once."""
    effects = _see(_asking(direction=Direction.EXIT), 100, CARD)
    assert (_events(effects), _grants(effects)) == (["granted no_declaration"], [Direction.EXIT])


def test_nobody_is_asked_about_who_has_left() -> None:
    """Their card is recorded as it is."""
    gate = _asking()
    _see(gate, 100, COUGHER)
    _see(gate, 200, CARD)
    assert [_elapse(gate, 1701)] == [
        [
            Record(
                events=(_check_in(CARD, 1701, Decision.HELD, Reason.NO_DECLARATION, Reason.LEFT_BEFORE_VERDICT),),
                before_drive=False,
            )
        ]
    ]


def test_nobody_is_asked_about_where_the_site_does_not_want_it() -> None:
    """Then a card is a card."""
    gate = Gate(site(look_up=False), city(CODES))
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    assert _events(_see(gate, 100, CARD)) == ["held no_declaration"]


def test_who_is_flagged_is_stopped_without_asking() -> None:
    """The alarm does not wait for a declaration that could not change it."""
    gate = _listed_gate({"d4": Flag.F0})
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    effects = _see(gate, 100, CARD)
    assert (effects[0], _events(effects)) == (
        _drive(Decision.DENIED, alarm=True),
        ["denied at_risk.listed no_declaration"],
    )


def test_who_turns_out_to_be_flagged_is_stopped() -> None:
    """The card bears another number than the declaration: the list is asked about the declaration's subject."""
    data = city({**CODES, SIGNED: declared(subject="99")}, risk_list=risk_list({"99": Flag.F1}))
    gate = Gate(site(look_up=True, freshness=DATA), data)
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    assert ASK in _see(gate, 100, CARD)
    (event,) = _check_ins(_answer(gate, 200, SIGNED))
    assert (event.reasons, event.subject, event.scheme) == ((Reason.AT_RISK_LISTED,), "99" * 16, Scheme.CCCD)


def test_who_came_in_by_card_is_known_by_their_phone() -> None:
    """A card that took its declaration's subject counts as that person's grant, and so the other way round."""
    codes: dict[bytes, Credential | Refusal] = {
        SIGNED: declared(subject="99"),
        b"phone": declared(HEALTHY, subject="99"),
    }
    gate = _asking(codes=codes)
    _see(gate, 100, CARD)
    assert _events(_answer(gate, 200, SIGNED)) == ["granted no_risk"]
    assert _events(_see(gate, 4000, b"phone")) == ["held already_presented"]
    assert _events(_see(gate, 8000, CARD)) == []


def test_an_alarm_is_not_cut_short_by_an_answer() -> None:
    """While somebody waits for theirs, a person at risk leaves: the siren has its three seconds first."""
    gate = _asking()
    _see(gate, 0, FOREIGN_CODE)
    _see(gate, 50, CARD)
    _see(gate, 100, CARD, COUGHER)
    assert _see(gate, 1000, CARD) == [ASK]
    assert _events(_elapse(gate, 1601)) == ["denied at_risk.symptom left_before_verdict"]
    assert (_answer(gate, 1700, SIGNED), gate.deadline_ns) == ([], 4601 * MS)
    assert (_elapse(gate, 1800), _elapse(gate, 4600)) == ([], [])
    assert _events(_elapse(gate, 4601)) == ["granted no_risk"]


KEY = InputLine.STAFF_OVERRIDE
RED_BLINK = Drive(actuation=choreography.signal(choreography.TAMPER))
BEEP = Drive(actuation=choreography.signal(choreography.TAILGATING))
SIREN = Drive(actuation=choreography.signal(choreography.ALARM))


def _sense(gate: Gate, ms: int, line: InputLine, *, active: bool = True, trouble: str = "") -> list[Effect]:
    return gate.step(Sensed(line=line, active=active, at_ns=ms * MS, trouble=trouble), at_ms(ms))


def _fitted(direction: Direction = Direction.ENTRY, rules: Rules = RULES, **changes: Any) -> Gate:  # noqa: ANN401 - any setting
    """A gate whose every contact has been heard, at rest."""
    gate = Gate(site(direction, relay_pulse_ms=PULSE_MS, absence_ms=ABSENCE_MS, **changes), city(CODES, rules))
    for line in InputLine:
        _sense(gate, 0, line, active=False)
    return gate


def _pass(gate: Gate, ms: int, line: InputLine = InputLine.ENTRY_PASSAGE) -> list[Effect]:
    _sense(gate, ms, line)
    return [effect for effect in _sense(gate, ms + 300, line, active=False) if not isinstance(effect, Show)]


def _passage(ms: int, outcome: Outcome, direction: Direction = Direction.ENTRY) -> Record:
    passage = Passage(**events.stamp(at_ms(ms)), direction=direction, outcome=outcome)
    return Record(events=(passage,), before_drive=False)


def _opening(ms: int, direction: Direction, cause: Cause) -> list[Effect]:
    """Staff's opening waits for its record; a way out does not."""
    staff = cause is Cause.STAFF_OVERRIDE
    event = Opening(**events.stamp(at_ms(ms)), direction=direction, cause=cause)
    record = Record(events=(event,), before_drive=staff)
    drive = Drive(actuation=choreography.opening(direction, PULSE_MS, alarm=False))
    return [record, drive] if staff else [drive, record]


def _shown(effects: list[Effect]) -> list[tuple[Screen, str]]:
    return [(effect.view.screen, effect.view.fault) for effect in effects if isinstance(effect, Show)]


def _without_shows(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Show)]


def test_what_comes_of_a_grant_is_recorded() -> None:
    """Taken, then somebody behind, then somebody out the wrong way: three passages, and the figures on the strip."""
    gate = _fitted()
    _see(gate, 0, AN)
    assert _pass(gate, 1000) == [_passage(1300, Outcome.TAKEN)]
    assert _pass(gate, 2000) == [_passage(2300, Outcome.WITHOUT_GRANT), BEEP]
    assert _pass(gate, 3000, InputLine.EXIT_PASSAGE) == [_passage(3300, Outcome.WRONG_WAY, Direction.EXIT)]
    (view,) = [effect.view for effect in _elapse(gate, 4000) if isinstance(effect, Show)]
    assert view.today == Tally(presentations=1, grants=1, passages=3, without_grant=2)


def test_a_grant_that_nobody_took_is_annulled_and_the_person_may_come_back() -> None:
    """The gate asks to be called for it; within the repeat window the same code opens again."""
    gate = _fitted()
    _see(gate, 0, AN)
    _elapse(gate, 4000)
    void_ms = 5000 + HEARD_LATE_NS // MS
    assert gate.deadline_ns == void_ms * MS
    assert _elapse(gate, void_ms) == [_passage(void_ms, Outcome.NOT_TAKEN)]
    assert _see(gate, 8000, AN)[1] == _drive(Decision.GRANTED)


def test_a_door_without_passage_sensors_tells_of_no_passage() -> None:
    """Nor does its strip have figures that nobody counted."""
    gate = _gate()
    effects = [*_see(gate, 0, AN), *_elapse(gate, 4000), *_elapse(gate, 60_000)]
    events = [event for effect in effects if isinstance(effect, Record) for event in effect.events]
    assert [type(event) for event in events] == [CheckIn]
    assert [effect.view.today for effect in effects if isinstance(effect, Show)] == [None, None]


def test_a_stuck_passage_sensor_is_a_fault_until_it_rests() -> None:
    """Its passage is none."""
    gate = _fitted()
    _sense(gate, 1000, InputLine.ENTRY_PASSAGE)
    assert gate.deadline_ns == 31_000 * MS
    assert _without_shows(_elapse(gate, 31_000)) == [_fault("entry_passage", 31_000, STUCK)]
    rested = _sense(gate, 40_000, InputLine.ENTRY_PASSAGE, active=False)
    assert _without_shows(rested) == [_fault("entry_passage", 40_000, STUCK, recovered=True)]


def test_a_passage_sensor_in_trouble_is_a_fault() -> None:
    """In the words of whoever reads it."""
    effects = _sense(_fitted(), 1000, InputLine.ENTRY_PASSAGE, active=False, trouble="chatters")
    assert _without_shows(effects) == [_fault("entry_passage", 1000, "chatters")]


@pytest.mark.parametrize("direction", Direction)
def test_staff_open_the_lane_once_for_each_press(direction: Direction) -> None:
    """In its own direction, recorded first; leaning on the key opens nothing more and is told after ten seconds."""
    gate = _fitted(direction)
    assert _without_shows(_sense(gate, 1000, KEY)) == _opening(1000, direction, Cause.STAFF_OVERRIDE)
    leant = "held for 10 s; nothing more opens until it is let go"
    told = [effect for ms in range(2000, 12_000, 500) for effect in _elapse(gate, ms)]
    assert [effect for effect in _without_shows(told) if effect not in _annulled(told)] == [_fault(KEY, 11_000, leant)]
    _sense(gate, 12_000, KEY, active=False)
    assert _without_shows(_sense(gate, 13_000, KEY)) == _opening(13_000, direction, Cause.STAFF_OVERRIDE)


def _annulled(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Record) and isinstance(effect.events[0], Passage)]


def test_staff_wait_for_the_verdict_before_them() -> None:
    """One opening at a time; the gate asks to be called for it."""
    gate = _fitted()
    _see(gate, 0, AN)
    assert (_without_shows(_sense(gate, 100, KEY)), gate.deadline_ns) == ([], 950 * MS)
    assert _without_shows(_elapse(gate, 950)) == _opening(950, Direction.ENTRY, Cause.STAFF_OVERRIDE)
    assert _without_shows(_see(gate, 1000, BINH)) == []
    assert _see(gate, 1900, BINH)[1] == _drive(Decision.GRANTED)


def test_staff_open_no_entry_that_nobody_would_know_of() -> None:
    """While events cannot be stored; the press is not kept for later. An exit opens."""
    entry, out = _fitted(), _fitted(Direction.EXIT)
    for gate in (entry, out):
        _health(gate, 0, "outbox", "disk full")
    assert _without_shows(_sense(entry, 1000, KEY)) == []
    assert _without_shows(_health(entry, 1500, "outbox", "")) == [_fault("outbox", 1500, "disk full", recovered=True)]
    assert _without_shows(_sense(out, 1000, KEY)) == _opening(1000, Direction.EXIT, Cause.STAFF_OVERRIDE)


@pytest.mark.parametrize("direction", Direction)
def test_a_request_to_exit_opens_at_once(direction: Direction) -> None:
    """Before its record, and while somebody is being let in; the next verdict waits for it."""
    gate = _fitted(direction)
    if direction is Direction.ENTRY:
        _see(gate, 900, AN)
    effects = _sense(gate, 1000, InputLine.REQUEST_TO_EXIT)
    assert _without_shows(effects) == _opening(1000, Direction.EXIT, Cause.REQUEST_TO_EXIT)
    assert _without_shows(_see(gate, 1949, BINH)) == []
    assert _see(gate, 1950, BINH)[1] == _drive(Decision.GRANTED, direction=direction)


def test_a_request_while_the_exit_is_open_opens_it_again_after() -> None:
    """None is lost; two at once are one."""
    gate = _fitted()
    for ms in (1000, 1200, 1300):
        _sense(gate, ms, InputLine.REQUEST_TO_EXIT)
        _sense(gate, ms + 50, InputLine.REQUEST_TO_EXIT, active=False)
    assert gate.deadline_ns == 1950 * MS
    assert _without_shows(_elapse(gate, 1950)) == _opening(1950, Direction.EXIT, Cause.REQUEST_TO_EXIT)
    assert _elapse(gate, 2900) == []


@pytest.mark.parametrize("faults", [("outbox",), ("camera", "lines", "outbox")])
def test_no_fault_and_no_stop_keeps_anybody_in(faults: tuple[str, ...]) -> None:
    """A request to exit opens while everything else is out of order."""
    gate = _fitted()
    for stage in faults:
        _health(gate, 0, stage, "broken")
    _sense(gate, 100, InputLine.EMERGENCY_STOP)
    effects = _sense(gate, 1000, InputLine.REQUEST_TO_EXIT)
    assert effects[:2] == _opening(1000, Direction.EXIT, Cause.REQUEST_TO_EXIT)


def test_a_siren_goes_on_while_somebody_goes_out() -> None:
    """The opening has the alarm's lights and sounds in place of its own."""
    gate = _fitted()
    _see(gate, 0, COUGHER)
    (drive,) = [e for e in _sense(gate, 1000, InputLine.REQUEST_TO_EXIT) if isinstance(e, Drive)]
    assert drive == Drive(actuation=choreography.opening(Direction.EXIT, PULSE_MS, alarm=True))


def test_an_emergency_stop_puts_relays_to_rest_and_halts_an_entry() -> None:
    """Codes and staff open nothing; with its release the next code does, and the press is not kept."""
    gate = _fitted()
    _see(gate, 0, AN)
    effects = _sense(gate, 100, InputLine.EMERGENCY_STOP)
    assert effects[0] == Drive(actuation=choreography.halt(alarm=False))
    assert _grants([*_see(gate, 2000, BINH), *_sense(gate, 2500, KEY), *_elapse(gate, 3000)]) == []
    assert _shown(_elapse(gate, 4000)) == [
        (Screen.OUT_OF_ORDER, "emergency_stop: the emergency stop is pressed, or its wire is broken")
    ]
    released = _sense(gate, 4100, InputLine.EMERGENCY_STOP, active=False)
    assert _grants(released) == []
    assert _drive(Decision.HELD) in _see(gate, 5000, AN, BINH)
    assert _drive(Decision.GRANTED) in _see(gate, 6000, AN, BINH)


def test_an_emergency_stop_never_halts_an_exit() -> None:
    """Its relay rests for the moment; who shows a code then is let out."""
    gate = _fitted(Direction.EXIT)
    effects = _sense(gate, 100, InputLine.EMERGENCY_STOP)
    assert effects[0] == Drive(actuation=choreography.halt(alarm=False))
    assert _see(gate, 2000, AN)[1] == _drive(Decision.GRANTED, direction=Direction.EXIT)


def test_somebody_who_leaves_during_a_stop_is_recorded() -> None:
    """As everybody who leaves before the door has time for them."""
    gate = _fitted()
    _sense(gate, 100, InputLine.EMERGENCY_STOP)
    _see(gate, 200, AN)
    assert _events(_elapse(gate, 201 + ABSENCE_MS)) == ["held left_before_verdict"]


def test_an_open_housing_is_recorded_and_blinks_red() -> None:
    """Every two seconds until it is closed."""
    gate = _fitted()
    why = "the housing is open, or the contact's wire is broken"
    assert _without_shows(_sense(gate, 100, InputLine.TAMPER)) == [_fault("tamper", 100, why), RED_BLINK]
    assert (gate.deadline_ns, _elapse(gate, 2100)) == (2100 * MS, [RED_BLINK])
    closed = _sense(gate, 2200, InputLine.TAMPER, active=False)
    assert _without_shows(closed) == [_fault("tamper", 2200, why, recovered=True)]
    assert (_elapse(gate, 4100), gate.deadline_ns) == ([], None)


ON, OVER = "the fire alarm is on, or its wire is broken", "the fire alarm has ended; staff reset the door by holding"


@pytest.mark.parametrize("direction", Direction)
def test_a_fire_releases_the_lane_until_staff_reset_it(direction: Direction) -> None:
    """The end of the alarm changes neither screen nor lights; a short press does nothing, three seconds do."""
    gate = _fitted(direction)
    blink = Drive(actuation=choreography.signal(choreography.FIRE[direction]))
    effects = _sense(gate, 1000, InputLine.FIRE)
    assert effects[:3] == [Fire(on=True), _fault("fire", 1000, ON), blink]
    assert _shown(effects) == [(Screen.FIRE, f"fire: {ON}")]
    over = _sense(gate, 3000, InputLine.FIRE, active=False)
    assert [over[0], over[2]] == [Fire(on=False), blink]
    assert [(screen, fault.split(" by")[0]) for screen, fault in _shown(over)] == [
        (Screen.FIRE, f"fire: {OVER.removesuffix(' by holding')}")
    ]
    assert _sense(gate, 3500, KEY) == []
    assert _sense(gate, 4000, KEY, active=False) == []
    assert _grants([*_elapse(gate, 8000), *_sense(gate, 10_000, KEY)]) == []
    reset = [*_elapse(gate, 12_999), *_elapse(gate, 13_000)]
    assert [effect for effect in reset if isinstance(effect, Reset)] == [Reset()]
    assert _shown(reset) == [(Screen.ATTRACT, "")]
    assert _see(gate, 14_000, AN)[1] == _drive(Decision.GRANTED, direction=direction)


@pytest.mark.parametrize(
    ("direction", "told"),
    [
        (
            Direction.ENTRY,
            ["held left_before_verdict", "denied at_risk.symptom left_before_verdict"],
        ),
        (Direction.EXIT, ["granted left_before_verdict", "granted at_risk.symptom left_before_verdict"]),
    ],
)
def test_in_a_fire_codes_are_recorded_and_nothing_moves(direction: Direction, told: list[str]) -> None:
    """Nobody is judged, held or let in; the health authority still hears of somebody at risk."""
    gate = _fitted(direction)
    _sense(gate, 1000, InputLine.FIRE)
    effects = _see(gate, 1100, AN, COUGHER)
    assert _events(effects) == told
    assert [effect for effect in effects if isinstance(effect, Drive | Ask)] == []
    assert _shown(effects) == [(Screen.FIRE, f"fire: {ON}")]
    assert sum(isinstance(event, Alert) for e in effects if isinstance(e, Record) for event in e.events) == 1
    moved = [*_sense(gate, 1200, InputLine.REQUEST_TO_EXIT), *_sense(gate, 1300, KEY), *_elapse(gate, 20_000)]
    assert _grants(moved) == []


def test_a_fire_ends_a_verdict_and_nobody_waits_for_an_answer() -> None:
    """Who was being looked up is recorded when the answer is due, and not let in."""
    gate = _asking()
    _see(gate, 100, CARD)
    assert _shown(_sense(gate, 200, InputLine.FIRE)) == [(Screen.FIRE, f"fire: {ON}")]
    effects = _elapse(gate, 900)
    assert _events(effects) == ["held left_before_verdict lookup_unavailable"]
    assert _grants(effects) == []


def test_passages_in_a_fire_are_counted_and_are_nobodys_fault() -> None:
    """Everybody may go, either way; grants from before it are neither taken nor annulled."""
    gate = _fitted()
    _see(gate, 0, AN)
    _sense(gate, 1000, InputLine.FIRE)
    told = [*_pass(gate, 2000), *_pass(gate, 3000, InputLine.EXIT_PASSAGE), *_elapse(gate, 9000)]
    assert [effect for effect in told if isinstance(effect, Record)] == []


def _waiting(direction: Direction = Direction.ENTRY) -> Gate:
    gate = _fitted(direction, alarm_waits=True)
    _see(gate, 0, COUGHER)
    return gate


def test_an_alarm_lasts_until_staff_acknowledge_it() -> None:
    """The siren every six seconds, the screen all the time; one press ends both and opens nothing."""
    gate = _waiting()
    siren = [(ms, effect) for ms in range(500, 20_000, 500) for effect in _elapse(gate, ms)]
    assert siren == [(6000, SIREN), (12_000, SIREN), (18_000, SIREN)]
    pressed = _sense(gate, 20_000, KEY)
    told = UNACKNOWLEDGED
    assert pressed[:2] == [Drive(actuation=choreography.quiet()), _fault("alarm", 20_000, told, recovered=True)]
    assert _shown(pressed) == [(Screen.ATTRACT, "")]
    _sense(gate, 21_000, KEY, active=False)
    assert _sense(gate, 22_000, KEY)[0] == _opening(22_000, Direction.ENTRY, Cause.STAFF_OVERRIDE)[0]


def test_that_staff_are_awaited_is_told_to_the_city() -> None:
    """When the alarm begins, after the alert and the check-in."""
    gate = _fitted(alarm_waits=True)
    effects = _without_shows(_see(gate, 0, COUGHER))
    assert effects[0] == _drive(Decision.DENIED, alarm=True)
    assert effects[2:] == [_fault("alarm", 0, UNACKNOWLEDGED)]


def test_an_entry_judges_nobody_until_the_alarm_is_acknowledged() -> None:
    """Then at once; who leaves before is recorded."""
    gate = _waiting()
    assert _without_shows(_see(gate, 4500, AN)) == []
    assert _events(_elapse(gate, 4501 + ABSENCE_MS)) == ["held left_before_verdict"]
    assert _without_shows(_see(gate, 7000, BINH)) == []
    assert _grants(_sense(gate, 7100, KEY)) == [Direction.ENTRY]


def test_an_exit_goes_on_during_its_alarm() -> None:
    """Everybody is let out; the siren sounds again when the lights are free."""
    gate = _waiting(Direction.EXIT)
    assert _drive(Decision.GRANTED, direction=Direction.EXIT) in _see(gate, 5500, AN)
    assert _elapse(gate, 6000) == []
    assert _elapse(gate, 6450) == [SIREN]
    assert _shown(_elapse(gate, 9500)) == [(Screen.AT_RISK, f"alarm: {UNACKNOWLEDGED}")]


def test_a_fire_does_not_acknowledge_an_alarm() -> None:
    """It goes on after the reset, which is no acknowledgement either."""
    gate = _waiting()
    for ms, line, active in ((1000, InputLine.FIRE, True), (2000, InputLine.FIRE, False), (3000, KEY, True)):
        _sense(gate, ms, line, active=active)
    reset = [*_elapse(gate, 6000), *_elapse(gate, 6449), *_elapse(gate, 6450)]
    assert [effect for effect in reset if isinstance(effect, Reset | Drive)] == [Reset(), SIREN]
    assert _shown(reset) == [(Screen.AT_RISK, f"alarm: {UNACKNOWLEDGED}")]
