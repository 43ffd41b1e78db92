"""What is done at one door, step by step, over a connection that may go at any moment.

Every step can be repeated: what is there is not done again. The door itself carries out the change that matters, and
undoes it if it does not serve; here it is only watched.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from fleet import plan as planning
from fleet.bundle import Bundle, for_door
from fleet.errors import BundleError, DoorFault
from fleet.inventory import Door
from fleet.on_device.change import AWAITED_S, DONE, RED
from fleet.plan import City, Plan
from fleet.ssh import Access, Host, logged_in

RESULT_WITHIN_S = 260.0
LOOKS_AFTER_CHANGE, LOOK_AGAIN_S = 8, 10.0
"""A door that has just started finds its broker within 72 s (`kiosk.back_off`); each look takes it some seconds."""
Say = Callable[[str], None]


class Status(StrEnum):
    """What became of a door."""

    GREEN = "green"
    CHANGED = "changed"
    WOULD_CHANGE = "would change"
    RED = "red"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    SKIPPED = "skipped"

    @property
    def good(self) -> bool:
        """Whether the roll-out may go on after it."""
        return self in {Status.GREEN, Status.CHANGED, Status.WOULD_CHANGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One row of the report."""

    device: str
    host: str
    status: Status
    detail: str = ""
    steps: tuple[str, ...] = ()
    seconds: float = 0.0


class Sign(Protocol):
    """The city's authority for doors."""

    def __call__(self, request: bytes, device: str) -> bytes:
        """Give a certificate (PEM); raises DoorFault where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the technician brings."""

    access: Access
    bundles: tuple[Bundle, ...]
    city: City
    sign: Sign
    now: Callable[[], datetime]


async def planned(door: Door, means: Means, say: Say) -> Outcome:
    """`plan`: what apply would do; nothing is changed."""
    async with logged_in(door, means.access) as host:
        say("looking")
        made = await _plan(host, door, means)
    status = Status.WOULD_CHANGE if made.steps else Status.GREEN
    return Outcome(device=door.device, host=door.host, status=status, steps=made.steps)


async def applied(door: Door, means: Means, say: Say) -> Outcome:
    """`apply`: from whatever the door is to what the inventory says, and a look at its health."""
    async with logged_in(door, means.access) as host:
        say("looking")
        made = await _plan(host, door, means)
        await _install(host, made, say)
        outcome = Outcome(device=door.device, host=door.host, status=Status.GREEN, steps=made.steps)
        if made.changes_door:
            files = await _files(host, door, made, means, say)
            outcome = await _changed(
                host, outcome, {"release": made.release_after, "files": files, "units": door.units}, say
            )
        return await _with_health(host, outcome, say) if outcome.status.good else outcome


async def put_back(door: Door, means: Means, say: Say) -> Outcome:
    """`rollback`: undo the door's newest change."""
    async with logged_in(door, means.access) as host:
        await host.prepare()
        outcome = Outcome(device=door.device, host=door.host, status=Status.GREEN, steps=("undo the newest change",))
        outcome = await _changed(host, outcome, {"back": True}, say)
        return await _with_health(host, outcome, say) if outcome.status.good else outcome


async def examined(door: Door, means: Means, say: Say) -> Outcome:
    """`doctor`: how the door says it is."""
    async with logged_in(door, means.access) as host:
        await host.prepare()
        return await _with_health(host, Outcome(device=door.device, host=door.host, status=Status.GREEN), say)


async def collected(door: Door, means: Means, say: Say) -> dict[str, str]:
    """`collect`: texts without personal data, by file name."""
    async with logged_in(door, means.access) as host:
        await host.prepare()
        say("collecting")
        return await host.ask("collect", {})


async def _plan(host: Host, door: Door, means: Means) -> Plan:
    await host.prepare()
    facts = await host.ask("facts", planning.asked(door, means.city, means.bundles))
    if door.os and door.os != facts["os"]:
        raise DoorFault(f"the inventory says {door.os}, the device runs {facts['os']}; mend the one that is wrong")
    try:
        fitting = for_door(means.bundles, facts)
    except BundleError as error:
        raise DoorFault(str(error)) from error
    return planning.plan(door, facts, fitting, means.city, means.now())


async def _install(host: Host, made: Plan, say: Say) -> None:
    if made.send:
        total, arrived = sum(entry.size for entry in made.send), 0

        def sent(more: int) -> None:
            nonlocal arrived
            arrived += more
            say(f"sending {100 * arrived // total} %")

        await host.send({entry.sha256: made.bundle.folder / entry.path for entry in made.send}, sent)
    if made.install or made.packages:
        say("installing")
        release = {"manifest": made.bundle.manifest, "signature": made.bundle.signature, "signers": made.bundle.signers}
        await host.ask("stage", {**release, "incoming": host.incoming, "packages": list(made.packages)})


async def _files(host: Host, door: Door, made: Plan, means: Means, say: Say) -> list[dict[str, Any]]:
    """Every file of the change. All are sent: the door keeps what was before of each, changed or not."""
    rows: list[dict[str, Any]] = [
        {"path": place, "mode": planning.UNIT_MODE, "of_release": entry.path}
        for place, entry in planning.installed(door, made.bundle).items()
    ]
    contents = planning.contents(door, means.city)
    if made.certificate:
        say("certificate")
        answer = await host.ask("key", {"release": made.release_after, "device": door.device})
        contents[planning.DEVICE_PEM] = means.sign(answer["request"].encode(), door.device)
    rows += [
        {"path": place, "mode": planning.MODE, "content": base64.b64encode(content).decode()}
        for place, content in contents.items()
    ]
    return rows


async def _changed(host: Host, outcome: Outcome, wanted: dict[str, Any], say: Say) -> Outcome:
    number = secrets.token_hex(8)
    await host.ask("change", {**wanted, "number": number})
    say("changing")
    for _ in range(round(RESULT_WITHIN_S / AWAITED_S)):
        if result := (await host.ask("result", {"number": number}))["result"]:
            break
    else:
        raise DoorFault(f"no word of the change within {RESULT_WITHIN_S:.0f} s; journalctl -u kiosk-update there tells")
    if result["end"] == DONE:
        return replace(outcome, status=Status.CHANGED)
    status = {"undone": Status.ROLLED_BACK, RED: Status.RED}.get(result["end"], Status.FAILED)
    return replace(outcome, status=status, detail=f"{result['why']} ({result['seconds']} s)")


async def _with_health(host: Host, outcome: Outcome, say: Say) -> Outcome:
    say("health")
    told = await host.ask("health", {})
    for _ in range(LOOKS_AFTER_CHANGE if outcome.status is Status.CHANGED else 0):
        if told["green"]:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        told = await host.ask("health", {})
    if told["green"]:
        return replace(outcome, detail=f"kiosk {told['by']} is green")
    said = " ".join(str(told["said"]).split())[-300:]
    return replace(outcome, status=Status.RED, detail=f"kiosk {told['by']}: {said}")
