"""PURE. What travels and what is written: events as CloudEvents over MQTT, and journal lines.

Topics and payloads here are the contract with the city (docs/mqtt.md, docs/schemas/). Nothing personal goes into
either: a person is a keyed pseudonym. The outbox encodes, the uplink and the city decode. Decoding never raises on
what a stranger sent; it answers `Unreadable`.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError

from kiosk.clock import Now
from kiosk.messages import (
    Alert,
    AlertNews,
    AlertState,
    Answer,
    Answered,
    Ask,
    Carry,
    CheckIn,
    ClockStep,
    Command,
    CommandAnswer,
    Drive,
    Effect,
    Elapsed,
    Escalation,
    Event,
    Fault,
    Fire,
    Glimpse,
    Input,
    LinkStatus,
    Opening,
    Passage,
    Record,
    Reset,
    Seen,
    Sensed,
    Show,
    StageHealth,
    StoredEvent,
    TrialVisit,
    TrialVisitor,
)

ROOT = "kiosk/v1"
"""First levels of every topic; the number changes when a payload stops being readable by yesterday's reader."""

CITY = "city/v1"
"""First levels of what the city says to all kiosks; no device can be called so."""
TRUST_TOPIC = f"{CITY}/trust"
"""Where the newest signed trust bundle stands, retained (docs/trust.md)."""
SNAPSHOT_TOPIC = f"{CITY}/risk-list/snapshot"
"""Where the newest signed risk list stands whole, retained; 9 MB for a million people (docs/risk-list.md)."""
DELTA_TOPIC = f"{CITY}/risk-list/delta"
"""Where the newest change of the risk list stands, retained."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BIGGEST_PAYLOAD = 64 * 1024
"""Bytes; ours stay under 2 KiB, and nobody's may fill a subscriber's memory."""

MOST_MISTAKES = 8
"""Named of one message; a log is no place for a thousand."""

MOST_ALERTS = 100
"""Of one device, of which the city says how far they have come."""

BIGGEST_SEQUENCE = 2**63 - 1
"""What the databases on both sides hold."""

KINDS: dict[str, type[Event]] = {
    "check-in": CheckIn,
    "alert": Alert,
    "escalation": Escalation,
    "fault": Fault,
    "clock-step": ClockStep,
    "passage": Passage,
    "opening": Opening,
    "command-answer": CommandAnswer,
    "trial-visit": TrialVisit,
}
_KIND_OF = {body: kind for kind, body in KINDS.items()}
_BODIES = {kind: TypeAdapter(body) for kind, body in KINDS.items()}
_EVENT_TOPIC = re.compile(rf"{ROOT}/([^/]+)/event/({'|'.join(KINDS)})")
_LOOK_UP_TOPIC = re.compile(rf"{ROOT}/([^/]+)/lookup")
_SHARED = ("access_point", "boot_id", "ledger", "place", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who speaks. `device` is also the MQTT client id and its own topic level.

    `boot_id` is the kernel's name for this boot, to which the events' `boot_ns` belong; empty from an older kiosk.
    """

    device: str
    place: str
    access_point: str
    boot_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An event as the city gets it."""

    origin: Origin
    stored: StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A look-up as the city gets it. `device` is who asks."""

    device: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why a message is not one of ours. Holds none of its content."""

    why: str


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)  # unknown fields are passed over, as in events: the other side may be newer


class State(_Value):
    """Birth and will, retained: is this door online. A will carries no time, being written beforehand."""

    device: str
    online: bool
    version: str
    ledger: str
    at: datetime | None = None


class Acknowledgement(_Value):
    """The city has committed these events of one ledger."""

    ledger: str
    sequences: list[Annotated[int, Field(ge=1, le=BIGGEST_SEQUENCE)]] = Field(min_length=1, max_length=1000)


class Heartbeat(_Value):
    """A door's sign of life between its events. `newest` is the highest sequence it has stored, `faults` names stages.

    A door that is silent, or whose `newest` is above what the city has while nothing is `waiting`, needs a person.
    """

    at: datetime
    boot_id: str
    boot_ns: int
    ledger: str
    newest: Annotated[int, Field(ge=0, le=BIGGEST_SEQUENCE)]
    waiting: Annotated[int, Field(ge=0)]
    faults: list[Annotated[str, Field(max_length=64)]] = Field(max_length=64)
    version: str


class AlertStanding(_Value):
    """How far one alert has come at the health authority."""

    ledger: str
    sequence: Annotated[int, Field(ge=1, le=BIGGEST_SEQUENCE)]
    state: Literal[AlertState.ACKNOWLEDGED, AlertState.CLOSED]


class AlertStates(_Value):
    """What people at the authority have done about one device's newest alerts; retained, and replaced as a whole."""

    alerts: list[AlertStanding] = Field(max_length=MOST_ALERTS)


