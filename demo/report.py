"""What happened against what should have: visitors, verdicts, lines, events, times.

It reads only what the parts wrote by themselves: which frames the camera delivered, every level of every pin, the
lines of the city's ingest, and the outbox file. It opens sealed identities as the health authority does. First readable
frames are found afterwards, by rendering again and asking plain zxing-cpp and the kiosk's decoder frame by frame; the
daemon is not asked about itself.
"""

import json
import sqlite3
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from demo.cast import Expected
from demo.population import Visitor
from kiosk.choreography import actuation_for
from kiosk.credentials.sealing import opened
from kiosk.decoder import Decoder
from kiosk.gpio_alerts import RELAY_MARGIN_NS
from kiosk.messages import Decision, Direction, Frame, Line, Reason, Scheme, Verdict
from kiosk.settings import CameraSettings, Settings
from kiosk.testing.visitors import Showing, first_readable, render

MS = 1_000_000
EARLY_MS, LATE_MS = 5, RELAY_MARGIN_NS // MS
"""How far a relay's pulse may be off: to a timer's grain early, and late by what the interlock allows."""


WHO_ONLY = (Scheme.VN1405, Scheme.CCCD, Scheme.BHYT, Scheme.LINK)
Answer = tuple[str, str, str | None]
"""Decision, weightiest reason and format of a check-in."""


@dataclass(frozen=True, slots=True)
class Level:
    """One change of one line, as the pin saw it."""

    line: Line
    on: bool
    at_ns: int


@dataclass(slots=True)
class Visit:
    """One visitor and all that followed."""

    visitor: Visitor
    from_ns: int
    to_ns: int
    events: list[dict[str, Any]] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)

    @property
    def check_ins(self) -> list[dict[str, Any]]:
        """The check-ins among its events."""
        return [event for event in self.events if event["kind"] == "check-in"]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts among its events."""
        return [event for event in self.events if event["kind"] == "alert"]

    def wrong_verdicts(self) -> list[str]:
        """Compare check-ins and alerts with what was expected, in any order of codes."""
        _, missed, left = self._matched()
        wrong = [f"expected {_answers(expected)[0]}, got {left or 'no check-in'}" for expected in missed]
        wrong += [f"unexpected {answer}" for answer in left] if not wrong else []
        alerts = len(self.alerts)
        wanted = sum(expected.alert for expected in self.visitor.expected)
        return [*wrong, *([f"{alerts} alerts instead of {wanted}"] if alerts != wanted else [])]

    @property
    def was_looked_up(self) -> bool:
        """Whether the city was asked about somebody: their code only says who they are."""
        return any(expected.scheme in WHO_ONLY for expected in self.visitor.expected)

    def right(self) -> list[Expected]:
        """What was expected and came."""
        return self._matched()[0]

    def _matched(self) -> tuple[list[Expected], list[Expected], list[Answer]]:
        """What was expected and came, what was and did not, and what came and was not."""
        bodies = [event["body"] for event in self.check_ins]
        left = [(body["decision"], body["reasons"][0], body["scheme"]) for body in bodies]
        right, missed = [], []
        for expected in self.visitor.expected:
            found = next((answer for answer in _answers(expected) if answer in left), None)
            if found is None:
                missed.append(expected)
            else:
                left.remove(found)
                right.append(expected)
        return right, missed, left

    def wrong_identities(self, authority: X25519PrivateKey) -> list[str]:
        """Open what was sealed to the health authority: exactly whom the codes name, in check-ins and in alerts."""
        wrong = []
        for what, events, wanted in (
            ("check-in", self.check_ins, self.visitor.expected),
            ("alert", self.alerts, [expected for expected in self.visitor.expected if expected.alert]),
        ):
            left = [expected.who for expected in wanted if expected.who]
            for event in [event for event in events if event["body"]["sealed"]]:
                who = opened(event["body"]["sealed"], authority)
                if who in left:
                    left.remove(who)
                else:
                    wrong.append(f"the identity in the {what} {event['sequence']} is not that of its code")
            wrong += [f"{len(left)} identities missing in the {what}"] if left else []
        return wrong

    def wrong_lines(self, relay_pulse_ms: int) -> list[str]:
        """Compare which lines went on, how often, and for how long, with the choreography of the verdicts given."""
        verdicts = [_verdict(event["body"]) for event in self.check_ins]
        seen = [v for v in verdicts if Reason.LEFT_BEFORE_VERDICT not in v.reasons]
        wanted: dict[Line, int] = {}
        for verdict in seen:
            for change in actuation_for(verdict, relay_pulse_ms).changes:
                if change.on:
                    wanted[change.line] = wanted.get(change.line, 0) + 1
        got = {line: sum(1 for level in self.levels if level.line is line and level.on) for line in Line}
        wrong = []
        for line in Line:
            exact = len(seen) == 1 or line in (Line.ENTRY_RELAY, Line.EXIT_RELAY)
            most, least = wanted.get(line, 0), wanted.get(line, 0) if exact else min(1, wanted.get(line, 0))
            if not least <= got[line] <= most:
                wrong.append(f"{line} went on {got[line]} times instead of {most}")
        pulses = _pulses_ms(self.levels, Line.ENTRY_RELAY)
        wrong += [f"entry_relay on for {ms:.0f} ms" for ms in pulses if not -EARLY_MS <= ms - relay_pulse_ms <= LATE_MS]
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What became of the codes of one format.

    `right` counts those with the verdict they should have, `sealed` those whose check-in bears a sealed identity.
    """

    name: str
    shown: int
    right: int
    granted: int
    held: int
    denied: int
    alerts: int
    sealed: int


