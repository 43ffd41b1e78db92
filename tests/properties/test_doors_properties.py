"""Whatever doors do and in whatever order: who is heard is not silent, and who is not heard is told of."""

from hypothesis import given
from hypothesis import strategies as st

from city.doors import MANY, SILENT_AFTER, Change, Condition, Doors, Nobody
from kiosk.clock import S

BEAT_S = 60
DEVICES = [f"door-{number}" for number in range(MANY - 1)]
LATEST = 2400

Happening = tuple[int, str, str]
"""Seconds, device and what came."""

happenings = st.lists(
    st.tuples(
        st.integers(0, LATEST),
        st.sampled_from(DEVICES),
        st.sampled_from(["heartbeat", "birth", "will", "retained birth", "retained will"]),
    ),
    max_size=60,
).map(sorted)


def played(doors: Doors, given: list[Happening], until_s: int) -> list[tuple[int, Change | Nobody]]:
    """Let it all happen, and look each five seconds; the answer is what was told, with the second."""
    told: list[tuple[int, Change | Nobody]] = []
    waiting = list(given)
    for second in sorted({*range(0, until_s + 1, 5), *(second for second, _, _ in given)}):
        while waiting and waiting[0][0] == second:
            _, device, what = waiting.pop(0)
            retained = what.startswith("retained")
            if what == "heartbeat":
                said = doors.heard(device, second * S)
            elif what.endswith("birth"):
                said = doors.born(device, second * S, retained=retained)
            else:
                said = doors.died(device, second * S, retained=retained)
            told += [(second, one) for one in said]
        told += [(second, one) for one in doors.elapsed(second * S)]
    return told


def signs_of(given: list[Happening], device: str) -> list[int]:
    """The seconds at which a door gave a sign of life."""
    return [second for second, who, what in given if who == device and what in {"heartbeat", "birth"}]


@given(happenings)
def test_a_door_is_never_called_silent_within_two_and_a_half_heartbeats_of_a_sign(given: list[Happening]) -> None:
    """And never offline without a will after its last sign."""
    for second, change in played(Doors(BEAT_S * S, 0), given, LATEST):
        assert isinstance(change, Change)
        last = max((at for at in signs_of(given, change.device) if at <= second), default=-10_000)
        if change.condition is Condition.SILENT:
            assert second - last >= SILENT_AFTER * BEAT_S
        if change.condition is Condition.OFFLINE:
            wills = [at for at, who, what in given if who == change.device and what.endswith("will")]
            assert any(last <= at <= second for at in wills)


@given(happenings)
def test_a_door_that_gives_no_sign_is_always_told_of(given: list[Happening]) -> None:
    """Two and a half heartbeats after all has ended, no door that was ever heard of is online."""
    doors = Doors(BEAT_S * S, 0)
    played(doors, given, LATEST + round(SILENT_AFTER * BEAT_S))
    assert [device for device in DEVICES if doors.condition_of(device) is Condition.ONLINE] == []


@given(happenings)
def test_what_is_told_of_a_door_is_a_chain(given: list[Happening]) -> None:
    """Each change begins with the condition that the one before ended with, and is a change; the last one stands."""
    doors = Doors(BEAT_S * S, 0)
    standing: dict[str, Condition] = {}
    for _, change in played(doors, given, LATEST):
        assert isinstance(change, Change)
        assert (change.was, change.lasted_ns >= 0) == (standing.get(change.device), True)
        assert change.was is not change.condition
        standing[change.device] = change.condition
    assert {device: doors.condition_of(device) for device in standing} == standing


@given(st.sets(st.sampled_from(DEVICES)), st.integers(MANY, 40), st.integers(0, 59))
def test_doors_that_beat_are_never_silent_and_the_others_all_are(mute: set[str], beating: int, phase: int) -> None:
    """However many are mute beside many that are heard."""
    doors = Doors(BEAT_S * S, 0)
    loud = [f"loud-{number}" for number in range(beating)]
    given = [(0, device, "birth") for device in [*sorted(mute), *loud]]
    given += [(minute * 60 + phase, device, "heartbeat") for minute in range(10) for device in loud]
    told = played(doors, sorted(given), 600)
    silent = {one.device for _, one in told if isinstance(one, Change) and one.condition is Condition.SILENT}
    assert silent == mute
