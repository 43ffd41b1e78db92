"""One contract for the real inputs and the recording ones, and the watch that debounces them.

`pytest -m gpiochip` runs it over a real chip too: one of the kernel's gpio-sim, whose lines a test can pull.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from kiosk.clock import MS, Now, S
from kiosk.errors import LineFault
from kiosk.gpio_alerts import pin_factory
from kiosk.line_inputs import MOST_EDGES, QUIET_NS, SAFE, Debounce, GpioInputs, Inputs, InputWatch
from kiosk.messages import InputLine, Sensed
from kiosk.settings import Contact
from kiosk.testing.clock import ManualClock
from kiosk.testing.lines import RecordingInputs

OPENS = Contact(gpio=0, active_high=True, pull="up", debounce_ms=30)
CLOSES = replace(OPENS, active_high=False)
CONTACTS = {
    InputLine.ENTRY_PASSAGE: replace(CLOSES, gpio=5),
    InputLine.FIRE: replace(OPENS, gpio=6),
    InputLine.TAMPER: replace(OPENS, gpio=13, pull="down"),
    InputLine.STAFF_OVERRIDE: replace(CLOSES, gpio=19, pull="none"),
}
STEP_NS = 7 * MS
PULLS = sorted(Path("/sys/devices/platform").glob("gpio-sim.*/gpiochip*/sim_gpio*/pull"))
"""How gpio-sim lets a line be moved from outside."""


class FailingPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """A pin whose chip can go away."""

    failing = False

    def _get_state(self) -> bool:
        if self.failing:
            raise OSError("no such device")
        return bool(super()._get_state())


class Wired:
    """Inputs, and hands on their contacts: `work` moves one, `fail` takes its chip away."""

    def __init__(
        self, inputs: Inputs, work: Callable[[InputLine, bool], None], fail: Callable[[InputLine], None]
    ) -> None:
        self.inputs = inputs
        self.work = work
        self.fail = fail


def level_of(line: InputLine, *, active: bool) -> bool:
    """The electric level at which an input speaks, or rests."""
    return active is CONTACTS[line].active_high


def wired_mock() -> Wired:
    """Real `GpioInputs` on gpiozero's mock header, at rest."""
    factory = MockFactory(pin_class=FailingPin)
    inputs = GpioInputs(CONTACTS, factory)
    pins: dict[InputLine, Any] = {line: factory.pin(contact.gpio) for line, contact in CONTACTS.items()}

    def work(line: InputLine, active: bool) -> None:  # noqa: FBT001
        (pins[line].drive_high if level_of(line, active=active) else pins[line].drive_low)()

    def fail(line: InputLine) -> None:
        pins[line].failing = True

    for line in CONTACTS:
        work(line, False)  # noqa: FBT003
    return Wired(inputs, work, fail)


def wired_fake() -> Wired:
    """The fake, which has no electric level."""
    inputs = RecordingInputs(CONTACTS)
    return Wired(inputs, lambda line, active: inputs.work(line, active=active), inputs.failing.add)


def wired_chip() -> Wired:
    """Real `GpioInputs` on a simulated chip of the kernel's, through lgpio."""
    pulls = {int(path.parent.name.removeprefix("sim_gpio")): path for path in PULLS}

    def work(line: InputLine, active: bool) -> None:  # noqa: FBT001
        word = "pull-up" if level_of(line, active=active) else "pull-down"
        pulls[CONTACTS[line].gpio].write_text(word, encoding="ascii")

    inputs = GpioInputs(CONTACTS, pin_factory("lgpio"))
    for line in CONTACTS:
        work(line, False)  # noqa: FBT003
    return Wired(inputs, work, lambda _line: pytest.skip("a gpio-sim chip cannot be taken away from under its user"))


WIRINGS = {"mock": wired_mock, "recording": wired_fake, "chip": wired_chip}


