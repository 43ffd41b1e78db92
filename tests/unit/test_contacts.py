import pytest

from kiosk.clock import MS
from kiosk.contacts import Asked, Contacts
from kiosk.interlock import Fire
from kiosk.messages import InputLine, Sensed

FIRE, KEY = InputLine.FIRE, InputLine.STAFF_OVERRIDE
EXIT, STOP, TAMPER = InputLine.REQUEST_TO_EXIT, InputLine.EMERGENCY_STOP, InputLine.TAMPER


def _say(contacts: Contacts, ms: int, line: InputLine, *, active: bool, trouble: str = "") -> list[Asked]:
    return contacts.sense(Sensed(line=line, active=active, at_ns=ms * MS, trouble=trouble))


def _contacts() -> Contacts:
    contacts = Contacts()
    for line in (FIRE, KEY, EXIT, STOP, TAMPER):
        assert _say(contacts, 0, line, active=False) == []
    return contacts


@pytest.mark.parametrize(("line", "asked"), [(KEY, Asked.OVERRIDE), (EXIT, Asked.EXIT), (STOP, Asked.STOP)])
def test_a_press_asks_once(line: InputLine, asked: Asked) -> None:
    """However long it lasts, and again with the next one."""
    contacts = _contacts()
    told = [_say(contacts, ms, line, active=active) for ms, active in ((100, True), (200, False), (300, True))]
    assert told == [[asked], [], [asked]]
    assert contacts.elapse(60_000 * MS) == []


def test_a_staff_key_worked_at_the_start_was_not_pressed_for_it() -> None:
    """The way out and the stop are safe to take at their word, and so is a fire."""
    lines = (KEY, EXIT, STOP, FIRE)
    assert [_say(Contacts(), 0, line, active=True) for line in lines] == [[], [Asked.EXIT], [Asked.STOP], [Asked.FIRE]]


@pytest.mark.parametrize("key", [KEY, EXIT])
def test_somebody_who_leans_on_a_key_is_named_after_ten_seconds(key: InputLine) -> None:
    """Until they let it go."""
    contacts = _contacts()
    _say(contacts, 1000, key, active=True)
    deadlines = [contacts.deadline_ns]
    contacts.elapse(11_000 * MS - 1)
    assert contacts.faults()[key] == ""
    contacts.elapse(11_000 * MS)
    assert contacts.faults()[key] == "held for 10 s; nothing more opens until it is let go"
    assert [*deadlines, contacts.deadline_ns] == [11_000 * MS, None]
    _say(contacts, 12_000, key, active=False)
    assert contacts.faults()[key] == ""


def test_a_fire_lasts_until_staff_have_held_their_key_for_three_seconds() -> None:
    """With the alarm at rest, and not a nanosecond less; the end of the alarm ends nothing."""
    contacts = _contacts()
    assert (_say(contacts, 1000, FIRE, active=True), contacts.fire) == ([Asked.FIRE], Fire.ALARM)
    assert (_say(contacts, 5000, FIRE, active=False), contacts.fire) == ([Asked.FIRE_OVER], Fire.OVER)
    assert (contacts.elapse(3_600_000 * MS), contacts.deadline_ns) == ([], None)
    _say(contacts, 9000, KEY, active=True)
    assert (contacts.deadline_ns, contacts.elapse(12_000 * MS - 1)) == (12_000 * MS, [])
    assert (contacts.elapse(12_000 * MS), contacts.fire, contacts.elapse(13_000 * MS)) == ([Asked.RESET], Fire.NONE, [])


def test_a_key_held_since_before_the_alarm_ended_counts_from_then() -> None:
    """Holding it during the alarm resets nothing."""
    contacts = _contacts()
    _say(contacts, 1000, FIRE, active=True)
    _say(contacts, 2000, KEY, active=True)
    assert contacts.elapse(9000 * MS) == []
    _say(contacts, 9000, FIRE, active=False)
    assert [contacts.elapse(12_000 * MS - 1), contacts.elapse(12_000 * MS)] == [[], [Asked.RESET]]


def test_a_key_that_is_let_go_early_resets_nothing() -> None:
    """Two short presses are not one long one; an alarm that comes again stops the count too."""
    contacts = _contacts()
    _say(contacts, 0, FIRE, active=True)
    _say(contacts, 100, FIRE, active=False)
    for ms, active in ((1000, True), (3900, False), (4000, True)):
        _say(contacts, ms, KEY, active=active)
    assert contacts.elapse(6900 * MS) == []
    assert _say(contacts, 6950, FIRE, active=True) == [Asked.FIRE]
    assert contacts.elapse(60_000 * MS) == []


def test_a_fire_contact_that_cannot_be_believed_is_a_fire() -> None:
    """It says why, and a second reason is no second fire."""
    contacts = _contacts()
    assert _say(contacts, 100, FIRE, active=True, trouble="chatters") == [Asked.FIRE]
    assert contacts.faults()[FIRE] == "chatters"
    assert _say(contacts, 200, FIRE, active=True) == []
    assert contacts.faults()[FIRE] == "the fire alarm is on, or its wire is broken"
    _say(contacts, 300, FIRE, active=False)
    assert contacts.faults()[FIRE].startswith("the fire alarm has ended; staff reset the door")


def test_an_open_housing_and_a_pressed_stop_are_faults_while_they_last() -> None:
    """Each in words for a technician."""
    contacts = _contacts()
    for line in (TAMPER, STOP):
        _say(contacts, 100, line, active=True)
        assert (contacts.is_active(line), contacts.faults()[line] != "") == (True, True)
        _say(contacts, 200, line, active=False)
        assert (contacts.is_active(line), contacts.faults()[line]) == (False, "")


def test_a_contact_at_rest_is_no_fault() -> None:
    """Whichever it is."""
    assert set(_contacts().faults().values()) == {""}
