"""PURE. When the door signals by itself: what lasts, again and again, and louder where nobody answers an alert.

A verdict has the lights first, and its few seconds on the screen as well before a louder siren; but that waits for
`LOUDER_WITHIN_NS` at most, so that a queue of visitors does not keep it away. The gate says what is so and drives.
"""

from kiosk import choreography
from kiosk.choreography import Lasting
from kiosk.clock import S
from kiosk.messages import Actuation, Direction

LOUDER_WITHIN_NS = 10 * S


class Signals:
    """The signals of one door. `siren_until_ns`: it sounds until then; `first_until_ns`: for somebody new."""

    def __init__(self, direction: Direction) -> None:
        self.siren_until_ns = 0
        self.first_until_ns = 0
        self._direction = direction
        self._lasting: Lasting | None = None
        self._due_ns = 0
        self._louder_ns: int | None = None
        self._louder_until_ns = 0

    def raise_alarm(self, now_ns: int, *, waits: bool) -> None:
        """A verdict sounds the siren; `waits`: it is to sound again until staff acknowledge it."""
        self.siren_until_ns = self.first_until_ns = now_ns + choreography.ALARM_NS
        if waits:
            self._lasting, self._due_ns = Lasting.ALARM, now_ns + choreography.ALARM_EVERY_NS

    def quiet(self, now_ns: int) -> None:
        """Staff have acknowledged an alarm."""
        self.siren_until_ns = self.first_until_ns = now_ns

    def escalate(self, now_ns: int) -> None:
        """Be louder, once, as soon as may be."""
        self._louder_ns = now_ns if self._louder_ns is None else self._louder_ns

    def calm(self) -> None:
        """Somebody has answered."""
        self._louder_ns = None

    def step(self, lasting: Lasting | None, now_ns: int, busy_until_ns: int, shown_until_ns: int) -> Actuation | None:
        """Say what to signal now, if anything."""
        if lasting is not self._lasting:
            self._lasting, self._due_ns = lasting, 0 if lasting is Lasting.FIRE else self._louder_until_ns
        if now_ns < busy_until_ns:
            return None
        if (louder_ns := self._ready_ns(shown_until_ns)) is not None and now_ns >= louder_ns:
            self._louder_ns = None
            self.siren_until_ns = self._louder_until_ns = self._due_ns = now_ns + choreography.ESCALATED_NS
            return choreography.signal(choreography.ESCALATED)
        if lasting is None or now_ns < self._due_ns:
            return None
        self._due_ns = now_ns + choreography.every_ns(lasting)
        if lasting is Lasting.ALARM:
            self.siren_until_ns = now_ns + choreography.ALARM_NS
        return choreography.lasting(lasting, self._direction)

    def deadline_ns(self, busy_until_ns: int, shown_until_ns: int) -> int | None:
        """When `step` will next have something to signal."""
        times = (self._due_ns if self._lasting else None, self._ready_ns(shown_until_ns))
        return min((max(at, busy_until_ns) for at in times if at is not None), default=None)

    def _ready_ns(self, shown_until_ns: int) -> int | None:
        if self._louder_ns is None or self._lasting is Lasting.FIRE:
            return None
        return min(max(self._louder_ns, shown_until_ns), self._louder_ns + LOUDER_WITHIN_NS)
