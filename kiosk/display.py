"""PURE. Which view counts: a fire's, a verdict's for its time, an alarm's, a lock-down's, a stopped door's, a hint.

It keeps the verdict that is shown and what glimpses say of codes that cannot be read. What is on the guard's strip
beside it, the gate adds.
"""

from kiosk import views
from kiosk.choreography import Lasting
from kiosk.clock import MS, S
from kiosk.gate_settings import GateSettings
from kiosk.hints import Hints
from kiosk.messages import Hint, Input, View
from kiosk.risk import Rules

SHOW_VERDICT_NS = 4 * S
"""Long enough to read two short lines at 2 m; a new verdict replaces it at once."""


class Display:
    """The page of one door. `alarm` is the verdict that waits for staff, if one does."""

    def __init__(self, settings: GateSettings) -> None:
        self.alarm: View | None = None
        self._direction = settings.direction
        self._hints = Hints(settings.frame_size, rest_ns=settings.absence_ms * MS)
        self._verdict: View | None = None
        self._until_ns = 0

    @property
    def verdict_until_ns(self) -> int | None:
        """Until when a verdict is shown; None while none is."""
        return self._until_ns if self._verdict else None

    @property
    def deadline_ns(self) -> int | None:
        """When `base` will next say something else."""
        return min((at for at in (self.verdict_until_ns, self._hints.deadline_ns) if at is not None), default=None)

    def show(self, verdict: View, now_ns: int) -> None:
        """Somebody is to read their verdict."""
        self._verdict, self._until_ns = verdict, now_ns + SHOW_VERDICT_NS

    def clear(self) -> None:
        """Nobody reads it any more."""
        self._verdict = None

    def base(
        self, given: Input, now_ns: int, rules: Rules, lasting: list[Lasting], *, busy: bool, asking: bool
    ) -> View:
        """Say what is shown at large; `asking`: somebody waits for the city's answer."""
        if now_ns >= self._until_ns:
            self._verdict = None
        state = next((what for what in lasting if what is not Lasting.TAMPER), None)
        hint = self._hints.step(given, now_ns)
        if self._verdict or state or busy:
            self._hints.clear()
            hint = None
        if asking:
            hint = Hint.READING
        if self._verdict and state is not Lasting.FIRE:
            return self._verdict
        if self.alarm and state is Lasting.ALARM:
            return self.alarm
        if state in views.SCREENS:
            return views.of_state(rules, self._direction, views.SCREENS[state])
        return views.of_hint(rules, self._direction, hint)
