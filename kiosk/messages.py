"""Every value that crosses a stage: frozen, slotted, keyword-only. No behaviour beyond what a value knows of itself.

Times ending in `_ns` are CLOCK_MONOTONIC; `at` is UTC. The way of one scan: `Frame` > `Sighting` or
`Glimpse` > `Presentation` > `Credential` or `Refusal` > `Verdict` > `Actuation`, `Event` and `View`.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Quad = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
"""Corners in frame pixels, clockwise from the code's own top left."""


class Direction(StrEnum):
    """Which way an access point lets people through."""

    ENTRY = "entry"
    EXIT = "exit"


class Scheme(StrEnum):
    """The payload formats this version reads."""

    DECLARATION = "declaration"
    VN1405 = "vn1405"
    CCCD = "cccd"
    BHYT = "bhyt"
    HC1 = "hc1"
    SHC = "shc"
    LINK = "link"


class Decision(StrEnum):
    """What the door does with a presentation."""

    GRANTED = "granted"
    HELD = "held"
    DENIED = "denied"


class Reason(StrEnum):
    """Why. A closed list: each has a row in rules.toml, with its decision and its wording."""

    NO_RISK = "no_risk"
    AT_RISK_SYMPTOM = "at_risk.symptom"
    AT_RISK_AREA = "at_risk.area"
    AT_RISK_CONTACT = "at_risk.contact"
    AT_RISK_LISTED = "at_risk.listed"
    AT_RISK_POSITIVE_TEST = "at_risk.positive_test"
    DECLARATION_EXPIRED = "declaration_expired"
    DECLARATION_NOT_YET_VALID = "declaration_not_yet_valid"
    NO_DECLARATION = "no_declaration"
    UNSUPPORTED_CERTIFICATE = "unsupported_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_INSUFFICIENT = "certificate_insufficient"
    ISSUER_NOT_ENTITLED = "issuer_not_entitled"
    ALREADY_PRESENTED = "already_presented"
    LEFT_BEFORE_VERDICT = "left_before_verdict"
    CLOCK_UNTRUSTED = "clock_untrusted"
    DATA_STALE = "data_stale"
    DATA_TOO_OLD = "data_too_old"
    LOOKUP_UNAVAILABLE = "lookup_unavailable"
    TRUST_MISSING = "trust_missing"
    RECORD_UNAVAILABLE = "record_unavailable"
    SIGNATURE_INVALID = "signature_invalid"
    ISSUER_UNKNOWN = "issuer_unknown"
    MALFORMED = "malformed"
    PLACE_CODE = "place_code"
    UNRESOLVED_CODE = "unresolved_code"
    UNKNOWN_FORMAT = "unknown_format"


class Symptom(StrEnum):
    """The symptoms the city asks about."""

    COUGH = "cough"
    FEVER = "fever"
    SHORT_OF_BREATH = "short_of_breath"


class Flag(StrEnum):
    """Why the city's risk list has somebody: infected, in contact with an infected person, or ordered to isolate."""

    F0 = "f0"
    F1 = "f1"
    ISOLATE = "isolate"