@pytest.fixture(params=["mock", "recording", pytest.param("chip", marks=pytest.mark.gpiochip)])
def wired(request: pytest.FixtureRequest) -> Iterator[Wired]:
    """Every kind of inputs."""
    if request.param == "chip" and not PULLS:
        pytest.skip("no gpio-sim chip in /sys/devices/platform: modprobe gpio-sim, on a kernel that has it")
    made = WIRINGS[request.param]()
    yield made
    made.inputs.close()


def levels(wired: Wired) -> dict[InputLine, bool]:
    """What all inputs say."""
    return {line: wired.inputs.active(line) for line in CONTACTS}


def test_every_input_says_what_its_contact_does_and_no_other_moves(wired: Wired) -> None:
    """Whatever level and pull it is wired for."""
    assert levels(wired) == dict.fromkeys(CONTACTS, False)
    for line in CONTACTS:
        wired.work(line, True)  # noqa: FBT003
        assert levels(wired) == {**dict.fromkeys(CONTACTS, False), line: True}
        wired.work(line, False)  # noqa: FBT003
    assert levels(wired) == dict.fromkeys(CONTACTS, False)


def test_a_driver_that_refuses_is_a_fault_that_names_the_input(wired: Wired) -> None:
    """The others can still be read."""
    wired.fail(InputLine.FIRE)
    with pytest.raises(LineFault, match=r"^inputs\.fire: cannot be read .*restart, then check the board$"):
        wired.inputs.active(InputLine.FIRE)
    assert wired.inputs.active(InputLine.TAMPER) is False


def test_a_second_close_is_harmless(wired: Wired) -> None:
    """So that every way out may close."""
    wired.inputs.close()
    wired.inputs.close()


def test_the_watch_tells_each_input_once_and_then_its_changes(wired: Wired) -> None:
    """A level counts when it has held for the debounce time, and has the time at which it began."""
    watch = InputWatch(wired.inputs, CONTACTS)
    told = [sensed for ns in range(0, 100 * MS, STEP_NS) for sensed in watch.poll(ns)]
    assert told == [Sensed(line=line, active=False, at_ns=0) for line in CONTACTS]
    wired.work(InputLine.ENTRY_PASSAGE, True)  # noqa: FBT003
    told = [sensed for ns in range(100 * MS, 200 * MS, STEP_NS) for sensed in watch.poll(ns)]
    assert told == [Sensed(line=InputLine.ENTRY_PASSAGE, active=True, at_ns=100 * MS)]


def test_a_contact_that_is_not_fitted_reads_as_its_pull_says() -> None:
    """A fire loop whose wire is cut is a fire; a passage contact whose wire is cut is no passage."""
    inputs = GpioInputs({line: CONTACTS[line] for line in (InputLine.ENTRY_PASSAGE, InputLine.FIRE)}, MockFactory())
    assert [inputs.active(InputLine.ENTRY_PASSAGE), inputs.active(InputLine.FIRE)] == [False, True]


@pytest.mark.parametrize(
    "contacts",
    [
        {InputLine.FIRE: OPENS, InputLine.TAMPER: replace(OPENS, gpio=99)},
        {InputLine.FIRE: replace(OPENS, gpio=5), InputLine.TAMPER: replace(OPENS, gpio=5)},
    ],
    ids=["there is no such GPIO", "it belongs to another input"],
)
def test_an_input_that_cannot_be_had_is_a_fault_that_names_it(contacts: dict[InputLine, Contact]) -> None:
    """What was claimed before it is given back."""
    factory = MockFactory()
    with pytest.raises(LineFault, match=r"^inputs\.tamper: GPIO \d+ cannot be claimed .*no other program holds it$"):
        GpioInputs(contacts, factory)
    GpioInputs({InputLine.FIRE: contacts[InputLine.FIRE]}, factory)


# The watch over the fake, in integer time.


