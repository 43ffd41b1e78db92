"""The plug is pulled at random moments under load; nothing that was on the disk is lost, and the door comes back.

Most cuts are drawn: the card as it would be if the power went now is written to a file, checked and read on the host,
while the machine runs on. One in CUTS_A_BOOT is carried out: qemu is killed, and the same card boots.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from kiosk.messages import Symptom
from pibox.cut_card import OUTBOX, look_into
from pibox.disk import ForgetfulDisk
from pibox.door import Door
from pibox.machine import within
from pibox.outside import visitor

CUTS = int(os.environ.get("PIBOX_CUTS", "50"))
CUTS_A_BOOT = 25
CUTS_A_CROWD = 5
MOST_WRITES = 8
"""Between two cuts. Each falls between a write and its flush: at most moments nothing is in flight."""
SEED = int(os.environ.get("PIBOX_SEED", "1"))
WITHIN_S = 1800.0


@dataclass
class Seen:
    """What is known to be on the disk."""

    stored: dict[str, int] = field(default_factory=dict)
    """Of each ledger the highest sequence that somebody saw there."""
    first: dict[str, int] = field(default_factory=dict)
    """Of each ledger what was there at the first look: another city had it, when the door was installed."""

    def look(self, door: Door) -> None:
        """Read the outbox as another program sees it, which is never more than what is synchronised."""
        newest = "select name, (select max(sequence) from events) from ledger"
        for name, number in door.machine.ask("rows", path=OUTBOX, query=newest):
            self.stored[name] = max(self.stored.get(name, 0), number or 0)
            self.first.setdefault(name, self.stored[name])

    def lost(self, held: set[tuple[str, int]]) -> list[tuple[str, int]]:
        """What was seen and is not among these."""
        return [
            (ledger, number)
            for ledger, newest in self.stored.items()
            for number in range(self.first[ledger] + 1, newest + 1)
            if (ledger, number) not in held
        ]

    @property
    def count(self) -> int:
        """How many were seen."""
        return sum(newest - self.first[ledger] for ledger, newest in self.stored.items())


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[tuple[Door, ForgetfulDisk]]:
    """A door on a disk that forgets."""
    image = Path(os.environ["PIBOX_DISK"])
    disk = ForgetfulDisk(image, tmp_path / "disk", SEED)
    door = Door.on(f"file=nbd:unix:{disk.address},if=virtio,format=raw,cache=writeback", tmp_path)
    try:
        door.open()
        yield door, disk
    finally:
        door.close()
        disk.close()


def test_power_cuts_lose_nothing_that_was_stored(
    forgetful: tuple[Door, ForgetfulDisk], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Visitors without end, a network that comes and goes; after each cut card or city has all that was stored."""
    door, disk = forgetful
    random, seen, waiting = Random(SEED), Seen(), 0  # noqa: S311 - chance, not a secret
    card = tmp_path / "cut.ext4"
    seen.look(door)
    for number in range(CUTS):
        if number % CUTS_A_CROWD == 0:
            _crowd(door, number)
        seen.look(door)
        writes = random.randrange(1, MOST_WRITES)
        if number % CUTS_A_BOOT == CUTS_A_BOOT - 1:
            disk.await_writes(writes)
            _pull(door, disk)
            assert door.machine.ask("rows", path=OUTBOX, query="pragma integrity_check") == [["ok"]]
            seen.look(door)
            _crowd(door, number)
        else:
            disk.image_of_cut(card, writes)
            found = look_into(card, tmp_path)
            assert (found.file_system, found.outbox) == ("", ["ok"])
            assert seen.lost({*found.stored, *_told(door)}) == []
            waiting += len(found.stored)
        print(f"cut {number + 1} of {CUTS}: {seen.count} events stored so far", flush=True)
    door.machine.plug_network(connected=True)
    within(WITHIN_S, lambda: not seen.lost(_told(door)), f"the city has {seen.stored}")
    record_property("cuts", f"{CUTS}, {CUTS // CUTS_A_BOOT} of them booted again")
    record_property("disk", f"{disk.forgotten} blocks forgotten, {disk.torn} torn, of {disk.writes} writes")
    record_property("events", f"{seen.count} stored, {waiting} found on cut cards")
    assert waiting > 0


def _crowd(door: Door, number: int) -> None:
    """Six people again and again, one in three at risk; the cable is out every other time."""
    people = [door.city.code(1000 * number + who, *([Symptom.FEVER] if who % 3 == 0 else [])) for who in range(6)]
    door.machine.show(*(frame for at, code in enumerate(people) for frame in visitor(code, at)), again=True)
    door.machine.plug_network(connected=number // CUTS_A_CROWD % 2 == 1)


def _pull(door: Door, disk: ForgetfulDisk) -> None:
    """The plug is pulled and put in again."""
    door.machine.cut_power()
    disk.cut()
    boots = len(door.machine.boots)
    door.machine.power_on()
    door.wake(boots + 1)
    door.wait_ready()
    assert "EXT4-fs error" not in door.machine.run("dmesg")


def _told(door: Door) -> set[tuple[str, int]]:
    return {(event["ledger"], event["sequence"]) for event in door.city.events()}
