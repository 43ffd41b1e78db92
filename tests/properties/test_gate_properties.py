from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kiosk import choreography
from kiosk.alerts import UNANSWERED
from kiosk.choreography import actuation_for, halt, quiet, shut, signal, without_sound
from kiosk.clock import MS, Now, S
from kiosk.gate import Gate
from kiosk.gate_settings import CityData
from kiosk.lane import SENSORS, STUCK_NS
from kiosk.look_ups import WAIT_NS
from kiosk.messages import (
    RELAYS,
    Alert,
    AlertNews,
    AlertState,
    Answer,
    Ask,
    Carry,
    Cause,
    CheckIn,
    ClockStep,
    Command,
    CommandAnswer,
    Credential,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Escalation,
    Fire,
    Flag,
    Glimpse,
    Input,
    InputLine,
    LinkStatus,
    Opening,
    Order,
    Outcome,
    Passage,
    Reason,
    Record,
    Refusal,
    Reset,
    Scheme,
    Screen,
    Seen,
    Sensed,
    Show,
    StageHealth,
    View,
)
from kiosk.orders import LASTING
from kiosk.risk import Freshness
from kiosk.testing.clock import ManualClock
from tests.builders import (
    COUGHING,
    FOREIGN,
    START,
    card,
    city,
    declaration,
    declared,
    risk_list,
    sighting,
    site,
    verdict,
)

ABSENCE_MS = 1500
WINDOW_S = 5
HOUR = 3600
DATA = Freshness(fresh_s=HOUR, limit_s=24 * HOUR)
EXPIRED = declaration(issued_at=START - timedelta(days=2))
CODES: dict[bytes, Credential | Refusal] = {
    b"an": declared(subject="a1"),
    b"binh": declared(subject="b2"),
    b"cougher": declared(COUGHING, subject="c3"),
    b"contact": declared(declaration(contact=True), subject="d4"),
    b"expired": declared(EXPIRED, subject="e5"),
    b"card": card(subject="f6"),
    b"other card": card(subject="f7"),
    b"forged": Refusal(reason=Reason.SIGNATURE_INVALID, detail="signature", scheme=Scheme.DECLARATION),
    b"foreign": FOREIGN,
}
ANSWERS: dict[bytes, Credential | Refusal] = {
    b"": FOREIGN,
    b"forged": CODES[b"forged"],
    b"declared": declared(subject="f6"),
    b"declared by another number": declared(subject="99"),
    b"coughing": declared(COUGHING, subject="f6"),
}
CARDS = {b"card", b"other card"}
SOUNDING = frozenset(
    {
        *map(signal, (*choreography.FIRE.values(), *choreography.LASTING.values())),
        *map(signal, (choreography.ESCALATED, choreography.TAILGATING, choreography.TEST)),
        *(halt(alarm=siren) for siren in (False, True)),
        *(shut(way, alarm=siren) for way in Direction for siren in (False, True)),
        quiet(),
    }
)
UNASKED = SOUNDING | frozenset(map(without_sound, SOUNDING))
"""What is driven without a verdict or an opening."""
SIREN = signal(choreography.ALARM)
HELD_LIGHTS = actuation_for(verdict(Decision.HELD, Reason.ALREADY_PRESENTED), 500)
HELD = (Drive(actuation=HELD_LIGHTS), Drive(actuation=without_sound(HELD_LIGHTS)))
GOOD = Glimpse(
    captured_ns=0,
    quad=((500, 300), (696, 300), (696, 496), (500, 496)),
    module_px=4.0,
    dark=40,
    light=180,
    clipped=0.0,
    edge_px=1.8,
    banding=0.02,
    tilt=8.0,
)
GLIMPSES = (GOOD, replace(GOOD, module_px=1.5), replace(GOOD, tilt=70.0), replace(GOOD, light=60), GOOD)
AT_RISK = {b"cougher", b"contact"}
Person = tuple[Scheme | None, str | None]


