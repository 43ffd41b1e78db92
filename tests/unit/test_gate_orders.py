from dataclasses import replace
from datetime import time
from typing import Any

import pytest

from kiosk import choreography, events
from kiosk.choreography import Lasting
from kiosk.clock import MS
from kiosk.gate import Gate
from kiosk.lane import HEARD_LATE_NS
from kiosk.messages import (
    Actuation,
    AlertNews,
    AlertState,
    Answer,
    Answered,
    Carry,
    Cause,
    CheckIn,
    Command,
    CommandAnswer,
    Credential,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Escalation,
    Event,
    InputLine,
    Line,
    LinkStatus,
    Opening,
    Order,
    Outcome,
    Passage,
    Reason,
    Record,
    Refusal,
    Screen,
    Seen,
    Sensed,
    Show,
    StageHealth,
    View,
)
from kiosk.orders import DONE, LASTING, REFUSED, Fact, Orders, refusal
from tests.builders import COUGHING, at_ms, card, city, declared, sighting, site, verdict

AN, BINH, COUGHER, CARD = b"an", b"binh", b"cougher", b"card"
CODES: dict[bytes, Credential | Refusal] = {
    AN: declared(subject="a1"),
    BINH: declared(subject="b2"),
    COUGHER: declared(COUGHING, subject="c3"),
    CARD: card(subject="d4"),
}
KEY, STOP, FIRE, REQUEST = (
    InputLine.STAFF_OVERRIDE,
    InputLine.EMERGENCY_STOP,
    InputLine.FIRE,
    InputLine.REQUEST_TO_EXIT,
)
OWN = sorted(set(Order) - DONE.keys())
"""Orders that are the device's own business."""


def _gate(direction: Direction = Direction.ENTRY, *, sensors: bool = False, **changes: Any) -> Gate:  # noqa: ANN401 - any setting
    """A gate whose contacts have been heard, at rest; passage sensors are fitted where a test wants them."""
    gate = Gate(site(direction, **changes), city(CODES))
    passages = (InputLine.ENTRY_PASSAGE, InputLine.EXIT_PASSAGE)
    for line in InputLine:
        if sensors or line not in passages:
            _sense(gate, 0, line, active=False)
    return gate


def _see(gate: Gate, ms: int, *payloads: bytes) -> list[Effect]:
    return gate.step(Seen(sightings=tuple(sighting(payload, ms) for payload in payloads)), at_ms(ms))


def _sense(gate: Gate, ms: int, line: InputLine, *, active: bool = True) -> list[Effect]:
    return gate.step(Sensed(line=line, active=active, at_ns=ms * MS), at_ms(ms))


def _order(gate: Gate, ms: int, order: Order, seconds: int = 0) -> list[Effect]:
    return gate.step(Command(number=7, order=order, seconds=seconds), at_ms(ms))


