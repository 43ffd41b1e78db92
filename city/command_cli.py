"""The verb `city command`: orders one kiosk to do something, and prints what came of it.

The outcome's details go to standard output, so that a certificate request can go straight into a file; the rest goes
to standard error.
"""

import argparse
import sys
from datetime import UTC, timedelta
from pathlib import Path

from city import command
from city.broker_cli import add_broker, broker_of
from kiosk.clock import SystemClock
from kiosk.messages import Order

DONE, NOT_DONE = 0, 4
WAIT_S = 30
LOOK_S = 1
"""With --no-wait: for the broker to refuse."""


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the city's command line."""
    parser = verbs.add_parser("command", help="order a kiosk to unlock, lock, report, renew its key (docs/commands.md)")
    parser.add_argument("device")
    parser.add_argument("order", choices=[order.value for order in Order])
    parser.add_argument("--seconds", type=int, default=0, help="for unlock, lock and mute: how long")
    parser.add_argument("--new-certificate", type=Path, metavar="FILE", help="for install_certificate")
    parser.add_argument(
        "--valid-minutes", type=float, default=5.0, help="the door must have it by then, default %(default)s"
    )
    parser.add_argument("--wait", type=float, default=WAIT_S, metavar="S", help="for the outcome, default %(default)s")
    parser.add_argument("--no-wait", dest="wait", action="store_const", const=0.0, help="the broker's word is enough")
    parser.add_argument("--keys", type=Path, required=True, help="the folder that `city keys` made")
    add_broker(parser).set_defaults(do=_command)


def _command(parsed: argparse.Namespace) -> int:
    clock = SystemClock()
    sent = command.command(
        parsed.keys,
        parsed.device,
        Order(parsed.order),
        clock.now().utc.astimezone(UTC),
        seconds=parsed.seconds,
        text=parsed.new_certificate.read_text(encoding="ascii") if parsed.new_certificate else "",
        lifetime=timedelta(minutes=parsed.valid_minutes),
    )
    answer = command.send(sent, broker_of(parsed), clock, within_s=parsed.wait or LOOK_S)
    named = f"{sent.device} {parsed.order} ({sent.number})"
    if answer is None:
        _say(f"{named}: {'no answer; is the door online?' if parsed.wait else 'sent'}")
        return NOT_DONE if parsed.wait else DONE
    _say(f"{named}: {'done' if answer.done else 'refused'}")
    sys.stdout.write(answer.detail.rstrip("\n") + "\n")
    return DONE if answer.done else NOT_DONE


def _say(what: str) -> None:
    sys.stderr.write(f"city: {what}\n")
