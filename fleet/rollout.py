"""Many doors at a time. One door's failure is its own; only an update stops when a batch has one.

Decides order and batches; knows nothing of what is done at a door.
"""

import asyncio
import math
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from fleet.errors import DoorFault, Unreachable
from fleet.inventory import Door
from fleet.work import Outcome, Say, Status

FIRST_SHARE = 0.1
T = TypeVar("T")
Work = Callable[[Door, Say], Awaitable[Outcome]]
Told = Callable[[Door, str], None]
"""Told of every step at a door, for the table."""
Seconds = Callable[[], float]


def batches(doors: Sequence[T]) -> list[list[T]]:
    """One, then a tenth of all, then the rest."""
    tenth = math.ceil(len(doors) * FIRST_SHARE)
    cuts = [doors[:1], doors[1 : 1 + tenth], doors[1 + tenth :]]
    return [list(cut) for cut in cuts if cut]


async def all_at_once(
    doors: Iterable[Door], work: Work, told: Told, *, parallel: int, seconds: Seconds
) -> list[Outcome]:
    """Work on all doors, so many at a time, and wait for every one."""
    places = asyncio.Semaphore(parallel)

    async def one(door: Door) -> Outcome:
        async with places:
            began = seconds()
            outcome = replace(await _alone(door, work, told), seconds=round(seconds() - began, 1))
        told(door, outcome.status)
        return outcome

    return list(await asyncio.gather(*(one(door) for door in doors)))


async def in_batches(
    doors: Sequence[Door], work: Work, told: Told, *, parallel: int, seconds: Seconds
) -> list[Outcome]:
    """Work batch by batch; after one with a failure the rest is left as it is."""
    outcomes: list[Outcome] = []
    for batch in batches(doors):
        if all(outcome.status.good for outcome in outcomes):
            outcomes += await all_at_once(batch, work, told, parallel=parallel, seconds=seconds)
        else:
            why = "not touched: a door before it failed"
            outcomes += [_ended(door, Status.SKIPPED, why) for door in batch]
            for door in batch:
                told(door, Status.SKIPPED)
    return outcomes


async def _alone(door: Door, work: Work, told: Told) -> Outcome:
    try:
        return await work(door, lambda step: told(door, step))
    except Unreachable as fault:
        return _ended(door, Status.UNREACHABLE, str(fault))
    except DoorFault as fault:
        return _ended(door, Status.FAILED, str(fault))
    except Exception as bug:  # noqa: BLE001 - a bug at one door must not stop the others; its trace is in the report
        where = traceback.extract_tb(bug.__traceback__)[-1]
        return _ended(door, Status.FAILED, f"a bug: {type(bug).__name__}: {bug} ({where.name}, line {where.lineno})")


def _ended(door: Door, status: Status, detail: str) -> Outcome:
    return Outcome(device=door.device, host=door.host, status=status, detail=detail)
