import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from kiosk import wire
from kiosk.messages import (
    Actuation,
    Alert,
    Answer,
    Ask,
    Cause,
    CheckIn,
    ClockStep,
    CommandAnswer,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Escalation,
    Event,
    Exposure,
    Fault,
    Glimpse,
    Hint,
    Input,
    Line,
    LineChange,
    LinkStatus,
    Opening,
    Outcome,
    Passage,
    Reason,
    Record,
    Scheme,
    Screen,
    Seen,
    Show,
    StageHealth,
    StoredEvent,
    TrialVisit,
    View,
    Wording,
)
from tests.builders import START, at_ms, sighting

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id="5f3c8a52")
SUBJECT = "a1" * 16
CHECK_IN = CheckIn(
    at=START,
    utc_trusted=True,
    boot_ns=9,
    direction=Direction.ENTRY,
    decision=Decision.DENIED,
    reasons=(Reason.AT_RISK_SYMPTOM, Reason.DECLARATION_EXPIRED),
    scheme=Scheme.DECLARATION,
    subject=SUBJECT,
    data_age_s=3600,
    city_age_s=120,
    sealed="c2VhbGVk",
)
FOREIGN = CheckIn(
    at=START,
    utc_trusted=False,
    direction=Direction.EXIT,
    decision=Decision.GRANTED,
    reasons=(Reason.UNKNOWN_FORMAT,),
    scheme=None,
    subject=None,
    data_age_s=None,
    late_record=True,
)
ALERT = Alert(
    at=START,
    utc_trusted=True,
    direction=Direction.ENTRY,
    reasons=(Reason.AT_RISK_SYMPTOM,),
    scheme=Scheme.DECLARATION,
    subject=SUBJECT,
    sealed="c2VhbGVk",
)
FAULT = Fault(at=START, utc_trusted=True, stage="camera", recovered=False, detail="tối quá: no light")
PASSAGE = Passage(at=START, utc_trusted=True, direction=Direction.EXIT, outcome=Outcome.WRONG_WAY)
TRIAL = TrialVisit(
    at=START, utc_trusted=True, mark="00f1e2d3c4b5a697", direction=Direction.ENTRY, shown=True, opened=False, detail=""
)
OPENING = Opening(at=START, utc_trusted=True, direction=Direction.ENTRY, cause=Cause.STAFF_OVERRIDE)
ESCALATION = Escalation(
    at=START, utc_trusted=True, boot_ns=9, alert_ledger="l1", alert_sequence=6, delivered=True, count=1
)
STEP = ClockStep(at=START, utc_trusted=True, boot_ns=9, step_ms=-1500)
ANSWER = CommandAnswer(at=START, utc_trusted=True, boot_ns=9, number=None, order=None, done=False, detail="forged")
EVENTS: tuple[Event, ...] = (CHECK_IN, FOREIGN, ALERT, ESCALATION, FAULT, STEP, PASSAGE, OPENING, ANSWER, TRIAL)
Document = dict[str, Any]


def _stored(event: Event) -> StoredEvent:
    return StoredEvent(ledger="l1", sequence=7, event=event)


def _published(event: Event) -> tuple[str, bytes]:
    topic = wire.event_topic("door-01", wire.kind_of(event))
    return topic, wire.encode_event(_stored(event), ORIGIN)


@pytest.mark.parametrize("event", EVENTS)
def test_the_city_reads_what_a_kiosk_publishes(event: Event) -> None:
    """Origin, ledger, sequence and every field come back as they were."""
    assert wire.decode_event(*_published(event)) == wire.Received(origin=ORIGIN, stored=_stored(event))


def test_a_check_in_on_the_wire() -> None:
    """It is a CloudEvents 1.0 document whose data is the contract with the city."""
    topic, payload = _published(CHECK_IN)
    assert (topic, json.loads(payload)) == (
        "kiosk/v1/door-01/event/check-in",
        {
            "specversion": "1.0",
            "id": "l1.7",
            "source": "/kiosk/v1/door-01",
            "type": "vn.danang.kiosk.check-in.v1",
            "time": "2021-11-22T01:00:00Z",
            "datacontenttype": "application/json",
            "data": {
                "ledger": "l1",
                "sequence": 7,
                "place": "place-0001",
                "access_point": "main",
                "boot_id": "5f3c8a52",
                "at": "2021-11-22T01:00:00Z",
                "utc_trusted": True,
                "boot_ns": 9,
                "late_record": False,
                "direction": "entry",
                "decision": "denied",
                "reasons": ["at_risk.symptom", "declaration_expired"],
                "scheme": "declaration",
                "subject": SUBJECT,
                "data_age_s": 3600,
                "city_age_s": 120,
                "sealed": "c2VhbGVk",
            },
        },
    )