def _play(gate: Gate, from_ms: int, to_ms: int) -> list[tuple[int, Effect]]:
    """What the gate does by itself, at the deadlines it asks for; each effect with its ms."""
    done = []
    while gate.deadline_ns is not None and gate.deadline_ns < to_ms * MS:
        ms = max(from_ms, gate.deadline_ns // MS)
        done += [(ms, effect) for effect in gate.step(Elapsed(), at_ms(ms))]
    return done


def _told(effects: list[Effect]) -> list[Event]:
    return [event for effect in effects if isinstance(effect, Record) for event in effect.events]


def _drives(effects: list[Effect]) -> list[Actuation]:
    return [effect.actuation for effect in effects if isinstance(effect, Drive)]


def _opened(effects: list[tuple[int, Effect]]) -> list[int]:
    return [ms for ms, effect in effects if isinstance(effect, Drive) and effect.actuation.grant]


def _answer(ms: int, order: Order, detail: str, *, done: bool = True) -> CommandAnswer:
    return CommandAnswer(**events.stamp(at_ms(ms)), number=7, order=order, done=done, detail=detail)


def _sounds(actuation: Actuation) -> bool:
    return any(change.line is Line.BUZZER for change in actuation.changes)


def _screens(effects: list[Effect]) -> list[Screen]:
    return [effect.view.screen for effect in effects if isinstance(effect, Show)]


def _view(effects: list[Effect]) -> View:
    (show,) = (effect for effect in effects if isinstance(effect, Show))
    return show.view


def _muted(effect: Effect) -> bool | None:
    return effect.view.muted if isinstance(effect, Show) else None


OPENING = Drive(actuation=choreography.opening(Direction.ENTRY, 500, alarm=False))


@pytest.mark.parametrize(
    ("hours", "muted"),
    [(("07:00", "09:00"), True), (("08:01", "07:59"), False), (("22:00", "08:01"), True), (("08:00", "08:00"), False)],
)
def test_in_quiet_hours_a_grant_is_silent(hours: tuple[str, str], muted: bool) -> None:  # noqa: FBT001 - the fact itself
    """At eight in the morning in Da Nang; over midnight as well. The screen says so."""
    quiet = (time.fromisoformat(hours[0]), time.fromisoformat(hours[1]))
    effects = _see(_gate(quiet=quiet), 1000, AN)
    assert ([_sounds(drive) for drive in _drives(effects)], _view(effects).muted) == ([not muted], muted)


def test_a_clock_that_may_be_wrong_keeps_no_quiet_hours() -> None:
    """A door that is silent by mistake is worse than one that is not."""
    gate = _gate(quiet=(time(0), time(23, 59)))
    now = replace(at_ms(1000), utc_trusted=False)
    effects = gate.step(Seen(sightings=(sighting(AN, 1000),)), now)
    assert [view for view in map(_muted, effects) if view is not None] == [False]


def test_somebody_at_risk_is_heard_in_quiet_hours() -> None:
    """The first siren calls staff."""
    effects = _see(_gate(quiet=(time(0), time(23, 59))), 1000, COUGHER)
    assert [_sounds(drive) for drive in _drives(effects)] == [True]


@pytest.mark.parametrize("direction", Direction)
def test_a_lane_that_is_to_fail_safe_opens_again_and_again_while_its_camera_fails(direction: Direction) -> None:
    """Each opening recorded first, one in the time that a grant is good for; until the camera works, and not before."""
    gate = _gate(direction, opens_without=frozenset({"camera"}))
    effects = gate.step(StageHealth(stage="camera", fault="no frames"), at_ms(1000))
    opening = Opening(**events.stamp(at_ms(1000)), direction=direction, cause=Cause.OUT_OF_ORDER)
    assert Record(events=(opening,), before_drive=True) in effects
    assert _opened([(1000, effect) for effect in effects] + _play(gate, 1000, 17_000)) == [1000, 6000, 11_000, 16_000]
    gate.step(StageHealth(stage="camera", fault=""), at_ms(17_000))
    assert _opened(_play(gate, 17_000, 60_000)) == []


@pytest.mark.parametrize(
    ("line", "stage"), [(STOP, "camera"), (FIRE, "camera"), (KEY, "uplink")], ids=["stop", "fire", "another stage"]
)
def test_what_keeps_an_entry_shut_keeps_one_that_fails_safe_shut(line: InputLine, stage: str) -> None:
    """An emergency stop; a fire, which frees the lane by itself; and a fault that the site did not name."""
    gate = _gate(opens_without=frozenset({"camera"}))
    if line is not KEY:
        _sense(gate, 500, line)
    effects = gate.step(StageHealth(stage=stage, fault="gone"), at_ms(1000))
    assert _opened([(1000, effect) for effect in effects] + _play(gate, 1000, 30_000)) == []


def test_an_entry_that_fails_secure_stays_shut() -> None:
    """As long as the site has not said otherwise."""
    gate = _gate()
    effects = gate.step(StageHealth(stage="camera", fault="no frames"), at_ms(1000))
    assert _opened([(1000, effect) for effect in effects] + _play(gate, 1000, 30_000)) == []


def test_a_lock_down_outranks_failing_safe() -> None:
    """Who locks an entry means it, with and without a camera."""
    gate = _gate(opens_without=frozenset({"camera"}))
    _order(gate, 500, Order.LOCK, 60)
    effects = gate.step(StageHealth(stage="camera", fault="no frames"), at_ms(1000))
    assert _opened([(1000, effect) for effect in effects] + _play(gate, 1000, 30_000)) == []


def test_an_unlocked_entry_opens_again_and_again() -> None:
    """Answered first; each opening is recorded before its drive, and as soon as the relay has rested; then no more."""
    gate = _gate()
    effects = _order(gate, 1000, Order.UNLOCK, 3)
    opening = Opening(**events.stamp(at_ms(1000)), direction=Direction.ENTRY, cause=Cause.COMMAND)
    assert effects[:3] == [
        Record(events=(_answer(1000, Order.UNLOCK, "the lane opens again and again for 3 s"),), before_drive=False),
        Record(events=(opening,), before_drive=True),
        OPENING,
    ]
    assert _opened(_play(gate, 1000, 60_000)) == [1950, 2900, 3850]
    assert gate.deadline_ns is None


def test_an_unlocked_lane_waits_for_the_passage_where_it_sees_one() -> None:
    """Or for the grant to be void; nobody's turn is given away twice."""
    gate = _gate(sensors=True)
    _order(gate, 0, Order.UNLOCK, 20)
    void_ms = 5000 + HEARD_LATE_NS // MS
    assert _opened(_play(gate, 0, 6000)) == [void_ms]
    _sense(gate, 7000, InputLine.ENTRY_PASSAGE)
    passed = _sense(gate, 7400, InputLine.ENTRY_PASSAGE, active=False)
    assert [type(event) for event in _told(passed)] == [Passage, Opening]


def test_an_unlocked_exit_opens_its_own_way() -> None:
    """Also while events cannot be stored."""
    gate = _gate(Direction.EXIT)
    gate.step(StageHealth(stage="outbox", fault="full"), at_ms(0))
    assert Drive(actuation=choreography.opening(Direction.EXIT, 500, alarm=False)) in _order(gate, 100, Order.UNLOCK, 3)


def test_an_unlocked_entry_still_judges_whoever_shows_a_code() -> None:
    """Somebody at risk stops it for the time of the alarm."""
    gate = _gate()
    _order(gate, 0, Order.UNLOCK, 10)
    _see(gate, 500, COUGHER)
    effects = [effect for _, effect in _play(gate, 500, 1000)]
    assert [type(event).__name__ for event in _told(effects)] == ["Alert", "CheckIn"]
    assert _opened(_play(gate, 1000, 5000))[0] == 3950


def test_nobody_is_looked_up_in_vain_because_of_an_unlock() -> None:
    """The city's answer is judged before the lane opens again."""
    gate = _gate(look_up=True)
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    _see(gate, 100, CARD)
    assert _opened([(150, effect) for effect in _order(gate, 150, Order.UNLOCK, 10)]) == []
    effects = gate.step(Answer(asked="d4" * 16, payload=AN), at_ms(300))
    assert [type(event) for event in _told(effects)] == [CheckIn]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (lambda gate: _order(gate, 1500, Order.RELEASE), "release"),
        (lambda gate: _order(gate, 1500, Order.LOCK, 60), "lock"),
        (lambda gate: _sense(gate, 1500, STOP), "stop"),
        (lambda gate: _sense(gate, 1500, FIRE), "fire"),
    ],
)
def test_an_unlock_ends_before_its_time(ends: Any, told: str) -> None:  # noqa: ANN401 - a step of the gate
    """By release, lock-down, emergency stop or fire; it does not come back when those are over."""
    gate = _gate()
    _order(gate, 1000, Order.UNLOCK, 60)
    ends(gate)
    assert _opened(_play(gate, 1500, 8000)) == []
    if told in {"stop", "fire"}:
        _sense(gate, 8000, STOP if told == "stop" else FIRE, active=False)
        _sense(gate, 8100, KEY)
        _play(gate, 8100, 12_000)
        _sense(gate, 12_000, KEY, active=False)
    assert _opened(_play(gate, 12_000, 20_000)) == []


