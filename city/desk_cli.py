"""The verbs `city desk`, `watch`, `alerts`, `acknowledge` and `close`: people at the health authority and their alerts.

Decides what is printed where: colours for a terminal, plain lines for a pipe, JSON lines for a script.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from secrets import token_hex

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from city import alerts
from city.alerts import Standing
from city.broker_cli import add_broker, broker_of
from city.desk import Desk
from city.lookout import BEAT_S, KINDS, Lookout
from city.notices import Notice, clock_time, line, printable, shortened, words
from city.schema import NAME
from city.store import Store
from city.subscriber import TURN_S, Linked, Subscriber
from kiosk.clock import SystemClock
from kiosk.messages import AlertState

DONE, NOT_THERE = 0, 3
PLAIN_WIDTH = 200

_STYLES = {AlertState.DELIVERED: "bold red", AlertState.ACKNOWLEDGED: "yellow", AlertState.CLOSED: "green"}


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the five to the city's command line."""
    desk = verbs.add_parser("desk", help="keep doors, tell kiosks what became of their alerts; run one")
    _serving(desk, "city-desk").set_defaults(do=_desk)
    watch = verbs.add_parser("watch", help="show alerts as they come, those nobody answers, doors and gaps")
    _serving(watch, f"city-watch-{token_hex(4)}").set_defaults(do=_watch)
    listed = verbs.add_parser("alerts", help="list alerts: when, where, how far they have come")
    listed.add_argument("--open", action="store_true", help="those that are not closed, oldest first")
    listed.add_argument("--json", action="store_true", help="a JSON line for each")
    _database(listed).set_defaults(do=_alerts)
    for name, state in (("acknowledge", AlertState.ACKNOWLEDGED), ("close", AlertState.CLOSED)):
        said = verbs.add_parser(name, help=f"say that an alert is {state}; its kiosk learns it from `city desk`")
        said.add_argument("device")
        said.add_argument("ledger")
        said.add_argument("sequence", type=int)
        said.add_argument("--by", required=True, metavar="NAME", type=_name, help="who says so")
        _database(said).set_defaults(do=_say, state=state)


def _database(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--database", default="sqlite:///city.sqlite3", help="an SQLAlchemy URL, default %(default)s")
    return parser


def _serving(parser: argparse.ArgumentParser, client_id: str) -> argparse.ArgumentParser:
    parser.add_argument("--client-id", default=client_id, help="two with one name throw each other out: %(default)s")
    parser.add_argument("--heartbeat", type=int, default=BEAT_S, metavar="S", help="of the kiosks, default %(default)s")
    parser.add_argument("--json", action="store_true", help="a JSON line for each notice")
    return add_broker(_database(parser))


def _name(text: str) -> str:
    if not text.strip() or len(text) > NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"1 to {NAME} printable characters")
    return text.strip()


def _desk(parsed: argparse.Namespace) -> int:
    with closing(Store(parsed.database)) as store:
        Desk(
            broker_of(parsed),
            store,
            SystemClock(),
            beat_s=parsed.heartbeat,
            client_id=parsed.client_id,
            on_notice=_shown(as_json=parsed.json),
            on_ready=lambda: _trouble("subscribed"),
            on_trouble=_trouble,
        ).run(_until_signalled())
    return DONE


def _watch(parsed: argparse.Namespace) -> int:
    show, stopped = _shown(as_json=parsed.json), _until_signalled()
    subscriber = Subscriber(broker_of(parsed), kinds=KINDS, client_id=parsed.client_id, on_trouble=_trouble)
    with closing(Store(parsed.database)) as store, closing(subscriber):
        lookout = Lookout(store, SystemClock(), beat_s=parsed.heartbeat)
        while not stopped(0):
            heard = subscriber.turn(TURN_S)
            notices, _ = lookout.hear(heard)
            if Linked(up=True) in heard:
                _trouble("subscribed")
            for notice in [*notices, *_looked(lookout)]:
                show(notice)
    return DONE


def _looked(lookout: Lookout) -> list[Notice]:
    try:
        return lookout.look()
    except DBAPIError as error:
        _trouble(f"the database cannot be used ({type(error.orig).__name__}); what is heard is shown all the same")
        return []


def _alerts(parsed: argparse.Namespace) -> int:
    with closing(Store(parsed.database)) as store:
        found = alerts.standing(store, open_only=parsed.open)
    if parsed.json:
        for alert in found:
            _out(_json(alert))
    else:
        _console().print(_table(found))
    return DONE


def _say(parsed: argparse.Namespace) -> int:
    key = (parsed.device, parsed.ledger, parsed.sequence)
    named = " ".join(str(part) for part in key)
    with closing(Store(parsed.database)) as store:
        now = SystemClock().now().utc
        said = alerts.say(store, key, parsed.state, by=parsed.by, at=now)
        alert = alerts.one(store, key)
    if alert is None:
        _trouble(f"there is no alert {named}; `city alerts --open` lists those that are open")
        return NOT_THERE
    _out(f"{named}: {'' if said else 'already '}{alert.state} by {alert.by} at {clock_time(alert.said_at)}")
    return DONE


def _shown(*, as_json: bool) -> Callable[[Notice], None]:
    console = _console()

    def show(notice: Notice) -> None:
        if as_json:
            _out(json.dumps(line(notice), ensure_ascii=False))
        else:
            style, text = words(notice)
            console.print(Text(text, style=style), soft_wrap=True)

    return show


def _console() -> Console:
    """As wide as the terminal, and in colour; a pipe gets neither."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _json(alert: Standing) -> str:
    times = {"raised_at": alert.raised_at.isoformat(), "said_at": alert.said_at.isoformat()}
    return json.dumps({**asdict(alert), **times, "subject": shortened(alert.subject)}, ensure_ascii=False)


def _table(found: list[Standing]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in (
        "raised",
        "device",
        "ledger",
        "sequence",
        "place",
        "reasons",
        "subject",
        "state",
        "by",
        "escalated",
    ):
        table.add_column(heading, no_wrap=heading != "reasons")
    for alert in found:
        cells = (
            clock_time(alert.raised_at),
            alert.device,
            alert.ledger,
            str(alert.sequence),
            f"{alert.place}/{alert.access_point} {alert.direction}",
            ", ".join(alert.reasons),
            shortened(alert.subject),
            alert.state,
            alert.by,
            str(alert.escalations or ""),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells), style=_STYLES[alert.state])
    return table


def _until_signalled() -> Callable[[float], bool]:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    return stopping.wait


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _trouble(what: str) -> None:
    sys.stderr.write(f"city: {what}\n")
    sys.stderr.flush()
