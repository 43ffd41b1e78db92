"""`city`: the receiving side's command line, as far as a kiosk needs it today.

`ingest` stores and acknowledges events and `lookup` answers the doors' questions; `keys`, `trust`, `risk-list` and
`declare` make what the city signs, and `publish` sends it to every door.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from city import certificates_cli, command_cli, declare, desk_cli, office, publish, signing
from city.authority import identities, load_authority_key
from city.broker_cli import add_broker, broker_of
from city.ingest import Ingest, Stored
from city.lookup import LookUps
from city.printer import Printer
from city.provision import BUNDLE, DECLARATION_KEY, SUBJECT_KEY
from city.store import Store
from kiosk.clock import SystemClock
from kiosk.credentials.subject import subject_of
from kiosk.errors import KioskError
from kiosk.messages import Symptom, Visit

DONE, USAGE, FAULT = 0, 2, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    parsed = _parser().parse_args(arguments)
    do: Callable[[argparse.Namespace], int] = parsed.do
    try:
        return do(parsed)
    except (OSError, ValueError, SQLAlchemyError, KioskError) as error:
        print(f"city: {error}", file=sys.stderr)
        return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="city", description="The city's side of the check-in kiosks.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    ingest = verbs.add_parser("ingest", help="store every event once and acknowledge it to its kiosk")
    ingest.add_argument("--print", action="store_true", help="a JSON line for each event, to whoever reads along")
    _serving(ingest, "city-ingest").set_defaults(do=_ingest)
    lookup = verbs.add_parser("lookup", help="answer the kiosks' look-ups: the newest declaration of a person")
    _serving(lookup, "city-lookup").set_defaults(do=_look_up)
    keys = verbs.add_parser("keys", help="make all keys of a city and its first trust bundle, for tests")
    keys.add_argument("folder", type=Path, help="gets *.key and *.pem (docs/trust.md) and trust.bundle")
    keys.set_defaults(do=_keys)
    _trust_arguments(verbs.add_parser("trust", help="make the next trust bundle"))
    risks = verbs.add_parser("risk-list", help="make the next risk list, and what has changed since the last")
    risks.add_argument("people", type=Path, metavar="CSV", help="everybody on the list: subject,flag")
    risks.add_argument("folder", type=Path, help="gets risk-list.snapshot, and risk-list.delta if one was there")
    _keys_argument(risks).set_defaults(do=_risk_list)
    sent = verbs.add_parser("publish", help="send a trust bundle, a risk list or a change of it to every kiosk")
    sent.add_argument("what", choices=["trust", "risk-list"])
    sent.add_argument("file", type=Path, nargs="+", help="of a risk list, the snapshot before its delta")
    add_broker(_keys_argument(sent)).set_defaults(do=_publish)
    opening = verbs.add_parser("open-identity", help="the health authority: open seals, one a line on standard input")
    opening.add_argument("--key", type=Path, required=True, action="append", help="authority.key; old ones as well")
    opening.set_defaults(do=_open_identity)
    _declare_arguments(verbs.add_parser("declare", help="issue a signed test declaration as a PNG"))
    certificates_cli.add_verbs(verbs)
    command_cli.add_verbs(verbs)
    desk_cli.add_verbs(verbs)
    return parser


def _keys_argument(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--keys", type=Path, required=True, help="the folder that `city keys` made")
    return parser


def _serving(parser: argparse.ArgumentParser, client_id: str) -> argparse.ArgumentParser:
    parser.add_argument("--database", default="sqlite:///city.sqlite3", help="an SQLAlchemy URL, default %(default)s")
    parser.add_argument("--client-id", default=client_id, help="one for each worker, default %(default)s")
    return add_broker(parser)


def _trust_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--issuer", type=Path, action="append", default=[], metavar="CERTIFICATE", help="trust it too")
    parser.add_argument(
        "--revoke", action="append", default=[], metavar="DIGEST", help="a certificate's, 32 hex digits"
    )
    parser.add_argument("--area", action="append", default=[], metavar="CODE:SINCE[:UNTIL]", help="all that count now")
    parser.add_argument("--rules", type=Path, help="a rules.toml for every door")
    parser.add_argument("--new-command-key", action="store_true", help="make command.key anew; the old one ends")
    _keys_argument(parser).set_defaults(do=_trust)


def _declare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("png", type=Path, help="the picture to write")
    _keys_argument(parser)
    parser.add_argument("--number", required=True, help="the person's 12-digit number; only its pseudonym is written")
    parser.add_argument("--initials", default="N.V.A.", help="default %(default)s")
    parser.add_argument("--symptom", action="append", default=[], choices=[symptom.value for symptom in Symptom])
    parser.add_argument("--visit", action="append", default=[], metavar="AREA:YYYY-MM-DD", help="left an area on a day")
    parser.add_argument("--contact", action="store_true", help="with a suspected case")
    parser.add_argument("--proxy", action="store_true", help="declared by somebody else")
    parser.add_argument("--hours-ago", type=float, default=0.0, help="issued so long ago; over 24 is expired")
    parser.add_argument("--store", metavar="DATABASE", help="an SQLAlchemy URL: `city lookup` finds it there")
    parser.add_argument("--also", action="append", default=[], metavar="KIND:NUMBER", help="a card to find it by, too")
    parser.set_defaults(do=_declare)


def _ingest(parsed: argparse.Namespace) -> int:
    printer = Printer(_say) if parsed.print else None
    with closing(Store(parsed.database)) as store, printer or nullcontext():
        Ingest(
            broker_of(parsed),
            store,
            SystemClock(),
            on_ready=_say_subscribed,
            on_stored=(lambda stored: printer.put(_line(stored))) if printer else None,
            on_trouble=_say,
            client_id=parsed.client_id,
        ).run(_until_signalled())
    return DONE


def _look_up(parsed: argparse.Namespace) -> int:
    with closing(Store(parsed.database)) as store:
        LookUps(broker_of(parsed), store, on_ready=_say_subscribed, on_trouble=_say, client_id=parsed.client_id).run(
            _until_signalled()
        )
    return DONE


def _until_signalled() -> Callable[[float], bool]:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    return stopping.wait


def _say(what: str) -> None:
    print(f"city: {what}", file=sys.stderr, flush=True)


def _say_subscribed() -> None:
    _say("subscribed")


def _line(stored: Stored) -> str:
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
    return json.dumps(line)


def _open_identity(parsed: argparse.Namespace) -> int:
    held = [load_authority_key(path.read_bytes()) for path in parsed.key]
    for told in identities(sys.stdin, held):
        print(json.dumps(told, ensure_ascii=False))
    return DONE


def _keys(parsed: argparse.Namespace) -> int:
    print(f"{parsed.folder}: {', '.join(office.make_keys(parsed.folder, _now()))}; keep *.key secret")
    return DONE


def _trust(parsed: argparse.Namespace) -> int:
    bundle = office.next_bundle(
        parsed.keys,
        _now(),
        certificates=parsed.issuer,
        revoked=parsed.revoke,
        areas=parsed.area,
        rules=parsed.rules,
        new_command_key=parsed.new_command_key,
    )
    print(f"{parsed.keys / BUNDLE}: version {bundle.version}")
    return DONE


def _risk_list(parsed: argparse.Namespace) -> int:
    for path in office.next_list(parsed.people, parsed.folder, parsed.keys, _now()):
        print(f"{path}: {path.stat().st_size} bytes")
    return DONE


def _publish(parsed: argparse.Namespace) -> int:
    city = office.public_key(parsed.keys)
    read = publish.trust_bundle if parsed.what == "trust" else publish.risk_list
    documents = [read(path.read_bytes(), city) for path in parsed.file]
    publish.send(documents, broker_of(parsed))
    for document in documents:
        print(f"{document.topic}: {document.said}")
    return DONE


def _declare(parsed: argparse.Namespace) -> int:
    subject_key = (parsed.keys / SUBJECT_KEY).read_bytes()
    subject, issued_at = subject_of("id", parsed.number, subject_key), _now() - timedelta(hours=parsed.hours_ago)
    payload = declare.declaration_payload(
        key=signing.load_key((parsed.keys / DECLARATION_KEY).read_bytes()),
        sub=subject,
        initials=parsed.initials,
        issued_at=issued_at,
        symptoms=[Symptom(name) for name in parsed.symptom],
        visits=[_visit(text) for text in parsed.visit],
        contact=parsed.contact,
        by_proxy=parsed.proxy,
    )
    declare.write_png(payload, parsed.png)
    if parsed.store:
        aliases = [subject_of(*_card(text), subject_key) for text in parsed.also]
        with closing(Store(parsed.store)) as store:
            store.keep_declaration(payload, subject=subject, issued_at=issued_at, aliases=aliases)
    print(f"{parsed.png}: {len(payload)} characters")
    return DONE


def _card(text: str) -> tuple[str, str]:
    kind, _, number = text.partition(":")
    return kind, number


def _visit(text: str) -> Visit:
    area, _, day = text.partition(":")
    return Visit(area=area, left_on=date.fromisoformat(day))


def _now() -> datetime:
    return SystemClock().now().utc.astimezone(UTC)
