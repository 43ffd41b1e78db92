"""PURE. MQTT 5 in bytes, as much of it as one subscriber needs who reads and answers thousands of messages a second.

paho takes 290 us of a core for a message that is received, acknowledged to the broker and answered to a kiosk; these
functions take 10 (docs/decisions/0015-city-database.md). QoS 1 and no more. Numbers in the names of
packets and properties are those of MQTT 5.0, sections 2.1.2 and 2.2.2.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
RECEIVE_MAXIMUM, MAXIMUM_PACKET_SIZE = 0x21, 0x27

PING = b"\xc0\x00"
GOOD_BYE = b"\xe0\x00"

REFUSED = 0x80
"""Reason codes from here on say no."""

_SIZES = {0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2}
_SIZES |= {0x23: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
"""Bytes of a property; those that are not here begin with a length of two bytes."""


class Malformed(ValueError):
    """Bytes that are no MQTT 5."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came. `packet` is what the broker calls it until it is acknowledged; 0 for one of QoS 0."""

    topic: str
    payload: bytes
    packet: int


def connect(
    client_id: str, username: str, password: str, *, keep_alive_s: int, receive_maximum: int, biggest: int
) -> bytes:
    """Ask for a clean session."""
    flags = 0x02 | (0x80 if username else 0) | (0x40 if password else 0)
    about = bytes([RECEIVE_MAXIMUM]) + receive_maximum.to_bytes(2) + bytes([MAXIMUM_PACKET_SIZE]) + biggest.to_bytes(4)
    body = _text("MQTT") + bytes([5, flags]) + keep_alive_s.to_bytes(2) + _number(len(about)) + about
    return _packet(0x10, body + b"".join(_text(one) for one in (client_id, username, password) if one))


def subscribe(topic: str, packet: int) -> bytes:
    """Ask for a topic with QoS 1, without what is retained there."""
    return _packet(0x82, packet.to_bytes(2) + b"\x00" + _text(topic) + b"\x21")


def publish(topic: str, payload: bytes, packet: int) -> bytes:
    """Say something with QoS 1."""
    return _packet(0x32, _text(topic) + packet.to_bytes(2) + b"\x00" + payload)


def puback(packet: int) -> bytes:
    """Acknowledge a message to the broker."""
    return b"\x40\x02" + packet.to_bytes(2)


def split(came: bytes | bytearray) -> tuple[list[tuple[int, bytes]], int]:
    """Give the whole packets, each its first byte and its body, and how many bytes they are.

    Raises:
        Malformed: these are none.
    """
    came, at, end = bytes(came), 0, len(came)
    packets = []
    while at + 2 <= end:
        size, shift, start = 0, 0, at + 1
        while start < end:
            byte = came[start]
            size |= (byte & 0x7F) << shift
            start, shift = start + 1, shift + 7
            if byte < 0x80:  # noqa: PLR2004 - the bit that says there is more
                break
            if shift > 21:  # noqa: PLR2004 - four bytes are all there may be
                raise Malformed("a length of five bytes")
        else:
            break
        if start + size > end:
            break
        packets.append((came[at], came[start : start + size]))
        at = start + size
    return packets, at


def message(first: int, body: bytes) -> Message:
    """Read a PUBLISH.

    Raises:
        Malformed: it is none.
    """
    topic_end = 2 + int.from_bytes(body[:2])
    packet, at = 0, topic_end
    if first & 0x06:
        packet, at = int.from_bytes(body[at : at + 2]), at + 2
    size, at = _read_number(body, at)
    if at + size > len(body):
        raise Malformed("a PUBLISH that ends early")
    try:
        return Message(topic=body[2:topic_end].decode(), payload=body[at + size :], packet=packet)
    except UnicodeDecodeError as error:
        raise Malformed("a topic that is not UTF-8") from error


def connection(body: bytes) -> tuple[int, int]:
    """Read a CONNACK: its reason code, and how many of our messages the broker takes before it acknowledges one."""
    if len(body) < 3:  # noqa: PLR2004 - flags, reason, length of the properties
        raise Malformed("a CONNACK that ends early")
    size, at = _read_number(body, 2)
    known = dict(_properties(body[at : at + size]))
    return body[1], int.from_bytes(known.get(RECEIVE_MAXIMUM, b"\xff\xff"))


def subscription(body: bytes) -> int:
    """Read the reason code of a SUBACK for one topic."""
    return _last(body)


def acknowledgement(body: bytes) -> int:
    """Read the reason code of a PUBACK."""
    return body[2] if len(body) > 2 else 0  # noqa: PLR2004 - two bytes name the packet


def good_bye(body: bytes) -> int:
    """Read the reason code of a DISCONNECT."""
    return body[0] if body else 0


def _last(body: bytes) -> int:
    if not body:
        raise Malformed("a SUBACK that is empty")
    return body[-1]


def _properties(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw):
        name, at = raw[at], at + 1
        if name == 0x26:  # noqa: PLR2004 - a user's own: two texts
            at += 2 + int.from_bytes(raw[at : at + 2])
            at += 2 + int.from_bytes(raw[at : at + 2])
            continue
        if name == 0x0B:  # noqa: PLR2004 - a number as long as it needs
            _, at = _read_number(raw, at)
            continue
        size = _SIZES.get(name)
        if size is None:
            size, at = int.from_bytes(raw[at : at + 2]), at + 2
        yield name, raw[at : at + size]
        at += size


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _number(len(body)) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2) + raw


def _number(number: int) -> bytes:
    raw = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        raw.append(low | (0x80 if number else 0))
        if not number:
            return bytes(raw)


def _read_number(raw: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while at < len(raw) and shift < 28:  # noqa: PLR2004 - four times seven bits
        byte, at = raw[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says there is more
            return number, at
        shift += 7
    raise Malformed("a number without an end")
