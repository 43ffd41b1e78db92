"""Write docs/schemas/, docs/asyncapi.yaml and the examples in docs/mqtt.md from `kiosk.wire`.

Run from the repository root: `python scripts/make_docs.py`. With `--check` nothing is written: it prints a diff of what
is out of date and exits with 1. The person, the device and the ledger in the examples are made up.
"""

import argparse
import difflib
import json
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from kiosk import wire
from kiosk.connection import KEEP_ALIVE_S
from kiosk.messages import (
    Alert,
    AlertState,
    Cause,
    CheckIn,
    ClockStep,
    CommandAnswer,
    Decision,
    Direction,
    Escalation,
    Event,
    Fault,
    Opening,
    Outcome,
    Passage,
    Reason,
    Scheme,
    StoredEvent,
    TrialVisit,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
LEDGER = "9f2c64d01b7ae358"
SUBJECT = "66b4bebd3d65135c0685a4609d4ded91"
"""The made-up person of docs/declaration.md."""
AT = datetime(2021, 11, 22, 1, 30, tzinfo=UTC)
BOOT_ID = "5f3c8a52-61d0-4c0e-9d8b-2f6a7e1c0b94"
ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id=BOOT_ID)
BIRTH = wire.State(device=ORIGIN.device, online=True, version="0.1.0", ledger=LEDGER, at=AT)
WILL = wire.State(device=ORIGIN.device, online=False, version="0.1.0", ledger=LEDGER)
BOOT_NS = 5_400_000_000_000
BEAT = wire.Heartbeat(
    at=AT, boot_id=BOOT_ID, boot_ns=BOOT_NS, ledger=LEDGER, newest=8, waiting=0, faults=["camera"], version="0.1.0"
)
HERE: dict[str, Any] = {"at": AT, "utc_trusted": True, "boot_ns": BOOT_NS}
PERSON: dict[str, Any] = {"direction": Direction.ENTRY, "scheme": Scheme.DECLARATION, "subject": SUBJECT}
EVENTS: tuple[Event, ...] = (
    CheckIn(decision=Decision.GRANTED, reasons=(Reason.NO_RISK,), data_age_s=5400, **PERSON, **HERE),
    Alert(reasons=(Reason.AT_RISK_SYMPTOM, Reason.AT_RISK_AREA), **PERSON, **HERE),
    Escalation(alert_ledger=LEDGER, alert_sequence=2, delivered=True, count=1, **HERE),
    Fault(stage="camera", recovered=False, detail="the camera gives no frames: check its cable", **HERE),
    ClockStep(step_ms=86_400_000, **HERE),
    Passage(direction=Direction.ENTRY, outcome=Outcome.WITHOUT_GRANT, **HERE),
    Opening(direction=Direction.ENTRY, cause=Cause.STAFF_OVERRIDE, **HERE),
    CommandAnswer(number=1_637_544_600_000, order="mute", done=True, detail="muted for 600 s", **HERE),
    TrialVisit(mark="00f1e2d3c4b5a697", direction=Direction.ENTRY, shown=True, opened=False, detail="", **HERE),
)
EXAMPLE = re.compile(r"(<!-- example: ([a-z-]+) -->\n```json\n)(?:[^`]*\n)?(```)")

HEAD = """# Written by scripts/make_docs.py from kiosk.wire; change that, not this.
"""
TOLD = """What a kiosk publishes and subscribes to, seen from the kiosk. docs/mqtt.md says what a subscriber must do.
An MQTT acknowledgement is not the city's: the kiosk keeps an event until it gets the message `acknowledgement`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message: where it goes and what it says. `received`: by the kiosk, from the city.

    Without a schema it is not JSON: the bytes are as `content_type` says.
    """

    name: str
    topic: str
    summary: str
    schema: dict[str, Any] | None = None
    examples: dict[str, bytes] = field(default_factory=dict)
    content_type: str = "application/json"
    retained: bool = False
    received: bool = False
    qos: int = 1
    reply: str = ""