class Polled:
    """A watch over recording inputs, polled as the input thread does."""

    def __init__(self) -> None:
        self.inputs = RecordingInputs(CONTACTS)
        self.ns = 0
        self.told: list[Sensed] = []
        self._watch = InputWatch(self.inputs, CONTACTS)
        self.run_ms(100)
        self.told.clear()

    def run_ms(self, ms: int) -> None:
        """Let time pass."""
        for _ in range(ms * MS // STEP_NS):
            self.told += self._watch.poll(self.ns)
            self.ns += STEP_NS

    def chatter(self, line: InputLine, ms: int) -> None:
        """Let a contact change at every second poll."""
        for number in range(ms // 14):
            self.inputs.work(line, active=number % 2 == 0)
            self.run_ms(14)


def test_a_bounce_shorter_than_the_debounce_is_not_told() -> None:
    """28 ms of contact are nothing where 30 count."""
    door = Polled()
    door.inputs.work(InputLine.STAFF_OVERRIDE, active=True)
    door.run_ms(28)
    door.inputs.work(InputLine.STAFF_OVERRIDE, active=False)
    door.run_ms(1000)
    assert door.told == []


@pytest.mark.parametrize("line", CONTACTS)
def test_a_contact_that_chatters_is_in_trouble_and_counts_as_what_is_safe(line: InputLine) -> None:
    """A chattering fire loop is a fire, a chattering passage contact is no passage; told once, until it is quiet."""
    door = Polled()
    door.chatter(line, 3000)
    (trouble,) = [sensed for sensed in door.told if sensed.trouble]
    assert (trouble.line, trouble.active) == (line, line in SAFE)
    assert trouble.trouble == (
        f"inputs.{line}: more than {MOST_EDGES} changes in a second; check the contact, its cable and its ground"
    )
    door.inputs.work(line, active=False)
    door.run_ms(QUIET_NS // MS - 50)
    assert door.told[-1] == trouble
    door.run_ms(200)
    assert (door.told[-1].active, door.told[-1].trouble) == (False, "")


def test_a_chip_that_goes_away_is_trouble_for_each_input_until_it_is_back() -> None:
    """What cannot be read counts as what is safe."""
    door = Polled()
    door.inputs.failing |= CONTACTS.keys()
    door.run_ms(500)
    assert [(sensed.line, sensed.active, bool(sensed.trouble)) for sensed in door.told] == [
        (line, line in SAFE, True) for line in CONTACTS
    ]
    door.told.clear()
    door.inputs.failing.clear()
    door.run_ms(100)
    assert [(sensed.line, sensed.active, sensed.trouble) for sensed in door.told] == [
        (line, False, "") for line in CONTACTS
    ]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_contact_does_what_was_told_last_is_so_once_it_holds(seed: int) -> None:
    """After any noise, a level that holds is what the gate knows; and news always differs from the last."""
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    debounce = Debounce(InputLine.FIRE, 30 * MS)
    told, ns = [], 0
    for _ in range(chance.randrange(400)):
        ns += STEP_NS
        told.append(debounce.step(chance.random() < 0.5, ns))
    settled = chance.random() < 0.5
    for _ in range(QUIET_NS // STEP_NS + 2):
        ns += STEP_NS
        told.append(debounce.step(settled, ns))
    news = [(sensed.active, sensed.trouble) for sensed in told if sensed]
    assert news[-1] == (settled, "")
    assert all(before != after for before, after in pairwise(news))


def test_the_input_thread_reports_and_stamps_until_it_is_stopped() -> None:
    """Its stamps are its progress, also while nothing changes."""
    inputs, clock, stopping = RecordingInputs(CONTACTS), ManualClock(), Event()
    told: list[Sensed] = []
    stamps: list[Now] = []

    def stamp() -> None:
        stamps.append(clock.advance(S))
        if len(stamps) == 3:
            stopping.set()

    InputWatch(inputs, CONTACTS).run(clock, stopping, told.append, stamp)
    assert (len(told), len(stamps)) == (len(CONTACTS), 3)
