"""How every verb of `city` is told of the broker: the same options, and the password from the environment.

A password on the command line would be in every list of processes.
"""

import argparse
import os

from kiosk.broker import Broker

SYSTEM = "system"
PASSWORD = "CITY_PASSWORD"  # noqa: S105 - its name, not one


def add_broker(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options; gives the parser back."""
    parser.add_argument("--broker", default="localhost:1883", help="HOST:PORT, default %(default)s")
    parser.add_argument(
        "--ca",
        default="",
        metavar="FILE",
        help=f'the authority of the broker; "{SYSTEM}" for the system\'s; without, no TLS',
    )
    parser.add_argument("--certificate", default="", metavar="FILE", help="our own, to log in with")
    parser.add_argument("--key", default="", metavar="FILE", help="of our certificate")
    parser.add_argument("--username", default="", help=f"the password is taken from {PASSWORD}")
    return parser


def broker_of(parsed: argparse.Namespace) -> Broker:
    """Read them. Raises ValueError where they do not fit together."""
    host, _, port = parsed.broker.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--broker is HOST:PORT, not {parsed.broker!r}")
    if bool(parsed.certificate) != bool(parsed.key):
        raise ValueError("--certificate and --key go together")
    if parsed.certificate and not parsed.ca:
        raise ValueError(f"--certificate needs --ca FILE, or --ca {SYSTEM}")
    return Broker(
        host=host.strip("[]"),
        port=int(port),
        tls=bool(parsed.ca),
        username=parsed.username,
        password=os.environ.get(PASSWORD, "") if parsed.username else "",
        ca_file="" if parsed.ca == SYSTEM else parsed.ca,
        certificate_file=parsed.certificate,
        key_file=parsed.key,
    )
