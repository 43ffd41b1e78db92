from itertools import pairwise

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
    blink = _changes((0, Line.AMBER, True), (1000, Line.AMBER, False))
    assert choreography.signal(choreography.OUT_OF_ORDER) == Actuation(changes=blink)


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
    *(choreography.signal(choreography.FIRE[way]) for way in Direction),
    choreography.signal(choreography.ALARM),
    choreography.signal(choreography.TAMPER),
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
    shown = [{change.line for change in choreography.signal(choreography.FIRE[way]).changes} for way in Direction]
    assert shown == [{Line.RED}, {Line.GREEN}]


LOUD = [
    edge for start in range(0, 5600, 400) for edge in ((start, Line.BUZZER, True), (start + 300, Line.BUZZER, False))
]
SIGNALS = {
    "an alert that nobody has answered": (
        choreography.ESCALATED,
        [(0, Line.RED, True), *LOUD, (5600, Line.RED, False)],
    ),
    "somebody who follows without a grant": (
        choreography.TAILGATING,
        [
            *((0, Line.AMBER, True), (0, Line.BUZZER, True), (60, Line.BUZZER, False)),
            *((120, Line.BUZZER, True), (180, Line.BUZZER, False), (1500, Line.AMBER, False)),
        ],
    ),
    "a test": (
        choreography.TEST,
        [
            *((0, Line.GREEN, True), (500, Line.GREEN, False), (500, Line.AMBER, True), (1000, Line.AMBER, False)),
            *((1000, Line.RED, True), (1500, Line.RED, False), (1500, Line.BUZZER, True), (1800, Line.BUZZER, False)),
        ],
    ),
    "a fire at an entry": (choreography.FIRE[Direction.ENTRY], [(0, Line.RED, True), (1000, Line.RED, False)]),
    "a fire at an exit": (choreography.FIRE[Direction.EXIT], [(0, Line.GREEN, True), (1000, Line.GREEN, False)]),
    "a lock-down": (choreography.LOCKED, [(0, Line.RED, True), (1000, Line.RED, False)]),
    "an open housing": (choreography.TAMPER, [(0, Line.RED, True), (1000, Line.RED, False)]),
}


@pytest.mark.parametrize("what", SIGNALS)
def test_a_signal_is_as_written_here(what: str) -> None:
    """Lights and sounds, and never a relay."""
    pulses, changes = SIGNALS[what]
    assert choreography.signal(pulses) == Actuation(changes=_changes(*changes))


def test_each_thing_that_lasts_has_its_signal_and_its_time() -> None:
    """An alarm is heard every six seconds; all else blinks every two, half on and half off."""
    told = {what: choreography.lasting(what, Direction.EXIT) for what in choreography.Lasting}
    pulses = {
        choreography.Lasting.FIRE: choreography.FIRE[Direction.EXIT],
        choreography.Lasting.ALARM: choreography.ALARM,
        choreography.Lasting.LOCKED: choreography.LOCKED,
        choreography.Lasting.TAMPER: choreography.TAMPER,
        choreography.Lasting.OUT_OF_ORDER: choreography.OUT_OF_ORDER,
    }
    assert told == {what: choreography.signal(each) for what, each in pulses.items()}
    every_ms = {str(what): choreography.every_ns(what) / 10**6 for what in choreography.Lasting}
    assert every_ms == {"fire": 2000, "alarm": 6000, "locked": 2000, "tamper": 2000, "out_of_order": 2000}


def test_a_signal_lasts_for_as_long_as_the_door_counts() -> None:
    """The times that the gate goes by are those of the tables."""
    ends = {name: choreography.signal(getattr(choreography, name)).changes[-1].after_ms for name in ("ALARM", "TEST")}
    assert ends == {"ALARM": choreography.ALARM_NS / 10**6, "TEST": choreography.TEST_NS / 10**6}
    assert choreography.signal(choreography.ESCALATED).changes[-1].after_ms == choreography.ESCALATED_NS / 10**6


def test_no_light_flashes_faster_than_three_times_a_second() -> None:
    """Not even when something else follows at once: what is on stays on for a third of a second, or ends."""
    tables = [pulses for pulses, _ in SIGNALS.values()]
    for pulses in (*tables, choreography.ALARM, choreography.GRANTED, choreography.HELD, choreography.DENIED):
        starts = [start for line, start, _ in pulses if line is not Line.BUZZER]
        assert all(later - earlier >= 334 for earlier, later in pairwise(starts))


@pytest.mark.parametrize("way", Direction)
def test_one_way_is_shut_and_a_siren_goes_on(way: Direction) -> None:
    """Its relay first; without a siren nothing but that."""
    rest = LineChange(after_ms=0, line=RELAYS[way], on=False)
    assert choreography.shut(way, alarm=False) == Actuation(changes=(rest,))
    siren = choreography.signal(choreography.ALARM)
    assert choreography.shut(way, alarm=True) == Actuation(changes=(rest, *siren.changes))


def test_without_sound_all_else_stays() -> None:
    """Lights, relay and grant."""
    assert choreography.without_sound(choreography.actuation_for(GRANTED, PULSE_MS)) == Actuation(
        changes=_changes(
            (0, Line.ENTRY_RELAY, True),
            (0, Line.GREEN, True),
            (500, Line.ENTRY_RELAY, False),
            (2500, Line.GREEN, False),
        ),
        grant=Direction.ENTRY,
    )


def test_an_alarm_at_an_exit_lasts_as_long_as_its_relay() -> None:
    """Where the relay is held for longer than the alarm, the next one waits for its rest."""
    assert choreography.busy_ms(AT_RISK_EXIT, 5000) == 5450
