"""PURE. A command from the city: whether it is genuine, for this door, new and in time, and whether the site allows it.

Refuses to know how a command is carried out, and where numbers are kept. `kiosk.command_desk` calls it for what comes;
`city.command` writes with `encoded`. docs/commands.md has the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import cbor2

from kiosk.clock import Now
from kiosk.credentials.cose import Claims, claims_of, verify
from kiosk.credentials.keyring import city_issuers
from kiosk.messages import Answered, Command, Order, Refusal

TYPE = "command"
KIND, DEVICE, NUMBER, ISSUED, EXPIRES, ORDER, SECONDS, TEXT = range(1, 9)
"""Keys of the content."""
MOST_BYTES = 16 * 1024
"""Of a whole message; without a certificate it has under 300."""
MOST_TEXT = 12 * 1024
"""Characters; a certificate and two of its authorities, with RSA keys of 4096 bits, have 7,000."""
BIGGEST_NUMBER = 2**63 - 1
AHEAD_S = 300
"""So far may the city's clock be ahead of the door's."""
LONGEST_VALID_S = 86_400
"""What lasts longer would be a spare key in the hands of whoever held the message back."""
LASTING = frozenset({Order.UNLOCK, Order.LOCK, Order.MUTE})
"""Orders that need seconds; the others have none."""
TIMELESS = frozenset({Order.DIAGNOSTICS, Order.RESYNC})
"""Nothing is opened, closed, silenced or changed by them: they do no harm late, and help a door with a wrong clock."""
_LONGEST_SHOWN = 32
"""Characters of an unknown order that go back in an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a site allows: the orders, and for how many seconds at most those that last."""

    allow: frozenset[Order]
    longest_s: Mapping[Order, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the city's command key has signed. `issued` and `expires` are seconds since 1970."""

    device: str
    number: int
    issued: int
    expires: int
    order: str
    seconds: int = 0
    text: str = field(default="", repr=False)


def encoded(said: Said) -> bytes:
    """What the city signs."""
    return cbor2.dumps(
        {
            KIND: TYPE,
            DEVICE: said.device,
            NUMBER: said.number,
            ISSUED: said.issued,
            EXPIRES: said.expires,
            ORDER: said.order,
            SECONDS: said.seconds,
            TEXT: said.text,
        }
    )


def read_command(
    payload: bytes, command_pem: bytes, *, device: str, now: Now, last_number: int, since: datetime | None = None
) -> Said | Answered:
    """Check signature, address, number and time; what is refused says why, and the number only if it is the city's.

    Args:
        payload: as it came, from anybody.
        command_pem: the trust bundle's; empty if there is none.
        device: who we are.
        now: compared with the command's times.
        last_number: the highest that was taken.
        since: commands issued before do not count: the numbers of before have been lost.
    """
    if len(payload) > MOST_BYTES:
        return _stranger(f"more than {MOST_BYTES // 1024} KB")
    try:
        keys = city_issuers(command_pem) if command_pem else {}
    except ValueError:
        return _stranger("the command key in the trust bundle cannot be read")
    if not keys:
        return _stranger("the trust bundle names no command key")
    signed = verify(payload, keys)
    if isinstance(signed, Refusal):
        return _stranger(f"not by the city's command key: {signed.detail}")
    claims = claims_of(signed)
    said = None if isinstance(claims, Refusal) else _said(claims)
    if said is None:
        return _stranger("by the city's command key, but no command of this version")
    objection = _address_objection(said, device, last_number) or _time_objection(said, now, since)
    return _refused(said, objection) if objection else said


def permitted(said: Said, limits: Limits) -> Command | Answered:
    """Hold a genuine command against what this site allows."""
    order = next((order for order in Order if order.value == said.order), None)
    if order is None:
        return _refused(said, "an order that this version does not know")
    if order not in limits.allow:
        return _refused(said, "not allowed at this site ([commands] allow)")
    longest_s = limits.longest_s[order] if order in LASTING else 0
    if not min(longest_s, 1) <= said.seconds <= longest_s:
        wanted = f"from 1 to {longest_s} s at this site" if longest_s else "0: this order does not last"
        return _refused(said, f"seconds is {said.seconds}; it must be {wanted}")
    if bool(said.text) != (order is Order.INSTALL_CERTIFICATE):
        return _refused(said, "text is missing" if not said.text else "text: this order has none")
    if len(said.text) > MOST_TEXT:
        return _refused(said, f"text has more than {MOST_TEXT} characters")
    return Command(number=said.number, order=order, seconds=said.seconds, text=said.text)


def _stranger(why: str) -> Answered:
    return Answered(number=None, order=None, done=False, detail=why)


def _refused(said: Said, why: str) -> Answered:
    return Answered(number=said.number, order=said.order[:_LONGEST_SHOWN], done=False, detail=why)


def _said(claims: Claims) -> Said | None:
    texts = [claims.get(key) for key in (DEVICE, ORDER, TEXT)]
    numbers = [claims.get(key) for key in (NUMBER, ISSUED, EXPIRES, SECONDS)]
    match texts:
        case [str(device), str(order), str(text)] if claims.get(KIND) == TYPE:
            pass
        case _:
            return None
    if not all(type(number) is int and 0 <= number <= BIGGEST_NUMBER for number in numbers):
        return None
    number, issued, expires, seconds = (number for number in numbers if isinstance(number, int))
    return Said(device=device, number=number, issued=issued, expires=expires, order=order, seconds=seconds, text=text)


def _address_objection(said: Said, device: str, last_number: int) -> str:
    if said.device != device:
        return "for another device"
    if said.number <= last_number:
        return f"number {said.number} is not newer than {last_number}, the last that was taken"
    return ""


def _time_objection(said: Said, now: Now, since: datetime | None) -> str:
    if not 0 < said.expires - said.issued <= LONGEST_VALID_S:
        return f"valid for {said.expires - said.issued} s; it must be from 1 to {LONGEST_VALID_S}"
    if not now.utc_trusted:
        timeless = any(order.value == said.order for order in TIMELESS)
        return "" if timeless else "nobody has set this door's clock since it was switched on: the command may be old"
    at_s = now.utc.timestamp()
    if said.issued > at_s + AHEAD_S:
        return f"issued {said.issued - at_s:.0f} s from now, by this door's clock"
    if said.expires < at_s:
        return f"expired {at_s - said.expires:.0f} s ago, by this door's clock"
    if since is not None and said.issued < int(since.timestamp()):  # `issued` has whole seconds
        return "issued before this door lost the numbers of earlier commands; send it again"
    return ""
