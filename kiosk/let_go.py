"""PURE. Rows that the city has and alerts that are over, while both still stand in the file: they go many at once.

Decides when it is time, for a transaction of their own would double the syncs (docs/decisions/0003). The outbox owns
it; its writer changes it, its reader looks at `rows`.
"""

from kiosk.clock import S

ACKNOWLEDGED_AT_ONCE = 20
"""Rows let go in one transaction."""
LET_GO_WITHIN_S = 600
"""Fewer wait no longer than this for others, nor beyond `close`. A kill meanwhile has them sent again, no more."""


class LetGo:
    """Sequences of one ledger."""

    def __init__(self) -> None:
        self.rows = frozenset[int]()
        self.alerts = frozenset[int]()
        self._since_ns = 0

    def add(self, rows: set[int], alerts: set[int], now_ns: int) -> None:
        """Note what may go."""
        if not self.rows and not self.alerts:
            self._since_ns = now_ns
        self.rows |= rows
        self.alerts |= alerts

    def going(self, now_ns: int, *, closing: bool, storing: bool) -> tuple[frozenset[int], frozenset[int]]:
        """Rows and alerts that go now: rows when it is time, alerts with whatever is written."""
        due = len(self.rows) >= ACKNOWLEDGED_AT_ONCE or closing or now_ns - self._since_ns > LET_GO_WITHIN_S * S
        return self.rows if due else frozenset(), self.alerts if due or storing else frozenset()

    def gone(self, rows: frozenset[int], alerts: frozenset[int]) -> None:
        """They have been removed from the file."""
        self.rows -= rows
        self.alerts -= alerts
