"""Which doors the city hears: what it says of each, and when."""

from city.doors import Change, Condition, Doors, Nobody, Told
from kiosk.clock import S

BEAT = 60 * S
ONLINE, OFFLINE, SILENT = Condition.ONLINE, Condition.OFFLINE, Condition.SILENT


def with_doors(*devices: str) -> Doors:
    """A tracker that has heard each of these at nought."""
    doors = Doors(BEAT, 0)
    for device in devices:
        doors.born(device, 0, retained=False)
    return doors


def gone(device: str, condition: Condition, since_s: int, *, lasted_s: int | None = None) -> Change:
    """A door that was online is so no more."""
    lasted_ns = (since_s if lasted_s is None else lasted_s) * S
    return Change(device=device, was=ONLINE, condition=condition, since_ns=since_s * S, lasted_ns=lasted_ns)


def back(device: str, was: Condition, since_s: int, lasted_s: int) -> Change:
    """A door is online again."""
    return Change(device=device, was=was, condition=ONLINE, since_ns=since_s * S, lasted_ns=lasted_s * S)


def beating(doors: Doors, devices: list[str], *, since_s: int, until_s: int) -> list[Told]:
    """Let some doors give a heartbeat each minute; the answer is all that was told."""
    told: list[Told] = []
    for second in range(since_s, until_s + 1, 5):
        if second % 60 == 0:
            told += [one for device in devices for one in doors.heard(device, second * S)]
        told += doors.elapsed(second * S)
    return told


def test_a_door_is_told_of_when_it_is_first_heard() -> None:
    """A heartbeat is as good as a birth."""
    doors = Doors(BEAT, 0)
    new = Change(device="a", was=None, condition=ONLINE, since_ns=3 * S, lasted_ns=0)
    assert (doors.heard("a", 3 * S), doors.heard("a", 4 * S), doors.known) == ([new], [], 1)


def test_a_door_is_silent_after_two_and_a_half_heartbeats_since_its_last_sign() -> None:
    """It is told once, and once when it is back."""
    doors = with_doors("a")
    assert doors.elapsed(150 * S - 1) == []
    assert doors.elapsed(150 * S) == [gone("a", SILENT, 0)]
    assert doors.elapsed(1000 * S) == []
    assert doors.heard("a", 1200 * S) == [back("a", SILENT, 1200, 1200)]


def test_a_will_makes_a_door_offline_since_it_came() -> None:
    """It is believed when the door has not come back within five seconds."""
    doors = with_doors("a")
    assert doors.died("a", 100 * S, retained=False) == []
    assert doors.elapsed(104 * S) == []
    assert doors.elapsed(105 * S) == [gone("a", OFFLINE, 100)]
    assert doors.elapsed(1000 * S) == []
    assert doors.born("a", 1100 * S, retained=False) == [back("a", OFFLINE, 1100, 1000)]


def test_a_new_connection_that_ends_the_old_one_is_no_news() -> None:
    """The broker sends the old one's will, then the kiosk its birth."""
    doors = with_doors("a")
    told = [*doors.died("a", 100 * S, retained=False), *doors.born("a", 101 * S, retained=False)]
    assert told + doors.elapsed(110 * S) == []


def test_a_will_of_an_older_connection_after_a_newer_birth_does_not_make_a_door_offline() -> None:
    """The next heartbeat says that it lives; without one, it is offline since the will."""
    doors = with_doors("a", "b")
    told = [one for device in "ab" for one in doors.died(device, 22 * S, retained=False)]
    told += doors.elapsed(60 * S)
    told += doors.heard("a", 61 * S)
    assert told == []
    assert doors.elapsed(97 * S) == [gone("b", OFFLINE, 22)]
    assert doors.elapsed(150 * S) == []


def test_a_will_that_comes_twice_is_believed_as_soon_as_the_first() -> None:
    """Live, and then as it stands at the broker."""
    doors = with_doors("a")
    told = [*doors.died("a", 100 * S, retained=False), *doors.died("a", 103 * S, retained=True)]
    assert told + doors.elapsed(105 * S) == [gone("a", OFFLINE, 100)]


def test_a_silent_door_whose_will_comes_is_offline() -> None:
    """The broker has noticed now."""
    doors = with_doors("a")
    doors.elapsed(150 * S)
    assert doors.died("a", 200 * S, retained=False) == [
        Change(device="a", was=SILENT, condition=OFFLINE, since_ns=200 * S, lasted_ns=200 * S)
    ]


