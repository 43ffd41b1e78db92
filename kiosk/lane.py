"""PURE. Grants and passages of one lane: who may go, who went, and the day's figures.

A grant is in hand until somebody goes, or is void after the wait. A passage begins when a sensor is worked, takes the
oldest grant of its direction that was in hand then, and counts when the sensor rests again. A lane without sensors
tells of no outcome, and a sensor that cannot be believed tells of none while it lasts. It knows no code, no line and
no fire; the gate calls it, and says what is granted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from kiosk.clock import MS, Now, S
from kiosk.messages import Direction, InputLine, Outcome, Sensed, Tally

SENSORS = {InputLine.ENTRY_PASSAGE: Direction.ENTRY, InputLine.EXIT_PASSAGE: Direction.EXIT}

STUCK_NS = 30 * S
"""A sensor worked for so long is stuck, or somebody stands in it (PERCo: "passage > 30 s")."""
STUCK = "worked for 30 s; look what stands in it, then at the sensor. Its passages do not count meanwhile."
HEARD_LATE_NS = 400 * MS
"""By which a passage that began in time may be heard late: the longest debounce, and a busy machine."""


@dataclass(frozen=True, slots=True)
class _Grant:
    given_ns: int
    subject: str | None


@dataclass(slots=True)
class _Sensor:
    """`under_way`: what works it is a passage; `outcome` is then what it will have come to, None for a free one."""

    worked_ns: int | None = None
    under_way: bool = False
    outcome: Outcome | None = None
    stuck: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a grant or a passage. `subject` is whose grant is void, where it was a person's."""

    direction: Direction
    outcome: Outcome
    subject: str | None = None


class Lane:
    """What goes through one lane.

    Args:
        direction: which way its codes open it; without a grant, the other is the wrong way.
        pass_within_ns: how long a grant is good for.
    """

    def __init__(self, direction: Direction, pass_within_ns: int) -> None:
        self._direction = direction
        self._pass_within_ns = pass_within_ns
        self._sensors: dict[Direction, _Sensor] = {}
        self._in_hand: dict[Direction, list[_Grant]] = {direction: [] for direction in Direction}
        self._tally = Tally()
        self._day: date | None = None
        self._seen = False

    @property
    def today(self) -> Tally | None:
        """The day's figures, once there is a sensor."""
        return self._tally if self._seen else None

    def faults(self) -> Mapping[str, str]:
        """Which sensors have been worked for too long, in words for a technician."""
        stuck = {direction for direction, sensor in self._sensors.items() if sensor.stuck}
        return {line: STUCK for line, direction in SENSORS.items() if direction in stuck}

    @property
    def deadline_ns(self) -> int | None:
        """When `elapse` will next have something to tell."""
        ends = [grant.given_ns + self._wait_ns for grants in self._in_hand.values() for grant in grants]
        ends += [at + STUCK_NS for sensor in self._sensors.values() if (at := self._may_stick(sensor)) is not None]
        return min(ends, default=None)

    def begin_day(self, day: date) -> None:
        """Start the figures anew if it is another day."""
        if day != self._day:
            self._day, self._tally = day, Tally()

    def awaits(self, direction: Direction) -> bool:
        """Whether somebody may still go, or is going; never known of a direction without a sensor."""
        sensor = self._sensors.get(direction)
        return bool(self._in_hand[direction]) or (sensor is not None and sensor.under_way)

    def present(self) -> None:
        """Somebody has shown a code."""
        self._tally = replace(self._tally, presentations=self._tally.presentations + 1)

    def grant(self, direction: Direction, now: Now, subject: str | None = None) -> None:
        """The lane opens for one passage."""
        before = self._tally
        crowded = before.crowded + bool(self._in_hand[direction])
        self._tally = replace(before, grants=before.grants + 1, crowded=crowded)
        sensor = self._sensors.get(direction)
        if sensor and not sensor.stuck:
            self._in_hand[direction].append(_Grant(now.monotonic_ns, subject))

    def release(self) -> None:
        """Everybody may go, as in a fire: nobody holds a grant, and passages under way need none."""
        for grants in self._in_hand.values():
            grants.clear()
        for sensor in self._sensors.values():
            sensor.outcome = None

    def sense(self, sensed: Sensed, *, free: bool) -> list[Told]:
        """Take what a passage sensor says. `free`: everybody may go, so a passage counts and has no outcome."""
        direction = SENSORS[sensed.line]
        if sensed.trouble:
            self._sensors.pop(direction, None)
            self._in_hand[direction].clear()
            return []
        self._seen = True
        sensor = self._sensors.get(direction)
        if sensor is None:  # what it says first is no passage: somebody stands there, or it is stuck
            self._sensors[direction] = _Sensor(worked_ns=sensed.at_ns if sensed.active else None)
            return []
        if sensed.active is (sensor.worked_ns is not None):
            return []
        if sensed.active:
            outcome = None if free else self._outcome(direction, sensed.at_ns)
            self._sensors[direction] = _Sensor(worked_ns=sensed.at_ns, under_way=True, outcome=outcome)
            return []
        self._sensors[direction] = _Sensor()
        if not sensor.under_way:
            return []
        self._count(sensor.outcome)
        return [Told(direction=direction, outcome=sensor.outcome)] if sensor.outcome else []

    def elapse(self, now_ns: int) -> list[Told]:
        """Void the grants nobody took in time, and notice a sensor that is stuck."""
        for direction, sensor in self._sensors.items():
            worked_ns = self._may_stick(sensor)
            if worked_ns is not None and now_ns >= worked_ns + STUCK_NS:
                sensor.stuck, sensor.under_way = True, False
                self._in_hand[direction].clear()
        return [told for direction in Direction for told in self._void(direction, now_ns)]

    @property
    def _wait_ns(self) -> int:
        return self._pass_within_ns + HEARD_LATE_NS

    def _void(self, direction: Direction, now_ns: int) -> Iterator[Told]:
        grants = self._in_hand[direction]
        while grants and now_ns >= grants[0].given_ns + self._wait_ns:
            grant = grants.pop(0)
            yield Told(direction=direction, outcome=Outcome.NOT_TAKEN, subject=grant.subject)

    def _outcome(self, direction: Direction, at_ns: int) -> Outcome:
        grants = self._in_hand[direction]
        good = [grant for grant in grants if grant.given_ns <= at_ns <= grant.given_ns + self._pass_within_ns]
        if good:
            grants.remove(good[0])
            return Outcome.TAKEN
        return Outcome.WITHOUT_GRANT if direction is self._direction else Outcome.WRONG_WAY

    def _count(self, outcome: Outcome | None) -> None:
        without = outcome in {Outcome.WITHOUT_GRANT, Outcome.WRONG_WAY}
        before = self._tally
        self._tally = replace(before, passages=before.passages + 1, without_grant=before.without_grant + without)

    def _may_stick(self, sensor: _Sensor) -> int | None:
        return None if sensor.stuck else sensor.worked_ns
