"""What is no MQTT, and what is no event: tables for `torture/intruder.py`, and random bytes of a seed."""

import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

from kiosk import wire

CONNECT = b"\x10"
DROPPED = r"Client (<unknown>|door-01)[^\n]* (disconnected|closed)|Bad socket read/write on client (<unknown>|door-01)"
"""How mosquitto's log has it."""
DEEP = 50_000


def connect(name: bytes = b"MQTT", level: int = 5, flags: int = 2, client_id: bytes = b"door-01") -> bytes:
    """CONNECT without properties."""
    start = struct.pack("!H", len(name)) + name + bytes([level, flags]) + struct.pack("!H", 15)
    properties = b"\0" if level == 5 else b""
    body = start + properties + struct.pack("!H", len(client_id)) + client_id
    return CONNECT + bytes([len(body)]) + body


def publish(topic: bytes, *, first: int = 0x32, packet: int = 1, rest: bytes = b"\0x") -> bytes:
    """PUBLISH with QoS 1, or what `first` says."""
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", packet) + rest
    return bytes([first, len(body)]) + body


def packets(device: str, random: Random, count: int) -> Iterator[tuple[str, bytes]]:
    """What is sent over a connection of its own; some of it after a good CONNECT."""
    own = wire.event_topic(device, "fault").encode()
    good = connect()
    yield "half a CONNECT", good[:9]
    yield "five bytes of remaining length", CONNECT + b"\xff\xff\xff\xff\xff\x7f"
    yield "a remaining length of 256 MB before CONNECT", b"\x30\xff\xff\xff\x7f"
    yield "another protocol's name", connect(name=b"HTTP")
    yield "version 9 of MQTT", connect(level=9)
    yield "the reserved flag of CONNECT", connect(flags=3)
    yield "PUBLISH before CONNECT", publish(own)
    yield "a second CONNECT", good + good
    yield "an HTTP request", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"
    yield "a packet longer than the limit", good + b"\x32" + b"\x80\x80\x80\x20"
    yield "QoS 3", good + publish(own, first=0x36)
    yield "QoS 2, which is off", good + publish(own, first=0x34)
    yield "packet identifier 0", good + publish(own, packet=0)
    yield "a topic with a wildcard", good + publish(b"kiosk/v1/+/event/alert")
    yield "a topic that is no UTF-8", good + publish(b"kiosk/v1/\xff\xfe/state")
    yield "a topic with NUL in it", good + publish(b"kiosk/v1/door-02\0/state")
    yield "an empty topic", good + publish(b"")
    yield "a topic longer than its packet", good + b"\x32\x04\xff\xffab"
    yield "an unknown topic alias", good + publish(b"", rest=b"\x03\x23\x00\x63x")
    yield "SUBSCRIBE to nothing", good + b"\x82\x03\x00\x01\x00"
    yield "an empty filter", good + b"\x82\x06\x00\x01\x00\x00\x00\x01"
    yield "packet type 0", good + b"\x00\x00"
    yield "a server's own CONNACK", good + b"\x20\x03\x00\x00\x00"
    for number in range(count):
        noise = random.randbytes(random.randint(2, 60))
        after = random.random() < 0.5
        # the lowest type bits are such that no noise is a whole and lawful packet
        yield f"noise {number}", (good if after else b"") + bytes([0xF0 | 1 + random.randrange(15)]) + noise


def event(device: str, sequence: object = 1, **changes: object) -> dict[str, Any]:
    """A fault as a kiosk sends it, and whatever is to be wrong in its data."""
    data = {
        "ledger": "f" * 16,
        "sequence": sequence,
        "place": "place-0001",
        "access_point": "main",
        "boot_id": "",
        "at": "2021-11-22T01:30:00Z",
        "utc_trusted": True,
        "boot_ns": 1,
        "stage": "camera",
        "recovered": False,
        "detail": "from the intruder",
        "late_record": False,
        **changes,
    }
    return {
        "specversion": "1.0",
        "id": "x",
        "source": f"/{wire.ROOT}/{device}",
        "type": "vn.danang.kiosk.fault.v1",
        "time": "2021-11-22T01:30:00Z",
        "datacontenttype": "application/json",
        "data": data,
    }


def payloads(device: str, other: str) -> Iterator[tuple[str, bytes]]:
    """What is published at a kiosk's own topic of faults, and is none; each is another message."""
    yield "nothing at all", b""
    yield "no JSON", b"hello"
    yield "no UTF-8", b"\xff\xfe\x00"
    yield "half of an event", written(event(device, 23))[:-40]
    yield "a number", b"1"
    yield "a list", b"[]"
    yield "a list in a list, and so on", b"[" * DEEP + b"]" * DEEP
    yield "an object in an object, and so on", b'{"data":' * 8000 + b"1" + b"}" * 8000
    yield "64 KiB and one byte", b" " * (wire.BIGGEST_PAYLOAD + 1)
    yield "2 MiB", b"x" * (2 << 20)
    yield "another kiosk's event", written(event(other, 21))
    yield "another kind's event", written({**event(device, 22), "type": "vn.danang.kiosk.alert.v1"})
    yield "no data", written({**event(device), "data": None})
    yield "data that is a text", written({**event(device), "data": "x"})
    for number in (0, -1, 2**63, 10**400, 1.5, True, "1", None, [1]):
        yield f"sequence {str(number)[:20]}", written(event(device, number))
    yield "a sequence that is not a number", written(event(device)).replace(b'"sequence": 1', b'"sequence": NaN')
    yield "an empty ledger", written(event(device, 2, ledger=""))
    yield "a ledger of 65 characters", written(event(device, 3, ledger="f" * 65))
    yield "a ledger with NUL in it", written(event(device, 4, ledger="a\0b"))
    yield "a ledger that is an object", written(event(device, 5, ledger={"a": 1}))
    yield "a place as long as a book", written(event(device, 6, place="x" * 60_000))
    yield "half a surrogate pair", written(event(device, 7)).replace(b"from the intruder", b"\\ud800")
    yield "NUL in a text", written(event(device, 8, detail="a\0b"))
    yield "a time without a zone", written(event(device, 9, at="2021-11-22T01:30:00"))
    yield "a time before the year 1", written(event(device, 10, at="0001-01-01T00:00:00+14:00"))
    yield "a time that is none", written(event(device, 11, at="soon"))
    yield "a truth that is a number", written(event(device, 12, recovered=7))
    yield "a text that is an object", written(event(device, 13, detail={"sql": "'); DROP TABLE events; --"}))


def written(document: object) -> bytes:
    """As JSON."""
    return json.dumps(document).encode()