def test_an_unlock_does_not_open_while_events_cannot_be_stored() -> None:
    """It goes on when they can."""
    gate = _gate()
    _order(gate, 0, Order.UNLOCK, 10)
    gate.step(StageHealth(stage="outbox", fault="full"), at_ms(100))
    assert _opened(_play(gate, 100, 5000)) == []
    assert OPENING in gate.step(StageHealth(stage="outbox", fault=""), at_ms(5000))


def test_a_locked_entry_judges_nobody_and_says_so() -> None:
    """Its relay rests at once; who shows a code and leaves is recorded, and is let in after its time."""
    gate = _gate()
    _see(gate, 0, AN)
    effects = _order(gate, 200, Order.LOCK, 10)
    assert _told(effects) == [_answer(200, Order.LOCK, "locked for 10 s")]
    assert _drives(effects)[0] == choreography.shut(Direction.ENTRY, alarm=False)
    assert _opened([(0, effect) for effect in _see(gate, 4500, BINH)]) == []
    assert _screens(_play_effects(gate, 200, 4600)) == []
    effects = _play_effects(gate, 4600, 10_000)
    assert _opened([(0, effect) for effect in effects]) == []
    assert _see(gate, 10_199, BINH) == []
    effects += _see(gate, 10_200, BINH)
    decisions = [event.decision for event in _told(effects) if isinstance(event, CheckIn)]
    assert decisions == [Decision.HELD, Decision.GRANTED]