class Line(StrEnum):
    """One output GPIO, by what hangs on it."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    BUZZER = "buzzer"
    ENTRY_RELAY = "entry_relay"
    EXIT_RELAY = "exit_relay"
    SPARE_1 = "spare_1"
    SPARE_2 = "spare_2"


class InputLine(StrEnum):
    """One input GPIO, by the contact that works it."""

    ENTRY_PASSAGE = "entry_passage"
    EXIT_PASSAGE = "exit_passage"
    FIRE = "fire"
    TAMPER = "tamper"
    STAFF_OVERRIDE = "staff_override"
    REQUEST_TO_EXIT = "request_to_exit"
    EMERGENCY_STOP = "emergency_stop"


RELAYS = {Direction.ENTRY: Line.ENTRY_RELAY, Direction.EXIT: Line.EXIT_RELAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How long a frame gathers light, and how much the sensor amplifies it (1.0: not at all)."""

    exposure_us: int
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image. `luma` is 8-bit grey, shape (height, width), read-only for whoever gets it.

    `exposure` is what it was taken with, where the camera tells.
    """

    luma: NDArray[np.uint8]
    number: int
    captured_ns: int
    exposure: Exposure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One decode in one frame. `payload` is the code's own bytes, never an engine's text: 1 to 7,089 of them."""

    payload: bytes
    engine: str
    frame_number: int
    captured_ns: int
    quad: Quad


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """A code that was found in a frame and not read, and what the frame says of why.

    `module_px` is the mean side of a module; None where the version is unknown. `dark` and `light` are the grey levels
    of its two kinds of module; `clipped` is the share of its pixels at the sensor's limit; `edge_px` is the width of an
    edge between dark and light, so blur of any kind; `banding` is how much of the light level comes and goes from row
    to row, 0 to 1. `tilt` is the angle between the code and the frame in degrees, 0 to 90.
    """

    captured_ns: int
    quad: Quad
    module_px: float | None
    dark: int
    light: int
    clipped: float
    edge_px: float
    banding: float
    tilt: float
    exposure: Exposure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """One showing of a code to the camera, from its first sighting until it has left the view."""

    payload: bytes
    engine: str
    first_seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A stay in an area. `area` is the General Statistics Office's unit code ("48" Da Nang, "79" Ho Chi Minh City)."""

    area: str
    left_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a person declared about their health (docs/declaration.md)."""

    issued_at: datetime
    expires_at: datetime
    symptoms: tuple[Symptom, ...]
    visits: tuple[Visit, ...]
    contact: bool
    by_proxy: bool


class CertificateKind(StrEnum):
    """What a health certificate certifies."""

    VACCINATION = "vaccination"
    TEST = "test"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a vaccination, test or recovery certificate states, once its signature was good.

    `country` is the issuer's (ISO 3166-1 alpha-2), empty where the certificate names none. `expires_at` is no later
    than the end of the issuer's own certificate, and the end of 9999 for one that never expires. `on` is the day of the
    dose, the sample or the first positive test, None where the certificate does not say. `dose` of `doses` counts
    vaccinations; `detected` is a test's result. `product` is the code of the vaccine or the kind of test as the
    certificate has it.
    """

    kind: CertificateKind
    country: str
    issued_at: datetime | None
    expires_at: datetime
    on: date | None
    product: str = ""
    dose: int | None = None
    doses: int | None = None
    detected: bool | None = None
    valid_from: date | None = None
    valid_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A parsed payload whose signature, if its format has one, was good.

    `subject` is the keyed pseudonym of the person (32 hex digits); `initials` is all of the name that goes on in the
    clear. `sealed` is who it is, to the health authority's key alone, in base64; empty where the code does not say, or
    no authority was named. `digest` names this one certificate, for revocation.
    """

    scheme: Scheme
    subject: str
    initials: str
    declaration: Declaration | None = None
    certificate: Certificate | None = None
    sealed: str = ""
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a payload is not a credential. `detail` names the field, never its content."""

    reason: Reason
    detail: str
    scheme: Scheme | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision about one presentation. `reasons` has the weightiest first and is never empty.

    `data_age_s` is the age of the declaration, where there is one; `city_age_s` that of the city's data behind the
    verdict, None where the kiosk has none.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    alarm: bool
    direction: Direction
    data_age_s: int | None = None
    city_age_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """A level for a line, `after_ms` after the actuation starts."""

    after_ms: int
    line: Line
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuation:
    """A timeline of line changes, in order of time, that ends with every line at rest.

    `grant` names the direction whose relay it may drive; without one the interlock blocks every relay.
    """

    changes: tuple[LineChange, ...]
    grant: Direction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What every event says of its time.

    `at` is UTC as this kiosk knew it, `utc_trusted` whether its clock had been set since boot. `boot_ns` is
    CLOCK_BOOTTIME: with it the city corrects an `at` of before that (docs/mqtt.md); 0 from a kiosk that did not say.
    `late_record`: the door moved before the event was on disk.
    """

    at: datetime
    utc_trusted: bool
    boot_ns: int = 0
    late_record: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn(Happening):
    """A presentation and its verdict, for the city."""

    direction: Direction
    decision: Decision
    reasons: tuple[Reason, ...]
    scheme: Scheme | None
    subject: str | None
    data_age_s: int | None
    city_age_s: int | None = None
    sealed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(Happening):
    """A person at risk stands at the door; the health authority must hear of it at once."""

    direction: Direction
    reasons: tuple[Reason, ...]
    scheme: Scheme | None
    subject: str | None
    sealed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation(Happening):
    """Nobody at the health authority has acknowledged an alert in time; `count` says how often this was told.

    `delivered`: the city has stored the alert, so people there could have seen it.
    """

    alert_ledger: str
    alert_sequence: int
    delivered: bool
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Happening):
    """A stage failed or recovered. `detail` is for a technician and holds nothing personal."""

    stage: str
    recovered: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep(Happening):
    """The wall clock was set: `at` is the new time, `step_ms` how far it jumped."""

    step_ms: int


class Outcome(StrEnum):
    """What came of a grant, or of somebody who passed without one."""

    TAKEN = "access_taken"
    NOT_TAKEN = "access_not_taken"
    WITHOUT_GRANT = "access_without_grant"
    WRONG_WAY = "wrong_way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage(Happening):
    """Somebody passed the lane, or had a grant and did not. `direction` is the way they went, or might have gone."""

    direction: Direction
    outcome: Outcome


class Cause(StrEnum):
    """Who opened the lane without a code."""

    STAFF_OVERRIDE = "staff_override"
    REQUEST_TO_EXIT = "request_to_exit"
    COMMAND = "command"
    OUT_OF_ORDER = "out_of_order"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(Happening):
    """The lane was opened for one passage without a code."""

    direction: Direction
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswer(Happening):
    """What came of a command: carried out, or why not. Number and order are None where it could not be read.

    `detail` may hold what was asked for: a certificate request, a report of the device's health.
    """

    number: int | None
    order: str | None
    done: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialVisit(Happening):
    """A visit by nobody, to try the whole way; no check-in, so that nothing counts or traces it (decision 0018).

    `mark` is what the technician's program knows it by, 16 hex digits. `shown`: lights and sound of a grant; `opened`:
    the lane as well. `detail` says why not.
    """

    mark: str
    direction: Direction
    shown: bool
    opened: bool
    detail: str


Event = CheckIn | Alert | Escalation | Fault | ClockStep | Passage | Opening | CommandAnswer | TrialVisit
"""The only things that leave the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event the outbox has accepted. `ledger` names the outbox file, `sequence` counts from 1 without gaps in it."""

    ledger: str
    sequence: int
    event: Event


class Screen(StrEnum):
    """What the page shows at large."""

    ATTRACT = "attract"
    READING = "reading"
    GRANTED = "granted"
    HELD = "held"
    DENIED = "denied"
    AT_RISK = "at_risk"
    OUT_OF_ORDER = "out_of_order"
    LOCKED = "locked"
    FIRE = "fire"


class Hint(StrEnum):
    """What a visitor can do so that their code can be read. `READING`: nothing, it is being looked at."""

    READING = "reading"
    CLOSER = "closer"
    FURTHER = "further"
    HOLD_STILL = "hold_still"
    TILT_LESS = "tilt_less"
    TOO_BRIGHT = "too_bright"
    SCREEN_UP = "screen_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One thing said in both languages: a headline and what to do."""

    vi: str
    en: str
    vi_do: str = ""
    en_do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The figures of a door in one Vietnamese day, since its program started.

    `grants` are all openings, with a code or without; `crowded` those while an earlier one had not been used.
    """

    presentations: int = 0
    grants: int = 0
    crowded: int = 0
    passages: int = 0
    without_grant: int = 0


class AlertState(StrEnum):
    """How far an alert has come: stored here, stored by the city, seen by a person at the authority, dealt with."""

    RAISED = "raised"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What people see now. `fault` is for the guard's strip; `waiting` counts events the city has not acknowledged.

    `hint` comes with `Screen.READING`, and with no other. `today` is for the strip of a lane whose passages are seen.
    `alert` is the state of that open alert which has come least far. `link_since` is when `online` last changed,
    `city_age_s` the age of the city's risk list in whole minutes' seconds; both None where unknown.
    """

    screen: Screen
    wording: Wording
    direction: Direction
    initials: str = ""
    online: bool = False
    waiting: int = 0
    fault: str = ""
    hint: Hint | None = None
    today: Tally | None = None
    alert: AlertState | None = None
    muted: bool = False
    link_since: datetime | None = None
    city_age_s: int | None = None


