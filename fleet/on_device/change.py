"""One change of a door, whole or not at all: the release it runs and the files it goes by.

What was before is on the disk before anything changes. A change that the gate turns down is undone here, on the door,
whether or not anybody is still connected; one that a power cut interrupts is undone at the next start. The outbox and
everything else in /var/lib/kiosk is never touched.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fleet.on_device.files import Refused, drop_folder, move_folder, point, remove, sync_tree, write_whole
from fleet.on_device.layout import Layout

DONE, UNDONE, REFUSED, RED = "done", "undone", "refused", "red"
"""The ends of a change: it holds; it was undone; it was never begun; it does not serve and nothing did before it."""


AWAITED_S = 20.0
"""Longest that the door keeps a technician waiting for what became of a change, before it says that it knows not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file as it is to be; without content it is not to be."""

    path: str
    mode: int
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a door is to become. Without a release it has none: a bare door."""

    number: str
    release: str | None
    files: tuple[File, ...]
    units: tuple[str, ...] = ()
    """What systemd starts beside the kiosk from now on; undoing a change leaves them on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the newest change."""

    number: str
    end: str
    why: str
    seconds: float


class Service(Protocol):
    """The kiosk as systemd runs it."""

    def reload(self, units: tuple[str, ...]) -> None:
        """Take new users, folders and units into account, and have these started with the machine."""

    def restart(self, units: tuple[str, ...]) -> None:
        """Start the kiosk and these anew, without waiting for them."""

    def serves(self) -> bool:
        """Whether the kiosk is READY now."""

    def objection(self, config: Path, release: str) -> str | None:
        """What that release has against a kiosk.toml, before it takes effect."""

    def gate(self, release: str) -> str | None:
        """Wait until that release is known to serve or not to; the answer is what is wrong."""

    def seconds(self) -> float:
        """A clock that only goes forwards."""


def perform(layout: Layout, service: Service) -> Result:
    """Carry out the change that stands in `wanted`; the answer is in `result.json` as well."""
    began = service.seconds()
    wanted = _read(layout.change / "wanted")
    result = _performed(layout, service, wanted, began)
    drop_folder(layout.change / "wanted")
    note(layout, result)
    return result


def _performed(layout: Layout, service: Service, wanted: Change, began: float) -> Result:
    def ended(end: str, why: str = "") -> Result:
        return Result(number=wanted.number, end=end, why=why, seconds=round(service.seconds() - began, 1))

    if wanted.release is None or not layout.whole(wanted.release):
        return ended(REFUSED, f"release {wanted.release} is not installed here; run kiosk-fleet apply again")
    if why := _objection(layout, service, wanted):
        return ended(REFUSED, why)
    before, served = _snapshot(layout, wanted), service.serves()
    write_change(layout, "before", before)
    why = _tried(layout, service, wanted)
    if why is None:
        move_folder(layout.change / "before", layout.change / "undo")
        return ended(DONE)
    if before.release is None or not served:  # what was before is no better
        move_folder(layout.change / "before", layout.change / "undo")
        return ended(RED, why)
    undo(layout, service)
    service.restart(before.units)
    still = service.gate(before.release)
    return ended(UNDONE, why + (f"; the release before does not serve either: {still}" if still else ""))


def _tried(layout: Layout, service: Service, wanted: Change) -> str | None:
    try:
        _put(layout, service, wanted)
    except OSError as error:
        return f"a file cannot be written: {error}"
    service.restart(wanted.units)
    return service.gate(str(wanted.release))