def _play_effects(gate: Gate, from_ms: int, to_ms: int) -> list[Effect]:
    return [effect for _, effect in _play(gate, from_ms, to_ms)]


def test_a_locked_entry_shows_that_it_is_closed_and_blinks_red() -> None:
    """Every two seconds, from its first moment."""
    gate = _gate()
    effects = _order(gate, 1000, Order.LOCK, 60)
    red = choreography.lasting(Lasting.LOCKED, Direction.ENTRY)
    assert (_drives(effects)[1:], _screens(effects)) == ([red], [Screen.LOCKED])
    assert (gate.deadline_ns, _drives(gate.step(Elapsed(), at_ms(3000)))) == (3000 * MS, [red])
    assert _screens(_order(gate, 4000, Order.RELEASE)) == [Screen.ATTRACT]


def test_staff_open_a_locked_entry_and_it_is_recorded() -> None:
    """The guard with the key lets the fire brigade in; the lock-down goes on after."""
    gate = _gate()
    _order(gate, 0, Order.LOCK, 60)
    effects = _sense(gate, 1000, KEY)
    assert [event.cause for event in _told(effects) if isinstance(event, Opening)] == [Cause.STAFF_OVERRIDE]
    assert _told(_see(gate, 2000, AN)) == []


def test_a_lock_down_never_touches_a_way_out() -> None:
    """A request to exit opens at once; an exit cannot be locked."""
    gate = _gate()
    _order(gate, 0, Order.LOCK, 60)
    assert _drives(_sense(gate, 1000, REQUEST))[0].grant is Direction.EXIT
    out = _gate(Direction.EXIT)
    assert _told(_order(out, 0, Order.LOCK, 60)) == [_answer(0, Order.LOCK, "an exit is never locked", done=False)]
    assert _drives(_see(out, 1000, AN))[0].grant is Direction.EXIT


def test_somebody_at_risk_at_a_locked_entry_is_told_of() -> None:
    """When they leave; the alarm sounds, and the alert goes to the city."""
    gate = _gate()
    _order(gate, 0, Order.LOCK, 60)
    _see(gate, 1000, COUGHER)
    effects = _play_effects(gate, 1000, 2400) + gate.step(Elapsed(), at_ms(2501))
    assert [type(event).__name__ for event in _told(effects)] == ["Alert", "CheckIn"]


def test_who_was_being_looked_up_is_not_let_in_hours_later() -> None:
    """A lock-down meanwhile: they are recorded when the answer is due, and nobody is let in when it ends."""
    gate = _gate(look_up=True)
    gate.step(LinkStatus(online=True, waiting=0), at_ms(0))
    _see(gate, 100, CARD)
    _order(gate, 200, Order.LOCK, 60)
    (event,) = _told(gate.step(Elapsed(), at_ms(900)))
    assert isinstance(event, CheckIn)
    assert event.reasons == (Reason.LEFT_BEFORE_VERDICT, Reason.LOOKUP_UNAVAILABLE)
    assert _opened(_play(gate, 900, 70_000)) == []


def test_a_muted_door_makes_no_sound_but_for_somebody_new_at_risk() -> None:
    """Lights and relay are the same; the strip says that it is muted, and for how long it was ordered."""
    gate = _gate(alarm_waits=True)
    effects = _order(gate, 0, Order.MUTE, 60)
    assert (_told(effects), _view(effects).muted) == ([_answer(0, Order.MUTE, "muted for 60 s")], True)
    granted = choreography.actuation_for(verdict(Decision.GRANTED, Reason.NO_RISK), 500)
    assert _drives(_see(gate, 1000, AN)) == [choreography.without_sound(granted)]
    alarm = choreography.actuation_for(verdict(Decision.DENIED, Reason.AT_RISK_SYMPTOM, alarm=True), 500)
    assert _drives(_see(gate, 5000, COUGHER)) == [alarm]
    assert _drives(_sense(gate, 6000, REQUEST)) == [choreography.opening(Direction.EXIT, 500, alarm=True)]
    again = _drives(gate.step(Elapsed(), at_ms(11_000)))
    assert again == [choreography.without_sound(choreography.signal(choreography.ALARM))]
    _sense(gate, 11_500, REQUEST, active=False)
    assert [_sounds(each) for each in _drives(_sense(gate, 12_000, REQUEST))] == [False]
    assert _view(gate.step(Elapsed(), at_ms(60_000))).muted is False
    assert _drives(_sense(gate, 60_100, REQUEST, active=False)) == []


