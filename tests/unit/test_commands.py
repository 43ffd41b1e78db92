from datetime import timedelta
from typing import Any

import cbor2
import pytest

from city.signing import load_key, new_key, sign1
from kiosk.commands import (
    BIGGEST_NUMBER,
    LONGEST_VALID_S,
    MOST_BYTES,
    MOST_TEXT,
    Said,
    encoded,
    permitted,
    read_command,
)
from kiosk.messages import Answered, Command, Order
from tests.builders import START, at_ms
from tests.commands import DEVICE, ISSUED, KEY, LIMITS, PUBLIC, SAID, said, signed

STRANGER = load_key(new_key())


def read(payload: bytes, **changes: Any) -> Said | Answered:  # noqa: ANN401 - any argument
    """What a door at `START`, whose last number was 6, makes of it."""
    usual: dict[str, Any] = {"command_pem": PUBLIC, "device": DEVICE, "now": at_ms(0), "last_number": 6}
    return read_command(payload, **usual | changes)


def refused(detail: str, number: int | None = 7, order: str | None = "mute") -> Answered:
    """A refusal, usually of `SAID`."""
    return Answered(number=number, order=order, done=False, detail=detail)


def test_a_command_says_what_the_city_said() -> None:
    """All of it, after signature, address, number and time were good."""
    assert read(signed()) == SAID
    long = said(order="install_certificate", seconds=0, text="-----BEGIN CERTIFICATE-----")
    assert read(sign1(encoded(long), key=KEY)) == long


CONTENT = cbor2.loads(encoded(SAID))
NO_COMMAND = "by the city's command key, but no command of this version"


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"", "not by the city's command key: message: not a COSE_Sign1 array"),
        (b"\xd2" * 40, "not by the city's command key: message: not a COSE_Sign1 array"),
        (bytes(MOST_BYTES), "not by the city's command key: message: not a COSE_Sign1 array"),
        (bytes(MOST_BYTES + 1), "more than 16 KB"),
        (sign1(encoded(SAID), key=STRANGER), "not by the city's command key: header: no trusted key bears this kid"),
        (sign1(b"\x01", key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps({1: "trust"}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {1: "trust"}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {3: True}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {3: BIGGEST_NUMBER + 1}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {4: -1}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {7: 1.5}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps(CONTENT | {2: b"door-01"}), key=KEY), NO_COMMAND),
        (sign1(cbor2.dumps({key: CONTENT[key] for key in CONTENT if key != 8}), key=KEY), NO_COMMAND),
    ],
)
def test_what_is_not_a_command_of_the_city_reports_no_number(payload: bytes, detail: str) -> None:
    """A stranger's number is not repeated to the city as if it were one of its own."""
    assert read(payload) == refused(detail, None, None)


def test_the_kid_of_the_command_key_is_not_its_signature() -> None:
    """Anybody can write a kid."""
    forged = sign1(encoded(SAID), key=STRANGER, kid=cbor2.loads(cbor2.loads(signed())[0])[4])
    detail = "not by the city's command key: signature: not by the key the kid names"
    assert read(forged) == refused(detail, None, None)


@pytest.mark.parametrize(
    ("pem", "detail"),
    [
        (b"", "the trust bundle names no command key"),
        (b"no key", "the command key in the trust bundle cannot be read"),
    ],
)
def test_a_door_without_a_command_key_takes_no_command(pem: bytes, detail: str) -> None:
    """Nobody may command a kiosk unless the city has said who."""
    assert read(signed(), command_pem=pem) == refused(detail, None, None)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"device": "door-02"}, "for another device"),
        ({"number": 6}, "number 6 is not newer than 6, the last that was taken"),
        ({"number": 0}, "number 0 is not newer than 6, the last that was taken"),
        ({"issued": ISSUED - 301, "expires": ISSUED - 1}, "expired 1 s ago, by this door's clock"),
        ({"issued": ISSUED + 301, "expires": ISSUED + 400}, "issued 301 s from now, by this door's clock"),
        ({"expires": ISSUED}, "valid for 0 s; it must be from 1 to 86400"),
        ({"expires": ISSUED + LONGEST_VALID_S + 1}, "valid for 86401 s; it must be from 1 to 86400"),
        ({"issued": 0, "expires": BIGGEST_NUMBER}, f"valid for {BIGGEST_NUMBER} s; it must be from 1 to 86400"),
    ],
)
def test_a_genuine_command_that_does_not_count_is_refused_by_number(changes: dict[str, Any], detail: str) -> None:
    """Sent to another door, repeated, late, early or good for too long: the answer says which."""
    assert read(signed(**changes)) == refused(detail, changes.get("number", 7))


