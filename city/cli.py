"""`city`: the receiving side's command line, as far as a kiosk needs it today.

`ingest` stores and acknowledges events; `keys` and `declare` make test keys and test declarations.
"""

import argparse
import json
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from city import declare, signing
from city.ingest import Ingest, Stored
from city.store import Store
from kiosk.clock import SystemClock
from kiosk.credentials.subject import subject_of
from kiosk.messages import Symptom, Visit

DONE, USAGE, FAULT = 0, 2, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    parsed = _parser().parse_args(arguments)
    do: Callable[[argparse.Namespace], int] = parsed.do
    try:
        return do(parsed)
    except (OSError, ValueError, SQLAlchemyError) as error:
        print(f"city: {error}", file=sys.stderr)
        return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="city", description="The city's side of the check-in kiosks.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    ingest = verbs.add_parser("ingest", help="store every event once and acknowledge it to its kiosk")
    ingest.add_argument("--broker", default="localhost:1883", help="HOST:PORT, default %(default)s")
    ingest.add_argument("--database", default="sqlite:///city.sqlite3", help="an SQLAlchemy URL, default %(default)s")
    ingest.add_argument("--client-id", default="city-ingest", help="one for each worker, default %(default)s")
    ingest.set_defaults(do=_ingest)
    keys = verbs.add_parser("keys", help="make an issuer's key pair and a subject key, for tests")
    keys.add_argument("folder", type=Path, help="gets declaration.key, declaration.pem and subject.key")
    keys.set_defaults(do=_keys)
    _declare_arguments(verbs.add_parser("declare", help="issue a signed test declaration as a PNG"))
    return parser


def _declare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("png", type=Path, help="the picture to write")
    parser.add_argument("--keys", type=Path, required=True, help="the folder that `city keys` made")
    parser.add_argument("--number", required=True, help="the person's 12-digit number; only its pseudonym is written")
    parser.add_argument("--initials", default="N.V.A.", help="default %(default)s")
    parser.add_argument("--symptom", action="append", default=[], choices=[symptom.value for symptom in Symptom])
    parser.add_argument("--visit", action="append", default=[], metavar="AREA:YYYY-MM-DD", help="left an area on a day")
    parser.add_argument("--contact", action="store_true", help="with a suspected case")
    parser.add_argument("--proxy", action="store_true", help="declared by somebody else")
    parser.add_argument("--hours-ago", type=float, default=0.0, help="issued so long ago; over 24 is expired")
    parser.set_defaults(do=_declare)


def _ingest(parsed: argparse.Namespace) -> int:
    host, _, port = parsed.broker.rpartition(":")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    store = Store(parsed.database)
    try:
        Ingest(
            host,
            int(port),
            store,
            SystemClock(),
            on_ready=lambda: print("city: subscribed", file=sys.stderr, flush=True),
            on_stored=_print_stored,
            on_trouble=lambda said: print(f"city: {said}", file=sys.stderr, flush=True),
            client_id=parsed.client_id,
        ).run(stopping.wait)
    finally:
        store.close()
    return DONE


def _print_stored(stored: Stored) -> None:
    """One JSON line for each committed event, for whoever reads along."""
    arrival = stored.arrival
    line = {
        "device": arrival.device,
        "ledger": arrival.ledger,
        "sequence": arrival.sequence,
        "kind": arrival.kind,
        "new": stored.new,
        "body": arrival.body,
    }
    print(json.dumps(line), flush=True)


def _keys(parsed: argparse.Namespace) -> int:
    folder: Path = parsed.folder
    folder.mkdir(parents=True, exist_ok=True)
    private = signing.new_key()
    secret = {"declaration.key": private, "subject.key": secrets.token_bytes(32)}
    for name, content in secret.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    (folder / "declaration.pem").write_bytes(signing.public_pem(private))
    print(f"{folder}: declaration.key (secret), declaration.pem, subject.key (secret)")
    return DONE


def _declare(parsed: argparse.Namespace) -> int:
    subject_key = (parsed.keys / "subject.key").read_bytes()
    payload = declare.declaration_payload(
        key=signing.load_key((parsed.keys / "declaration.key").read_bytes()),
        sub=subject_of("id", parsed.number, subject_key),
        initials=parsed.initials,
        issued_at=_now() - timedelta(hours=parsed.hours_ago),
        symptoms=[Symptom(name) for name in parsed.symptom],
        visits=[_visit(text) for text in parsed.visit],
        contact=parsed.contact,
        by_proxy=parsed.proxy,
    )
    declare.write_png(payload, parsed.png)
    print(f"{parsed.png}: {len(payload)} characters")
    return DONE


def _visit(text: str) -> Visit:
    area, _, day = text.partition(":")
    return Visit(area=area, left_on=date.fromisoformat(day))


def _now() -> datetime:
    return SystemClock().now().utc.astimezone(UTC)
