"""MQTT 5 in bytes, against the examples and rules of its specification (OASIS, MQTT Version 5.0)."""

import pytest

from city import packets
from city.packets import Malformed, Message


def test_packets_are_cut_where_they_end_however_they_come() -> None:
    """What is not whole yet waits, lengths of one to four bytes."""
    bodies = [b"", b"x", b"y" * 127, b"z" * 128, b"a" * 16_384, b"b" * 2_097_152]
    stream = b"".join(packets.publish("t", body, number) for number, body in enumerate(bodies, 1))
    whole, used = packets.split(stream)
    assert used == len(stream)
    assert [packets.message(first, body) for first, body in whole] == [
        Message("t", body, number) for number, body in enumerate(bodies, 1)
    ]
    short = packets.publish("t", b"y" * 200, 1) + packets.PING
    for cut in range(len(short)):
        whole, used = packets.split(short[:cut])
        rest, _ = packets.split(short[used:])
        assert [*whole, *rest] == packets.split(short)[0]


def test_numbers_are_written_as_the_specification_does() -> None:
    """Its table 1-1: 127, 128, 16,383 and 16,384 are on the edges."""
    heads = {
        len(packet) - len(head): head
        for size in (127, 128, 16_383, 16_384)
        for packet in [packets.publish("", b"x" * (size - 5), 1)]
        for head in [packet[: 2 if size < 128 else 3 if size < 16_384 else 4]]
    }
    assert heads == {
        127: b"\x32\x7f",
        128: b"\x32\x80\x01",
        16_383: b"\x32\xff\x7f",
        16_384: b"\x32\x80\x80\x01",
    }


def test_a_message_may_have_any_property_and_any_quality() -> None:
    """Properties are passed over; with QoS 0 there is no packet to acknowledge."""
    about = b"\x01\x01" + b"\x26\x00\x01k\x00\x01v" + b"\x0b\xff\x7f"
    body = b"\x00\x03a/b" + b"\x12\x34" + bytes([len(about)]) + about + b"payload"
    assert packets.message(0x32, body) == Message("a/b", b"payload", 0x1234)
    assert packets.message(0x30, b"\x00\x03a/b\x00payload") == Message("a/b", b"payload", 0)


def test_a_connection_is_read_with_what_the_broker_takes_at_once() -> None:
    """65,535 unacknowledged messages where it does not say (3.2.2.3.3), whatever else it says."""
    assert packets.connection(b"\x00\x00\x00") == (0, 65_535)
    about = b"\x13\x00\x3c" + b"\x1f\x00\x02ok" + b"\x26\x00\x01k\x00\x01v" + b"\x21\x00\x14" + b"\x25\x01"
    assert packets.connection(b"\x00\x00" + bytes([len(about)]) + about) == (0, 20)
    assert packets.connection(b"\x00\x87\x00") == (0x87, 65_535)


def test_reasons_are_read_where_they_stand() -> None:
    """A PUBACK or DISCONNECT without one is a success (3.4.2.1, 3.14.2.1)."""
    assert (packets.acknowledgement(b"\x00\x01"), packets.acknowledgement(b"\x00\x01\x97")) == (0, 0x97)
    assert (packets.good_bye(b""), packets.good_bye(b"\x8e")) == (0, 0x8E)
    assert packets.subscription(b"\x00\x01\x00\x87") == 0x87


def test_what_we_ask_for_is_as_the_specification_lays_it_out() -> None:
    """Clean start, name and password, our limits; a subscription without retained messages."""
    made = packets.connect("me", "user", "word", keep_alive_s=30, receive_maximum=2000, biggest=65_536)
    assert made == (
        b"\x10\x23\x00\x04MQTT\x05\xc2\x00\x1e\x08\x21\x07\xd0\x27\x00\x01\x00\x00\x00\x02me\x00\x04user\x00\x04word"
    )
    assert packets.subscribe("a/+", 1) == b"\x82\x09\x00\x01\x00\x00\x03a/+\x21"
    assert packets.puback(0x1234) == b"\x40\x02\x12\x34"


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x32, b"\x00\x03a/b\x00\x01\x05"),
        (0x32, b"\x00\x02\xff\xfe\x00\x01\x00"),
        (0x30, b""),
        (0x30, b"\x00\x01a\x80"),
    ],
)
def test_a_message_that_breaks_off_is_malformed(first: int, body: bytes) -> None:
    """And nothing else happens."""
    with pytest.raises(Malformed):
        packets.message(first, body)


def test_a_length_of_five_bytes_is_malformed() -> None:
    """The specification allows four (1.5.5)."""
    with pytest.raises(Malformed):
        packets.split(b"\x30\xff\xff\xff\xff\x7f")
