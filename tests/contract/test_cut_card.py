"""What is found on a card after a power cut, with real file systems made by e2fsprogs: also that harm is seen."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from pibox.cut_card import OUTBOX, look_into

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
MKFS = shutil.which("mkfs.ext4", path=PATH)
BLOCK = 4096
pytestmark = pytest.mark.skipif(MKFS is None, reason="mkfs.ext4 is not installed: apt-get install e2fsprogs")


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card with an outbox of two events."""
    monkeypatch.setenv("PATH", PATH)
    files = tmp_path / "files"
    outbox = files / OUTBOX.removeprefix("/")
    outbox.parent.mkdir(parents=True)
    with closing(sqlite3.connect(outbox)) as base, base:
        base.executescript("create table ledger (name); create table events (sequence, payload);")
        base.execute("insert into ledger values ('one')")
        base.executemany("insert into events values (?, ?)", [(1, b"x" * 3000), (2, b"y" * 3000)])
    assert MKFS is not None
    made = tmp_path / "card.ext4"
    subprocess.run([MKFS, "-q", "-b", str(BLOCK), "-d", str(files), str(made), "16M"], check=True)
    return made


def test_a_whole_card_tells_its_events(card: Path, tmp_path: Path) -> None:
    """Ledger and sequence of each."""
    found = look_into(card, tmp_path)
    assert (found.file_system, found.outbox, found.stored) == ("", ["ok"], frozenset({("one", 1), ("one", 2)}))


def test_a_card_is_afterwards_as_it_was(card: Path, tmp_path: Path) -> None:
    """What e2fsck mended is as a power cut left it: the next card is made from this one."""
    subprocess.run(["debugfs", "-w", "-R", "set_super_value free_blocks_count 1", str(card)], check=True)
    before = card.read_bytes()
    assert look_into(card, tmp_path).file_system == ""
    assert card.read_bytes() == before


def test_a_torn_outbox_is_seen(card: Path, tmp_path: Path) -> None:
    """A page of the tree that is not what SQLite wrote."""
    content = bytearray(card.read_bytes())
    at = content.index(b"y" * 100)
    start = at - at % BLOCK
    content[start : start + 16] = bytes(16)
    card.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError):
        look_into(card, tmp_path)


def test_a_damaged_file_system_is_seen(card: Path, tmp_path: Path) -> None:
    """An i-node without a kind is more than a boot mends by itself."""
    words = f"set_inode_field {OUTBOX} mode 0"
    subprocess.run(["debugfs", "-w", "-R", words, str(card)], check=True, capture_output=True)
    assert look_into(card, tmp_path).file_system


def test_a_card_without_an_outbox_is_no_whole_one(card: Path, tmp_path: Path) -> None:
    """It raises, and does not look empty."""
    subprocess.run(["debugfs", "-w", "-R", f"rm {OUTBOX}", str(card)], check=True, capture_output=True)
    with pytest.raises(sqlite3.OperationalError):
        look_into(card, tmp_path)
