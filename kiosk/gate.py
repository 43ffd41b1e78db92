"""PURE. The door's state and its one way in: `Gate.step(given, now)` gives the effects, to be done in order.

It composes sightings, credentials, risk, choreography and hints; it decides what is judged when, what is recorded
before the lines move, and what the screen says. It reads no clock, file, line or socket. The daemon's core thread
calls it.

Laws: nothing is driven for a grant before its record has been asked for; a denial and its alarm are driven first and
recorded beside; an exit is never denied; while events cannot be stored, no entry is granted; a glimpse changes no
verdict, no record and no line, only what the screen says while it has nothing weightier to say. Each presentation is
recorded once; somebody who shows their code again and again after a grant, and is held for it, once for all of those.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from kiosk import choreography, risk
from kiosk.clock import MS, Now, S
from kiosk.hints import Hints
from kiosk.look_ups import LookUps, names_only
from kiosk.messages import (
    Alert,
    Answer,
    Ask,
    CheckIn,
    Credential,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Event,
    Fault,
    Flag,
    Glimpse,
    Hint,
    Input,
    LinkStatus,
    Presentation,
    Reason,
    Record,
    Refusal,
    Screen,
    Seen,
    Show,
    StageHealth,
    Verdict,
    View,
    Wording,
)
from kiosk.risk import Circumstances, Freshness, LookUp, Rules
from kiosk.risk_list import RiskList
from kiosk.sightings import Sightings

SHOW_VERDICT_NS = 4 * S
"""Long enough to read two short lines at 2 m; a new verdict replaces it at once."""

STOPPING_STAGES = frozenset({"camera", "lines", "outbox"})
"""Without one of these the door cannot do its work and says so at large; without the uplink it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a site chooses. `repeat_window_s`: a person granted entry is not granted again for so long.

    `frame_size` is the camera's width and height in pixels. `freshness` is None where the site goes without the city's
    risk list. `look_up`: ask the city about people whose code only says who they are.
    """

    direction: Direction
    relay_pulse_ms: int
    absence_ms: int
    repeat_window_s: int
    frame_size: tuple[int, int]
    freshness: Freshness | None
    look_up: bool


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
        self._granted_ns: dict[str, int] = {}
        self._repeated: dict[str, tuple[Reason, ...]] = {}
        self._faults: dict[str, str] = {}
        self._link = LinkStatus(online=False, waiting=0)
        self._busy_until_ns = 0
        self._verdict_view: tuple[View, int] | None = None
        self._shown: View | None = None
        self._amber_due_ns: int | None = None
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
            case Glimpse() | Elapsed():
                pass
        if not isinstance(given, Glimpse) or self._due(now.monotonic_ns):
            effects += self._judge_next(now)
            effects += self._amber(now)
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

    def _judge_next(self, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for presentation in self._sightings.take_left(now.monotonic_ns):
            effects += self._judge(self._city.read(presentation.payload), now, left=True)
        if now.monotonic_ns < self._busy_until_ns:
            return effects
        if self._look_ups.pending:
            return effects + self._after_look_up(now)
        if next_one := self._sightings.take(now.monotonic_ns):
            effects += self._consider(next_one, now)
        return effects

    def _consider(self, presentation: Presentation, now: Now) -> list[Effect]:
        """Judge at once, or ask the city first: an exit opens without asking, and a flag needs no declaration."""
        read = self._city.read(presentation.payload)
        asking = self._settings.look_up and self._settings.direction is Direction.ENTRY
        if not asking or not names_only(read) or self._flag_of(read):
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
        around = replace(self._around(read, now), left=left, look_up=look_up)
        verdict = risk.verdict_for(read, rules=self._city.rules, around=around, now=now)
        first_record = verdict.decision is Decision.GRANTED and not verdict.alarm and not left
        records: list[Effect] = [Record(events=_events_of(verdict, read, now), before_drive=first_record)]
        if self._is_repeated(verdict, read):
            records = []
        if left and not verdict.alarm:
            return records  # nobody is there to see or pass
        if isinstance(read, Credential) and verdict.decision is Decision.GRANTED:
            self._granted_ns[read.subject] = now.monotonic_ns
        pulse_ms = self._settings.relay_pulse_ms
        self._busy_until_ns = now.monotonic_ns + choreography.busy_ms(verdict, pulse_ms) * MS
        self._verdict_view = (self._view_of(verdict, read), now.monotonic_ns + SHOW_VERDICT_NS)
        drive = Drive(actuation=choreography.actuation_for(verdict, pulse_ms))
        return [*records, drive] if first_record else [drive, *records]

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

    def _amber(self, now: Now) -> list[Effect]:
        """Blink amber while a stage is down and no verdict has the lights."""
        if not self._stopped():
            self._amber_due_ns = None
            return []
        due_ns = self._amber_due_ns or 0
        if now.monotonic_ns < max(due_ns, self._busy_until_ns):
            return []
        self._amber_due_ns = now.monotonic_ns + choreography.OUT_OF_ORDER_EVERY_NS
        return [Drive(actuation=choreography.out_of_order())]

    def _refresh(self, given: Input, now_ns: int) -> list[Effect]:
        if self._verdict_view and now_ns >= self._verdict_view[1]:
            self._verdict_view = None
        hint = self._hints.step(given, now_ns)
        if self._verdict_view or self._stopped() or now_ns < self._busy_until_ns:
            self._hints.clear()
            hint = None
        if self._look_ups.pending and not self._stopped():
            hint = Hint.READING  # the city is being asked
        fault = " · ".join(f"{stage}: {text}" for stage, text in sorted(self._faults.items()))
        base = self._verdict_view[0] if self._verdict_view else self._idle_view(hint)
        view = replace(base, online=self._link.online, waiting=self._link.waiting, fault=fault)
        if view == self._shown:
            return []
        self._shown = view
        return [Show(view=view)]

    def _plan(self, now_ns: int) -> None:
        shown_until = self._verdict_view[1] if self._verdict_view else None
        wanted = [shown_until, self._hints.deadline_ns]
        when_free = (self._amber_due_ns, self._look_ups.deadline_ns)
        wanted += [max(at, self._busy_until_ns) for at in when_free if at is not None]
        if self._busy_until_ns > now_ns:
            wanted.append(self._busy_until_ns)
        self._deadline_ns = min((at for at in wanted if at is not None), default=None)

    def _due(self, now_ns: int) -> bool:
        return self._deadline_ns is not None and now_ns >= self._deadline_ns

    def _stopped(self) -> bool:
        return not STOPPING_STAGES.isdisjoint(self._faults)

    def _idle_view(self, hint: Hint | None) -> View:
        if hint and (wording := self._city.rules.hints.get(hint)):
            return replace(self._view(Screen.READING, wording), hint=hint)
        return self._view(Screen.OUT_OF_ORDER if self._stopped() else Screen.ATTRACT)

    def _view_of(self, verdict: Verdict, read: Credential | Refusal) -> View:
        screen = Screen.AT_RISK if verdict.alarm else Screen(verdict.decision.value)
        if verdict.direction is Direction.EXIT:
            wording = self._city.rules.exits[screen]
        else:
            wording = self._city.rules.reasons[verdict.reasons[0]].wording
        # Nobody's initials stand beside a word about their health.
        initials = read.initials if isinstance(read, Credential) and not verdict.alarm else ""
        return self._view(screen, wording, initials)

    def _view(self, screen: Screen, wording: Wording | None = None, initials: str = "") -> View:
        said = wording or self._city.rules.screens[screen]
        return View(screen=screen, wording=said, direction=self._settings.direction, initials=initials)


def _age_s(made_at: datetime, now: Now) -> int:
    return max(0, int((now.utc - made_at).total_seconds()))


def _events_of(verdict: Verdict, read: Credential | Refusal, now: Now) -> tuple[Event, ...]:
    subject, sealed = (read.subject, read.sealed) if isinstance(read, Credential) else (None, "")
    check_in = CheckIn(
        at=now.utc,
        utc_trusted=now.utc_trusted,
        direction=verdict.direction,
        decision=verdict.decision,
        reasons=verdict.reasons,
        scheme=read.scheme,
        subject=subject,
        data_age_s=verdict.data_age_s,
        city_age_s=verdict.city_age_s,
        sealed=sealed,
    )
    if not verdict.alarm:
        return (check_in,)
    alert = Alert(
        at=now.utc,
        utc_trusted=now.utc_trusted,
        direction=verdict.direction,
        reasons=tuple(reason for reason in verdict.reasons if reason.startswith("at_risk.")),
        scheme=read.scheme,
        subject=subject,
        sealed=sealed,
    )
    return (alert, check_in)