def test_clocks_may_differ_a_little() -> None:
    """The city's may be five minutes ahead; a command is good to the last second."""
    for changes in (
        {"issued": ISSUED + 300, "expires": ISSUED + 301},
        {"issued": ISSUED - 300, "expires": ISSUED},
        {"issued": ISSUED, "expires": ISSUED + LONGEST_VALID_S},
    ):
        assert read(signed(**changes)) == said(**changes)


@pytest.mark.parametrize("order", Order)
def test_a_door_that_cannot_tell_the_time_takes_only_what_does_no_harm_late(order: Order) -> None:
    """It may be asked how it is and told to fetch the city's data; everything else waits for the clock."""
    answer = read(signed(order=order.value), now=at_ms(0, utc_trusted=False))
    detail = "nobody has set this door's clock since it was switched on: the command may be old"
    harmless = order in {Order.DIAGNOSTICS, Order.RESYNC}
    assert answer == (said(order=order.value) if harmless else refused(detail, order=order.value))


def test_a_door_that_lost_its_numbers_takes_nothing_from_before() -> None:
    """What was issued before may have been taken already."""
    since = START + timedelta(seconds=10.9)  # and commands tell whole seconds
    detail = "issued before this door lost the numbers of earlier commands; send it again"
    assert read(signed(issued=ISSUED + 9), since=since, last_number=0) == refused(detail)
    assert read(signed(issued=ISSUED + 10), since=since, last_number=0) == said(issued=ISSUED + 10)


LONGEST = {"unlock": 60, "lock": 3600, "mute": 600}


@pytest.mark.parametrize("order", Order)
def test_every_order_is_bounded_by_the_site(order: Order) -> None:
    """Lasting orders from one second to the site's longest; the others have no seconds, and one of them a text."""
    text = "-----BEGIN CERTIFICATE-----" if order is Order.INSTALL_CERTIFICATE else ""
    longest = LONGEST.get(order.value, 0)
    rest = {"order": order.value, "text": text}
    for seconds in {min(1, longest), longest}:
        command = Command(number=7, order=order, seconds=seconds, text=text)
        assert permitted(said(seconds=seconds, **rest), LIMITS) == command
    wanted = f"from 1 to {longest} s at this site" if longest else "0: this order does not last"
    for seconds in {longest + 1, 0 if longest else 9, 10**12}:
        detail = f"seconds is {seconds}; it must be {wanted}"
        assert permitted(said(seconds=seconds, **rest), LIMITS) == refused(detail, order=order.value)


@pytest.mark.parametrize(
    ("order", "text", "detail"),
    [
        ("install_certificate", "", "text is missing"),
        ("install_certificate", "x" * (MOST_TEXT + 1), f"text has more than {MOST_TEXT} characters"),
        ("restart", "now", "text: this order has none"),
        ("open sesame, and much more than an answer has room for", "", "an order that this version does not know"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(order: str, text: str, detail: str) -> None:
    """An order that nobody knows is named in the answer, up to a point."""
    assert permitted(said(order=order, seconds=0, text=text), LIMITS) == refused(detail, order=order[:32])


def test_the_longest_text_is_taken() -> None:
    """A certificate with its authorities fits; and what is logged of a command does not hold it."""
    long = said(order="install_certificate", seconds=0, text="x" * MOST_TEXT)
    command = Command(number=7, order=Order.INSTALL_CERTIFICATE, text="x" * MOST_TEXT)
    assert permitted(long, LIMITS) == command
    assert "xx" not in repr(long) + repr(command)


def test_a_site_decides_what_the_city_may_command() -> None:
    """What is not in [commands] allow is refused, however well it is signed."""
    limits = type(LIMITS)(allow=frozenset({Order.LOCK}), longest_s=LIMITS.longest_s)
    assert permitted(SAID, limits) == refused("not allowed at this site ([commands] allow)")
    assert permitted(said(order="lock"), limits) == Command(number=7, order=Order.LOCK, seconds=60)
