import pytest

from kiosk import choreography
from kiosk.messages import RELAYS, Actuation, Decision, Direction, Line, LineChange, Reason, Verdict
from tests.builders import verdict

PULSE_MS = 500

GRANTED = verdict(Decision.GRANTED, Reason.NO_RISK)
HELD = verdict(Decision.HELD, Reason.NO_DECLARATION)
DENIED = verdict(Decision.DENIED, Reason.UNKNOWN_FORMAT)
AT_RISK = verdict(Decision.DENIED, Reason.AT_RISK_SYMPTOM, alarm=True)
EXIT = verdict(Decision.GRANTED, Reason.NO_RISK, direction=Direction.EXIT)
AT_RISK_EXIT = verdict(Decision.GRANTED, Reason.AT_RISK_SYMPTOM, alarm=True, direction=Direction.EXIT)
ALL = (GRANTED, HELD, DENIED, AT_RISK, EXIT, AT_RISK_EXIT)


def _changes(*changes: tuple[int, Line, bool]) -> tuple[LineChange, ...]:
    return tuple(LineChange(after_ms=ms, line=line, on=on) for ms, line, on in changes)


SIREN = [
    edge for start in range(0, 3600, 600) for edge in ((start, Line.BUZZER, True), (start + 400, Line.BUZZER, False))
]


def test_a_grant_is_green_a_short_tone_and_the_relay() -> None:
    """The relay is on for as long as the site says, from the first moment."""
    assert choreography.actuation_for(GRANTED, PULSE_MS) == Actuation(
        changes=_changes(
            (0, Line.ENTRY_RELAY, True),
            (0, Line.GREEN, True),
            (0, Line.BUZZER, True),
            (120, Line.BUZZER, False),
            (500, Line.ENTRY_RELAY, False),
            (2500, Line.GREEN, False),
        ),
        grant=Direction.ENTRY,
    )


def test_a_hold_is_amber_and_two_short_tones() -> None:
    """No relay moves, and there is no grant."""
    assert choreography.actuation_for(HELD, PULSE_MS) == Actuation(
        changes=_changes(
            (0, Line.AMBER, True),
            (0, Line.BUZZER, True),
            (120, Line.BUZZER, False),
            (240, Line.BUZZER, True),
            (360, Line.BUZZER, False),
            (3000, Line.AMBER, False),
        )
    )


def test_a_denial_is_red_and_one_long_tone() -> None:
    """No relay moves, and there is no grant."""
    assert choreography.actuation_for(DENIED, PULSE_MS) == Actuation(
        changes=_changes(
            (0, Line.RED, True), (0, Line.BUZZER, True), (500, Line.BUZZER, False), (3000, Line.RED, False)
        )
    )


def test_an_alarm_at_an_entry_is_red_and_a_siren() -> None:
    """Six tones of 400 ms, and the door stays shut."""
    assert choreography.actuation_for(AT_RISK, PULSE_MS) == Actuation(
        changes=_changes((0, Line.RED, True), *SIREN, (4000, Line.RED, False))
    )


def test_an_alarm_at_an_exit_opens_it_all_the_same() -> None:
    """Red and siren call the staff while the relay lets the person out."""
    assert choreography.actuation_for(AT_RISK_EXIT, PULSE_MS) == Actuation(
        changes=_changes(
            (0, Line.EXIT_RELAY, True),
            (0, Line.RED, True),
            *SIREN[:2],
            (500, Line.EXIT_RELAY, False),
            *SIREN[2:],
            (4000, Line.RED, False),
        ),
        grant=Direction.EXIT,
    )


def test_a_stage_down_is_one_blink_of_amber() -> None:
    """On for half of the half-hertz period."""
    assert choreography.out_of_order() == Actuation(changes=_changes((0, Line.AMBER, True), (1000, Line.AMBER, False)))


@pytest.mark.parametrize(
    ("judged", "busy_ms"),
    [(GRANTED, 950), (EXIT, 950), (HELD, 1000), (DENIED, 1000), (AT_RISK, 3000), (AT_RISK_EXIT, 3000)],
)
def test_the_door_keeps_to_a_verdict_for_a_while(judged: Verdict, busy_ms: int) -> None:
    """A grant takes its pulse and the turnstile's rest, a hold or denial a second, an alarm three."""
    assert choreography.busy_ms(judged, PULSE_MS) == busy_ms


@pytest.mark.parametrize("judged", ALL)
@pytest.mark.parametrize("pulse_ms", [100, 500, 5000])
def test_every_actuation_ends_at_rest(judged: Verdict, pulse_ms: int) -> None:
    """The last change of each line is off, in order of time, whatever the relay's pulse."""
    changes = choreography.actuation_for(judged, pulse_ms).changes
    assert [change.after_ms for change in changes] == sorted(change.after_ms for change in changes)
    last = {change.line: change.on for change in changes}
    assert last == dict.fromkeys(last, False)


def test_pulses_that_touch_go_off_before_they_go_on() -> None:
    """Edges at the same millisecond keep the order of their pulses."""
    assert choreography.changes_of(((Line.BUZZER, 0, 100), (Line.BUZZER, 100, 200))) == _changes(
        (0, Line.BUZZER, True), (100, Line.BUZZER, False), (100, Line.BUZZER, True), (200, Line.BUZZER, False)
    )


OTHERS = (
    *(choreography.opening(way, PULSE_MS, alarm=alarm) for way in Direction for alarm in (False, True)),
    *(choreography.halt(alarm=alarm) for alarm in (False, True)),
    *(choreography.fire(way) for way in Direction),
    choreography.alarm(),
    choreography.tamper(),
    choreography.quiet(),
)


@pytest.mark.parametrize("actuation", OTHERS)
def test_what_no_verdict_asks_for_ends_at_rest_too(actuation: Actuation) -> None:
    """In order of time, and a relay goes on only where its direction is granted."""
    assert [change.after_ms for change in actuation.changes] == sorted(c.after_ms for c in actuation.changes)
    last = {change.line: change.on for change in actuation.changes}
    assert last == dict.fromkeys(last, False)
    on = {change.line for change in actuation.changes if change.on} & set(RELAYS.values())
    assert on == ({RELAYS[actuation.grant]} if actuation.grant else set())


def test_an_opening_puts_the_other_relay_to_rest_first() -> None:
    """A way out does not wait for somebody who is being let in."""
    first, second = choreography.opening(Direction.EXIT, PULSE_MS, alarm=False).changes[:2]
    assert (first, second) == _changes((0, Line.ENTRY_RELAY, False), (0, Line.EXIT_RELAY, True))


def test_a_fire_makes_no_sound() -> None:
    """Red where nobody may come in, green where the way out is."""
    shown = [{change.line for change in choreography.fire(way).changes} for way in Direction]
    assert shown == [{Line.RED}, {Line.GREEN}]
