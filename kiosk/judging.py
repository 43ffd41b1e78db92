"""PURE. Whose turn it is, and what is judged of them: sightings, look-ups, and the rules with what the door remembers.

One code at a time is taken, and judged at once or after the city was asked about it. The door remembers who was granted
within the repeat window and what was told of them since. It moves and records nothing; the gate says when there is time
for somebody, and what becomes of a verdict.
"""

from dataclasses import dataclass, replace

from kiosk import risk
from kiosk.ages import age_s
from kiosk.clock import MS, Now, S
from kiosk.gate_settings import CityData, GateSettings
from kiosk.look_ups import LookUps, names_only
from kiosk.messages import Answer, Ask, Credential, Decision, Direction, Flag, Reason, Refusal, Seen, Verdict
from kiosk.risk import Circumstances, LookUp
from kiosk.sightings import Sightings


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One presentation. `left`: nobody is there to see it or to pass. `told`: it has been recorded since the grant."""

    read: Credential | Refusal
    verdict: Verdict
    left: bool
    told: bool

    @property
    def subject(self) -> str | None:
        """Who it is, where the code says so."""
        return self.read.subject if isinstance(self.read, Credential) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """How the door is: `free` lets everybody go, `halted` nobody in; can events be stored, can the city be asked."""

    free: bool
    halted: bool
    recordable: bool
    online: bool


class Judging:
    """One door's codes in view, the person it asks about, and its memory of those it has judged lately."""

    def __init__(self, settings: GateSettings, city: CityData) -> None:
        self.city = city
        self._settings = settings
        self._sightings = Sightings(settings.absence_ms * MS)
        self._look_ups = LookUps()
        self._granted_ns: dict[str, int] = {}
        self._repeated: dict[str, tuple[Reason, ...]] = {}

    @property
    def asking(self) -> bool:
        """Whether somebody waits at the door for the city's answer."""
        return self._look_ups.pending

    @property
    def deadline_ns(self) -> int | None:
        """When to stop waiting for it."""
        return self._look_ups.deadline_ns

    def note(self, given: Seen | Answer | CityData, now_ns: int) -> None:
        """Take the codes read in one frame, the city's answer, or what it has sent to all."""
        match given:
            case Seen(sightings=sightings):
                self._sightings.see(sightings)
            case Answer():
                self._look_ups.note(given, now_ns)
            case CityData():
                self.city = given

    def void(self, subject: str) -> None:
        """Somebody who was let through did not go, and may come back."""
        self._granted_ns.pop(subject, None)

    def left(self, now: Now, around: Around) -> list[Judged]:
        """Judge those who have left before the door had time for them."""
        gone = self._sightings.take_left(now.monotonic_ns)
        return [self._judge(self.city.read(each.payload), now, around, left=True) for each in gone]

    def next(self, now: Now, around: Around) -> Judged | Ask | None:
        """Judge who is next, or ask the city about them first: an exit opens without, and a flag needs no answer."""
        if self._look_ups.pending:
            return self._after_look_up(now, around)
        presentation = None if around.halted else self._sightings.take(now.monotonic_ns)
        if presentation is None:
            return None
        read = self.city.read(presentation.payload)
        may_ask = self._settings.look_up and self._settings.direction is Direction.ENTRY and not around.free
        if not may_ask or not names_only(read) or self._flag_of(read):
            return self._judge(read, now, around, left=around.free)
        if not self._look_ups.begin(read, now.monotonic_ns, online=around.online):
            return self._after_look_up(now, around)
        return Ask(subject=read.subject)

    def _after_look_up(self, now: Now, around: Around) -> Judged | None:
        """An entry that is halted by now does not keep them until it opens again."""
        found = self._look_ups.take(now, self.city.read)
        if found is None:
            return None
        return self._judge(found.credential, now, around, left=around.free or around.halted, look_up=found.look_up)

    def _judge(
        self,
        read: Credential | Refusal,
        now: Now,
        around: Around,
        *,
        left: bool,
        look_up: LookUp = LookUp.NOT_NEEDED,
    ) -> Judged:
        circumstances = replace(
            self._circumstances(read, now), left=left, recordable=around.recordable, look_up=look_up
        )
        verdict = risk.verdict_for(read, rules=self.city.rules, around=circumstances, now=now)
        judged = Judged(read=read, verdict=verdict, left=left, told=self._is_told(verdict, read))
        if judged.subject and verdict.decision is Decision.GRANTED and not around.free and (verdict.alarm or not left):
            self._granted_ns[judged.subject] = now.monotonic_ns
        return judged

    def _circumstances(self, read: Credential | Refusal, now: Now) -> Circumstances:
        oldest_ns = now.monotonic_ns - self._settings.repeat_window_s * S
        self._granted_ns = {who: at for who, at in self._granted_ns.items() if at > oldest_ns}
        self._repeated = {who: reasons for who, reasons in self._repeated.items() if who in self._granted_ns}
        return Circumstances(
            direction=self._settings.direction,
            granted_lately=isinstance(read, Credential) and read.subject in self._granted_ns,
            left=False,
            recordable=True,
            flag=self._flag_of(read),
            # A clock that may be wrong tells no age: the data then counts as too old, not as fresh.
            city_age_s=age_s(self.city.listed_at, now),
            freshness=self._settings.freshness,
            trusting=self.city.trusting,
        )

    def _is_told(self, verdict: Verdict, read: Credential | Refusal) -> bool:
        """Whether the same has been recorded of this person since their grant; from now on it has."""
        stopped = verdict.decision is not Decision.GRANTED and not verdict.alarm
        if not (stopped and isinstance(read, Credential) and Reason.ALREADY_PRESENTED in verdict.reasons):
            return False
        before = self._repeated.get(read.subject)
        self._repeated[read.subject] = verdict.reasons
        return before == verdict.reasons

    def _flag_of(self, read: Credential | Refusal) -> Flag | None:
        listed = self.city.risk_list
        return listed.flag_of(read.subject) if listed and isinstance(read, Credential) else None