@dataclass(slots=True, kw_only=True)
class Report:
    """The table, and whether all is well."""

    visitors: int
    presentations: int
    read: int
    verdicts_wrong: list[str]
    sealed: int
    identities_wrong: list[str]
    lines_wrong: list[str]
    formats: list[Format]
    accepted: int
    stored: int
    missing: int
    doubled: int
    redelivered: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latencies: int

    @property
    def well(self) -> bool:
        """Every verdict right, every identity its holder's, every line at rest, every event there once."""
        return not (self.verdicts_wrong or self.identities_wrong or self.lines_wrong or self.missing or self.doubled)

    def as_json(self) -> dict[str, Any]:
        """For a script."""
        return {**asdict(self), "well": self.well}


def load_visits(visitors: list[Visitor], folder: Path, settings: Settings) -> list[Visit]:
    """Read the camera's and the pins' own records."""
    first: dict[int, int] = {}
    for entry in _lines_of(folder / "showings.frames.jsonl"):
        first.setdefault(entry["showing"], entry["captured_ns"])
    starts = [first.get(which) for which in range(len(visitors))]
    visits = []
    for visitor, (start, end) in zip(visitors, pairwise([*starts, None]), strict=True):
        if start is not None:
            visits.append(Visit(visitor, start, end if end is not None else 1 << 62))
    line_of = {f"GPIO{gpio}": line for line, gpio in settings.lines.gpios().items()}
    for entry in _lines_of(folder / "showings.pins.jsonl"):
        level = Level(line_of[entry["gpio"]], bool(entry["level"]), entry["at_ns"])
        for visit in visits:
            if visit.from_ns <= level.at_ns < visit.to_ns:
                visit.levels.append(level)
    return visits


def file_event(visits: Iterable[Visit], event: dict[str, Any], at_ns: int) -> Visit | None:
    """Give an event to the visit during which it happened."""
    for visit in visits:
        if visit.from_ns <= at_ns < visit.to_ns:
            visit.events.append(event)
            return visit
    return None


def report(
    visits: list[Visit],
    folder: Path,
    settings: Settings,
    ingested: list[dict[str, Any]],
    authority: X25519PrivateKey,
) -> Report:
    """Make the table of a finished run. Without simulated visitors only its events can be judged."""
    pulse_ms = settings.lines.relay_pulse_ms
    formats = _formats(visits)
    stored = _stored(folder / "city.sqlite3")
    accepted = _accepted(folder / "outbox.sqlite3")
    latencies = sorted(_latencies_ms(visits, folder, settings))
    levels = {level.line: level.on for visit in visits for level in visit.levels}
    not_at_rest = [f"{line} is still on at the end" for line, on in levels.items() if on]
    return Report(
        visitors=len(visits),
        presentations=sum(len(visit.visitor.expected) for visit in visits),
        read=sum(event["kind"] == "check-in" and event["new"] for event in ingested),
        verdicts_wrong=_named(visits, Visit.wrong_verdicts),
        sealed=sum(made.sealed for made in formats),
        identities_wrong=_named(visits, lambda visit: visit.wrong_identities(authority)),
        lines_wrong=[*_named(visits, lambda visit: visit.wrong_lines(pulse_ms)), *not_at_rest],
        formats=formats,
        accepted=accepted,
        stored=len(set(stored)),
        missing=len(set(range(1, accepted + 1)) - set(stored)),
        doubled=len(stored) - len(set(stored)),
        redelivered=sum(not event["new"] for event in ingested),
        latency_p50_ms=round(statistics.median(latencies), 1) if latencies else None,
        latency_p99_ms=round(latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))], 1) if latencies else None,
        latencies=len(latencies),
    )


