"""A release that does not serve is undone by the door itself; `rollback` undoes the newest change."""

from fleet.work import Status
from pibox.door import Door
from pibox.install import updates
from pibox.outside import technician


def test_a_release_that_hangs_is_undone_and_a_good_one_stays(door: Door) -> None:
    """The door runs what it ran before a failed update; after a good one it runs that, until it is rolled back."""
    first = door.release()
    code, said = technician(door.cache, door.city, door.machine, "trust")
    assert code == 0, said  # this box answers on another port than the one that was installed
    for tag, status, runs in (
        ("hanging", Status.ROLLED_BACK, first),
        ("second", Status.CHANGED, f"{first}-second"),
    ):
        release = updates(door.cache) / tag
        code, said = technician(door.cache, door.city, door.machine, "apply", release)
        assert status in said
        assert (code == 0, door.release()) == (status.good, runs), said
        door.wait_ready()
    assert technician(door.cache, door.city, door.machine, "rollback")[0] == 0
    assert door.release() == first
