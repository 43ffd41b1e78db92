"""The plug is pulled at random moments under load; nothing that was on the disk is lost, and the door comes back."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from kiosk.messages import Symptom
from pibox.disk import ForgetfulDisk
from pibox.door import Door
from pibox.machine import within
from pibox.outside import visitor

CUTS = int(os.environ.get("PIBOX_CUTS", "3"))
SEED = int(os.environ.get("PIBOX_SEED", "1"))
WITHIN_S = 1800.0
OUTBOX = """
import json, sqlite3
base = sqlite3.connect("file:/var/lib/kiosk/outbox.sqlite3?mode=ro", uri=True, timeout=20)
whole = base.execute("pragma {check}").fetchall() if "{check}" else []
rows = base.execute("select name from ledger").fetchall(), base.execute("select max(sequence) from events").fetchone()
print(json.dumps([whole, rows]))
"""


@dataclass
class Cuts:
    """What happened so far."""

    stored: dict[str, int] = field(default_factory=dict)
    """Of each ledger the highest sequence that somebody saw on the disk."""

    def look(self, door: Door, check: str = "") -> list[list[str]]:
        """Read the outbox as another program sees it, which is never more than what is synchronised."""
        said = door.machine.run("python3", "-I", "-S", "-c", OUTBOX.format(check=check))
        whole, (ledgers, (newest,)) = json.loads(said)
        for (name,) in ledgers:
            self.stored[name] = max(self.stored.get(name, 0), newest or 0)
        return list(whole)


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
    forgetful: tuple[Door, ForgetfulDisk], record_property: Callable[[str, object], None]
) -> None:
    """Visitors without end, a network that comes and goes, a cut whenever; then the city has all that was stored."""
    door, disk = forgetful
    random, cuts = Random(SEED), Cuts()  # noqa: S311 - chance, not a secret
    for number in range(CUTS):
        crowd = [door.city.code(1000 * number + who, *([Symptom.FEVER] if who % 3 == 0 else [])) for who in range(6)]
        door.machine.show(*(frame for at, code in enumerate(crowd) for frame in visitor(code, at)), again=True)
        door.machine.plug_network(connected=number % 2 == 0)
        for _ in range(random.randrange(1, 8)):
            cuts.look(door)
        door.machine.cut_power()
        disk.cut()
        boots = len(door.machine.boots)
        door.machine.power_on()
        door.wake(boots + 1)
        door.wait_ready()
        assert cuts.look(door, "integrity_check") == [["ok"]]
        assert "EXT4-fs error" not in door.machine.run("dmesg")
    within(WITHIN_S, lambda: _all_there(door, cuts.stored), f"the city has {cuts.stored}")
    record_property("cuts", CUTS)
    record_property("disk", f"{disk.forgotten} blocks forgotten, {disk.torn} torn, of {disk.writes} writes")
    assert sum(cuts.stored.values()) > 0


def _all_there(door: Door, stored: dict[str, int]) -> bool:
    came = {(event["ledger"], event["sequence"]) for event in door.city.events()}
    return all((ledger, number) in came for ledger, newest in stored.items() for number in range(1, newest + 1))