class LookUp(_Value):
    """Asks the city for the newest declaration of one person. The answer is the bytes of its code, or none."""

    subject: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def event_topic(device: str, kind: str) -> str:
    """Where a device publishes its events of one kind."""
    return f"{ROOT}/{device}/event/{kind}"


def state_topic(device: str) -> str:
    """Where birth and will stand, retained."""
    return f"{ROOT}/{device}/state"


def acknowledgement_topic(device: str) -> str:
    """Where the city answers one device."""
    return f"{ROOT}/{device}/ack"


def heartbeat_topic(device: str) -> str:
    """Where a device says that it lives."""
    return f"{ROOT}/{device}/heartbeat"


def alert_states_topic(device: str) -> str:
    """Where the city says what became of a device's alerts, retained."""
    return f"{ROOT}/{device}/alerts"


def command_topic(device: str) -> str:
    """Where the city commands one device (docs/commands.md)."""
    return f"{ROOT}/{device}/command"


def look_up_topic(device: str) -> str:
    """Where a device asks about a person."""
    return f"{ROOT}/{device}/lookup"


def answer_topic(device: str) -> str:
    """Where a device gets the answers to its look-ups, and nobody else's."""
    return f"{ROOT}/{device}/answer"


def kind_of(event: Event) -> str:
    """Name an event's kind, as in its topic and its type."""
    return _KIND_OF[type(event)]


def body_of(event: Event) -> dict[str, Any]:
    """Write an event's own fields as JSON values."""
    body: dict[str, Any] = _BODIES[kind_of(event)].dump_python(event, mode="json")
    return body


def encode_event(stored: StoredEvent, origin: Origin) -> bytes:
    """Write one stored event as a CloudEvents 1.0 JSON document (structured mode)."""
    kind = kind_of(stored.event)
    data = {
        "ledger": stored.ledger,
        "sequence": stored.sequence,
        "place": origin.place,
        "access_point": origin.access_point,
        "boot_id": origin.boot_id,
        **body_of(stored.event),
    }
    envelope = {
        "specversion": "1.0",
        "id": f"{stored.ledger}.{stored.sequence}",
        "source": f"/{ROOT}/{origin.device}",
        "type": f"vn.danang.kiosk.{kind}.v1",
        "time": data["at"],
        "datacontenttype": "application/json",
        "data": data,
    }
    return _compact(envelope)


def decode_event(topic: str, payload: bytes) -> Received | Unreadable:
    """Read an event from where it was published; device and kind are the topic's, which the broker vouches for.

    Fields it does not know are passed over, so that a newer kiosk can add some.
    """
    place = _EVENT_TOPIC.fullmatch(topic)
    if place is None or len(payload) > BIGGEST_PAYLOAD:
        return Unreadable(why=f"not an event topic, or longer than {BIGGEST_PAYLOAD} bytes")
    device, kind = place.groups()
    try:
        envelope = json.loads(payload.decode())
        data = dict(envelope["data"])
        if envelope["source"] != f"/{ROOT}/{device}" or envelope["type"] != f"vn.danang.kiosk.{kind}.v1":
            return Unreadable(why="source or type is not the topic's")
        shared = _SharedFields.model_validate({name: data.pop(name) for name in _SHARED if name in data})
        event = _BODIES[kind].validate_python(data)
        if b"\\u" in payload:
            _compact(envelope)  # raises on half a surrogate pair, which JSON can spell and no database stores
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Unreadable(why=f"not a CloudEvents document of this version ({type(error).__name__})")
    if event.at.tzinfo is None:
        return Unreadable(why="data.at has no zone")
    return Received(
        origin=Origin(device=device, place=shared.place, access_point=shared.access_point, boot_id=shared.boot_id),
        stored=StoredEvent(ledger=shared.ledger, sequence=shared.sequence, event=event),
    )


class _SharedFields(_Value):
    ledger: str = Field(min_length=1, max_length=64)
    sequence: int = Field(ge=1, le=BIGGEST_SEQUENCE, strict=True)
    place: str = Field(max_length=64)
    access_point: str = Field(max_length=64)
    boot_id: str = Field(default="", max_length=64)


def decode_acknowledgement(payload: bytes) -> Acknowledgement | Unreadable:
    """Read what the city says it has stored."""
    try:
        return Acknowledgement.model_validate_json(payload)
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))


def decode_heartbeat(payload: bytes) -> Heartbeat | Unreadable:
    """Read a sign of life."""
    try:
        return Heartbeat.model_validate_json(payload)
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))


def decode_alert_states(payload: bytes) -> AlertStates | Unreadable:
    """Read what became of our alerts."""
    try:
        return AlertStates.model_validate_json(payload)
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))


def decode_state(payload: bytes) -> State | Unreadable:
    """Read a birth or a will."""
    try:
        return State.model_validate_json(payload)
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))


