"""A change of a door: whole, undone, or cut short at any moment and then undone."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fleet.on_device.change import (
    DONE,
    RED,
    REFUSED,
    UNDONE,
    Change,
    File,
    awaited,
    back,
    newest_result,
    perform,
    recover,
    write_change,
)
from fleet.on_device.files import Refused
from fleet.on_device.layout import Layout

OLD, NEW = "1.0", "2.0"
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
CONFIG, UNIT = "/etc/kiosk/kiosk.toml", "/etc/systemd/system/kiosk.service"


@dataclass(slots=True)
class ScriptedService:
    """A kiosk whose releases serve or do not, as told; keeps what was asked of it."""

    bad: dict[str, str] = field(default_factory=dict)
    objections: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    served: bool = True

    def reload(self, units: tuple[str, ...]) -> None:
        """See `Service`."""
        self.asked.append(f"reload {','.join(units)}")

    def restart(self, units: tuple[str, ...]) -> None:
        """See `Service`."""
        self.asked.append(f"restart {','.join(units)}")

    def serves(self) -> bool:
        """See `Service`."""
        return self.served

    def objection(self, config: Path, release: str) -> str | None:
        """See `Service`."""
        self.asked.append(f"check {config.read_text(encoding='utf-8')} with {release}")
        return self.objections.get(release)

    def gate(self, release: str) -> str | None:
        """See `Service`."""
        self.asked.append(f"gate {release}")
        return self.bad.get(release)

    def seconds(self) -> float:
        """See `Service`."""
        return 0.0


@pytest.fixture
def door() -> Iterator[Layout]:
    """A door that runs the old release with the old configuration; the new release is installed beside it.

    In memory where that can be had: hundreds of changes, each with its fsyncs.
    """
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        layout = Layout(Path(folder))
        furnish(layout)
        yield layout


def furnish(layout: Layout) -> None:
    """Put the two releases and the configuration there."""
    for release in (OLD, NEW):
        (layout.releases / release).mkdir(parents=True)
        (layout.releases / release / "release.json").write_text("{}", encoding="utf-8")
    layout.current.symlink_to(f"releases/{OLD}")
    layout.config.mkdir(parents=True)
    layout.at(CONFIG).write_text("old", encoding="utf-8")


def wanted(release: str = NEW, config: bytes = b"new") -> Change:
    """A new release, another configuration, and a unit that was not there."""
    files = (File(path=CONFIG, mode=0o640, content=config), File(path=UNIT, mode=0o644, content=b"unit"))
    return Change(number="7", release=release, files=files, units=("s",))


def state(door: Layout) -> tuple[str | None, str, bool]:
    """Which release, which configuration, and whether the unit is there."""
    return door.release_now(), door.at(CONFIG).read_text(encoding="utf-8"), door.at(UNIT).exists()


BEFORE, AFTER = (OLD, "old", False), (NEW, "new", True)


def test_a_change_that_serves_holds_and_can_be_undone_later(door: Layout) -> None:
    """The door keeps what was before it."""
    write_change(door, "wanted", wanted())
    service = ScriptedService()
    assert perform(door, service).end == DONE
    assert (state(door), service.asked) == (AFTER, [f"check new with {NEW}", "reload s", "restart s", f"gate {NEW}"])
    write_change(door, "wanted", back(door, "8"))
    assert perform(door, ScriptedService()).end == DONE
    assert state(door) == BEFORE
    write_change(door, "wanted", back(door, "9"))
    perform(door, ScriptedService())
    assert state(door) == AFTER


def test_a_change_that_does_not_serve_is_undone_by_the_door(door: Layout) -> None:
    """Release and configuration both, and the kiosk is started again with them."""
    write_change(door, "wanted", wanted())
    service = ScriptedService(bad={NEW: "never READY"})
    result = perform(door, service)
    assert (result.end, result.why, state(door)) == (UNDONE, "never READY", BEFORE)
    assert service.asked[-3:] == ["reload s", "restart s", f"gate {OLD}"]
    assert newest_result(door) == {"number": "7", "end": UNDONE, "why": "never READY", "seconds": 0.0}


def test_who_waits_for_a_change_hears_of_that_one(door: Layout) -> None:
    """Not of the one before it, and of nothing where it takes too long."""
    write_change(door, "wanted", wanted())
    perform(door, ScriptedService())

    def second() -> None:
        write_change(door, "wanted", back(door, "8"))
        perform(door, ScriptedService())

    assert awaited(door, "8", 3, lambda: None) is None
    found = awaited(door, "8", 2, second)
    assert found is not None
    assert (found["number"], found["end"]) == ("8", DONE)


def test_a_configuration_that_the_release_refuses_never_takes_effect(door: Layout) -> None:
    """It is checked in a folder of its own; the running kiosk is not touched."""
    write_change(door, "wanted", wanted())
    service = ScriptedService(objections={NEW: "lines: GPIO 17 twice"})
    result = perform(door, service)
    assert (result.end, result.why, state(door)) == (REFUSED, "lines: GPIO 17 twice", BEFORE)
    assert service.asked == [f"check new with {NEW}"]
    assert not (door.change / "trial").exists()


def test_a_release_that_is_not_whole_is_refused(door: Layout) -> None:
    """An installation that was cut short has no release.json yet."""
    (door.releases / NEW / "release.json").unlink()
    write_change(door, "wanted", wanted())
    assert (perform(door, ScriptedService()).end, state(door)) == (REFUSED, BEFORE)


def test_a_first_installation_that_does_not_serve_stays_for_the_technician(door: Layout) -> None:
    """There is nothing to go back to; the answer says what is wrong."""
    door.current.unlink()
    write_change(door, "wanted", wanted())
    result = perform(door, ScriptedService(bad={NEW: "no camera"}))
    assert (result.end, result.why, state(door)) == (RED, "no camera", AFTER)
    with pytest.raises(Refused, match="this door was bare"):
        back(door, "8")


def test_nothing_is_undone_where_nothing_served_before(door: Layout) -> None:
    """A door whose camera is broken can have an update; going back would mend nothing, and is still possible."""
    write_change(door, "wanted", wanted())
    result = perform(door, ScriptedService(bad={NEW: "no camera"}, served=False))
    assert (result.end, result.why, state(door)) == (RED, "no camera", AFTER)
    assert back(door, "8").release == OLD


def cut_at(moment: int, work: Callable[[], object]) -> bool:
    """Do it in a process that is gone before its n-th change of the disk; the answer is whether it was cut."""
    child = os.fork()
    if child == 0:
        left = moment

        def watch(_frame: object, event: str, called: object) -> None:
            nonlocal left
            if event == "c_call" and getattr(called, "__name__", "") in CHANGES:
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.setprofile(watch)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


CHANGES = {"replace", "rename", "unlink", "symlink", "mkdir", "rmdir"}
"""What another process can see; what was written to a file meanwhile has not its name yet."""


@pytest.mark.parametrize("bad", [{}, {NEW: "never READY"}], ids=["good", "bad"])
def test_a_change_cut_short_anywhere_leaves_the_old_door_or_the_new(door: Layout, bad: dict[str, str]) -> None:
    """After the next boot it is one of both, never a mixture; and applying again works."""
    seen = set()
    for moment in range(2000):
        write_change(door, "wanted", wanted())
        cut = cut_at(moment, lambda: perform(door, ScriptedService(bad=bad)))
        recover(door, ScriptedService(), restart=False)
        seen.add(state(door))
        assert state(door) in ((BEFORE,) if bad else (BEFORE, AFTER)), moment
        if state(door) == AFTER:
            write_change(door, "wanted", Change(number="0", release=OLD, files=restored()))
            assert perform(door, ScriptedService()).end == DONE
            assert state(door) == BEFORE
        if not cut:
            break
    else:
        raise AssertionError("the change never ends")
    assert seen == ({BEFORE} if bad else {BEFORE, AFTER})


def restored() -> tuple[File, ...]:
    """The files as they were."""
    return (File(path=CONFIG, mode=0o640, content=b"old"), File(path=UNIT, mode=0o644, content=None))


def test_undoing_can_be_cut_short_as_well(door: Layout) -> None:
    """The next boot begins again with it."""
    write_change(door, "wanted", wanted())
    assert cut_at(10**6, lambda: perform(door, Killed()))
    assert state(door) == AFTER
    times = next(
        moment for moment in range(2000) if not cut_at(moment, lambda: recover(door, ScriptedService(), restart=False))
    )
    assert (state(door), times > 2) == (BEFORE, True)


class Killed(ScriptedService):
    """The change's program is gone while it waits for the gate."""

    def gate(self, release: str) -> str | None:
        """See `Service`."""
        os._exit(len(release))
