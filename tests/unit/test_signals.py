from kiosk import choreography
from kiosk.choreography import Lasting
from kiosk.clock import MS
from kiosk.messages import Actuation, Direction
from kiosk.signals import LOUDER_WITHIN_NS, Signals

LOUDER = choreography.signal(choreography.ESCALATED)
SIREN = choreography.signal(choreography.ALARM)
BLINK = choreography.signal(choreography.OUT_OF_ORDER)
RED = choreography.signal(choreography.TAMPER)


def _step(
    signals: Signals, ms: int, lasting: Lasting | None = None, busy_ms: int = 0, shown_ms: int = 0
) -> Actuation | None:
    return signals.step(lasting, ms * MS, busy_ms * MS, shown_ms * MS)


def _deadline_ms(signals: Signals, busy_ms: int = 0, shown_ms: int = 0) -> int | None:
    at_ns = signals.deadline_ns(busy_ms * MS, shown_ms * MS)
    return None if at_ns is None else at_ns // MS


def test_a_door_with_nothing_to_say_is_dark() -> None:
    """And asks for no time."""
    signals = Signals(Direction.ENTRY)
    assert (_step(signals, 0), _deadline_ms(signals)) == (None, None)


def test_what_lasts_is_signalled_again_and_again_from_its_first_moment() -> None:
    """Something else begins at once, and its end is the end of it."""
    signals = Signals(Direction.ENTRY)
    assert (_step(signals, 500, Lasting.OUT_OF_ORDER), _deadline_ms(signals)) == (BLINK, 2500)
    assert [_step(signals, ms, Lasting.OUT_OF_ORDER) for ms in (2499, 2500)] == [None, BLINK]
    assert _step(signals, 2600, Lasting.TAMPER) == RED
    assert (_step(signals, 2700), _deadline_ms(signals)) == (None, None)


def test_a_blink_is_no_siren() -> None:
    """Nor is silence."""
    signals = Signals(Direction.ENTRY)
    before = (signals.siren_until_ns, signals.first_until_ns)
    _step(signals, 500, Lasting.TAMPER)
    assert before == (signals.siren_until_ns, signals.first_until_ns) == (0, 0)


def test_a_verdict_has_the_lights_first() -> None:
    """The next signal waits for it."""
    signals = Signals(Direction.ENTRY)
    assert (_step(signals, 100, Lasting.TAMPER, busy_ms=950), _deadline_ms(signals, busy_ms=950)) == (None, 950)
    assert _step(signals, 950, Lasting.TAMPER, busy_ms=950) == RED


def test_a_fire_is_red_at_an_entry_and_green_at_an_exit() -> None:
    """So that nobody comes in, and everybody finds the way out."""
    fires = [_step(Signals(way), 0, Lasting.FIRE) for way in Direction]
    assert fires == [choreography.signal(choreography.FIRE[way]) for way in Direction]


def test_an_alarm_that_waits_sounds_again_after_six_seconds() -> None:
    """The first was the verdict's own; a siren sounds for four seconds."""
    signals = Signals(Direction.ENTRY)
    signals.raise_alarm(1000 * MS, waits=True)
    assert (signals.siren_until_ns, signals.first_until_ns) == (5000 * MS, 5000 * MS)
    assert [_step(signals, ms, Lasting.ALARM) for ms in (1000, 6999, 7000)] == [None, None, SIREN]
    assert (signals.siren_until_ns, signals.first_until_ns) == (11_000 * MS, 5000 * MS)
    assert _deadline_ms(signals) == 13_000
    signals.quiet(8000 * MS)
    assert (signals.siren_until_ns, signals.first_until_ns) == (8000 * MS, 8000 * MS)


def test_an_alarm_that_does_not_wait_sounds_once() -> None:
    """For as long as the siren goes."""
    signals = Signals(Direction.ENTRY)
    signals.raise_alarm(0, waits=False)
    assert (signals.siren_until_ns, _deadline_ms(signals)) == (4000 * MS, None)


def test_an_escalation_is_louder_once() -> None:
    """At once where nobody is being served, whatever else lasts."""
    signals = Signals(Direction.ENTRY)
    signals.escalate(1000 * MS)
    assert _step(signals, 1000, Lasting.OUT_OF_ORDER) == LOUDER
    assert signals.siren_until_ns == 6600 * MS
    assert [_step(signals, ms, Lasting.OUT_OF_ORDER) for ms in (3000, 6599, 6600)] == [None, None, BLINK]


def test_what_begins_while_it_is_loud_waits_for_its_end() -> None:
    """But a fire, which ends every sound at once."""
    for lasting, told in (
        (Lasting.TAMPER, None),
        (Lasting.FIRE, choreography.signal(choreography.FIRE[Direction.ENTRY])),
    ):
        signals = Signals(Direction.ENTRY)
        signals.escalate(0)
        assert _step(signals, 0) == LOUDER
        assert _step(signals, 2000, lasting) == told


def test_an_escalation_disturbs_no_verdict() -> None:
    """It waits for the lights and for what is read, and not for a queue that never ends."""
    signals = Signals(Direction.ENTRY)
    signals.escalate(1000 * MS)
    assert (_step(signals, 1000, busy_ms=1500, shown_ms=4000), _deadline_ms(signals, 1500, 4000)) == (None, 4000)
    assert _step(signals, 3999, shown_ms=4000) is None
    end_ms = 1000 + LOUDER_WITHIN_NS // MS
    assert (_step(signals, end_ms - 1, shown_ms=99_000), _deadline_ms(signals, 0, 99_000)) == (None, end_ms)
    assert _step(signals, end_ms, busy_ms=end_ms + 1, shown_ms=99_000) is None
    assert _step(signals, end_ms + 1, busy_ms=end_ms + 1, shown_ms=99_000) == LOUDER
    assert _step(signals, end_ms + 2) is None


def test_an_escalation_makes_no_sound_in_a_fire() -> None:
    """It comes after the reset, unless somebody has answered by then."""
    signals = Signals(Direction.EXIT)
    assert _step(signals, 0, Lasting.FIRE) is not None
    signals.escalate(100 * MS)
    assert (_step(signals, 200, Lasting.FIRE), _deadline_ms(signals)) == (None, 2000)
    assert _step(signals, 5000) == LOUDER
    signals.escalate(60_000 * MS)
    signals.calm()
    assert (_step(signals, 60_000), _deadline_ms(signals)) == (None, None)


def test_two_escalations_at_once_are_one() -> None:
    """The first one's wait counts."""
    signals = Signals(Direction.ENTRY)
    signals.escalate(0)
    signals.escalate(5000 * MS)
    assert _step(signals, 10_000, shown_ms=99_000) == LOUDER
    assert _step(signals, 15_700) is None


def test_an_escalation_waits_for_ten_seconds_at_most() -> None:
    """The figure of the document."""
    assert LOUDER_WITHIN_NS == 10_000_000_000
