"""A disk that forgets what it was not told to keep: an NBD server that qemu uses as the card.

Between two flushes a card may have written all, nothing or any part of what it was sent, in any order. So at a power
cut each 4 KiB block that was written since the last flush becomes, by chance, what it was at that flush, what was
written last, or a mixture of both by sectors of 512 bytes. What was flushed, or written with FUA, stays.
"""

import socket
import struct
import subprocess
import threading
from pathlib import Path
from random import Random
from typing import Protocol

BLOCK, SECTOR = 4096, 512
LONGEST_S = 60.0
"""A machine that writes nothing for so long has nothing in flight."""
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 0b11)
OPTION, ANSWER, REQUEST, REPLY = ">8sII", ">QIII", ">IHHQQI", ">IIQ"
OPTION_MAGIC, ANSWER_MAGIC, REQUEST_MAGIC, REPLY_MAGIC = b"IHAVEOPT", 0x3E889045565A9, 0x25609513, 0x67446698
ABORT, GO = 2, 7
ACK, INFO, UNSUPPORTED = 1, 3, 0x80000001
READ, WRITE, HANG_UP, FLUSH = 0, 1, 2, 3
FUA = 1
CAN_FLUSH_AND_FUA = 0b1101
"""Transmission flags: there are flags, flush, FUA."""


class Stream(Protocol):
    """The client's connection."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer where it ends."""

    def write(self, content: bytes, /) -> object:
        """Send."""

    def flush(self) -> object:
        """Now."""


class ForgetfulDisk:
    """Blocks over a raw image that is never written to. One client at a time.

    Args:
        image: what the disk held when it was new.
        address: a Unix socket, made here.
        seed: settles what each cut forgets.
    """

    def __init__(self, image: Path, address: Path, seed: int) -> None:
        self.writes = self.flushes = self.forgotten = self.torn = 0
        """`forgotten` and `torn` count blocks, over all cuts."""
        self.address = address
        self._image = image.open("rb")
        self._size = image.stat().st_size
        self._blocks: dict[int, bytes] = {}
        self._flushed: dict[int, bytes] = {}
        """As they were at the last flush, of the blocks that were written since."""
        self._random = Random(seed)  # noqa: S311 - chance, not a secret
        self._lock = threading.Condition()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(address))
        self._listening.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """The power goes; call it when qemu is dead."""
        with self._lock:
            self._blocks |= self._drawn()
            self._flushed.clear()

    def await_writes(self, count: int, within_s: float = LONGEST_S) -> None:
        """Return between a write and its flush, so many writes from now; or when none has come for so long."""
        with self._lock:
            wanted = self.writes + count
            self._lock.wait_for(lambda: self.writes >= wanted and self._flushed, within_s)

    def image_of_cut(self, path: Path, writes: int) -> None:
        """Write the disk as if the power went so many writes from now, as a file of its own; the machine runs on.

        A file that is there already must be one of these: only what the machine has ever written is written anew.
        """
        with self._lock:
            self.await_writes(writes)
            blocks = self._blocks | self._drawn()
        if not path.exists():
            subprocess.run(["cp", "--sparse=always", self._image.name, str(path)], check=True)
        with path.open("r+b") as image:
            for number, block in sorted(blocks.items()):
                image.seek(number * BLOCK)
                image.write(block)

    def _drawn(self) -> dict[int, bytes]:
        """What chance makes of each block that was written since the last flush."""
        drawn = {}
        for number, old in self._flushed.items():
            new, kind = self._blocks[number], self._random.randrange(3)
            if kind == 0:
                drawn[number] = old
                self.forgotten += 1
            elif kind == 1:
                picked = (self._random.choice((old, new))[at : at + SECTOR] for at in range(0, BLOCK, SECTOR))
                drawn[number] = b"".join(picked)
                self.torn += 1
        return drawn

    def close(self) -> None:
        """Let go of image and socket."""
        self._listening.close()
        self._image.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                try:
                    self._greet(stream)
                    while self._request(stream):
                        pass
                except (OSError, struct.error):
                    continue  # qemu was killed

    def _greet(self, stream: Stream) -> None:
        """The options of a fixed newstyle negotiation, until the client goes on."""
        stream.write(GREETING)
        stream.flush()
        stream.read(4)
        while True:
            _, option, length = struct.unpack(OPTION, stream.read(struct.calcsize(OPTION)))
            stream.read(length)
            if option == GO:
                told = struct.pack(">HQH", 0, self._size, CAN_FLUSH_AND_FUA)
                self._answer(stream, option, INFO, told)
                self._answer(stream, option, ACK, b"")
                return
            self._answer(stream, option, ACK if option == ABORT else UNSUPPORTED, b"")

    @staticmethod
    def _answer(stream: Stream, option: int, kind: int, told: bytes) -> None:
        stream.write(struct.pack(ANSWER, ANSWER_MAGIC, option, kind, len(told)) + told)
        stream.flush()

    def _request(self, stream: Stream) -> bool:
        """One request; False when the client goes."""
        header = stream.read(struct.calcsize(REQUEST))
        _, flags, kind, cookie, offset, length = struct.unpack(REQUEST, header)
        if kind == HANG_UP:
            return False
        content = stream.read(length) if kind == WRITE else b""
        with self._lock:
            told = self._do(kind, flags, offset, length, content)
        stream.write(struct.pack(REPLY, REPLY_MAGIC, 0, cookie) + told)
        stream.flush()
        return True

    def _do(self, kind: int, flags: int, offset: int, length: int, content: bytes) -> bytes:
        if kind == READ:
            return self._read(offset, length)
        if kind == FLUSH:
            self.flushes += 1
            self._flushed.clear()
        elif kind == WRITE:
            self.writes += 1
            self._write(offset, content, durable=bool(flags & FUA))
            self._lock.notify_all()
        return b""

    def _read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        return whole[offset - first * BLOCK :][:length]

    def _write(self, offset: int, content: bytes, *, durable: bool) -> None:
        first, last = offset // BLOCK, (offset + len(content) - 1) // BLOCK
        before = offset - first * BLOCK
        whole = b"".join(self._block(number) for number in (range(first, last + 1)))
        whole = whole[:before] + content + whole[before + len(content) :]
        for number in range(first, last + 1):
            if durable:
                self._flushed.pop(number, None)
            else:
                self._flushed.setdefault(number, self._block(number))
            self._blocks[number] = whole[(number - first) * BLOCK :][:BLOCK]

    def _block(self, number: int) -> bytes:
        kept = self._blocks.get(number)
        if kept is None:
            self._image.seek(number * BLOCK)
            kept = self._image.read(BLOCK)
        return kept
