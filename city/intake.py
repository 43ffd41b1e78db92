"""PURE. From a message to what the store keeps: an event that the database can hold, or the bytes as they came.

Decides who a message that cannot be read is from, as far as that can be told. Called by `city.ingest`.
"""

import json
from datetime import UTC
from hashlib import sha256

from city.schema import NAME, TOPIC, WHY
from city.store import Arrival, Quarantined
from kiosk import wire
from kiosk.messages import Alert, CheckIn

BIGGEST_KEPT = wire.BIGGEST_PAYLOAD
"""Bytes of an unreadable message; of a longer one its beginning is kept."""
_SUBJECT = 32
_NULS = (b"\\u0000", b"\0")
"""How JSON spells the one character that PostgreSQL does not take, in UTF-8, or in UTF-16 and UTF-32."""


def read(topic: str, payload: bytes) -> Arrival | Quarantined:
    """Open a message of an event's topic."""
    received = wire.decode_event(topic, payload)
    if isinstance(received, wire.Unreadable):
        return quarantined(topic, payload, received.why)
    stored, origin = received.stored, received.origin
    happened = stored.event
    subject = happened.subject if isinstance(happened, CheckIn | Alert) else None
    odd = any(nul in payload for nul in _NULS)
    if odd or len(origin.device) > NAME or (subject is not None and len(subject) > _SUBJECT):
        return quarantined(topic, payload, "a device's name, a subject or a character that no database here holds")
    try:
        at = happened.at.astimezone(UTC)
    except OverflowError:
        return quarantined(topic, payload, "data.at is before the year 1 or after 9999")
    told = origin.boot_id and 0 < happened.boot_ns <= wire.BIGGEST_SEQUENCE
    return Arrival(
        device=origin.device,
        ledger=stored.ledger,
        sequence=stored.sequence,
        kind=wire.kind_of(happened),
        place=origin.place,
        access_point=origin.access_point,
        at=at,
        utc_trusted=happened.utc_trusted,
        subject=subject,
        body=wire.body_of(happened),
        boot_id=origin.boot_id if told else None,
        boot_ns=happened.boot_ns if told else None,
    )


def quarantined(topic: str, payload: bytes, why: str) -> Quarantined:
    """Take a message as it is; `why` has nothing of its content."""
    device = topic.split("/")[2]
    ledger, sequence = _identity(payload) if len(device) <= NAME else ("", 0)
    return Quarantined(
        device=device[:NAME],
        ledger=ledger,
        sequence=sequence,
        digest="" if sequence else sha256(topic.encode() + b"\n" + payload).hexdigest(),
        topic=topic[:TOPIC],
        payload=payload[:BIGGEST_KEPT],
        why=why[:WHY],
    )


def _identity(payload: bytes) -> tuple[str, int]:
    """Ledger and sequence, where it says them so that a kiosk would know them again; else an empty text and 0."""
    if len(payload) > BIGGEST_KEPT:
        return "", 0
    try:
        data = json.loads(payload)["data"]
        ledger, sequence = data["ledger"], data["sequence"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", 0
    named = isinstance(ledger, str) and 0 < len(ledger) <= NAME and ledger.isprintable()
    numbered = type(sequence) is int and 0 < sequence <= wire.BIGGEST_SEQUENCE
    return (ledger, sequence) if named and numbered else ("", 0)
