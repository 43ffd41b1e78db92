import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pibox.disk import BLOCK, FUA, SECTOR, ForgetfulDisk

BLOCKS = 64
READ, WRITE, FLUSH = 0, 1, 3


class Client:
    """As much of an NBD client as qemu is."""

    def __init__(self, address: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(address))
        self._stream = self._socket.makefile("rwb")
        self._stream.read(18)
        self._stream.write(struct.pack(">I8sII", 0b11, b"IHAVEOPT", 7, 6) + struct.pack(">IH", 0, 0))
        self._stream.flush()
        self.size = struct.unpack(">QIIIHQH", self._stream.read(32))[5]
        self._stream.read(20)

    def ask(self, kind: int, number: int, content: bytes = b"", flags: int = 0) -> bytes:
        """One request about one block."""
        told = struct.pack(">IHHQQI", 0x25609513, flags, kind, 7, number * BLOCK, 0 if kind == FLUSH else BLOCK)
        self._stream.write(told + content)
        self._stream.flush()
        assert struct.unpack(">IIQ", self._stream.read(16)) == (0x67446698, 0, 7)
        return self._stream.read(BLOCK) if kind == READ else b""

    def close(self) -> None:
        """Go without a word, as a killed one does."""
        self._stream.close()
        self._socket.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ForgetfulDisk]:
    """A disk of zeros."""
    image = tmp_path / "image"
    image.write_bytes(bytes(BLOCKS * BLOCK))
    made = ForgetfulDisk(image, tmp_path / "disk", seed=3)
    yield made
    made.close()


@pytest.fixture
def client(disk: ForgetfulDisk) -> Iterator[Client]:
    """Its client."""
    made = Client(disk.address)
    yield made
    made.close()


def _filled(byte: int) -> bytes:
    return bytes([byte]) * BLOCK


def test_what_was_flushed_or_forced_outlives_a_cut(disk: ForgetfulDisk, client: Client) -> None:
    """Flush and FUA are promises."""
    client.ask(WRITE, 1, _filled(1))
    client.ask(FLUSH, 0)
    client.ask(WRITE, 2, _filled(2), FUA)
    disk.cut()
    assert client.size == BLOCKS * BLOCK
    assert [client.ask(READ, 1), client.ask(READ, 2)] == [_filled(1), _filled(2)]


def test_what_was_not_flushed_is_kept_lost_or_torn(disk: ForgetfulDisk, client: Client) -> None:
    """Each sector is as it was at the last flush or as it was written last, and all three kinds of block come up."""
    for number in range(BLOCKS):
        client.ask(WRITE, number, _filled(1))
    client.ask(FLUSH, 0)
    for byte in (2, 3):
        for number in range(BLOCKS):
            client.ask(WRITE, number, _filled(byte))
    disk.cut()
    blocks = [client.ask(READ, number) for number in range(BLOCKS)]
    sectors = {block[at : at + SECTOR] for block in blocks for at in range(0, BLOCK, SECTOR)}
    assert sectors == {_filled(1)[:SECTOR], _filled(3)[:SECTOR]}
    kinds = {len(set(block)) == 1 and block[0] for block in blocks}
    assert kinds == {1, 3, False}
    assert (disk.forgotten + disk.torn + blocks.count(_filled(3))) >= BLOCKS


def test_the_image_itself_is_never_written_to(disk: ForgetfulDisk, client: Client, tmp_path: Path) -> None:
    """Every run begins with the same disk."""
    client.ask(WRITE, 5, _filled(9))
    client.ask(FLUSH, 0)
    assert (tmp_path / "image").read_bytes() == bytes(BLOCKS * BLOCK)
    assert (disk.writes, disk.flushes) == (1, 1)


def test_a_drawn_cut_is_another_file_and_the_machine_goes_on(
    disk: ForgetfulDisk, client: Client, tmp_path: Path
) -> None:
    """What was flushed is in it, what was not is there by chance, and the disk itself forgets nothing."""
    client.ask(WRITE, 0, _filled(1))
    client.ask(FLUSH, 0)
    for number in range(1, BLOCKS):
        client.ask(WRITE, number, _filled(2))
    disk.image_of_cut(tmp_path / "cut", writes=0)
    drawn = (tmp_path / "cut").read_bytes()
    assert drawn[:BLOCK] == _filled(1)
    assert set(drawn[BLOCK:]) == {0, 2}
    assert [client.ask(READ, number) for number in range(1, BLOCKS)] == [_filled(2)] * (BLOCKS - 1)


def test_a_cut_is_awaited_until_a_write_is_in_flight(disk: ForgetfulDisk, client: Client) -> None:
    """Writes that are on the card at once do not count."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(disk.await_writes, 1)
        for number in range(BLOCKS):
            client.ask(WRITE, number, _filled(1), FUA)
        assert not waiting.done()
        while not waiting.done():
            client.ask(WRITE, 0, _filled(2))
    assert disk.writes > BLOCKS


def test_nothing_in_flight_for_long_is_a_moment_as_well(disk: ForgetfulDisk) -> None:
    """A machine that writes nothing has its plug pulled too."""
    disk.await_writes(1, within_s=0.01)
    assert disk.writes == 0