# What goes into the gate.


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All codes read in one frame; empty when the frame held none."""

    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageHealth:
    """A stage's own report. `fault` is empty when it works, else one sentence for a technician."""

    stage: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """Where the uplink stands."""

    online: bool
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The city's answer to a look-up: the person's newest declaration as they got it, empty where there is none."""

    asked: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """What an input says, each time that it changes and once at start; `at_ns` is when its level began.

    `trouble` says why it cannot be believed, in a sentence for a technician; `active` is then what is safe to assume.
    """

    line: InputLine
    active: bool
    at_ns: int
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNews:
    """An alert has come further. `ledger` and `sequence` are those of its event."""

    ledger: str
    sequence: int
    state: AlertState


class Order(StrEnum):
    """What the city may command (docs/commands.md)."""

    UNLOCK = "unlock"
    LOCK = "lock"
    RELEASE = "release"
    MUTE = "mute"
    TEST = "test"
    RESYNC = "resync"
    RESTART = "restart"
    ROTATE_KEY = "rotate_key"
    INSTALL_CERTIFICATE = "install_certificate"
    DIAGNOSTICS = "diagnostics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command whose signature, address, number, time and site limits were good.

    `seconds` is for orders that last, `text` the PEM certificate of `INSTALL_CERTIFICATE`.
    """

    number: int
    order: Order
    seconds: int = 0
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A command was refused before it came to the gate, or carried out elsewhere; fields as in `CommandAnswer`."""

    number: int | None
    order: str | None
    done: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialVisitor:
    """A technician at the device sends nobody through the door; `opens`: the lane is to open for it."""

    mark: str
    opens: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """A deadline the gate asked for has come."""


Input = (
    Seen
    | Glimpse
    | StageHealth
    | LinkStatus
    | Answer
    | Sensed
    | AlertNews
    | Command
    | Answered
    | TrialVisitor
    | Elapsed
)


# What comes out of it, to be done in order.


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Store these together. `before_drive`: the next Drive waits for the commit, within its bound."""

    events: tuple[Event, ...]
    before_drive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Look up the newest declaration of this pseudonym with the city."""

    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Play this on the lines."""

    actuation: Actuation


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Put this on the screen."""

    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """Every release to its fire level, and nothing else moves one until `Reset`. `on` is false once the alarm ends."""

    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Staff have reset the door after a fire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Carry out what a command asks of the device itself; an `Answered` comes back."""

    command: Command


Effect = Record | Drive | Show | Ask | Fire | Reset | Carry
