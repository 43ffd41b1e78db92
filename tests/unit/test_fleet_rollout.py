"""Many doors at a time: failures stay where they are, and an update stops."""

import asyncio
from collections.abc import Callable

from fleet.errors import DoorFault, Unreachable
from fleet.inventory import Door, read
from fleet.rollout import all_at_once, in_batches
from fleet.work import Outcome, Say, Status

ROWS = "".join(f"d-{number},192.0.2.{number},p-1,main,entry\n" for number in range(1, 13))
DOORS = read("doors.csv", "device,host,place,access_point,direction\n" + ROWS, lambda name: name)


def rolled(roll: Callable[..., object], troubles: dict[str, Exception]) -> dict[str, tuple[Status, str]]:
    """What becomes of twelve doors, some of which have troubles."""

    async def work(door: Door, say: Say) -> Outcome:
        say("working")
        await asyncio.sleep(0)
        if door.device in troubles:
            raise troubles[door.device]
        return Outcome(device=door.device, host=door.host, status=Status.CHANGED)

    steps: list[tuple[str, str]] = []
    outcomes: list[Outcome] = asyncio.run(
        roll(DOORS, work, lambda door, step: steps.append((door.device, step)), parallel=4, seconds=lambda: 0.0)  # type: ignore[arg-type]
    )
    assert [outcome.device for outcome in outcomes] == [door.device for door in DOORS]
    assert {device: step for device, step in steps} == {each.device: each.status for each in outcomes}  # noqa: C416
    return {outcome.device: (outcome.status, outcome.detail) for outcome in outcomes}


def test_one_door_s_failure_does_not_stop_the_rest() -> None:
    """Each has its own end, and its own sentence; a bug of ours as well."""
    ends = rolled(
        all_at_once,
        {"d-2": Unreachable("no way"), "d-5": DoorFault("card full"), "d-9": KeyError("files")},
    )
    assert ends.pop("d-2") == (Status.UNREACHABLE, "no way")
    assert ends.pop("d-5") == (Status.FAILED, "card full")
    status, detail = ends.pop("d-9")
    assert (status, detail.startswith("a bug: KeyError: 'files' (work, line ")) == (Status.FAILED, True)
    assert set(ends.values()) == {(Status.CHANGED, "")}


def test_an_update_stops_after_the_batch_with_a_failure() -> None:
    """The doors behind it are left as they are."""
    ends = rolled(in_batches, {"d-2": DoorFault("does not serve")})
    untouched = (Status.SKIPPED, "not touched: a door before it failed")
    assert [ends[f"d-{number}"][0] for number in (1, 2, 3)] == [Status.CHANGED, Status.FAILED, Status.CHANGED]
    assert [ends[f"d-{number}"] for number in range(4, 13)] == [untouched] * 9


def test_an_update_that_goes_well_reaches_every_door() -> None:
    """In three batches."""
    assert set(rolled(in_batches, {}).values()) == {(Status.CHANGED, "")}
