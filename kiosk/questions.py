"""PURE. Which look-ups are on their way, and which answer belongs to which.

Decides what is forgotten: questions of another connection, the oldest of too many, and answers that nobody asked for or
that come too late. Refuses to know MQTT. The uplink owns it; `ask` is for other threads too.
"""

from collections import deque
from dataclasses import dataclass
from random import Random

from kiosk.clock import S
from kiosk.messages import Answer

MOST_WAITING = 8
"""Beyond that the oldest is forgotten: whoever it was for has left."""
ANSWER_WITHIN_S = 5
"""A later answer is ignored. The gate gives up long before; until then it keeps the answer for the next time."""
CORRELATION_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One look-up, and the mark that its answer will bear."""

    subject: str
    correlation: bytes


class Questions:
    """Those of one connection.

    Args:
        random: the marks.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._to_ask = deque[str](maxlen=MOST_WAITING)
        self._asked: dict[bytes, tuple[str, int]] = {}

    def ask(self, subject: str) -> None:
        """Put a question. From any thread."""
        self._to_ask.append(subject)

    def forget(self) -> None:
        """A new connection: nobody waits any more for what was asked before it."""
        self._to_ask.clear()
        self._asked.clear()

    def waits(self, now_ns: int) -> bool:
        """Whether somebody still waits for an answer, or to be asked."""
        return bool(self._to_ask) or any(now_ns - at_ns <= ANSWER_WITHIN_S * S for _, at_ns in self._asked.values())

    def next(self, now_ns: int) -> Question | None:
        """The next one to send; it counts as asked from now."""
        if not self._to_ask:
            return None
        subject, correlation = self._to_ask.popleft(), self._random.randbytes(CORRELATION_BYTES)
        self._asked[correlation] = (subject, now_ns)
        if len(self._asked) > MOST_WAITING:
            del self._asked[next(iter(self._asked))]
        return Question(subject=subject, correlation=correlation)

    def answered(self, correlation: bytes, payload: bytes, now_ns: int) -> Answer | None:
        """What an answer says and to which question; None where it is nobody's."""
        subject, asked_ns = self._asked.pop(correlation, ("", 0))
        if not subject or now_ns - asked_ns > ANSWER_WITHIN_S * S:
            return None
        return Answer(asked=subject, payload=payload)
