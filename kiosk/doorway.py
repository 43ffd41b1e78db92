"""PURE. Everything that the gate drives: verdicts, openings, halts, signals; and how long each keeps the door.

It knows when each relay is on as it was asked for, when a siren sounds, and what waits to be opened without a code. It
decides nothing about people; the gate says what may be, and the interlock has the last word on every relay.
"""

from kiosk import choreography
from kiosk.choreography import RELAY_REST_MS, Lasting
from kiosk.clock import MS, S
from kiosk.gate_settings import GateSettings
from kiosk.messages import Actuation, Cause, Direction, Drive, Outcome, Verdict
from kiosk.signals import Signals

REST_NS = RELAY_REST_MS * MS


class Doorway:
    """The lights, the buzzer and the relays of one lane.

    `busy_until_ns`: the door keeps to what it does until then. `muted`: no sound, but for a siren for somebody new.
    """

    def __init__(self, settings: GateSettings) -> None:
        self.busy_until_ns = 0
        self.muted = False
        self._settings = settings
        self._signals = Signals(settings.direction)
        self._wanted: list[Cause] = []
        self._ends_ns = dict.fromkeys(Direction, -REST_NS)

    # What opens.

    def want(self, cause: Cause) -> None:
        """Somebody asks for an opening; two at once are one."""
        if cause not in self._wanted:
            self._wanted.append(cause)

    def take_wanted(self, now_ns: int) -> Cause | None:
        """Take what can be opened now, in the order in which it was asked for."""
        cause = next((cause for cause in self._wanted if now_ns >= self._due_ns(cause)), None)
        if cause:
            self._wanted.remove(cause)
        return cause

    def open(self, direction: Direction, now_ns: int) -> Drive:
        """Open for one passage without a code; the other relay gives way, and a siren that sounds goes on."""
        self._note_on(direction, now_ns)
        self.busy_until_ns = max(self.busy_until_ns, self._ready_ns(direction))
        relay_ms = self._settings.relay_ms[direction]
        return self._beside_siren(choreography.opening(direction, relay_ms, alarm=self._siren(now_ns)), now_ns)

    def serve(self, verdict: Verdict, now_ns: int, *, granted: bool) -> Drive:
        """A verdict for somebody who stands there, and the way through if it is a grant."""
        if granted:
            self._note_on(verdict.direction, now_ns)
        if verdict.alarm:
            self._signals.raise_alarm(now_ns, waits=self._settings.alarm_waits)
        relay_ms = self._settings.relay_ms[verdict.direction]
        self.busy_until_ns = max(now_ns + choreography.busy_ms(verdict, relay_ms) * MS, self._all_ready_ns())
        return self._drive(choreography.actuation_for(verdict, relay_ms), loud=verdict.alarm)

    # What rests.

    def release(self, now_ns: int) -> None:
        """A fire: nothing that was begun goes on, and nobody waits."""
        self._wanted.clear()
        self.busy_until_ns = now_ns

    def reset(self, now_ns: int) -> None:
        """A fire is over: the relays that it held on must rest first."""
        self.busy_until_ns = now_ns + REST_NS
        self._ends_ns = dict.fromkeys(Direction, now_ns)

    def halt(self, now_ns: int) -> Drive:
        """Both relays to rest."""
        for direction in Direction:
            self._note_off(direction, now_ns)
        return self._beside_siren(choreography.halt(alarm=self._siren(now_ns)), now_ns)

    def shut(self, direction: Direction, now_ns: int) -> Drive:
        """One relay to rest; the door need not wait for its end any more."""
        before_ns = self._ready_ns(direction)
        self._note_off(direction, now_ns)
        if self.busy_until_ns == before_ns:
            self.busy_until_ns = self._ready_ns(direction)
        return self._beside_siren(choreography.shut(direction, alarm=self._siren(now_ns)), now_ns)

    def after_passage(self, direction: Direction, outcome: Outcome, now_ns: int, *, awaited: bool) -> list[Drive]:
        """A relay that is held rests once everybody who may go has gone; who goes without a grant is told."""
        idle = now_ns >= self.busy_until_ns and not self._siren(now_ns)
        if outcome is Outcome.WITHOUT_GRANT and idle:
            return [self._drive(choreography.signal(choreography.TAILGATING))]
        held = direction in self._settings.hold and now_ns < self._ends_ns[direction]
        return [self.shut(direction, now_ns)] if outcome is Outcome.TAKEN and held and not awaited else []

    # What is signalled.

    def acknowledge(self, now_ns: int) -> Drive:
        """Staff have come to an alarm: it ends, and the door has time again once its relays have rested."""
        self._signals.quiet(now_ns)
        self.busy_until_ns = max(now_ns, self._all_ready_ns())
        return Drive(actuation=choreography.quiet())

    def escalate(self, now_ns: int) -> None:
        """Nobody has answered an alert: be louder, once, as soon as may be."""
        self._signals.escalate(now_ns)

    def calm(self) -> None:
        """Somebody has answered."""
        self._signals.calm()

    def test(self, now_ns: int) -> Drive:
        """Show all lights and the buzzer; it was asked for, and so it sounds."""
        self.busy_until_ns = now_ns + choreography.TEST_NS
        return self._drive(choreography.signal(choreography.TEST), loud=True)

    def greet(self, now_ns: int) -> Drive:
        """Lights and sound of a grant, and no relay."""
        self.busy_until_ns = now_ns + S
        return self._drive(choreography.signal(choreography.GRANTED), loud=True)

    def signal(self, lasting: Lasting | None, now_ns: int, shown_until_ns: int) -> list[Drive]:
        """Repeat what lasts, while no verdict has the lights."""
        actuation = self._signals.step(lasting, now_ns, self.busy_until_ns, shown_until_ns)
        return [self._drive(actuation)] if actuation else []

    def deadline_ns(self, now_ns: int, shown_until_ns: int) -> int | None:
        """When there is time again, or something to open or to signal."""
        wanted = [self._due_ns(cause) for cause in self._wanted]
        signalled = self._signals.deadline_ns(self.busy_until_ns, shown_until_ns)
        busy = self.busy_until_ns if self.busy_until_ns > now_ns else None
        return min((at for at in (*wanted, signalled, busy) if at is not None), default=None)

    def _siren(self, now_ns: int) -> bool:
        return now_ns < self._signals.siren_until_ns

    def _beside_siren(self, actuation: Actuation, now_ns: int) -> Drive:
        return self._drive(actuation, loud=now_ns < self._signals.first_until_ns)

    def _drive(self, actuation: Actuation, *, loud: bool = False) -> Drive:
        return Drive(actuation=choreography.without_sound(actuation) if self.muted and not loud else actuation)

    def _note_on(self, direction: Direction, now_ns: int) -> None:
        for other in Direction:
            self._note_off(other, now_ns)
        self._ends_ns[direction] = now_ns + self._settings.relay_ms[direction] * MS

    def _note_off(self, direction: Direction, now_ns: int) -> None:
        self._ends_ns[direction] = min(self._ends_ns[direction], now_ns)

    def _ready_ns(self, direction: Direction) -> int:
        return self._ends_ns[direction] + REST_NS

    def _all_ready_ns(self) -> int:
        return max(map(self._ready_ns, Direction))

    def _due_ns(self, cause: Cause) -> int:
        """A way out is opened at once, unless it is open; staff let the verdict before them have its time."""
        return self._ready_ns(Direction.EXIT) if cause is Cause.REQUEST_TO_EXIT else self.busy_until_ns