def test_a_muted_door_is_heard_again_after_release() -> None:
    """At once."""
    gate = _gate()
    _order(gate, 0, Order.MUTE, 60)
    assert _told(_order(gate, 100, Order.RELEASE)) == [
        _answer(100, Order.RELEASE, "no unlock, lock or mute is in force")
    ]
    assert _sounds(_drives(_see(gate, 200, AN))[0])


def test_a_test_shows_lights_and_buzzer_in_turn_and_moves_no_relay() -> None:
    """Who comes meanwhile waits until it is over; it sounds at a muted door too, for it was asked for."""
    gate = _gate()
    _order(gate, 0, Order.MUTE, 60)
    effects = _order(gate, 100, Order.TEST)
    assert _told(effects) == [_answer(100, Order.TEST, "lights and buzzer show in turn")]
    (shown,) = _drives(effects)
    assert [change.line for change in shown.changes if change.on] == [Line.GREEN, Line.AMBER, Line.RED, Line.BUZZER]
    assert shown.changes[-1].after_ms * MS == choreography.TEST_NS
    assert (_drives(_see(gate, 1000, AN)), gate.deadline_ns) == ([], 1900 * MS)
    assert _drives(gate.step(Elapsed(), at_ms(1900)))[0].grant is Direction.ENTRY


@pytest.mark.parametrize("ms", [100, 3999])
def test_a_test_is_refused_while_somebody_is_served(ms: int) -> None:
    """And while they read what they were told."""
    gate = _gate()
    _see(gate, 0, AN)
    effects = _order(gate, ms, Order.TEST)
    why = "somebody is being served; try again"
    assert (_told(effects), _drives(effects)) == ([_answer(ms, Order.TEST, why, done=False)], [])


@pytest.mark.parametrize("order", OWN)
def test_what_the_device_must_do_itself_is_handed_on(order: Order) -> None:
    """And nothing else happens; the answer that comes back is recorded as it is."""
    gate = _gate()
    command = Command(number=9, order=order, text="PEM")
    assert gate.step(command, at_ms(5)) == [Carry(command=command)]
    answered = Answered(number=9, order=order, done=True, detail="a report")
    answer = CommandAnswer(**events.stamp(at_ms(6)), number=9, order=order, done=True, detail="a report")
    assert gate.step(answered, at_ms(6)) == [Record(events=(answer,), before_drive=False)]


def test_a_command_that_nobody_could_read_is_answered_all_the_same() -> None:
    """The city hears that something was tried."""
    answered = Answered(number=None, order=None, done=False, detail="signature")
    (event,) = _told(_gate().step(answered, at_ms(6)))
    assert event == CommandAnswer(**events.stamp(at_ms(6)), number=None, order=None, done=False, detail="signature")


@pytest.mark.parametrize("order", Order)
def test_in_a_fire_only_news_is_fetched(order: Order) -> None:
    """Everything else is refused until staff have reset the door."""
    gate = _gate()
    _sense(gate, 0, FIRE)
    effects = _order(gate, 100, order, 10)
    if order in {Order.RESYNC, Order.DIAGNOSTICS}:
        assert effects == [Carry(command=Command(number=7, order=order, seconds=10))]
    else:
        why = "fire: until staff have reset the door"
        assert effects == [Record(events=(_answer(100, order, why, done=False),), before_drive=False)]


