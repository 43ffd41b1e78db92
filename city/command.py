"""Commands one kiosk, and waits for what comes of it.

Decides the number of a command and how long it is good for; signs whatever order it is given. Called by
`city.command_cli` and the tests; docs/commands.md has the format and what a kiosk makes of it.
"""

import json
import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from city.link import Link, Lost
from city.provision import COMMAND_KEY
from city.signing import load_key, sign1
from kiosk import wire
from kiosk.broker import Broker
from kiosk.city_files import write_whole
from kiosk.clock import Clock, S
from kiosk.commands import Said, encoded
from kiosk.messages import CommandAnswer, Order

NUMBERS = "command-numbers.json"
"""The last number of each device, beside the key: whoever has one should have the other."""
USER = "city-command"
"""At the broker (config/broker/acl)."""
MOST_AT_ONCE = 100
_NUMBERS = TypeAdapter(dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command as it is published."""

    device: str
    number: int
    payload: bytes


def next_number(keys: Path, device: str, now: datetime) -> int:
    """Take a device's next number, and keep it first: milliseconds since 1970, or one more than the last.

    Two desks so need not know of each other, and a folder that was copied or brought back from a backup does not fall
    behind; the file is for a clock that was set back. Raises OSError, or ValueError for a damaged file.
    """
    path = keys / NUMBERS
    try:
        held = _NUMBERS.validate_json(path.read_bytes()) if path.exists() else {}
    except ValidationError as error:
        raise ValueError(f"{path} is damaged; if this machine's clock is right, remove it") from error
    number = max(int(now.timestamp() * 1000), held.get(device, 0) + 1)
    write_whole(path, json.dumps(held | {device: number}).encode())
    return number


def command(
    keys: Path, device: str, order: Order, now: datetime, *, seconds: int = 0, text: str = "", lifetime: timedelta
) -> Sent:
    """Number and sign a command. Raises ValueError or OSError for a folder without a command key that can be used."""
    key_file = keys / COMMAND_KEY
    if not key_file.exists():
        raise FileNotFoundError(
            f"{key_file} is missing: `city trust --new-command-key --keys {keys}` makes one and the next bundle, which"
            " kiosks must get before they obey (`city publish trust`)"
        )
    key = load_key(key_file.read_bytes())
    number = next_number(keys, device, now)
    issued = int(now.timestamp())
    said = Said(
        device=device,
        number=number,
        issued=issued,
        expires=issued + int(lifetime.total_seconds()),
        order=order,
        seconds=seconds,
        text=text,
    )
    return Sent(device=device, number=number, payload=sign1(encoded(said), key=key))


def send(sent: Sent, broker: Broker, clock: Clock, *, within_s: float) -> CommandAnswer | None:
    """Publish a command once its answer can be heard, and wait for that; None where none comes in time.

    Raises:
        OSError: the broker cannot be reached, or refuses.
        kiosk.errors.UplinkFault: a certificate cannot be used.
    """
    heard = wire.event_topic(sent.device, "command-answer")
    try:
        link = Link(broker, client_id=f"{USER}-{secrets.token_hex(4)}", topic=heard, clock=clock)
        with closing(link):
            return _exchange(link, sent, clock, within_s)
    except Lost as lost:
        raise ConnectionError(str(lost)) from lost


def _exchange(link: Link, sent: Sent, clock: Clock, within_s: float) -> CommandAnswer | None:
    link.settle((), [(wire.command_topic(sent.device), sent.payload)])
    deadline_ns = clock.now().monotonic_ns + round(within_s * S)
    while (left_s := (deadline_ns - clock.now().monotonic_ns) / S) > 0:
        came = link.take(MOST_AT_ONCE, left_s)
        if link.refused:
            raise PermissionError(f"the broker refuses commands to {sent.device}: log in as {USER} (docs/broker.md)")
        link.settle(came, ())
        heard = (wire.decode_event(message.topic, message.payload) for message in came)
        events = [read.stored.event for read in heard if isinstance(read, wire.Received)]
        answers = [event for event in events if isinstance(event, CommandAnswer) and event.number == sent.number]
        if answers:
            return answers[0]
    return None