def test_nobody_heard_is_told_as_one_thing() -> None:
    """Of 32 doors that fall silent at once none is told of, and all get their whole time when one is heard."""
    doors = with_doors()
    devices = [f"door-{number:02}" for number in range(32)]
    beating(doors, devices, since_s=0, until_s=600)
    assert beating(doors, [], since_s=605, until_s=5000) == [Nobody(deaf=True, since_ns=600 * S, doors=32)]
    assert doors.heard("door-07", 5001 * S) == [Nobody(deaf=False, since_ns=600 * S, doors=32)]
    assert beating(doors, devices[1:], since_s=5040, until_s=5150) == []
    assert beating(doors, devices[1:], since_s=5155, until_s=6000) == [gone("door-00", SILENT, 600)]


def test_a_few_doors_that_fall_silent_are_each_told_of() -> None:
    """Nine of them may be chance, ten are not; and of ten, one is."""
    doors = with_doors(*"abcdefghi")
    assert doors.elapsed(200 * S) == [gone(device, SILENT, 0) for device in "abcdefghi"]
    assert with_doors(*"abcdefghij").elapsed(200 * S) == [Nobody(deaf=True, since_ns=0, doors=10)]
    doors = with_doors(*"abcdefghij")
    assert beating(doors, list("abcdefghi"), since_s=60, until_s=1000) == [gone("j", SILENT, 0)]


def test_while_the_citys_own_link_is_down_no_door_is_silent() -> None:
    """It is told at once, whatever number of doors there is, and again with the first word of anybody."""
    doors = with_doors("a")
    assert doors.lost(10 * S) == [Nobody(deaf=True, since_ns=10 * S, doors=1)]
    assert doors.lost(20 * S) + doors.elapsed(900 * S) == []
    assert doors.born("a", 1001 * S, retained=True) == [Nobody(deaf=False, since_ns=0, doors=1)]
    assert doors.elapsed(1150 * S) == []
    assert doors.elapsed(1151 * S) == [gone("a", SILENT, 0)]


def test_a_new_connection_of_the_city_gives_every_door_its_whole_time_again() -> None:
    """Before a door is silent, and before all of them are nobody."""
    doors = with_doors(*"abcdefghij")
    doors.listens(70 * S)
    assert doors.elapsed(145 * S - 1) == []
    assert doors.elapsed(145 * S) == [Nobody(deaf=True, since_ns=70 * S, doors=10)]
    doors = with_doors("a")
    doors.listens(149 * S)
    assert doors.elapsed(299 * S - 1) == []
    assert doors.elapsed(299 * S) == [gone("a", SILENT, 0)]


def test_a_city_that_starts_again_raises_no_alarm_twice_and_none_too_early() -> None:
    """What it knew stands; who was online has its whole time from the new start on."""
    doors = Doors(BEAT, 5000 * S)
    for device, condition in (("dead", OFFLINE), ("mute", SILENT), ("fine", ONLINE), ("late", ONLINE)):
        doors.remember(device, condition, since_ns=100 * S, heard_ns=1000 * S)
    told = [*doors.died("dead", 5000 * S, retained=True), *doors.born("mute", 5000 * S, retained=True)]
    told += [*doors.born("fine", 5000 * S, retained=True), *doors.died("late", 5000 * S, retained=True)]
    told += [
        *doors.elapsed(5049 * S),
        *doors.heard("late", 5050 * S),
        *doors.heard("fine", 5050 * S),
        *doors.elapsed(5150 * S),
    ]
    assert told == []
    assert [doors.condition_of(device) for device in ("dead", "mute", "fine", "late", "?")] == [
        OFFLINE,
        SILENT,
        ONLINE,
        ONLINE,
        None,
    ]


def test_what_happened_while_the_city_was_away_is_told_at_its_start() -> None:
    """From what stands at the broker: one came back, one went, one is new and away."""
    doors = Doors(BEAT, 5000 * S)
    doors.remember("came", OFFLINE, since_ns=100 * S, heard_ns=100 * S)
    doors.remember("went", ONLINE, since_ns=100 * S, heard_ns=1000 * S)
    assert doors.born("came", 5000 * S, retained=True) == [back("came", OFFLINE, 5000, 4900)]
    assert doors.died("new", 5000 * S, retained=True) == [
        Change(device="new", was=None, condition=OFFLINE, since_ns=5000 * S, lasted_ns=0)
    ]
    assert doors.died("went", 5000 * S, retained=True) == []
    assert doors.elapsed(5075 * S) == [gone("went", OFFLINE, 5000, lasted_s=4900)]


def test_a_door_that_only_the_broker_remembers_is_waited_for() -> None:
    """A broker that was killed still says online of doors that have gone."""
    doors = Doors(BEAT, 0)
    doors.born("a", 1 * S, retained=True)
    assert doors.elapsed(150 * S) == []
    assert doors.elapsed(151 * S) == [gone("a", SILENT, 1, lasted_s=0)]
