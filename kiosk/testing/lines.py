"""Lines without hardware that remember every level, and can be told to fail as a driver does.

Decides nothing; passes the same contract suite as the real ones (tests/contract/test_lines.py). Tests of actuations
use it.
"""

from collections.abc import Iterable

from kiosk.errors import LineFault
from kiosk.messages import Line


class RecordingLines:
    """The outputs of one door, as a list of what happened to them.

    Args:
        fitted: the lines this door has.
    """

    def __init__(self, fitted: Iterable[Line]) -> None:
        self.history: list[tuple[Line, bool]] = []
        """Every change of a level, in order, those of `close` included."""
        self.failing: set[Line] = set()
        """Lines whose driver refuses, for as long as they are in here."""
        self._levels = dict.fromkeys(fitted, False)

    def set(self, line: Line, *, on: bool) -> None:
        """See `Lines`."""
        if line in self.failing:
            raise LineFault(f"lines.{line}: its level cannot be set (told to fail); check the wiring and restart")
        if self._levels[line] is not on:
            self._levels[line] = on
            self.history.append((line, on))

    def close(self) -> None:
        """See `Lines`."""
        for line in self._levels.keys() - self.failing:
            self.set(line, on=False)
        self._levels.clear()

    def of(self, line: Line) -> list[bool]:
        """The levels of one line since it was claimed at rest."""
        return [on for which, on in self.history if which is line]