def _person(read: Credential | Refusal) -> Person:
    return (read.scheme, read.subject if isinstance(read, Credential) else None)


CODE_OF = {_person(read): code for code, read in CODES.items()}
"""Scheme and subject of a check-in tell its code: the table above has each pair once."""


def _code_of(event: CheckIn | Alert) -> bytes:
    """Only `card` is ever answered for; it may take another subject."""
    return CODE_OF.get((event.scheme, event.subject), b"card")


def _at_risk(event: CheckIn | Alert) -> bool:
    return any(reason.startswith("at_risk.") for reason in event.reasons)


def _verdicts(effects: list[Effect]) -> list[Drive]:
    """What is driven for a verdict: nothing that lasts, no stop, no opening; a siren only with its alert."""
    drives = []
    for effect, after in zip(effects, [*effects[1:], None], strict=False):
        if not isinstance(effect, Drive):
            continue
        alerted = isinstance(after, Record) and isinstance(after.events[0], Alert)
        asked = effect.actuation not in UNASKED or (alerted and effect.actuation == SIREN)
        if asked and effect.actuation.changes[0].on:
            drives.append(effect)
    return drives


class Door(RuleBasedStateMachine):
    """A gate under any order of inputs, checked after each step and at the end of the day."""

    @initialize(
        direction=st.sampled_from([Direction.ENTRY, Direction.ENTRY, Direction.EXIT]),
        utc_trusted=st.booleans(),
        freshness=st.sampled_from([None, DATA]),
        look_up=st.sampled_from([True, True, True, False]),
        window_s=st.sampled_from([0, WINDOW_S]),
        alarm_waits=st.booleans(),
        hold=st.sampled_from([frozenset[Direction](), frozenset(Direction)]),
    )
    def open_the_door(
        self,
        direction: Direction,
        utc_trusted: bool,  # noqa: FBT001 - a drawn value
        freshness: Freshness | None,
        look_up: bool,  # noqa: FBT001 - a drawn value
        window_s: int,
        alarm_waits: bool,  # noqa: FBT001 - a drawn value
        hold: frozenset[Direction],
    ) -> None:
        """Start with nothing seen."""
        lane = site(
            direction,
            absence_ms=ABSENCE_MS,
            repeat_window_s=window_s,
            freshness=freshness,
            look_up=look_up,
            alarm_waits=alarm_waits,
            hold=hold,
            escalate_after_s=10,
            relay_ms={way: 5000 if way in hold else 500 for way in Direction},
        )
        self.lane = lane
        self.direction = direction
        self.online = False
        self.flagged: set[str] = set()
        self.asked_ns = 0
        self.granted_ns: dict[str | None, int] = {}
        self.repeated: dict[str | None, tuple[Reason, ...]] = {}
        start = city({**CODES, **ANSWERS}, risk_list=risk_list({}))
        self.gate = Gate(lane, start)
        self.blind = Gate(lane, start)
        self.done: list[tuple[Now, Effect]] = []
        self.done_blind: list[tuple[Now, Effect]] = []
        self.clock = ManualClock(START, utc_trusted=utc_trusted)
        self.storing = True
        self.commands = 0
        self.shut_until_ns = self.open_until_ns = 0
        self.alerts: dict[int, AlertState] = {}
        self.escalated: Counter[int] = Counter()
        self.last_seen_ns: dict[bytes, int] = {}
        self.contacts: dict[InputLine, tuple[bool, int]] = {}
        self.free = False
        self.fire_ended_ns = 0
        self.awaited = False
        self.passages: Counter[bool] = Counter()
        self.told_of = 0
        self.pressed = False
        self.passing: dict[InputLine, bool] = {}
        self.shown: Counter[bytes] = Counter()
        self.checked_in: Counter[bytes] = Counter()
        self._both(Elapsed())

    @rule(codes=st.lists(st.sampled_from(sorted(CODES)), max_size=3))
    def show(self, codes: list[bytes]) -> None:
        """A frame with some codes; a code out of view for longer than the absence is shown anew."""
        now_ns = self.clock.now().monotonic_ns
        for code in set(codes):
            last_ns = self.last_seen_ns.get(code)
            self.shown[code] += last_ns is None or now_ns - last_ns > ABSENCE_MS * MS
            self.last_seen_ns[code] = now_ns
        self._both(Seen(sightings=tuple(sighting(code, now_ns // MS) for code in codes)))

    @rule(glimpse=st.sampled_from(GLIMPSES), count=st.sampled_from([1, 5, 20, 60]))
    def glimpse(self, glimpse: Glimpse, count: int) -> None:
        """A code that cannot be read, for some frames; a gate that gets no glimpses does the same at the same time."""
        for _ in range(count):
            self.wait(33)
            self._step(replace(glimpse, captured_ns=self.clock.now().monotonic_ns))

    @rule(ms=st.sampled_from([300, 950, 4000]))
    def glimpse_late(self, ms: int) -> None:
        """A glimpse is what wakes a busy machine that has let a deadline pass."""
        self.clock.advance_ms(ms)
        now_ns = self.clock.now().monotonic_ns
        due = self.blind.deadline_ns is not None and self.blind.deadline_ns <= now_ns
        self._step(replace(GOOD, captured_ns=now_ns))
        if due:
            self._step_blind(Elapsed())

    @rule(stage=st.sampled_from(["camera", "lines", "outbox", "uplink"]), fault=st.sampled_from(["", "", "broken"]))
    def report(self, stage: str, fault: str) -> None:
        """A stage fails or works again."""
        if stage == "outbox":
            self.storing = not fault
        self._both(StageHealth(stage=stage, fault=fault))

    @rule(online=st.booleans(), waiting=st.integers(0, 2))
    def link(self, online: bool, waiting: int) -> None:  # noqa: FBT001 - a drawn value
        """The uplink comes and goes."""
        self.online = online
        self._both(LinkStatus(online=online, waiting=waiting))

    @rule(ms=st.sampled_from([100, 800, 4000]), flags=st.sampled_from([set[str](), {"f6"}, {"99"}]))
    def show_a_card(self, ms: int, flags: set[str]) -> None:
        """Somebody holds up a card, perhaps flagged, and the door has time for them."""
        self.link(online=True, waiting=0)
        self.city_sends(flags=flags, age_s=0, trusting=True)
        self.wait(4000)
        self.show([b"card"])
        self.wait(ms)

    @rule(payload=st.sampled_from(sorted(ANSWERS)))
    def answer(self, payload: bytes) -> None:
        """The city answers about the card, asked or not, in time or late."""
        self._both(Answer(asked="f6" * 16, payload=payload))

    @rule(
        flags=st.sets(st.sampled_from(["a1", "f6", "99"])),
        age_s=st.sampled_from([None, 0, 2 * HOUR, 48 * HOUR]),
        trusting=st.sampled_from([True, True, True, False]),
    )
    def city_sends(self, flags: set[str], age_s: int | None, trusting: bool) -> None:  # noqa: FBT001 - a drawn value
        """Another list, or none any more; trust comes and goes."""
        made_at = None if age_s is None else self.clock.now().utc - timedelta(seconds=age_s)
        listed = made_at and risk_list(dict.fromkeys(flags, Flag.F1), made_at=made_at)
        self.flagged = {flag * 16 for flag in flags} if listed else set()
        self._both(city({**CODES, **ANSWERS}, risk_list=listed, trusting=trusting))

    @rule(line=st.sampled_from(InputLine), active=st.booleans(), troubled=st.sampled_from([False, False, False, True]))
    def sense(self, line: InputLine, active: bool, troubled: bool) -> None:  # noqa: FBT001 - drawn values
        """A contact is worked, rests, or cannot be believed."""
        safe = line not in {*SENSORS, InputLine.STAFF_OVERRIDE}
        self._sense(line, active=safe if troubled else active, trouble="chatters" if troubled else "")

    @rule(line=st.sampled_from([*SENSORS, *SENSORS, *InputLine]), ms=st.sampled_from([100, 3000, 31_000]))
    def work(self, line: InputLine, ms: int) -> None:
        """A contact is worked for a while."""
        self._sense(line, active=False)
        self._sense(line, active=True)
        self.wait(ms)
        self._sense(line, active=False)

    @rule(order=st.sampled_from([*Order, *LASTING]), seconds=st.sampled_from([1, 10, 300]))
    def command(self, order: Order, seconds: int) -> None:
        """The city orders something, and gets one answer."""
        self.commands += 1
        before, until_ns = len(self.done), self.clock.now().monotonic_ns + seconds * S
        self.open_until_ns = until_ns if order is Order.UNLOCK else self.open_until_ns
        self.shut_until_ns = 0 if order is Order.RELEASE and not self.free else self.shut_until_ns
        self._both(Command(number=self.commands, order=order, seconds=seconds))
        told = [effect for _, effect in self.done[before:]]
        recorded = [event for effect in told if isinstance(effect, Record) for event in effect.events]
        answers = [event for event in recorded if isinstance(event, CommandAnswer)]
        assert len(answers) + sum(isinstance(effect, Carry) for effect in told) == 1
        done = [event.order for event in answers if event.done]
        assert not self.free or not done
        assert self.direction is Direction.ENTRY or Order.LOCK not in done
        self.shut_until_ns = until_ns if Order.LOCK in done else self.shut_until_ns

    @rule(sequence=st.integers(1, 3), state=st.sampled_from(AlertState))
    def alert_news(self, sequence: int, state: AlertState) -> None:
        """An alert comes further, in any order."""
        self.alerts[sequence] = max(self.alerts.get(sequence, state), state, key=list(AlertState).index)
        self._both(AlertNews(ledger="ledger", sequence=sequence, state=state))

    @rule(seconds=st.sampled_from([-60, -2, 2, 60]))
    def set_clock(self, seconds: int) -> None:
        """Somebody sets the wall clock, which is told once and changes no deadline but those of ages."""
        self.clock.step_utc(timedelta(seconds=seconds))
        before = len(self.done)
        self._both(Elapsed())
        told = [event for _, effect in self.done[before:] if isinstance(effect, Record) for event in effect.events]
        steps = [event.step_ms for event in told if isinstance(event, ClockStep)]
        assert steps in ([seconds * 1000], [seconds * 1000 - 1])

    @rule(ms=st.sampled_from([1, 33, 300, 949, 950, 1000, 1500, 1501, 4000, 11_000]))
    def wait(self, ms: int) -> None:
        """Time passes, and the gate is called at each deadline on the way, as the daemon does."""
        until_ns = self.clock.now().monotonic_ns + ms * MS
        while (next_ns := min(self._deadlines(), default=until_ns + 1)) <= until_ns:
            self.clock.advance(next_ns - self.clock.now().monotonic_ns)
            if self.gate.deadline_ns == next_ns:
                self._step(Elapsed())
            if self.blind.deadline_ns == next_ns:
                self._step_blind(Elapsed())
        self.clock.advance(until_ns - self.clock.now().monotonic_ns)

    @rule(ms=st.sampled_from([1, 500, 2000, 9000]))
    def oversleep(self, ms: int) -> None:
        """A busy machine lets deadlines pass."""
        self.clock.advance_ms(ms)
        self._both(Elapsed())

    @invariant()
    def glimpses_change_no_verdict_no_record_and_no_line(self) -> None:
        """Both gates have recorded and driven the same, at the same times."""
        if hasattr(self, "gate"):
            assert self.done == self.done_blind

    def teardown(self) -> None:
        """By the end each showing of a code has one check-in: none lost, none doubled, but repetitions told before."""
        if not hasattr(self, "gate"):
            return
        for line in (*InputLine, *InputLine):
            self._sense(line, active=False)
        self.command(Order.RELEASE, 0)
        self.work(InputLine.STAFF_OVERRIDE, 3000)
        for _ in range(len(CODES)):
            self.wait(4000)
            self.work(InputLine.STAFF_OVERRIDE, 100)
        self.command(Order.RELEASE, 0)
        self.wait(4000)
        assert not self.free
        assert not self.awaited
        silent = self.shown - self.checked_in
        assert self.checked_in - self.shown == Counter()
        assert set(silent) <= ({b"an", b"binh", *CARDS} if self.may_repeat else set())

    def _deadlines(self) -> list[int]:
        return [gate.deadline_ns for gate in (self.gate, self.blind) if gate.deadline_ns is not None]

    @property
    def may_repeat(self) -> bool:
        """Whether this lane may be silent about somebody who tries again."""
        return self.lane.repeat_window_s > 0 and self.direction is Direction.ENTRY

    def _sense(self, line: InputLine, *, active: bool, trouble: str = "") -> None:
        """What the lane and the fire should make of it, in few words, and the step."""
        now_ns = self.clock.now().monotonic_ns
        was, since_ns = self.contacts.get(line, (None, 0))
        if line in SENSORS:
            self._expect_passage(line, active, trouble, since_ns)
        if was is not active:
            self.contacts[line] = (active, now_ns)
        if trouble and line in SENSORS:
            self.contacts.pop(line, None)
        pressed = line is InputLine.STAFF_OVERRIDE and active and was is False
        self.pressed = pressed and not self.free
        if line is InputLine.FIRE and was and not active:
            self.fire_ended_ns = now_ns
        self._both(Sensed(line=line, active=active, at_ns=now_ns, trouble=trouble))
        if line is InputLine.FIRE and active:
            assert self.free

    def _expect_passage(self, line: InputLine, active: bool, trouble: str, since_ns: int) -> None:  # noqa: FBT001
        """A passage is from work to rest, under 30 s, of a sensor that was at rest before and is believed."""
        now_ns = self.clock.now().monotonic_ns
        was = self.contacts.get(line, (None, 0))[0]
        if active and was is False and not trouble:
            self.passing[line] = self.free
        elif not active and line in self.passing:
            free = self.passing.pop(line)
            if not trouble and now_ns - since_ns < STUCK_NS:
                self.passages[free] += 1
        if trouble:
            self.passing.pop(line, None)

    def _both(self, given: Input | CityData) -> None:
        self._step(given)
        self._step_blind(given)

    def _step_blind(self, given: Input | CityData) -> None:
        now = self.clock.now()
        effects = self.blind.step(given, now)
        self.done_blind += [(now, effect) for effect in effects if not isinstance(effect, Show)]

    def _step(self, given: Input | CityData) -> None:
        now = self.clock.now()
        effects = self.gate.step(given, now)
        self.done += [(now, effect) for effect in effects if not isinstance(effect, Show)]
        records = [effect for effect in effects if isinstance(effect, Record)]
        check_ins = [event for record in records for event in record.events if isinstance(event, CheckIn)]
        self.checked_in.update(map(_code_of, check_ins))
        for record in records:
            self._look_at_record(record, now)
        for place, effect in enumerate(effects):
            if isinstance(effect, Drive):
                self._look_at_drive(effect, effects[:place], check_ins)
            if isinstance(effect, Show):
                self._look_at_view(effect.view)
        self._look_at_contacts(effects, now.monotonic_ns)
        self._look_at_decisions(check_ins, effects)
        self._look_at_questions(effects, now.monotonic_ns)
        self._look_at_repetitions(check_ins, effects, now.monotonic_ns)
        assert self.gate.deadline_ns is None or self.gate.deadline_ns > now.monotonic_ns

    def _look_at_record(self, record: Record, now: Now) -> None:
        """A record is one fault, or one check-in with its alert before it where the person is at risk."""
        assert {(event.at, event.utc_trusted) for event in record.events} == {(now.utc, now.utc_trusted)}
        self._look_at_orders(record, now.monotonic_ns)
        people = [event for event in record.events if isinstance(event, CheckIn | Alert)]
        if not people:
            assert len(record.events) == 1
            (event,) = record.events
            self.told_of += isinstance(event, Passage) and event.outcome is not Outcome.NOT_TAKEN
            return
        *alerts, check_in = people
        assert isinstance(check_in, CheckIn)
        assert _at_risk(check_in) or _code_of(check_in) not in AT_RISK
        assert _at_risk(check_in) or check_in.subject not in self.flagged
        assert [type(event) for event in record.events] == [*([Alert] if _at_risk(check_in) else []), CheckIn]
        assert [(alert.scheme, alert.subject) for alert in alerts] == [(check_in.scheme, check_in.subject)] * len(
            alerts
        )

    def _look_at_orders(self, record: Record, now_ns: int) -> None:
        """A locked entry grants nobody; the city opens only while its order lasts; escalations are few and deserved."""
        for event in record.events:
            if isinstance(event, CheckIn) and event.decision is Decision.GRANTED:
                assert self.direction is Direction.EXIT or now_ns >= self.shut_until_ns
            if isinstance(event, Opening) and event.cause is Cause.COMMAND:
                assert now_ns < self.open_until_ns
                assert not self.free
            if isinstance(event, Escalation):
                self.escalated[event.alert_sequence] += 1
                state = self.alerts[event.alert_sequence]
                assert event.delivered is (state is AlertState.DELIVERED)
                assert state in UNANSWERED
                assert self.escalated[event.alert_sequence] == event.count <= 3

    def _look_at_drive(self, drive: Drive, before: list[Effect], check_ins: list[CheckIn]) -> None:
        """Lines end at rest; a relay moves for the grant only; a grant has been recorded and may be given."""
        changes, grant = drive.actuation.changes, drive.actuation.grant
        assert not any({change.line: change.on for change in changes}.values())
        relays = {change.line for change in changes if change.on} & set(RELAYS.values())
        assert relays == ({RELAYS[grant]} if grant else set())
        if grant is None:
            return
        assert not self.free
        assert self.storing or grant is Direction.EXIT
        if drive.actuation.changes[0].on is False:
            return  # an opening
        assert grant is self.direction
        recorded = [event for effect in before if isinstance(effect, Record) for event in effect.events]
        granted = [event for event in recorded if isinstance(event, CheckIn) and event.decision is Decision.GRANTED]
        alarmed = [event for event in check_ins if _at_risk(event)]
        assert granted or (grant is Direction.EXIT and alarmed)

    def _look_at_contacts(self, effects: list[Effect], now_ns: int) -> None:
        """A fire ends by a reset only, and that is staff's; an alarm by a press only; no way out waits for long."""
        for effect in effects:
            if effect == Fire(on=True):
                self.free = True
                self.passing = dict.fromkeys(self.passing, True)
            if isinstance(effect, Reset):
                worked, since_ns = self.contacts[InputLine.STAFF_OVERRIDE]
                assert self.free
                assert not self.contacts[InputLine.FIRE][0]
                assert (worked, now_ns - max(since_ns, self.fire_ended_ns) >= 3 * S) == (True, True)
                self.free = False
        raised = any(set(SIREN.changes) <= set(drive.actuation.changes) for drive in _verdicts(effects))
        if self.pressed and not raised:
            self.awaited = False
        self.awaited = (self.awaited or raised) and self.lane.alarm_waits
        self.pressed = False
        assert (self.gate._display.alarm is not None) == self.awaited
        if Cause.REQUEST_TO_EXIT in self.gate._doorway._wanted:
            assert self.gate.deadline_ns is not None
            assert self.gate.deadline_ns <= now_ns + (self.lane.relay_ms[Direction.EXIT] + 450) * MS
        today = self.gate._lane.today
        assert today is None or today.passages == self.passages.total()
        assert self.told_of == self.passages[False]

    def _look_at_view(self, view: View) -> None:
        """Nobody's initials stand on an idle screen, nor beside a word about their health."""
        assert view.initials == "" or view.screen in {Screen.GRANTED, Screen.HELD, Screen.DENIED}
        assert view.direction is self.direction
        assert (view.hint is not None) == (view.screen is Screen.READING)
        least = min(self.alerts.values(), key=list(AlertState).index, default=None)
        assert view.alert is least or least not in UNANSWERED
        assert view.screen is not Screen.LOCKED or self.direction is Direction.ENTRY
        assert view.screen is not Screen.READING or not {"camera:", "lines:", "outbox:"} & set(view.fault.split())

    def _look_at_decisions(self, check_ins: list[CheckIn], effects: list[Effect]) -> None:
        """An exit grants everybody, and whoever is granted and still there passes; nobody at risk enters."""
        openings = sum(isinstance(event, Opening) for e in effects if isinstance(e, Record) for event in e.events)
        grants = sum(isinstance(effect, Drive) and effect.actuation.grant is not None for effect in effects) - openings
        there = [event for event in check_ins if Reason.LEFT_BEFORE_VERDICT not in event.reasons]
        passing = [event for event in there if event.decision is Decision.GRANTED]
        left_alarmed = [event for event in check_ins if event not in there and _at_risk(event) and not self.free]
        if self.direction is Direction.EXIT:
            assert passing == there
            assert grants == len(passing) + len(left_alarmed)
            assert all(event.decision is Decision.GRANTED for event in check_ins)
        else:
            assert grants == len(passing)
            assert {_code_of(event) for event in passing} <= {b"an", b"binh", b"card"}
            assert not any(_at_risk(event) for event in passing)

    def _look_at_questions(self, effects: list[Effect], now_ns: int) -> None:
        """The city is asked only where it may be, about a card; until its verdict nothing moves, and that is soon."""
        asked = [effect.subject for effect in effects if isinstance(effect, Ask)]
        if asked:
            assert self.lane.look_up
            assert self.online
            assert self.direction is Direction.ENTRY
            assert len(asked) == 1
            assert asked[0] in {"f6" * 16, "f7" * 16} - self.flagged
            assert _verdicts(effects) == []
            self.asked_ns = now_ns
        if self.gate._judging.asking:
            until_ns = max(self.asked_ns + WAIT_NS, self.gate._doorway.busy_until_ns)
            assert now_ns < until_ns
            assert self.gate.deadline_ns is not None
            assert self.gate.deadline_ns <= until_ns

    def _look_at_repetitions(self, check_ins: list[CheckIn], effects: list[Effect], now_ns: int) -> None:
        """Every verdict that drives is recorded, but a held repetition that says what was said since the grant."""
        drives = _verdicts(effects)
        windows = [at for at in self.granted_ns.values() if now_ns - at < self.lane.repeat_window_s * S]
        seen = [event for event in check_ins if Reason.LEFT_BEFORE_VERDICT not in event.reasons or _at_risk(event)]
        if len(drives) > len(seen) and not self.free:
            assert self.may_repeat
            assert drives[-1] in HELD
            assert windows
        for event in check_ins:
            if event.decision is Decision.GRANTED:
                self.granted_ns[event.subject] = now_ns
                self.repeated.pop(event.subject, None)
            elif Reason.ALREADY_PRESENTED in event.reasons and not _at_risk(event):
                assert self.repeated.get(event.subject) != event.reasons
                self.repeated[event.subject] = event.reasons


Door.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_a_gate_under_any_order_of_inputs = Door.TestCase