def test_a_lock_down_outlasts_a_fire() -> None:
    """It was for a time; everybody got out meanwhile."""
    gate = _gate()
    _order(gate, 0, Order.LOCK, 60)
    assert _screens(_sense(gate, 1000, FIRE)) == [Screen.FIRE]
    _sense(gate, 2000, FIRE, active=False)
    _sense(gate, 3000, KEY)
    assert _screens(gate.step(Elapsed(), at_ms(6000)))[-1:] == [Screen.LOCKED]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda gate: _order(gate, 0, Order.LOCK, 60), "the entry is locked; release it first"),
        (lambda gate: _sense(gate, 0, STOP), "the emergency stop is pressed"),
        (lambda gate: _see(gate, 0, COUGHER), "somebody at risk is waiting for staff"),
        (
            lambda gate: gate.step(StageHealth(stage="outbox", fault="full"), at_ms(0)),
            "events cannot be stored, so nobody is let in",
        ),
    ],
)
def test_an_unlock_that_would_open_nothing_is_refused(spoil: Any, why: str) -> None:  # noqa: ANN401 - a step of the gate
    """With the reason; an exit is opened all the same."""
    gate = _gate(alarm_waits=True)
    spoil(gate)
    effects = _order(gate, 100, Order.UNLOCK, 10)
    assert _told(effects) == [_answer(100, Order.UNLOCK, why, done=False)]
    out = _gate(Direction.EXIT, alarm_waits=True)
    spoil(out)
    assert [event.done for event in _told(_order(out, 100, Order.UNLOCK, 10)) if isinstance(event, CommandAnswer)] == [
        True
    ]


def test_the_reasons_to_refuse_are_told_in_order() -> None:
    """A fire first; where nothing speaks against an order, there is no reason."""
    assert refusal(Order.UNLOCK, frozenset(Fact)) == "fire: until staff have reset the door"
    assert refusal(Order.LOCK, frozenset({Fact.EXIT, Fact.LOCKED})) == "an exit is never locked"
    assert [refusal(order, frozenset()) for order in Order] == [""] * len(Order)
    refused = {(fact, order) for fact, orders, _ in REFUSED for order in orders}
    assert {fact for fact, _ in refused} == set(Fact)
    assert (Fact.SERVING, Order.UNLOCK) not in refused


def test_a_second_order_of_a_kind_takes_the_place_of_the_first() -> None:
    """Longer or shorter; what does not last is not kept."""
    orders = Orders()
    for seconds in (60, 5):
        orders.begin(Command(number=1, order=Order.UNLOCK, seconds=seconds), 0)
    orders.begin(Command(number=2, order=Order.MUTE, seconds=7), 0)
    orders.begin(Command(number=3, order=Order.TEST, seconds=7), 0)
    assert [order for order in Order if orders.lasts(order)] == [Order.UNLOCK, Order.MUTE]
    assert orders.deadline_ns == 5000 * MS
    orders.elapse(5000 * MS - 1)
    assert orders.lasts(Order.UNLOCK)
    orders.elapse(5000 * MS)
    assert [order for order in LASTING if orders.lasts(order)] == [Order.MUTE]
    orders.begin(Command(number=4, order=Order.RELEASE), 0)
    assert orders.deadline_ns is None


def _news(gate: Gate, ms: int, state: AlertState) -> list[Effect]:
    return gate.step(AlertNews(ledger="ledger", sequence=4, state=state), at_ms(ms))


def test_an_alert_that_nobody_acknowledges_is_escalated() -> None:
    """Recorded, and louder at the door; the screen says how far it has come, until it is closed."""
    gate = _gate()
    assert _view(_news(gate, 1000, AlertState.RAISED)).alert is AlertState.RAISED
    assert _view(_news(gate, 2000, AlertState.DELIVERED)).alert is AlertState.DELIVERED
    assert gate.deadline_ns == 61_000 * MS
    told = Escalation(**events.stamp(at_ms(61_000)), alert_ledger="ledger", alert_sequence=4, delivered=True, count=1)
    assert gate.step(Elapsed(), at_ms(61_000)) == [
        Record(events=(told,), before_drive=False),
        Drive(actuation=choreography.signal(choreography.ESCALATED)),
    ]
    assert _view(_news(gate, 70_000, AlertState.ACKNOWLEDGED)).alert is AlertState.ACKNOWLEDGED
    assert _view(_news(gate, 80_000, AlertState.CLOSED)).alert is None
    assert gate.deadline_ns is None