@pytest.mark.parametrize("event", EVENTS)
def test_others_read_our_documents_too(event: Event) -> None:
    """The CloudEvents project's own reader takes them, and they fit our published schema."""
    _, payload = _published(event)
    kind = wire.kind_of(event)
    seen = JSONFormat().read(CloudEvent, payload)
    assert (seen.get_id(), seen.get_source(), seen.get_type()) == (
        "l1.7",
        "/kiosk/v1/door-01",
        f"vn.danang.kiosk.{kind}.v1",
    )
    validator = jsonschema.Draft202012Validator(wire.event_schema(kind))
    assert list(validator.iter_errors(json.loads(payload))) == []


@pytest.mark.parametrize("kind", wire.KINDS)
def test_the_schema_of_a_kind_is_sound_and_closed(kind: str) -> None:
    """It obeys JSON Schema 2020-12, and a field it does not name is a mistake."""
    schema = wire.event_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    event = next(event for event in EVENTS if wire.kind_of(event) == kind)
    document = json.loads(_published(event)[1])
    document["data"]["name"] = "N.V.A."
    assert [error.validator for error in jsonschema.Draft202012Validator(schema).iter_errors(document)] == [
        "additionalProperties"
    ]


def test_topics_of_a_device() -> None:
    """Events, birth and will, look-ups, and what the city answers each have their place below the device."""
    topics = wire.state_topic, wire.acknowledgement_topic, wire.look_up_topic, wire.answer_topic
    assert [wire.event_topic("d", "alert"), *(topic("d") for topic in topics)] == [
        "kiosk/v1/d/event/alert",
        "kiosk/v1/d/state",
        "kiosk/v1/d/ack",
        "kiosk/v1/d/lookup",
        "kiosk/v1/d/answer",
    ]


def test_an_older_kiosk_need_not_say_what_is_new() -> None:
    """Events that lie in an outbox since before an update are read: no age of the city's data, nothing sealed."""
    topic, payload = _published(CHECK_IN)
    document = json.loads(payload)
    del document["data"]["city_age_s"], document["data"]["sealed"]
    old = replace(CHECK_IN, city_age_s=None, sealed="")
    received = wire.decode_event(topic, json.dumps(document).encode())
    assert received == wire.Received(origin=ORIGIN, stored=_stored(old))


def test_fields_of_a_newer_kiosk_are_passed_over() -> None:
    """What today's city does not know, in the envelope or the data, changes nothing."""
    topic, payload = _published(FAULT)
    document = json.loads(payload)
    document["data"]["temperature"] = 41
    document["dataschema"] = "later"
    received = wire.decode_event(topic, json.dumps(document).encode())
    assert received == wire.Received(origin=ORIGIN, stored=_stored(FAULT))


@pytest.mark.parametrize(
    "topic",
    [
        "kiosk/v1/door-01/event/greeting",
        "kiosk/v1/door-01/event/",
        "kiosk/v1//event/fault",
        "kiosk/v1/door-01/more/event/fault",
        "kiosk/v2/door-01/event/fault",
        "x/kiosk/v1/door-01/event/fault",
        "kiosk/v1/door-01/event/fault/x",
        "kiosk/v1/door-01/event/fault\n",
    ],
)
def test_other_topics_hold_no_events(topic: str) -> None:
    """Whatever is published there, it is unreadable."""
    _, payload = _published(FAULT)
    assert wire.decode_event(topic, payload) == wire.Unreadable(why="not an event topic, or longer than 65536 bytes")


def test_a_payload_may_be_as_big_as_the_limit_and_no_bigger() -> None:
    """White space up to 64 KiB is read, one byte more is not."""
    topic, payload = _published(FAULT)
    biggest = payload.ljust(wire.BIGGEST_PAYLOAD)
    assert [type(wire.decode_event(topic, it)) for it in (biggest, biggest + b" ")] == [
        wire.Received,
        wire.Unreadable,
    ]


