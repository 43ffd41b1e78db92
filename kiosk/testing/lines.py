"""Lines and inputs without hardware that remember every level, and can be told to fail as a driver does.

They decide nothing and pass the same contract suites as the real ones (tests/contract/test_lines.py and
test_inputs.py). Tests of actuations and of what contacts say use them.
"""

from collections.abc import Iterable

from kiosk.errors import LineFault
from kiosk.messages import InputLine, Line


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


class RecordingInputs:
    """The inputs of one door, worked by a test.

    Args:
        fitted: the inputs this door has; all at rest.
    """

    def __init__(self, fitted: Iterable[InputLine]) -> None:
        self.history: list[tuple[InputLine, bool]] = []
        """Every change that `work` made, in order."""
        self.failing: set[InputLine] = set()
        """Inputs whose driver refuses, for as long as they are in here."""
        self._levels = dict.fromkeys(fitted, False)

    def work(self, line: InputLine, *, active: bool) -> None:
        """Move a contact, as a hand or a turnstile does."""
        if self._levels[line] is not active:
            self._levels[line] = active
            self.history.append((line, active))

    def active(self, line: InputLine) -> bool:
        """See `Inputs`."""
        if line in self.failing:
            raise LineFault(f"inputs.{line}: cannot be read (told to fail); restart, then check the board")
        return self._levels[line]

    def close(self) -> None:
        """See `Inputs`."""
        self._levels.clear()