def _objection(layout: Layout, service: Service, wanted: Change) -> str | None:
    """Try the new configuration in a folder of its own, with the files that stay as they are beside it."""
    trial = layout.change / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    if layout.config.is_dir():
        shutil.copytree(layout.config, trial)
    try:
        for file in wanted.files:
            if layout.at(file.path).is_relative_to(layout.config) and file.content is not None:
                path = trial / layout.at(file.path).relative_to(layout.config)
                write_whole(path, file.content, mode=0o600)
        if not (trial / "kiosk.toml").exists():
            return "there is no kiosk.toml; run kiosk-fleet apply"
        return service.objection(trial / "kiosk.toml", str(wanted.release))
    except OSError as error:
        return f"a file cannot be written: {error}"
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def undo(layout: Layout, service: Service) -> Change | None:
    """Put back what stands in `before`, if a change is under way; the kiosk is not started here."""
    folder = layout.change / "before"
    if not folder.is_dir():
        return None
    before = _read(folder)
    if before.release is not None:
        _put(layout, service, before)
    drop_folder(folder)
    return before


def recover(layout: Layout, service: Service, *, restart: bool) -> Result | None:
    """After a power cut, or when the change's own program was killed: undo what it left half done."""
    before = undo(layout, service)
    unbegun = layout.change / "wanted"
    if before is None and not unbegun.is_dir():
        return None
    result = Result(
        number=(before or _read(unbegun)).number,
        end=UNDONE if before else REFUSED,
        why="it was cut short" + ("" if before else " before anything changed"),
        seconds=0,
    )
    drop_folder(unbegun)
    if restart and before and before.release is not None:
        service.restart(before.units)
    note(layout, result)
    return result


def back(layout: Layout, number: str) -> Change:
    """The change that undoes the newest one.

    Raises:
        Refused: there is none to undo.
    """
    folder = layout.change / "undo"
    if not folder.is_dir():
        raise Refused("there is no earlier state on this door; apply the release you want")
    earlier = _read(folder)
    if earlier.release is None:
        raise Refused("before the newest change this door was bare; apply the release you want")
    return replace(earlier, number=number)


def note(layout: Layout, result: Result) -> None:
    """Keep what became of a change."""
    write_whole(layout.change / "result.json", json.dumps(asdict(result)).encode())


def newest_result(layout: Layout) -> dict[str, Any] | None:
    """What became of the newest change."""
    path = layout.change / "result.json"
    told: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return told


def awaited(layout: Layout, number: str, looks: int, pause: Callable[[], object]) -> dict[str, Any] | None:
    """What became of one change, as soon as it is known; None if it is not after so many looks."""
    for _ in range(looks):
        result = newest_result(layout)
        if result and result["number"] == number:
            return result
        pause()
    return None


def _snapshot(layout: Layout, wanted: Change) -> Change:
    files = []
    for file in wanted.files:
        path = layout.at(file.path)
        content = path.read_bytes() if path.exists() else None
        mode = path.stat().st_mode & 0o777 if path.exists() else file.mode
        files.append(File(path=file.path, mode=mode, content=content))
    return replace(wanted, release=layout.release_now(), files=tuple(files))


def _put(layout: Layout, service: Service, change: Change) -> None:
    for file in change.files:
        if file.content is None:
            remove(layout.at(file.path))
        else:
            write_whole(layout.at(file.path), file.content, mode=file.mode)
    point(layout.current, f"releases/{change.release}")
    service.reload(change.units)


def write_change(layout: Layout, name: str, change: Change) -> None:
    """Keep a change as a folder, whole on the disk before it has its name."""
    part = layout.change / f"{name}.new"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    rows = []
    for at, file in enumerate(change.files):
        rows.append({"path": file.path, "mode": file.mode, "there": file.content is not None})
        if file.content is not None:
            (part / str(at)).touch(mode=0o600)
            (part / str(at)).write_bytes(file.content)
    told = {"number": change.number, "release": change.release, "files": rows, "units": change.units}
    (part / "change.json").write_text(json.dumps(told), encoding="utf-8")
    sync_tree(part)
    move_folder(part, layout.change / name)


def _read(folder: Path) -> Change:
    told = json.loads((folder / "change.json").read_text(encoding="utf-8"))
    return Change(
        number=told["number"],
        release=told["release"],
        units=tuple(told["units"]),
        files=tuple(
            File(
                path=row["path"],
                mode=row["mode"],
                content=(folder / str(at)).read_bytes() if row["there"] else None,
            )
            for at, row in enumerate(told["files"])
        ),
    )
