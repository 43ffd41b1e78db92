"""PURE. The door's state and its one way in: `Gate.step(given, now)` gives the effects, to be done in order.

It composes sightings, credentials, risk, lane, contacts, choreography and hints; it decides what is judged when, what
is recorded before the lines move, and what the screen says. It reads no clock, file, line or socket. The daemon's core
thread calls it.

Laws: nothing is driven for a grant before its record has been asked for; a denial and its alarm are driven first and
recorded beside; an exit is never denied; while events cannot be stored, no entry is granted; a glimpse changes no
verdict, no record and no line, only what the screen says while it has nothing weightier to say. Each presentation is
recorded once; somebody who shows their code again and again after a grant, and is held for it, once for all of those.
From a fire until its reset the lane is free: nobody is judged, codes are recorded with left_before_verdict, and no
relay is asked for. An emergency stop, and an alarm that waits for staff, halt an entry and never an exit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from kiosk import choreography, events, interlock, risk, views
from kiosk.clock import MS, Now, S
from kiosk.contacts import Asked, Contacts
from kiosk.hints import Hints
from kiosk.lane import SENSORS, Lane, Told
from kiosk.look_ups import LookUps, names_only
from kiosk.messages import (
    Actuation,
    Answer,
    Ask,
    Cause,
    Credential,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Fault,
    Fire,
    Flag,
    Glimpse,
    Hint,
    Input,
    InputLine,
    LinkStatus,
    Outcome,
    Presentation,
    Reason,
    Record,
    Refusal,
    Reset,
    Screen,
    Seen,
    Sensed,
    Show,
    StageHealth,
    Verdict,
    View,
)
from kiosk.risk import Circumstances, Freshness, LookUp, Rules
from kiosk.risk_list import RiskList
from kiosk.sightings import Sightings

SHOW_VERDICT_NS = 4 * S
"""Long enough to read two short lines at 2 m; a new verdict replaces it at once."""

STOPPING_STAGES = frozenset({"camera", "lines", "outbox"})
"""Without one of these the door cannot do its work and says so at large; without the uplink it can."""
STUCK = "worked for 30 s; look what stands in it, then at the sensor. Its passages do not count meanwhile."
UNACKNOWLEDGED = StageHealth(
    stage="alarm", fault="somebody at risk is waiting; staff acknowledge by pressing their key"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a site chooses. `repeat_window_s`: a person granted entry is not granted again for so long.

    `frame_size` is the camera's width and height in pixels. `freshness` is None where the site goes without the city's
    risk list. `look_up`: ask the city about people whose code only says who they are. `pass_within_s`: how long a grant
    is good for where passages are seen. `alarm_waits`: an alarm lasts until staff acknowledge it.
    """

    direction: Direction
    relay_pulse_ms: int
    absence_ms: int
    repeat_window_s: int
    frame_size: tuple[int, int]
    freshness: Freshness | None
    look_up: bool
    pass_within_s: int
    alarm_waits: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CityData:
    """What the city has sent, as one value: it changes as a whole, between two steps.

    `read` turns a payload into a credential or a refusal, with the keys the city trusts; pure. `trusting` is false
    while there is no trust bundle.
    """

    rules: Rules
    read: Callable[[bytes], Credential | Refusal]
    risk_list: RiskList | None = None
    trusting: bool = True