def decode_look_up(topic: str, payload: bytes) -> Asked | Unreadable:
    """Read a look-up from where it was published; the device is the topic's, which the broker vouches for."""
    place = _LOOK_UP_TOPIC.fullmatch(topic)
    if place is None or len(payload) > BIGGEST_PAYLOAD:
        return Unreadable(why=f"not a look-up's topic, or longer than {BIGGEST_PAYLOAD} bytes")
    try:
        return Asked(device=place[1], subject=LookUp.model_validate_json(payload).subject)
    except ValidationError as error:
        return Unreadable(why="; ".join(_places_of(error)))


def event_schema(kind: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind's whole document; docs/schemas holds them, a test keeps them equal."""
    body = _BODIES[kind].json_schema()
    definitions = body.pop("$defs", {})
    shared = _SharedFields.model_json_schema()
    data = {
        **body,
        "properties": {**shared["properties"], **body["properties"]},
        "required": [*shared["properties"], *body["properties"]],
        "additionalProperties": False,
    }
    fixed = {"specversion": "1.0", "type": f"vn.danang.kiosk.{kind}.v1", "datacontenttype": "application/json"}
    texts = {"id": "<ledger>.<sequence>", "source": f"/{ROOT}/<device>", "time": "as data.at"}
    return {
        "$schema": DIALECT,
        "title": f"{kind} event",
        "type": "object",
        "properties": {
            **{name: {"const": value} for name, value in fixed.items()},
            **{name: {"type": "string", "description": said} for name, said in texts.items()},
            "data": data,
        },
        "required": [*fixed, *texts, "data"],
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }


def state_schema() -> dict[str, Any]:
    """JSON Schema of a birth or a will."""
    return {"$schema": DIALECT, **State.model_json_schema(), "additionalProperties": False}


def acknowledgement_schema() -> dict[str, Any]:
    """JSON Schema of what the city answers."""
    return {"$schema": DIALECT, **Acknowledgement.model_json_schema(), "additionalProperties": False}


def heartbeat_schema() -> dict[str, Any]:
    """JSON Schema of a sign of life."""
    return {"$schema": DIALECT, **Heartbeat.model_json_schema(), "additionalProperties": False}


def alert_states_schema() -> dict[str, Any]:
    """JSON Schema of what the city says of alerts."""
    return {"$schema": DIALECT, **AlertStates.model_json_schema(), "additionalProperties": False}


def look_up_schema() -> dict[str, Any]:
    """JSON Schema of what a kiosk asks."""
    return {"$schema": DIALECT, **LookUp.model_json_schema(), "additionalProperties": False}


def _places_of(error: ValidationError) -> list[str]:
    """Name the fields that are wrong, without what stood in them."""
    return [
        f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['type']}"
        for item in error.errors(include_input=False)[:MOST_MISTAKES]
    ]


def _compact(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


# The journal: a line an input with its time and the effects it had, so that a trace is a replay test.

_INPUTS = (Seen, Glimpse, StageHealth, LinkStatus, Answer, Sensed, AlertNews, Command, Answered, TrialVisitor, Elapsed)
_JOURNALLED: tuple[type[Any], ...] = (*_INPUTS, Record, Drive, Show, Ask, Fire, Reset, Carry)


_T = TypeVar("_T")


class _Journalled(RootModel[_T], Generic[_T]):
    """Payload bytes may be anything, so JSON carries them as base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_BY_NAME: dict[str, type[RootModel[Any]]] = {cls.__name__: _Journalled[cls] for cls in _JOURNALLED}  # type: ignore[valid-type]
_NOW = TypeAdapter(Now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step of the gate, as journalled."""

    now: Now
    given: Input
    effects: tuple[Effect, ...]


def encode_entry(entry: Entry) -> str:
    """Write one journal line, without its line end."""
    line = {
        "now": _NOW.dump_python(entry.now, mode="json"),
        "given": _tagged(entry.given),
        "effects": [_tagged(effect) for effect in entry.effects],
    }
    return _compact(line).decode()


def decode_entry(line: str) -> Entry:
    """Read one journal line.

    Raises:
        ValueError: it is not one.
    """
    raw = json.loads(line)
    try:
        return Entry(
            now=_NOW.validate_python(raw["now"]),
            given=_untagged(raw["given"]),
            effects=tuple(_untagged(effect) for effect in raw["effects"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not the shape of a journal line") from error


def _tagged(message: Input | Effect) -> dict[str, Any]:
    name = type(message).__name__
    return {name: json.loads(_BY_NAME[name](message).model_dump_json())}


def _untagged(tagged: dict[str, Any]) -> Any:  # noqa: ANN401 - the tag says which
    ((name, value),) = tagged.items()
    return _BY_NAME[name].model_validate_json(json.dumps(value)).root