def test_a_muted_escalation_is_red_only() -> None:
    """And an answer before its turn leaves it out."""
    gate = _gate()
    _order(gate, 0, Order.MUTE, 600)
    _news(gate, 1000, AlertState.RAISED)
    (red,) = _drives(gate.step(Elapsed(), at_ms(61_000)))
    assert red == choreography.without_sound(choreography.signal(choreography.ESCALATED))
    _see(gate, 120_900, AN)
    assert [type(event) for event in _told(gate.step(Elapsed(), at_ms(121_000)))] == [Escalation]
    _news(gate, 122_000, AlertState.ACKNOWLEDGED)
    assert _drives(_play_effects(gate, 122_000, 200_000)) == []


HELD_OPEN = frozenset(Direction)


def _hold(direction: Direction = Direction.ENTRY) -> Gate:
    return _gate(direction, sensors=True, relay_pulse_ms=5000, hold=HELD_OPEN)


def test_a_relay_that_is_held_rests_once_somebody_has_passed() -> None:
    """And the next one need not wait for its time."""
    gate = _hold()
    _see(gate, 0, AN, BINH)
    _sense(gate, 1000, InputLine.ENTRY_PASSAGE)
    effects = _sense(gate, 1400, InputLine.ENTRY_PASSAGE, active=False)
    assert [event.outcome for event in _told(effects) if isinstance(event, Passage)] == [Outcome.TAKEN]
    assert _drives(effects) == [choreography.shut(Direction.ENTRY, alarm=False)]
    _see(gate, 1500, BINH)
    assert gate.deadline_ns == 1850 * MS
    assert _drives(gate.step(Elapsed(), at_ms(1850)))[0].grant is Direction.ENTRY


def test_a_held_relay_waits_for_everybody_who_may_go() -> None:
    """Two were let through; the first passage does not shut out the second."""
    gate = _hold(Direction.EXIT)
    _see(gate, 0, AN)
    _sense(gate, 5450, REQUEST)
    gate.step(Elapsed(), at_ms(5000))
    _sense(gate, 900 + 5450, InputLine.EXIT_PASSAGE)
    assert _drives(_sense(gate, 7000, InputLine.EXIT_PASSAGE, active=False)) == [
        choreography.shut(Direction.EXIT, alarm=False)
    ]


def test_a_pulse_is_not_cut_short_by_a_passage() -> None:
    """A turnstile has its own mind about how long it turns."""
    gate = _gate(sensors=True)
    _see(gate, 0, AN)
    _sense(gate, 100, InputLine.ENTRY_PASSAGE)
    assert _drives(_sense(gate, 300, InputLine.ENTRY_PASSAGE, active=False)) == []


def test_somebody_who_follows_without_a_grant_is_told() -> None:
    """Amber and a short double tone, when no verdict and no siren has the lights."""
    gate = _gate(sensors=True)

    def passes(ms: int) -> list[Actuation]:
        _sense(gate, ms, InputLine.ENTRY_PASSAGE)
        return _drives(_sense(gate, ms + 10, InputLine.ENTRY_PASSAGE, active=False))

    assert passes(1000) == [choreography.signal(choreography.TAILGATING)]
    _see(gate, 2000, CARD)
    assert (passes(2500), passes(3000)) == ([], [choreography.signal(choreography.TAILGATING)])
    _see(gate, 4000, COUGHER)
    assert (passes(7500), passes(8100)) == ([], [choreography.signal(choreography.TAILGATING)])


def test_each_relay_is_driven_for_its_own_time() -> None:
    """A request to exit at an entry whose exit has a magnetic lock holds that lock, not the turnstile's pulse."""
    settings = replace(site(), relay_ms={Direction.ENTRY: 500, Direction.EXIT: 5000})
    gate = Gate(settings, city(CODES))
    drive = _drives(gate.step(Sensed(line=REQUEST, active=True, at_ns=0), at_ms(0)))[0]
    assert drive == choreography.opening(Direction.EXIT, 5000, alarm=False)


def test_the_way_in_rests_after_a_fire_before_it_opens() -> None:
    """What the fire held on goes to rest at the reset, and the interlock wants it to have rested."""
    gate = _gate()
    _sense(gate, 0, FIRE)
    _sense(gate, 1000, FIRE, active=False)
    _sense(gate, 2000, KEY)
    gate.step(Elapsed(), at_ms(5000))
    assert _drives(_see(gate, 5000, AN)) == []
    assert _drives(_see(gate, 5450, AN))[0].grant is Direction.ENTRY