@pytest.mark.parametrize(
    ("event", "topic"),
    [(FAULT, "kiosk/v1/door-02/event/fault"), (CHECK_IN, "kiosk/v1/door-01/event/alert")],
)
def test_a_device_speaks_for_itself_only_and_of_one_kind(event: Event, topic: str) -> None:
    """A document under another device's topic, or another kind's, is not believed."""
    _, payload = _published(event)
    assert wire.decode_event(topic, payload) == wire.Unreadable(why="source or type is not the topic's")


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("sequence", 0, "sequence: greater_than_equal"),
        ("sequence", "7", "sequence: int_type"),
        ("ledger", "", "ledger: string_too_short"),
        ("ledger", "x" * 65, "ledger: string_too_long"),
        ("place", 5, "place: string_type"),
        ("at", "yesterday", "at: datetime_from_date_parsing"),
        ("at", "2021-11-22T01:00:00", "data.at has no zone"),
        ("utc_trusted", None, "utc_trusted: bool_type"),
        ("detail", "\ud800", "not a CloudEvents document of this version (UnicodeEncodeError)"),
        ("place", "\udfff", "place: string_unicode"),
    ],
)
def test_an_unreadable_field_is_named_without_what_it_held(key: str, value: object, why: str) -> None:
    """A city's log may say which field was wrong, never its content."""
    topic, payload = _published(FAULT)
    document = json.loads(payload)
    document["data"][key] = value
    assert wire.decode_event(topic, json.dumps(document).encode()) == wire.Unreadable(why=why)


def _drop_data(document: Document) -> object:
    return {key: value for key, value in document.items() if key != "data"}


