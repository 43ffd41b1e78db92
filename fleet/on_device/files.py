"""Files that are there whole or not at all, whatever moment the power goes."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20


class Refused(Exception):
    """What was asked cannot be done; the text is a sentence for the technician, with what to do."""


def digest_of(path: Path) -> str:
    """SHA-256 in hexadecimal, of a file of any size."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write beside the file, then put it in the file's place, at once with the group of its folder.

    systemd may start the daemon at any moment, and it must be able to read what is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.new")
    with part.open("wb") as file:
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), -1, path.parent.stat().st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Take a file away, if it is there."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symbolic link lead elsewhere in one step."""
    part = link.with_name(f".{link.name}.new")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)
    sync_folder(link.parent)


def sync_tree(folder: Path) -> None:
    """Have everything below a folder on the disk."""
    for path in _below(folder):
        if path.is_dir():
            sync_folder(path)
        elif not path.is_symlink():
            opened = os.open(path, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)


def _below(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")
    yield folder


def move_folder(part: Path, place: Path) -> None:
    """Put a folder that is on the disk in its place in one step; one that is there goes first."""
    drop_folder(place)
    part.rename(place)
    sync_folder(place.parent)


def drop_folder(folder: Path) -> None:
    """Take a folder away in one step, if it is there: nobody sees half of it."""
    gone = folder.with_name(f"{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        sync_folder(folder.parent)
        shutil.rmtree(gone)
