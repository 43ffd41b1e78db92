"""Prints lines for whoever reads along, and never waits for them: a full pipe must not stop what prints.

A thread writes; what it has no room for is dropped and told. Called by `city.cli`.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

MOST_WAITING = 10_000
"""Lines."""
END_WITHIN_S = 1.0
"""For what still waits at the end."""


class Printer:
    """Use as a context.

    Args:
        on_trouble: told when lines have been dropped.
        out: where to, an open file's number.
    """

    def __init__(self, on_trouble: Callable[[str], None], out: int | None = None) -> None:
        self._out = sys.stdout.fileno() if out is None else out
        self._on_trouble = on_trouble
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="printer", daemon=True)  # it may hang in a full pipe

    def put(self, line: str) -> None:
        """Print a line soon, or never."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._dropped += 1
            if self._dropped == 1:
                self._on_trouble("nobody reads what is printed: lines are dropped, nothing else is")
        else:
            if self._waiting.qsize() < MOST_WAITING // 2:
                self._dropped = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            self._waiting.put(None, timeout=END_WITHIN_S)
        except queue.Full:
            return
        self._thread.join(END_WITHIN_S)

    def _write(self) -> None:
        try:
            while (line := self._waiting.get()) is not None:
                os.write(self._out, f"{line}\n".encode())  # no buffer of Python's, whose lock it would hold at the end
        except BrokenPipeError:
            self._on_trouble("whoever read what is printed has gone")