def _drop_source(document: Document) -> object:
    del document["source"]
    return document


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (_drop_data, "KeyError"),
        (_drop_source, "KeyError"),
        (lambda document: document | {"data": 5}, "TypeError"),
        (lambda document: document | {"data": "five"}, "ValueError"),
        (lambda _document: [], "TypeError"),
        (lambda _document: None, "TypeError"),
    ],
)
def test_another_shape_is_unreadable(broken: Callable[[Document], object], error: str) -> None:
    """JSON that is not our document is told so."""
    topic, payload = _published(FAULT)
    document = json.dumps(broken(json.loads(payload))).encode()
    assert wire.decode_event(topic, document) == wire.Unreadable(
        why=f"not a CloudEvents document of this version ({error})"
    )


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe\xfd", b"[" * 60_000, b"9" * 5000, b"NaN"])
def test_what_is_not_even_json_is_unreadable(payload: bytes) -> None:
    """A stranger's bytes never raise."""
    for decode in (wire.decode_acknowledgement, wire.decode_state):
        assert isinstance(decode(payload), wire.Unreadable)
    assert isinstance(wire.decode_event("kiosk/v1/d/event/fault", payload), wire.Unreadable)


def test_acknowledgements() -> None:
    """One ledger and at least one sequence, else the wrong field is named; a newer city may say more."""
    read = wire.decode_acknowledgement
    assert [
        read(b'{"ledger":"l1","sequences":[3,5]}'),
        read(b'{"ledger":"l1","sequences":[]}'),
        read(b'{"ledger":"l1"}'),
        read(b'{"ledger":"l1","sequences":[1],"more":1}'),
        read(json.dumps({"ledger": "l1", "sequences": list(range(1001))}).encode()),
    ] == [
        wire.Acknowledgement(ledger="l1", sequences=[3, 5]),
        wire.Unreadable(why="sequences: too_short"),
        wire.Unreadable(why="sequences: missing"),
        wire.Acknowledgement(ledger="l1", sequences=[1]),
        wire.Unreadable(why="sequences: too_long"),
    ]


def test_a_look_up_names_one_person() -> None:
    """The device is the topic's; anything but a pseudonym is unreadable, and what it was is not told."""
    topic = wire.look_up_topic("door-01")
    asked = wire.LookUp(subject=SUBJECT).model_dump_json().encode()
    assert [
        wire.decode_look_up(topic, asked),
        wire.decode_look_up(topic, b'{"subject":"%s","more":1}' % SUBJECT.encode()),
        wire.decode_look_up(topic, b'{"subject":"048090000004"}'),
        wire.decode_look_up(topic, b"{}"),
        wire.decode_look_up(topic, asked.ljust(wire.BIGGEST_PAYLOAD + 1)),
        wire.decode_look_up(wire.answer_topic("door-01"), asked),
    ] == [
        wire.Asked(device="door-01", subject=SUBJECT),
        wire.Asked(device="door-01", subject=SUBJECT),
        wire.Unreadable(why="subject: string_pattern_mismatch"),
        wire.Unreadable(why="subject: missing"),
        *[wire.Unreadable(why="not a look-up's topic, or longer than 65536 bytes")] * 2,
    ]


def test_birth_and_will() -> None:
    """A birth has a time, a will has none; both come back as they were."""
    born = wire.State(device="door-01", online=True, version="1", ledger="l1", at=datetime(2021, 11, 22, tzinfo=UTC))
    dead = wire.State(device="door-01", online=False, version="1", ledger="l1")
    read = [wire.decode_state(state.model_dump_json().encode()) for state in (born, dead)]
    assert [*read, wire.decode_state(b'{"device":1}')] == [
        born,
        dead,
        wire.Unreadable(why="device: string_type; online: missing; version: missing; ledger: missing"),
    ]


def test_what_goes_beside_events_fits_its_schema() -> None:
    """Birth and will, acknowledgement and look-up each fit their own, and all are sound JSON Schema 2020-12."""
    state = wire.State(device="door-01", online=False, version="1", ledger="l1")
    answer = wire.Acknowledgement(ledger="l1", sequences=[1])
    question = wire.LookUp(subject=SUBJECT)
    for document, schema in (
        (state, wire.state_schema()),
        (answer, wire.acknowledgement_schema()),
        (question, wire.look_up_schema()),
    ):
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        assert list(validator.iter_errors(document.model_dump(mode="json"))) == []


VIEW = View(
    screen=Screen.GRANTED,
    wording=Wording(vi="Mời vào", en="Please come in"),
    direction=Direction.ENTRY,
    initials="N.V.A.",
    online=True,
    waiting=3,
)
ADVICE = View(
    screen=Screen.READING,
    wording=Wording(vi="Xin đưa mã lại gần hơn", en="A little closer, please"),
    direction=Direction.EXIT,
    hint=Hint.CLOSER,
)
GLIMPSE = Glimpse(
    captured_ns=5_000_000,
    quad=((-3, 10), (90, 10), (90, 90), (-3, 90)),
    module_px=None,
    dark=40,
    light=180,
    clipped=0.1,
    edge_px=1.7,
    banding=1 / 3,
    tilt=0.0,
)
ACTUATION = Actuation(changes=(LineChange(after_ms=0, line=Line.GREEN, on=True),), grant=Direction.ENTRY)
INPUTS: tuple[Input, ...] = (
    Seen(sightings=(sighting(bytes(range(256)), 5), sighting(b"\xfb\xef\xff", 5))),
    Seen(sightings=()),
    GLIMPSE,
    replace(GLIMPSE, module_px=2.1, exposure=Exposure(exposure_us=8000, gain=1.25)),
    StageHealth(stage="camera", fault="tối"),
    LinkStatus(online=True, waiting=2),
    Answer(asked=SUBJECT, payload=b"\xfb\xef\xff"),
    Elapsed(),
)
EFFECTS: tuple[Effect, ...] = (
    Record(events=EVENTS, before_drive=True),
    Drive(actuation=ACTUATION),
    Show(view=VIEW),
    Show(view=ADVICE),
    Ask(subject=SUBJECT),
)


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("effects", [(), EFFECTS])
def test_a_journal_line_holds_a_whole_step(given: Input, effects: tuple[Effect, ...]) -> None:
    """Any payload bytes, every kind of input and effect come back equal, from one line."""
    entry = wire.Entry(now=at_ms(1234, utc_trusted=False), given=given, effects=effects)
    line = wire.encode_entry(entry)
    assert (len(line.splitlines()), wire.decode_entry(line)) == (1, entry)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "3",
        '{"now":{},"given":{"Elapsed":{}},"effects":[]}',
        wire.encode_entry(wire.Entry(now=at_ms(0), given=Elapsed(), effects=())).replace("Elapsed", "Pause"),
        wire.encode_entry(wire.Entry(now=at_ms(0), given=Elapsed(), effects=())).replace('{"Elapsed":{}}', "[]"),
        wire.encode_entry(wire.Entry(now=at_ms(0), given=Elapsed(), effects=())).replace('"effects":[]', '"effects":5'),
    ],
)
def test_a_line_that_is_not_a_journals_is_a_value_error(line: str) -> None:
    """Whatever shape it has instead."""
    with pytest.raises(ValueError, match=r".+"):
        wire.decode_entry(line)