class Gate:
    """One access point.

    Args:
        settings: the site's choices.
        city: what it starts with.
    """

    def __init__(self, settings: GateSettings, city: CityData) -> None:
        self._settings = settings
        self._city = city
        self._look_ups = LookUps()
        self._sightings = Sightings(settings.absence_ms * MS)
        self._hints = Hints(settings.frame_size, rest_ns=settings.absence_ms * MS)
        self._lane = Lane(settings.direction, settings.pass_within_s * S)
        self._contacts = Contacts()
        self._wanted: list[Cause] = []
        self._opening_ns = dict.fromkeys(Direction, 0)
        self._alarm_until_ns = 0
        self._unacknowledged: View | None = None
        self._granted_ns: dict[str, int] = {}
        self._repeated: dict[str, tuple[Reason, ...]] = {}
        self._faults: dict[str, str] = {}
        self._link = LinkStatus(online=False, waiting=0)
        self._busy_until_ns = 0
        self._verdict_view: tuple[View, int] | None = None
        self._shown: View | None = None
        self._signal: Actuation | None = None
        self._signal_due_ns: int | None = None
        self._deadline_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When to step with `Elapsed` if nothing else comes first."""
        return self._deadline_ns

    def step(self, given: Input | CityData, now: Now) -> list[Effect]:
        """Take one input and say what is to be done."""
        effects: list[Effect] = []
        match given:
            case Seen(sightings=sightings):
                self._sightings.see(sightings)
            case StageHealth():
                effects += self._note_health(given, now)
            case LinkStatus():
                self._link = given
            case CityData():
                self._city = given
            case Answer():
                self._look_ups.note(given, now.monotonic_ns)
            case Sensed(line=line):
                effects += self._sense_passage(given, now) if line in SENSORS else self._obey(given, now)
            case Glimpse() | Elapsed():
                pass
        if not isinstance(given, Glimpse) or self._due(now.monotonic_ns):
            effects += self._elapse(now)
            effects += self._judge_next(now)
            effects += self._signals(now)
        effects += self._refresh(Elapsed() if isinstance(given, CityData) else given, now.monotonic_ns)
        self._plan(now.monotonic_ns)
        return effects

    def _note_health(self, health: StageHealth, now: Now) -> list[Effect]:
        if self._faults.get(health.stage, "") == health.fault:
            return []
        recovered = not health.fault
        detail = self._faults.pop(health.stage, "") if recovered else health.fault
        if not recovered:
            self._faults[health.stage] = health.fault
        fault = Fault(at=now.utc, utc_trusted=now.utc_trusted, stage=health.stage, recovered=recovered, detail=detail)
        return [Record(events=(fault,), before_drive=False)]

    @property
    def _free(self) -> bool:
        """Whether there is a fire, or was one that staff have not reset."""
        return self._contacts.fire is not interlock.Fire.NONE

    @property
    def _halted(self) -> bool:
        """Whether an entry waits for staff."""
        waits = self._unacknowledged or self._contacts.is_active(InputLine.EMERGENCY_STOP)
        return bool(waits) and self._settings.direction is Direction.ENTRY and not self._free

    def _sense_passage(self, sensed: Sensed, now: Now) -> list[Effect]:
        trouble = self._note_health(StageHealth(stage=sensed.line, fault=sensed.trouble), now)
        return [*trouble, *self._tell(self._lane.sense(sensed, free=self._free), now)]

    def _tell(self, outcomes: Iterable[Told], now: Now) -> list[Effect]:
        told = list(outcomes)
        for void in told:
            if void.outcome is Outcome.NOT_TAKEN and void.subject:
                self._granted_ns.pop(void.subject, None)  # they may come back
        return [Record(events=(events.of_passage(each, now),), before_drive=False) for each in told]

    def _obey(self, sensed: Sensed, now: Now) -> list[Effect]:
        asked = self._contacts.sense(sensed)
        return [*(effect for each in asked for effect in self._answer(each, now)), *self._note_contacts(now)]

    def _note_contacts(self, now: Now) -> list[Effect]:
        faults = self._contacts.faults().items()
        return [
            effect for line, fault in faults for effect in self._note_health(StageHealth(stage=line, fault=fault), now)
        ]

    def _elapse(self, now: Now) -> list[Effect]:
        """Do what contacts, lane and waiting openings ask for by now."""
        self._lane.begin_day(now.utc.astimezone(risk.VIETNAM).date())
        effects = [effect for each in self._contacts.elapse(now.monotonic_ns) for effect in self._answer(each, now)]
        effects += self._note_contacts(now)
        effects += self._tell(self._lane.elapse(now.monotonic_ns), now)
        for line, direction in SENSORS.items():
            if direction in self._lane.stuck:
                effects += self._note_health(StageHealth(stage=line, fault=STUCK), now)
        if self._free:
            self._wanted.clear()
        for cause in tuple(self._wanted):
            if now.monotonic_ns >= self._ready_ns(cause):
                self._wanted.remove(cause)
                effects += self._open(cause, now)
        return effects

    def _answer(self, asked: Asked, now: Now) -> list[Effect]:
        match asked:
            case Asked.FIRE:
                return self._release(now)
            case Asked.FIRE_OVER:
                return [Fire(on=False)]
            case Asked.RESET:
                return [Reset()]
            case Asked.STOP if not self._free:
                return [Drive(actuation=choreography.halt(alarm=now.monotonic_ns < self._alarm_until_ns))]
            case Asked.OVERRIDE if self._unacknowledged and not self._free:
                return self._acknowledge(now)
            case Asked.OVERRIDE | Asked.EXIT:
                cause = Cause.STAFF_OVERRIDE if asked is Asked.OVERRIDE else Cause.REQUEST_TO_EXIT
                self._wanted += [cause] if cause not in self._wanted else []
        return []

    def _may_open(self, direction: Direction) -> bool:
        return direction is Direction.EXIT or not (self._halted or "outbox" in self._faults)

    def _release(self, now: Now) -> list[Effect]:
        """A fire: nothing that was begun goes on, and nobody waits."""
        self._lane.release()
        self._verdict_view = None
        self._busy_until_ns = now.monotonic_ns
        return [Fire(on=True)]

    def _acknowledge(self, now: Now) -> list[Effect]:
        self._unacknowledged = self._verdict_view = None
        self._alarm_until_ns = self._busy_until_ns = now.monotonic_ns
        return [Drive(actuation=choreography.quiet()), *self._note_health(replace(UNACKNOWLEDGED, fault=""), now)]

    def _ready_ns(self, cause: Cause) -> int:
        """A way out is opened at once, unless it is open; staff let the verdict before them have its time."""
        return self._opening_ns[Direction.EXIT] if cause is Cause.REQUEST_TO_EXIT else self._busy_until_ns

    def _open(self, cause: Cause, now: Now) -> list[Effect]:
        direction = Direction.EXIT if cause is Cause.REQUEST_TO_EXIT else self._settings.direction
        if not self._may_open(direction):
            return []
        pulse_ms, alarm = self._settings.relay_pulse_ms, now.monotonic_ns < self._alarm_until_ns
        self._note_grant(direction, now)
        self._busy_until_ns = max(self._busy_until_ns, self._opening_ns[direction])
        record = Record(events=(events.of_opening(direction, cause, now),), before_drive=cause is Cause.STAFF_OVERRIDE)
        drive = Drive(actuation=choreography.opening(direction, pulse_ms, alarm=alarm))
        return [record, drive] if record.before_drive else [drive, record]

    def _note_grant(self, direction: Direction, now: Now, subject: str | None = None) -> None:
        self._lane.grant(direction, now, subject)
        rested_ms = self._settings.relay_pulse_ms + choreography.RELAY_REST_MS
        self._opening_ns[direction] = now.monotonic_ns + rested_ms * MS

    def _judge_next(self, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for presentation in self._sightings.take_left(now.monotonic_ns):
            effects += self._judge(self._city.read(presentation.payload), now, left=True)
        if now.monotonic_ns < self._busy_until_ns or self._halted:
            return effects
        if self._look_ups.pending:
            return effects + self._after_look_up(now)
        while next_one := self._sightings.take(now.monotonic_ns):
            effects += self._consider(next_one, now)
            if not self._free:
                break
        return effects

    def _consider(self, presentation: Presentation, now: Now) -> list[Effect]:
        """Judge at once, or ask the city first: an exit opens without asking, and a flag needs no declaration."""
        read = self._city.read(presentation.payload)
        asking = self._settings.look_up and self._settings.direction is Direction.ENTRY
        if not asking or self._free or not names_only(read) or self._flag_of(read):
            return self._judge(read, now)
        if not self._look_ups.begin(read, now.monotonic_ns, online=self._link.online):
            return self._after_look_up(now)
        return [Ask(subject=read.subject)]

    def _after_look_up(self, now: Now) -> list[Effect]:
        found = self._look_ups.take(now, self._city.read)
        return self._judge(found.credential, now, look_up=found.look_up) if found else []

    def _judge(
        self, read: Credential | Refusal, now: Now, *, left: bool = False, look_up: LookUp = LookUp.NOT_NEEDED
    ) -> list[Effect]:
        self._lane.present()
        left = left or self._free
        around = replace(self._around(read, now), left=left, look_up=look_up)
        verdict = risk.verdict_for(read, rules=self._city.rules, around=around, now=now)
        first_record = verdict.decision is Decision.GRANTED and not verdict.alarm and not left
        records: list[Effect] = [Record(events=events.of_verdict(verdict, read, now), before_drive=first_record)]
        if self._is_repeated(verdict, read):
            records = []
        if self._free or (left and not verdict.alarm):
            return records  # nobody is there to see or pass, or everybody may
        subject = read.subject if isinstance(read, Credential) else None
        if subject and verdict.decision is Decision.GRANTED:
            self._granted_ns[subject] = now.monotonic_ns
        if verdict.decision is Decision.GRANTED:
            self._note_grant(verdict.direction, now, subject)
        pulse_ms = self._settings.relay_pulse_ms
        self._busy_until_ns = now.monotonic_ns + choreography.busy_ms(verdict, pulse_ms) * MS
        self._verdict_view = (views.of_verdict(self._city.rules, verdict, read), now.monotonic_ns + SHOW_VERDICT_NS)
        drive = Drive(actuation=choreography.actuation_for(verdict, pulse_ms))
        raised = self._raise_alarm(self._verdict_view[0], now) if verdict.alarm else []
        return [*records, drive] if first_record else [drive, *records, *raised]

    def _raise_alarm(self, view: View, now: Now) -> list[Effect]:
        self._alarm_until_ns = now.monotonic_ns + choreography.ALARM_NS
        if not self._settings.alarm_waits:
            return []
        self._unacknowledged = view
        self._signal, self._signal_due_ns = choreography.alarm(), now.monotonic_ns + choreography.ALARM_EVERY_NS
        return self._note_health(UNACKNOWLEDGED, now)

    def _is_repeated(self, verdict: Verdict, read: Credential | Refusal) -> bool:
        """Whether the same has been recorded of this person since their grant; from now on it has."""
        stopped = verdict.decision is not Decision.GRANTED and not verdict.alarm
        if not (stopped and isinstance(read, Credential) and Reason.ALREADY_PRESENTED in verdict.reasons):
            return False
        before = self._repeated.get(read.subject)
        self._repeated[read.subject] = verdict.reasons
        return before == verdict.reasons

    def _flag_of(self, read: Credential | Refusal) -> Flag | None:
        listed = self._city.risk_list
        return listed.flag_of(read.subject) if listed and isinstance(read, Credential) else None

    def _around(self, read: Credential | Refusal, now: Now) -> Circumstances:
        oldest_ns = now.monotonic_ns - self._settings.repeat_window_s * S
        self._granted_ns = {who: at for who, at in self._granted_ns.items() if at > oldest_ns}
        self._repeated = {who: reasons for who, reasons in self._repeated.items() if who in self._granted_ns}
        listed = self._city.risk_list
        return Circumstances(
            direction=self._settings.direction,
            granted_lately=isinstance(read, Credential) and read.subject in self._granted_ns,
            left=False,
            recordable="outbox" not in self._faults,
            flag=self._flag_of(read),
            # A clock that may be wrong tells no age: the data then counts as too old, not as fresh.
            city_age_s=_age_s(listed.made_at, now) if listed and now.utc_trusted else None,
            freshness=self._settings.freshness,
            trusting=self._city.trusting,
        )

    def _signals(self, now: Now) -> list[Effect]:
        """Repeat what lasts, while no verdict has the lights: a fire, an alarm, an open housing, a stage down."""
        signal, every_ns = self._lasting()
        if signal != self._signal:
            self._signal, self._signal_due_ns = signal, None if signal is None else 0
        if signal is None or self._signal_due_ns is None:
            return []
        if now.monotonic_ns < max(self._signal_due_ns, self._busy_until_ns):
            return []
        self._signal_due_ns = now.monotonic_ns + every_ns
        if self._unacknowledged and not self._free:
            self._alarm_until_ns = now.monotonic_ns + choreography.ALARM_NS
        return [Drive(actuation=signal)]

    def _lasting(self) -> tuple[Actuation | None, int]:
        if self._free:
            return choreography.fire(self._settings.direction), choreography.BLINK_EVERY_NS
        if self._unacknowledged:
            return choreography.alarm(), choreography.ALARM_EVERY_NS
        if self._contacts.is_active(InputLine.TAMPER):
            return choreography.tamper(), choreography.BLINK_EVERY_NS
        return choreography.out_of_order() if self._stopped() else None, choreography.BLINK_EVERY_NS

    def _refresh(self, given: Input, now_ns: int) -> list[Effect]:
        if self._verdict_view and now_ns >= self._verdict_view[1]:
            self._verdict_view = None
        hint = self._hints.step(given, now_ns)
        if self._verdict_view or self._stopped() or self._unacknowledged or self._free or now_ns < self._busy_until_ns:
            self._hints.clear()
            hint = None
        if self._look_ups.pending and not (self._stopped() or self._halted or self._free):
            hint = Hint.READING  # the city is being asked
        fault = " · ".join(f"{stage}: {text}" for stage, text in sorted(self._faults.items()))
        link = self._link
        view = replace(
            self._base_view(hint), online=link.online, waiting=link.waiting, fault=fault, today=self._lane.today
        )
        if view == self._shown:
            return []
        self._shown = view
        return [Show(view=view)]

    def _base_view(self, hint: Hint | None) -> View:
        rules, direction = self._city.rules, self._settings.direction
        if self._free:
            return views.of_state(rules, direction, Screen.FIRE)
        if self._verdict_view:
            return self._verdict_view[0]
        if self._unacknowledged:
            return self._unacknowledged
        return (
            views.of_state(rules, direction, Screen.OUT_OF_ORDER)
            if self._stopped()
            else views.of_hint(rules, direction, hint)
        )

    def _plan(self, now_ns: int) -> None:
        shown_until = self._verdict_view[1] if self._verdict_view else None
        wanted = [shown_until, self._hints.deadline_ns, self._lane.deadline_ns, self._contacts.deadline_ns]
        wanted += [self._ready_ns(cause) for cause in self._wanted]
        when_free = (self._signal_due_ns, None if self._halted else self._look_ups.deadline_ns)
        wanted += [max(at, self._busy_until_ns) for at in when_free if at is not None]
        if self._busy_until_ns > now_ns:
            wanted.append(self._busy_until_ns)
        self._deadline_ns = min((at for at in wanted if at is not None), default=None)

    def _due(self, now_ns: int) -> bool:
        return self._deadline_ns is not None and now_ns >= self._deadline_ns

    def _stopped(self) -> bool:
        halted = self._halted and not self._unacknowledged
        return halted or not STOPPING_STAGES.isdisjoint(self._faults)


def _age_s(made_at: datetime, now: Now) -> int:
    return max(0, int((now.utc - made_at).total_seconds()))
