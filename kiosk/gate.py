"""PURE. The door's state and its one way in: `Gate.step(given, now)` gives the effects, to be done in order.

It composes judging, lane, contacts, orders, alerts, doorway, health and display; it decides who is judged when, what
may open, and what is recorded before the lines move. It reads no clock, file, line or socket. The daemon's core
thread calls it.

Laws: nothing is driven for a grant before its record has been asked for; a denial and its alarm are driven first and
recorded beside; an exit is never denied; while events cannot be stored, no entry is granted; a glimpse changes no
verdict, no record and no line, only what the screen says while it has nothing weightier to say. Each presentation is
recorded once; somebody who shows their code again and again after a grant, and is held for it, once for all of those.
From a fire until its reset the lane is free: nobody is judged, codes are recorded with left_before_verdict, and no
relay is asked for. An emergency stop, a lock-down, and an alarm that waits for staff, halt an entry and never an exit.
Each command is answered once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import time

from kiosk import ages, events, orders, risk, views
from kiosk.ages import Ages
from kiosk.alerts import Alerts
from kiosk.choreography import Lasting
from kiosk.clock import Now, S
from kiosk.contacts import Asked, Contacts
from kiosk.display import Display
from kiosk.doorway import Doorway
from kiosk.gate_settings import CityData, GateSettings
from kiosk.health import Health
from kiosk.judging import Around, Judged, Judging
from kiosk.lane import SENSORS, Lane, Told
from kiosk.messages import (
    AlertNews,
    Answer,
    Answered,
    Ask,
    Carry,
    Cause,
    Command,
    Decision,
    Direction,
    Effect,
    Elapsed,
    Event,
    Fire,
    Glimpse,
    Input,
    InputLine,
    LinkStatus,
    Order,
    Outcome,
    Record,
    Reset,
    Seen,
    Sensed,
    Show,
    StageHealth,
    TrialVisitor,
    View,
)
from kiosk.orders import Fact, Orders

UNACKNOWLEDGED = "somebody at risk is waiting; staff acknowledge by pressing their key"
HALTING = frozenset({Fact.LOCKED, Fact.STOP, Fact.ALARM})
"""What keeps an entry from judging anybody."""
KEEPING_SHUT = frozenset({Fact.STOP, Fact.ALARM, Fact.UNRECORDED})
"""What keeps an entry shut for staff's key and the city's orders as well. A lock-down does not: a guard with the key
must be able to let the fire brigade in, and it is recorded."""


class Gate:
    """One access point.

    Args:
        settings: the site's choices.
        city: what it starts with.
    """

    def __init__(self, settings: GateSettings, city: CityData) -> None:
        self._direction = settings.direction
        self._alarm_waits = settings.alarm_waits
        self._opens_without = settings.opens_without
        self._pass_within_ns = settings.pass_within_s * S
        self._reopens_ns = 0
        self._quiet = settings.quiet
        self._is_quiet_hour = False
        self._ages = Ages()
        self._health = Health()
        self._judging = Judging(settings, city)
        self._lane = Lane(settings.direction, settings.pass_within_s * S)
        self._contacts = Contacts()
        self._orders = Orders()
        self._alerts = Alerts(settings.escalate_after_s * S, settings.most_escalations)
        self._doorway = Doorway(settings)
        self._display = Display(settings)
        self._shown: View | None = None
        self._deadline_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When to step with `Elapsed` if nothing else comes first."""
        return self._deadline_ns

    def is_due(self, now: Now) -> bool:
        """Whether to step though nothing came: the deadline is over, or the wall clock has jumped."""
        over = self._deadline_ns is not None and now.monotonic_ns >= self._deadline_ns
        return over or self._ages.jump_ms(now) != 0

    def step(self, given: Input | CityData, now: Now) -> list[Effect]:
        """Take one input and say what is to be done."""
        effects: list[Effect] = []
        if self.is_due(now) or not isinstance(given, Glimpse):
            effects += self._begin(now)
            effects += self._take(given, now)
            effects += self._elapse(now)
            effects += self._judge_next(now)
            effects += self._keep_open(now)
            lasting = next(iter(self._lasting(now.monotonic_ns)), None)
            effects += self._doorway.signal(lasting, now.monotonic_ns, self._display.verdict_until_ns or 0)
        effects += self._refresh(Elapsed() if isinstance(given, CityData) else given, now)
        self._plan(now)
        return effects

    def _begin(self, now: Now) -> list[Effect]:
        local = now.utc.astimezone(risk.VIETNAM)
        self._lane.begin_day(local.date())
        self._orders.elapse(now.monotonic_ns)
        self._is_quiet_hour = now.utc_trusted and _is_within(self._quiet, local.time())
        self._doorway.muted = self._is_quiet_hour or self._orders.lasts(Order.MUTE)
        step_ms = self._ages.step(now)
        return [_beside(events.of_clock_step(step_ms, now))] if step_ms else []

    def _take(self, given: Input | CityData, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        match given:
            case Seen() | Answer() | CityData():
                self._judging.note(given, now.monotonic_ns)
            case StageHealth(stage=stage, fault=fault):
                effects += self._note_health({stage: fault}, now)
            case LinkStatus():
                self._ages.note_link(given, now)
            case AlertNews():
                self._alerts.note(given, now.monotonic_ns)
            case Sensed(line=line):
                effects += self._sense_passage(given, now) if line in SENSORS else self._obey(given, now)
            case Command():
                effects += self._command(given, now)
            case Answered():
                effects.append(_beside(events.of_answer(given, now)))
            case TrialVisitor():
                effects += self._try_out(given, now)
        return effects

    def _note_health(self, faults: Mapping[str, str], now: Now) -> list[Effect]:
        return [_beside(fault) for fault in self._health.note(faults, now)]

    # What is so.

    def _facts(self, now_ns: int) -> frozenset[Fact]:
        entry, alarm = self._direction is Direction.ENTRY, self._display.alarm is not None
        shown = self._display.verdict_until_ns is not None
        holds = {
            Fact.FIRE: self._contacts.free,
            Fact.EXIT: not entry,
            Fact.LOCKED: self._orders.lasts(Order.LOCK),
            Fact.STOP: entry and self._contacts.is_active(InputLine.EMERGENCY_STOP),
            Fact.ALARM: entry and alarm,
            Fact.UNRECORDED: entry and not self._health.storing and "outbox" not in self._opens_without,
            Fact.SERVING: alarm or shown or self._judging.asking or now_ns < self._doorway.busy_until_ns,
        }
        return frozenset(fact for fact, so in holds.items() if so)

    def _around(self, now_ns: int) -> Around:
        free = self._contacts.free
        halted = not free and not HALTING.isdisjoint(self._facts(now_ns))
        return Around(free=free, halted=halted, recordable=self._health.storing, online=self._ages.link.online)

    def _lasting(self, now_ns: int) -> list[Lasting]:
        facts = self._facts(now_ns)
        holds = {
            Lasting.FIRE: self._contacts.free,
            Lasting.ALARM: self._display.alarm is not None,
            Lasting.LOCKED: Fact.LOCKED in facts,
            Lasting.TAMPER: self._contacts.is_active(InputLine.TAMPER),
            Lasting.OUT_OF_ORDER: self._health.stopped or Fact.STOP in facts,
        }
        return [what for what in Lasting if holds[what]]

    # The lane and its contacts.

    def _sense_passage(self, sensed: Sensed, now: Now) -> list[Effect]:
        effects = self._note_health({sensed.line: sensed.trouble}, now)
        told = self._lane.sense(sensed, free=self._contacts.free)
        effects += self._tell(told, now)
        for each in told:
            awaited = self._lane.awaits(each.direction)
            effects += self._doorway.after_passage(each.direction, each.outcome, now.monotonic_ns, awaited=awaited)
        return effects

    def _tell(self, told: Iterable[Told], now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for each in told:
            if each.outcome is Outcome.NOT_TAKEN and each.subject:
                self._judging.void(each.subject)
            effects.append(_beside(events.of_passage(each, now)))
        return effects

    def _obey(self, sensed: Sensed, now: Now) -> list[Effect]:
        effects = [effect for each in self._contacts.sense(sensed) for effect in self._answer(each, now)]
        return effects + self._note_health(self._contacts.faults(), now)

    def _elapse(self, now: Now) -> list[Effect]:
        """Do what contacts, lane, alerts and waiting openings ask for by now."""
        effects = [effect for each in self._contacts.elapse(now.monotonic_ns) for effect in self._answer(each, now)]
        effects += self._note_health(self._contacts.faults(), now)
        effects += self._tell(self._lane.elapse(now.monotonic_ns), now)
        effects += self._note_health(self._lane.faults(), now)
        effects += self._escalate(now)
        while cause := self._doorway.take_wanted(now.monotonic_ns):
            effects += self._open(cause, now)
        return effects

    def _escalate(self, now: Now) -> list[Effect]:
        overdue = self._alerts.elapse(now.monotonic_ns)
        if overdue:
            self._doorway.escalate(now.monotonic_ns)
        if not self._alerts.unanswered:
            self._doorway.calm()
        return [_beside(events.of_escalation(each, now)) for each in overdue]

    def _answer(self, asked: Asked, now: Now) -> list[Effect]:
        match asked:
            case Asked.FIRE:
                return self._release(now)
            case Asked.FIRE_OVER:
                return [Fire(on=False)]
            case Asked.RESET:
                self._doorway.reset(now.monotonic_ns)
                return [Reset()]
        return [] if self._contacts.free else self._answer_people(asked, now)

    def _answer_people(self, asked: Asked, now: Now) -> list[Effect]:
        if asked is Asked.STOP:
            self._orders.end(Order.UNLOCK)
            return [self._doorway.halt(now.monotonic_ns)]
        if asked is Asked.OVERRIDE and self._display.alarm:
            return self._acknowledge(now)
        self._doorway.want(Cause.STAFF_OVERRIDE if asked is Asked.OVERRIDE else Cause.REQUEST_TO_EXIT)
        return []

    def _release(self, now: Now) -> list[Effect]:
        self._orders.end(Order.UNLOCK)
        self._lane.release()
        self._doorway.release(now.monotonic_ns)
        self._display.clear()
        return [Fire(on=True)]

    def _acknowledge(self, now: Now) -> list[Effect]:
        self._display.alarm = None
        self._display.clear()
        drive = self._doorway.acknowledge(now.monotonic_ns)
        return [drive, *self._note_health({"alarm": ""}, now)]

    # What opens without a code.

    def _open(self, cause: Cause, now: Now) -> list[Effect]:
        direction = Direction.EXIT if cause is Cause.REQUEST_TO_EXIT else self._direction
        if direction is Direction.ENTRY and not KEEPING_SHUT.isdisjoint(self._facts(now.monotonic_ns)):
            return []
        first_record = cause is not Cause.REQUEST_TO_EXIT
        record = Record(events=(events.of_opening(direction, cause, now),), before_drive=first_record)
        self._lane.grant(direction, now)
        drive = self._doorway.open(direction, now.monotonic_ns)
        return [record, drive] if first_record else [drive, record]

    def _keep_open(self, now: Now) -> list[Effect]:
        """While it was ordered, or the site wants it of a door out of order: again, once the last is used or void."""
        now_ns, ordered = now.monotonic_ns, self._orders.lasts(Order.UNLOCK)
        if not (ordered or self._fails_safe) or self._is_taken:
            return []
        if now_ns < max(self._doorway.busy_until_ns, 0 if ordered else self._reopens_ns):
            return []
        if ordered:
            return self._open(Cause.COMMAND, now)
        self._reopens_ns = now_ns + self._pass_within_ns
        return self._open(Cause.OUT_OF_ORDER, now)

    @property
    def _is_taken(self) -> bool:
        """Somebody may go, or is asked about: no other opening before that is settled."""
        return self._lane.awaits(self._direction) or self._judging.asking

    @property
    def _fails_safe(self) -> bool:
        free = self._contacts.free or self._orders.lasts(Order.LOCK)
        return not free and self._health.lacks(self._opens_without)

    def _command(self, command: Command, now: Now) -> list[Effect]:
        order, now_ns = command.order, now.monotonic_ns
        why_not = orders.refusal(order, self._facts(now_ns))
        if not why_not and order not in orders.DONE:
            return [Carry(command=command)]
        effects: list[Effect] = [_beside(events.of_answer(orders.answer(command, why_not), now))]
        if why_not:
            return effects
        self._orders.begin(command, now_ns)
        self._doorway.muted = self._is_quiet_hour or self._orders.lasts(Order.MUTE)
        if order is Order.LOCK:
            effects.append(self._doorway.shut(self._direction, now_ns))
        if order is Order.TEST:
            effects.append(self._doorway.test(now_ns))
        return effects

    def _try_out(self, visitor: TrialVisitor, now: Now) -> list[Effect]:
        """Nobody, by a technician's word: what a grant shows, and the lane only where that was asked for."""
        facts, now_ns = self._facts(now.monotonic_ns), now.monotonic_ns
        why_not = orders.refusal(Order.TEST, facts) or (visitor.opens and orders.refusal(Order.UNLOCK, facts)) or ""
        visit = events.of_trial_visit(visitor, why_not, self._direction, now)
        if not visit.shown:
            return [_beside(visit)]
        self._display.show(views.of_trial_visit(self._judging.city.rules, self._direction), now_ns)
        driven = self._open(Cause.TRIAL, now) if visit.opened else [self._doorway.greet(now_ns)]
        return [_beside(visit), *driven]

    # Who is judged.

    def _judge_next(self, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for judged in self._judging.left(now, self._around(now.monotonic_ns)):
            effects += self._act_on(judged, now)
        while now.monotonic_ns >= self._doorway.busy_until_ns:
            found = self._judging.next(now, self._around(now.monotonic_ns))
            if found is None:
                break
            effects += [found] if isinstance(found, Ask) else self._act_on(found, now)
        return effects

    def _act_on(self, judged: Judged, now: Now) -> list[Effect]:
        self._lane.present()
        verdict, now_ns = judged.verdict, now.monotonic_ns
        granted = verdict.decision is Decision.GRANTED
        first_record = granted and not verdict.alarm and not judged.left
        record = Record(events=events.of_verdict(verdict, judged.read, now), before_drive=first_record)
        records: list[Effect] = [] if judged.told else [record]
        if self._contacts.free or (judged.left and not verdict.alarm):
            return records  # nobody is there to see or pass, or everybody may
        if granted:
            self._lane.grant(verdict.direction, now, judged.subject)
        drive = self._doorway.serve(verdict, now_ns, granted=granted)
        view = views.of_verdict(self._judging.city.rules, verdict, judged.read)
        self._display.show(view, now_ns)
        if verdict.alarm and self._alarm_waits:
            self._display.alarm = view
            return [drive, *records, *self._note_health({"alarm": UNACKNOWLEDGED}, now)]
        return [*records, drive] if first_record else [drive, *records]

    # What is shown, and when to look again.

    def _refresh(self, given: Input, now: Now) -> list[Effect]:
        now_ns, city = now.monotonic_ns, self._judging.city
        lasting, busy = self._lasting(now_ns), now_ns < self._doorway.busy_until_ns
        base = self._display.base(given, now_ns, city.rules, lasting, busy=busy, asking=self._judging.asking)
        view = replace(
            self._ages.put_on(base, city.listed_at, now),
            fault=self._health.text,
            today=self._lane.today,
            alert=self._alerts.least,
            muted=self._doorway.muted,
        )
        if view == self._shown:
            return []
        self._shown = view
        return [Show(view=view)]

    def _plan(self, now: Now) -> None:
        asked_ns, busy_ns = self._judging.deadline_ns, self._doorway.busy_until_ns
        wanted = (
            self._display.deadline_ns,
            self._lane.deadline_ns,
            self._contacts.deadline_ns,
            self._orders.deadline_ns,
            self._alerts.deadline_ns,
            self._doorway.deadline_ns(now.monotonic_ns, self._display.verdict_until_ns or 0),
            None if asked_ns is None else max(asked_ns, busy_ns),
            max(self._reopens_ns, busy_ns) if self._fails_safe and not self._is_taken else None,
            ages.next_minute_ns(self._judging.city.listed_at, now),
        )
        self._deadline_ns = min((at for at in wanted if at is not None), default=None)


def _is_within(hours: tuple[time, time] | None, now: time) -> bool:
    if hours is None:
        return False
    begins, ends = hours
    return begins <= now < ends if begins <= ends else not ends <= now < begins


def _beside(event: Event) -> Record:
    """A record that nothing waits for."""
    return Record(events=(event,), before_drive=False)
