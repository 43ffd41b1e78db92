"""Commands arriving at a door, over its real file of numbers: what is passed on, reported, kept, and found again."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from city.signing import load_key, new_key, sign1
from kiosk.clock import S
from kiosk.command_desk import FILE, CommandDesk, limits_of
from kiosk.commands import Limits, encoded
from kiosk.messages import Answered, Command, CommandAnswer, Order
from kiosk.settings import CommandSettings
from kiosk.testing.clock import ManualClock
from kiosk.trust import Bundle
from tests.builders import START
from tests.commands import BUNDLE, DEVICE, ISSUED, LIMITS, said, signed

FORGED = sign1(encoded(said()), key=load_key(new_key()))
FORGERY = "not by the city's command key: header: no trusted key bears this kid"


class Door:
    """A desk over real files, and all it said. Each is a start of its own."""

    def __init__(
        self,
        folder: Path,
        clock: ManualClock,
        *,
        boot_id: str = "boot-1",
        limits: Limits = LIMITS,
        bundle: Callable[[], Bundle | None] = lambda: BUNDLE,
    ) -> None:
        self.commands: list[Command] = []
        self.numbers: list[object] = []
        """What the file said when a command was passed on."""
        self.answers: list[Answered] = []
        self._file = folder / FILE
        self.desk = CommandDesk(
            folder,
            DEVICE,
            limits,
            clock,
            boot_id=boot_id,
            bundle=bundle,
            on_command=self._on_command,
            on_answer=self.answers.append,
        )

    def _on_command(self, command: Command) -> None:
        self.commands.append(command)
        self.numbers.append(json.loads(self._file.read_bytes())["number"])

    @property
    def details(self) -> list[str]:
        """Why each was refused."""
        return [answer.detail for answer in self.answers]


@pytest.fixture
def clock() -> ManualClock:
    """It is `START`, and the machine was switched on a minute ago."""
    return ManualClock(START, monotonic_ns=60 * S)


def lock(number: int = 7, seconds: int = 3600, issued: int = ISSUED) -> bytes:
    """A lock for an hour."""
    return signed(order="lock", number=number, seconds=seconds, issued=issued, expires=issued + 300)


def test_a_number_is_on_disk_before_anybody_acts_on_it(tmp_path: Path, clock: ManualClock) -> None:
    """A power cut at any moment after leaves a door that refuses the same command."""
    door = Door(tmp_path, clock)
    door.desk.receive(signed())
    door.desk.receive(signed(number=8))
    assert door.commands == [
        Command(number=7, order=Order.MUTE, seconds=60),
        Command(number=8, order=Order.MUTE, seconds=60),
    ]
    assert (door.numbers, door.answers) == ([7, 8], [])
    after = Door(tmp_path, clock)
    after.desk.receive(signed(number=8))
    assert (after.commands, after.details) == ([], ["number 8 is not newer than 8, the last that was taken"])


def test_a_door_whose_disk_refuses_does_nothing_and_says_so(tmp_path: Path, clock: ManualClock) -> None:
    """A command whose number is not kept could be repeated after a restart."""
    door = Door(tmp_path, clock)
    (tmp_path / f"{FILE}.new").mkdir()  # where the file is written first
    door.desk.receive(signed())
    detail = "its number cannot be kept (Is a directory): free some space on the door's disk"
    assert (door.commands, door.answers) == ([], [Answered(number=7, order="mute", done=False, detail=detail)])
    (tmp_path / f"{FILE}.new").rmdir()
    door.desk.receive(signed())
    assert door.numbers == [7]


def test_a_command_the_site_does_not_allow_is_taken_and_refused_once(tmp_path: Path, clock: ManualClock) -> None:
    """Its number is gone: whoever repeats it only repeats."""
    limits = limits_of(CommandSettings(allow=["lock"], longest_lock_s=60))
    door = Door(tmp_path, clock, limits=limits)
    for payload in (signed(), lock(8), signed()):
        door.desk.receive(payload)
    assert door.details == [
        "not allowed at this site ([commands] allow)",
        "seconds is 3600; it must be from 1 to 60 s at this site",
        "number 7 is not newer than 8, the last that was taken",
    ]


def test_a_door_without_a_bundle_takes_no_command(tmp_path: Path, clock: ManualClock) -> None:
    """It knows nobody; and an empty message is only how a broker forgets."""
    door = Door(tmp_path, clock, bundle=lambda: None)
    door.desk.receive(b"")
    door.desk.receive(signed())
    assert door.answers == [
        Answered(number=None, order=None, done=False, detail="the trust bundle names no command key")
    ]


def test_a_forger_cannot_flood_the_outbox(tmp_path: Path, clock: ManualClock) -> None:
    """One report a minute says how many there were; what the city has signed is answered meanwhile."""
    door = Door(tmp_path, clock)
    for _ in range(1000):
        door.desk.receive(FORGED)
    door.desk.receive(signed(device="door-02"))
    door.desk.receive(signed(order="open sesame", number=8))
    door.desk.receive(signed(number=9))
    assert door.details == [FORGERY, "for another device", "an order that this version does not know"]
    assert door.numbers == [9]
    clock.advance(60 * S)
    door.desk.receive(FORGED)
    door.desk.receive(FORGED)
    assert door.details[3:] == [f"{FORGERY}; 999 more were refused since the last report"]


def test_a_flood_of_repetitions_is_told_once_a_minute(tmp_path: Path, clock: ManualClock) -> None:
    """Whoever recorded a genuine command has no more of it than a forger."""
    door = Door(tmp_path, clock)
    for _ in range(500):
        door.desk.receive(signed())
    assert (len(door.commands), len(door.answers)) == (1, 1)


def test_a_new_door_takes_no_command_from_before_its_start(tmp_path: Path, clock: ManualClock) -> None:
    """Nor does one that lost its file; and the moment outlives another restart."""
    clock.advance(10 * S)
    door = Door(tmp_path, clock)
    door.desk.receive(signed(issued=ISSUED + 9, expires=ISSUED + 309))
    lost = "issued before this door lost the numbers of earlier commands; send it again"
    assert (door.commands, door.details) == ([], [lost])
    clock.advance(5 * S)
    door.desk.receive(signed(issued=ISSUED + 10, expires=ISSUED + 310))
    again = Door(tmp_path, clock)
    again.desk.receive(signed(issued=ISSUED + 9, expires=ISSUED + 309, number=8))
    assert (door.numbers, again.details) == ([7], [lost])


def test_a_clock_that_is_set_later_dates_the_start_as_well(tmp_path: Path) -> None:
    """The start is known by the time since boot, so a clock of 1970 neither opens nor closes the door to commands."""
    clock = ManualClock(START - timedelta(days=19_000), monotonic_ns=5 * S, utc_trusted=False)
    door = Door(tmp_path, clock)
    clock.advance(100 * S)
    clock.step_utc(START - clock.now().utc)
    clock.utc_trusted = True
    door.desk.receive(signed(issued=ISSUED - 101, expires=ISSUED + 100))
    door.desk.receive(signed(issued=ISSUED - 100, expires=ISSUED + 100, number=8))
    assert (len(door.details), door.numbers) == (1, [8])


@pytest.mark.parametrize("damage", [b"", b"{", b'{"number": -1}', b'{"number": "x"}', bytes(4096), b"\xff\xfe"])
def test_a_damaged_file_is_told_and_counts_as_lost(tmp_path: Path, clock: ManualClock, damage: bytes) -> None:
    """Commands from before are refused, new ones work, and the file is whole again after the first."""
    (tmp_path / FILE).write_bytes(damage)
    clock.advance(10 * S)
    door = Door(tmp_path, clock)
    told = f"{FILE} cannot be read (damaged): commands issued before this start do not count"
    assert door.answers == [Answered(number=None, order=None, done=False, detail=told)]
    door.desk.receive(signed())
    door.desk.receive(signed(issued=ISSUED + 10, expires=ISSUED + 310))
    assert (len(door.answers), door.numbers, Door(tmp_path, clock).answers) == (2, [7], [])


def test_a_lock_outlives_a_restart_to_the_second(tmp_path: Path, clock: ManualClock) -> None:
    """Within one boot the clock of the boot counts, whatever UTC says."""
    door = Door(tmp_path, clock)
    assert door.desk.standing() is None
    door.desk.receive(lock())
    clock.advance(1000 * S)
    clock.step_utc(timedelta(days=30))
    clock.utc_trusted = False
    assert Door(tmp_path, clock).desk.standing() == Command(number=7, order=Order.LOCK, seconds=2600)
    clock.advance(2600 * S)
    assert Door(tmp_path, clock).desk.standing() is None


def test_a_lock_outlives_a_power_cut(tmp_path: Path, clock: ManualClock) -> None:
    """UTC counts after another boot; a door that does not know it stays locked for the whole time once more."""
    Door(tmp_path, clock).desk.receive(lock())
    rebooted = ManualClock(START + timedelta(seconds=600), monotonic_ns=S)
    assert Door(tmp_path, rebooted, boot_id="boot-2").desk.standing() == Command(
        number=7, order=Order.LOCK, seconds=3000
    )
    lost = ManualClock(START - timedelta(days=19_000), monotonic_ns=S, utc_trusted=False)
    assert Door(tmp_path, lost, boot_id="boot-2").desk.standing() == Command(number=7, order=Order.LOCK, seconds=3600)
    late = ManualClock(START + timedelta(seconds=3600), monotonic_ns=S)
    assert Door(tmp_path, late, boot_id="boot-2").desk.standing() is None


def test_a_standing_lock_keeps_to_the_site_s_settings_of_now(tmp_path: Path, clock: ManualClock) -> None:
    """A site that allows less since, or no lock at all, is not locked by what it allowed once."""
    Door(tmp_path, clock).desk.receive(lock())
    less = limits_of(CommandSettings(longest_lock_s=600))
    none = limits_of(CommandSettings(allow=["mute"]))
    assert Door(tmp_path, clock, limits=less).desk.standing() == Command(number=7, order=Order.LOCK, seconds=600)
    assert Door(tmp_path, clock, limits=none).desk.standing() is None


def answer(order: str, number: int, *, done: bool) -> CommandAnswer:
    """What the gate says came of it."""
    return CommandAnswer(at=START, utc_trusted=True, number=number, order=order, done=done, detail="")


@pytest.mark.parametrize(
    ("settled", "stands"),
    [
        (answer("lock", 7, done=True), True),
        (answer("lock", 7, done=False), False),
        (answer("lock", 6, done=False), True),
        (answer("release", 8, done=True), False),
        (answer("release", 8, done=False), True),
        (answer("mute", 8, done=True), True),
    ],
)
def test_a_lock_stands_until_released_and_not_if_refused(
    tmp_path: Path, clock: ManualClock, settled: CommandAnswer, *, stands: bool
) -> None:
    """What the door answered is what a restart goes by: a lock refused in a fire does not come back after it."""
    door = Door(tmp_path, clock)
    door.desk.receive(lock())
    door.desk.settled(settled)
    assert (Door(tmp_path, clock).desk.standing() is not None) is stands
    assert Door(tmp_path, clock).desk.last_number == 7


def test_a_repeated_lock_does_not_undo_the_first(tmp_path: Path, clock: ManualClock) -> None:
    """The refusal of a repetition bears the same number, and is not the door's answer to the lock."""
    door = Door(tmp_path, clock)
    door.desk.receive(lock())
    door.desk.receive(lock())
    refusal = door.answers[0]
    assert (refusal.number, refusal.order, refusal.done) == (7, "lock", False)
    door.desk.settled(answer("lock", 7, done=True))
    door.desk.settled(answer("lock", 7, done=False))
    assert Door(tmp_path, clock).desk.standing() is not None


def test_the_site_s_settings_say_how_long() -> None:
    """As in [commands] of kiosk.toml."""
    assert limits_of(CommandSettings()) == Limits(
        allow=frozenset(Order), longest_s={Order.UNLOCK: 60, Order.LOCK: 43_200, Order.MUTE: 3600}
    )