def messages() -> list[Message]:
    """Describe every kind, in the order of docs/mqtt.md."""
    answered = wire.Acknowledgement(ledger=LEDGER, sequences=[1, 2, 3])
    return [
        *(_event(number, event) for number, event in enumerate(EVENTS, 1)),
        Message(
            name="state",
            topic=wire.state_topic("{device}"),
            summary="Birth at each connection, and the will that the broker publishes when the kiosk has gone.",
            schema=wire.state_schema(),
            examples={"birth": _bytes(BIRTH), "will": _bytes(WILL)},
            retained=True,
        ),
        Message(
            name="heartbeat",
            topic=wire.heartbeat_topic("{device}"),
            summary="A door's sign of life, every [uplink] heartbeat_s.",
            schema=wire.heartbeat_schema(),
            examples={"heartbeat": _bytes(BEAT)},
            qos=0,
        ),
        Message(
            name="acknowledgement",
            topic=wire.acknowledgement_topic("{device}"),
            summary="The city has committed these events of one ledger; the kiosk lets them go.",
            schema=wire.acknowledgement_schema(),
            examples={"acknowledgement": _bytes(answered)},
            received=True,
        ),
        *_from_people(),
        *_look_up(),
        *_to_all(),
    ]


def _from_people() -> list[Message]:
    seen = wire.AlertStanding(ledger=LEDGER, sequence=2, state=AlertState.ACKNOWLEDGED)
    return [
        Message(
            name="alert-states",
            topic=wire.alert_states_topic("{device}"),
            summary="What people at the health authority have done about this device's newest alerts.",
            schema=wire.alert_states_schema(),
            examples={"alert-states": _bytes(wire.AlertStates(alerts=[seen]))},
            received=True,
            retained=True,
        ),
        Message(
            name="command",
            topic=wire.command_topic("{device}"),
            summary="A signed command (docs/commands.md).",
            content_type="application/cose",
            received=True,
        ),
    ]


def _look_up() -> list[Message]:
    return [
        Message(
            name="look-up",
            topic=wire.look_up_topic("{device}"),
            summary="Asks for one person's newest declaration; response topic and correlation data as in MQTT 5.",
            schema=wire.look_up_schema(),
            examples={"look-up": _bytes(wire.LookUp(subject=SUBJECT))},
            qos=0,
            reply="answer",
        ),
        Message(
            name="answer",
            topic=wire.answer_topic("{device}"),
            summary="The text of the code that the person's phone shows (docs/declaration.md); empty if there is none.",
            content_type="text/plain",
            received=True,
            qos=0,
        ),
    ]


def _to_all() -> list[Message]:
    everybody: dict[str, Any] = {"content_type": "application/octet-stream", "retained": True, "received": True}
    return [
        Message(
            name="trust",
            topic=wire.TRUST_TOPIC,
            summary="The newest signed trust bundle (docs/trust.md).",
            **everybody,
        ),
        Message(
            name="risk-list-snapshot",
            topic=wire.SNAPSHOT_TOPIC,
            summary="The newest risk list, whole and signed (docs/risk-list.md). Subscribed to only while needed.",
            **everybody,
        ),
        Message(
            name="risk-list-delta",
            topic=wire.DELTA_TOPIC,
            summary="The newest change of the risk list, signed (docs/risk-list.md).",
            **everybody,
        ),
    ]


def _event(number: int, event: Event) -> Message:
    kind = wire.kind_of(event)
    payload = wire.encode_event(StoredEvent(ledger=LEDGER, sequence=number, event=event), ORIGIN)
    schema = wire.event_schema(kind)
    said = schema["properties"]["data"]["description"]
    return Message(
        name=kind, topic=wire.event_topic("{device}", kind), summary=said, schema=schema, examples={kind: payload}
    )


def _bytes(said: wire.State | wire.Acknowledgement | wire.LookUp | wire.Heartbeat | wire.AlertStates) -> bytes:
    return said.model_dump_json().encode()