def _named(visits: list[Visit], find: Callable[[Visit], list[str]]) -> list[str]:
    return [f"#{number} {visit.visitor.kind}: {said}" for number, visit in enumerate(visits, 1) for said in find(visit)]


def _formats(visits: list[Visit]) -> list[Format]:
    """By the format the kiosk recognised, and what was expected of it."""
    bodies = [event["body"] for visit in visits for event in visit.check_ins]
    decided = Counter((body["scheme"], body["decision"]) for body in bodies)
    sealed = Counter(body["scheme"] for body in bodies if body["sealed"])
    alerts = Counter(event["body"]["scheme"] for visit in visits for event in visit.alerts)
    shown = Counter(expected.scheme for visit in visits for expected in visit.visitor.expected)
    right = Counter(expected.scheme for visit in visits for expected in visit.right())
    return [
        Format(
            name=scheme.value if scheme else "none",
            shown=shown[scheme],
            right=right[scheme],
            alerts=alerts[scheme],
            sealed=sealed[scheme],
            **{decision.value: decided[scheme, decision.value] for decision in Decision},
        )
        for scheme in (*Scheme, None)
    ]


def _answers(expected: Expected) -> list[Answer]:
    answers = [(expected.decision.value, expected.reason.value, expected.scheme and expected.scheme.value)]
    if expected.or_left:
        answers.append(
            (Decision.HELD.value, Reason.LEFT_BEFORE_VERDICT.value, expected.scheme and expected.scheme.value)
        )
    return answers


def _verdict(body: dict[str, Any]) -> Verdict:
    reasons = tuple(Reason(reason) for reason in body["reasons"])
    alarm = any(reason.startswith("at_risk.") for reason in reasons)
    return Verdict(
        decision=Decision(body["decision"]), reasons=reasons, alarm=alarm, direction=Direction(body["direction"])
    )


def _pulses_ms(levels: list[Level], line: Line) -> list[float]:
    mine = [level for level in levels if level.line is line]
    return [(off.at_ns - on.at_ns) / MS for on, off in pairwise(mine) if on.on and not off.on]


def _latencies_ms(visits: list[Visit], folder: Path, settings: Settings) -> list[float]:
    """From the first readable frame to the relay, for single visitors who were let in.

    Of plain ones only: in another condition the frames depend on what the camera's automatic did. A look-up's time is
    the city's too, so those are left out.
    """
    delivered = {(e["showing"], e["index"]): e["captured_ns"] for e in _lines_of(folder / "showings.frames.jsonl")}
    camera = settings.camera
    times = []
    for which, visit in enumerate(visits):
        relay = next((level.at_ns for level in visit.levels if level.line is Line.ENTRY_RELAY and level.on), None)
        shown = visit.visitor.showing
        if relay is None or len(shown.codes) != 1 or shown.condition != "plain" or visit.was_looked_up:
            continue
        first = _first_readable(shown, camera)
        if first is None:
            continue
        # A frame the sensor dropped was never seen by anybody: the next delivered one is the first.
        captured = min(
            (ns for (showing, index), ns in delivered.items() if showing == which and index >= first), default=None
        )
        if captured is not None:
            times.append((relay - captured) / MS)
    return times


def _first_readable(showing: Showing, camera: CameraSettings) -> int | None:
    """The first frame that plain zxing-cpp can read, or an earlier one that the kiosk's ladder can."""
    size: dict[str, int] = {"fps": camera.fps, "width": camera.width, "height": camera.height}
    plain = min(first_readable(showing, **size).values(), default=None)
    for index in range(plain or 0):
        luma = render(showing, index, **size, noise_key=showing.seed)
        if Decoder().read(Frame(luma=luma, number=index, captured_ns=0)):
            return index
    return plain


def _accepted(outbox: Path) -> int:
    with closing(sqlite3.connect(outbox)) as connection:
        return int(connection.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0])


def _stored(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [int(row[0]) for row in connection.execute("SELECT sequence FROM events ORDER BY sequence")]


def _lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]