def asyncapi(described: list[Message]) -> dict[str, Any]:
    """Give the AsyncAPI 3.0 document, with MQTT bindings 0.2.0."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Check-in kiosk to city",
            "version": "1.0.0",
            "description": TOLD,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"city": _server()},
        "channels": {message.name: _channel(message) for message in described},
        "operations": {_operation_name(message): _operation(message) for message in described},
        "components": {"messages": {message.name: _component(message) for message in described}},
    }


def _server() -> dict[str, Any]:
    will = {"topic": wire.state_topic("{device}"), "qos": 1, "message": _bytes(WILL).decode(), "retain": True}
    binding = {"clientId": "{device}", "cleanSession": True, "keepAlive": KEEP_ALIVE_S, "lastWill": will}
    return {
        "host": "{broker}:{port}",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": "The city's broker. The client id is the device; in the last will, device and ledger vary.",
        "variables": {
            "broker": {"description": "[uplink] host in kiosk.toml"},
            "port": {"description": "[uplink] port in kiosk.toml", "default": "8883"},
        },
        "bindings": {"mqtt": {**binding, "bindingVersion": "0.2.0"}},
    }


def _channel(message: Message) -> dict[str, Any]:
    device = {"device": {"description": "One kiosk: 1 to 64 lower-case letters, digits and dashes."}}
    return {
        "address": message.topic,
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"}},
        **({"parameters": device} if "{device}" in message.topic else {}),
    }


def _operation_name(message: Message) -> str:
    return f"{'receive' if message.received else 'publish'}-{message.name}"


def _operation(message: Message) -> dict[str, Any]:
    return {
        "action": "receive" if message.received else "send",
        "channel": {"$ref": f"#/channels/{message.name}"},
        "summary": message.summary,
        "messages": [{"$ref": f"#/channels/{message.name}/messages/{message.name}"}],
        "bindings": {"mqtt": {"qos": message.qos, "retain": message.retained, "bindingVersion": "0.2.0"}},
        **({"reply": {"channel": {"$ref": f"#/channels/{message.reply}"}}} if message.reply else {}),
    }


def _component(message: Message) -> dict[str, Any]:
    return {
        "name": message.name,
        "summary": message.summary,
        "contentType": message.content_type,
        **(_described(message) if message.schema else {}),
    }


def _described(message: Message) -> dict[str, Any]:
    return {
        "payload": {"$ref": f"./schemas/{message.name}.json"},
        "examples": [{"name": name, "payload": json.loads(said)} for name, said in message.examples.items()],
    }


def with_examples(page: str, described: list[Message]) -> str:
    """Put the real payloads behind their marks; they travel as one line and are broken up here to be read."""
    said = {name: payload for message in described for name, payload in message.examples.items()}

    def filled(mark: re.Match[str]) -> str:
        return mark[1] + json.dumps(json.loads(said[mark[2]]), indent=2, ensure_ascii=False) + "\n" + mark[3]

    return EXAMPLE.sub(filled, page)


def made() -> dict[Path, str]:
    """Give the whole text of every file this script answers for."""
    described = messages()
    page = DOCS / "mqtt.md"
    document = yaml.safe_dump(asyncapi(described), sort_keys=False, allow_unicode=True, width=110)
    return {
        **{
            DOCS / "schemas" / f"{message.name}.json": json.dumps(message.schema, indent=2) + "\n"
            for message in described
            if message.schema
        },
        DOCS / "asyncapi.yaml": HEAD + document,
        page: with_examples(page.read_text(encoding="utf-8"), described),
    }


def main() -> int:
    """Write, or check; the answer is the exit code."""
    parser = argparse.ArgumentParser(description="Write what docs/ says of messages, from kiosk.wire.")
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit with 1 if it is old")
    check = parser.parse_args().check
    old = False
    for path, text in made().items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if there == text:
            continue
        old = True
        if check:
            lines = difflib.unified_diff(
                there.splitlines(), text.splitlines(), path.name, "as it should be", n=1, lineterm=""
            )
            print("\n".join(lines))
        else:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.name}")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
