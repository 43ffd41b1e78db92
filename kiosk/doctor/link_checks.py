"""Can this door reach the city's broker, log in and publish, and does the city answer?

Step by step, each only after the one before it. Where the door runs, name, TCP and TLS are tried beside it, and the
rest is what it says itself: a second log-in of one name would throw the first one out. Otherwise two things are
published: a heartbeat, and an event of the outbox once more. The city keeps one of each event, and so it acknowledges
without anything having been made up.
"""

import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from kiosk import __version__, outbox_view, wire
from kiosk.broker import Broker, brokers_of, tls_context
from kiosk.causes import why
from kiosk.clock import S, boot_id
from kiosk.connection import Connection, Ended
from kiosk.device_keys import PAIR, newest_pair
from kiosk.doctor.case import Case, Running
from kiosk.doctor.finding import Finding, bad, ok, parted, unknown, warn
from kiosk.errors import OutboxFault, UplinkFault
from kiosk.outbox_file import Row

NAMES = ("broker name", "broker line", "broker tls", "log-in", "publish", "city")
WITHIN_S = 5.0
ACKNOWLEDGED_WITHIN_S = 10.0
SOON = timedelta(days=14)
"""Before its end a certificate is told of."""
NOBODY_LISTENS, REFUSED = 0x10, 0x80
"""MQTT 5, 2.4: "No matching subscribers"; from the second on a reason code says no."""
LINE_FIX = "check uplink.host and uplink.port, the network and the broker"
RUNNING_FIX = "see what it says: kiosk logs --since=-1h"


class Stop(Exception):
    """No further step makes sense after this finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.said)
        self.finding = finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the door would say of itself in a heartbeat."""

    ledger: str = ""
    waiting: int = 0
    newest: int = 0
    again: Row | None = None


def used_broker(case: Case) -> Broker:
    """The first broker, with the certificate that the door logs in with."""
    settings = case.loaded.settings
    pair = Path(settings.city_data.folder) / PAIR
    broker = brokers_of(settings.uplink, str(pair))[0]
    certificate_file, key_file = newest_pair(str(pair), broker.certificate_file, broker.key_file)
    return replace(broker, certificate_file=certificate_file, key_file=key_file)


def link(case: Case) -> list[Finding]:
    """The six findings of `NAMES`."""
    found: list[Finding] = []
    try:
        _walk(case, found)
    except Stop as stop:
        found.append(stop.finding)
    rest = NAMES[len(found) :]
    return [*found, *(unknown(name, f"not tried: {found[-1].name} comes first") for name in rest)]


def _walk(case: Case, found: list[Finding]) -> None:
    broker = used_broker(case)
    found.append(_named(broker))
    with ExitStack() as stack:
        line = _reached(broker)
        stack.callback(line.close)
        found.append(ok(NAMES[1], f"{broker.address} takes connections"))
        found.append(_encrypted(broker, line, case.clock.now().utc))
    if case.running:
        found += _as_told(case.running)
    elif case.busy:
        found += [unknown(name, case.busy) for name in NAMES[3:]]
    else:
        _talk(broker, case, found)


def _named(broker: Broker) -> Finding:
    try:
        rows = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Stop(parted(NAMES[0], why(error), LINE_FIX)) from error
    return ok(NAMES[0], f"{broker.host} is {', '.join(sorted({str(row[4][0]) for row in rows}))}")


def _reached(broker: Broker) -> socket.socket:
    try:
        return socket.create_connection((broker.host, broker.port), WITHIN_S)
    except OSError as error:
        raise Stop(parted(NAMES[1], why(error), LINE_FIX)) from error


def _encrypted(broker: Broker, line: socket.socket, now: datetime) -> Finding:
    if not broker.tls:
        return ok(NAMES[2], "not used; the broker is on this machine")
    try:
        with closing(tls_context(broker).wrap_socket(line, server_hostname=broker.host)) as secured:
            certificate, version = secured.getpeercert(binary_form=True), secured.version()
    except UplinkFault as fault:
        raise Stop(parted(NAMES[2], str(fault).partition(": ")[2], LINE_FIX)) from fault
    except (OSError, ValueError) as error:
        raise Stop(parted(NAMES[2], why(error), LINE_FIX)) from error
    return until(
        NAMES[2], f"{version}, the broker's certificate", x509.load_der_x509_certificate(certificate or b""), now
    )


def until(name: str, what: str, certificate: x509.Certificate, now: datetime) -> Finding:
    """Judge a certificate by its end."""
    ends = certificate.not_valid_after_utc
    said = f"{what} is valid until {ends:%Y-%m-%d}"
    if ends <= now:
        return bad(
            name, f"{what} has expired on {ends:%Y-%m-%d}", "have it renewed: kiosk-fleet apply, or city command"
        )
    if ends - now < SOON:
        return warn(name, f"{said}: {(ends - now).days} days", "have it renewed: kiosk-fleet apply, or city command")
    return ok(name, said)


def _as_told(running: Running) -> list[Finding]:
    """What a running door says of its connection; its own log-in is the test."""
    view = running.view
    fault, since = running.fault("uplink"), str(view.get("link_since") or "it began")
    if not view.get("online"):
        said = f"the running door has been offline since {since}"
        return [bad(NAMES[3], f"{said}{fault and '; '}{fault}", RUNNING_FIX)]
    log_in = ok(NAMES[3], f"the running door has been logged in since {since}")
    if fault:
        return [log_in, bad(NAMES[4], fault, RUNNING_FIX)]
    waiting = view.get("waiting", 0)
    if waiting:
        return [
            log_in,
            ok(NAMES[4], "the running door has no fault of it"),
            unknown(NAMES[5], f"{waiting} events wait", RUNNING_FIX),
        ]
    return [log_in, ok(NAMES[4], "the running door has no fault of it"), ok(NAMES[5], "has acknowledged every event")]


def _talk(broker: Broker, case: Case, found: list[Finding]) -> None:
    device, told = case.loaded.settings.door.device, _told(case)
    will = wire.State(device=device, online=False, version=__version__, ledger=told.ledger).model_dump_json()
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        connection = Connection(
            broker, device, tls_context(broker) if broker.tls else None, (wire.state_topic(device), will), ours
        )
        try:
            connection.open()
            _turn(connection, case, lambda: connection.is_open, WITHIN_S)
            found.append(ok(NAMES[3], f"accepted as {device}") if connection.is_open else _silent(NAMES[3]))
            found += _published(connection, case, told)
        except Ended as end:
            name = NAMES[len(found)]
            raise Stop(parted(name, str(end).partition(f"{broker.address}: ")[2] or str(end), LINE_FIX)) from end
        finally:
            connection.drop()


def _silent(name: str) -> Finding:
    raise Stop(bad(name, f"the broker did not answer within {WITHIN_S:.0f} s", "look at the broker's load and its log"))


def _told(case: Case) -> _Told:
    path = Path(case.loaded.settings.outbox.path)
    try:
        standing, found = outbox_view.standing(path), outbox_view.repeatable(path)
    except OutboxFault:
        return _Told()
    again, newest = found or (None, 0)
    return _Told(ledger=standing.ledger, waiting=sum(standing.waiting.values()), newest=newest, again=again)


def _turn(connection: Connection, case: Case, done: Callable[[], bool], within_s: float) -> None:
    until_ns = case.clock.now().monotonic_ns + int(within_s * S)
    while not done() and (left_ns := until_ns - case.clock.now().monotonic_ns) > 0:
        connection.turn(left_ns / S)


def _published(connection: Connection, case: Case, told: _Told) -> list[Finding]:
    device, now = case.loaded.settings.door.device, case.clock.now()
    beat = wire.Heartbeat(
        at=now.utc,
        boot_id=boot_id(),
        boot_ns=now.monotonic_ns,
        ledger=told.ledger,
        newest=told.newest,
        waiting=told.waiting,
        faults=["doctor"],
        version=__version__,
    )
    connection.subscribe((wire.acknowledgement_topic(device), 1))
    connection.publish(wire.heartbeat_topic(device), beat.model_dump_json(), qos=1)
    _turn(connection, case, lambda: bool(connection.settled), WITHIN_S)
    if not connection.settled:
        return [_silent(NAMES[4])]
    settled = connection.settled.popleft()
    if settled.code >= REFUSED:
        fix = f"check the broker's ACL, and that the door's certificate is for {device}"
        return [bad(NAMES[4], f"the broker refuses a heartbeat of {device}: {settled.reason}", fix)]
    published = ok(NAMES[4], "a heartbeat was taken")
    return [published, _acknowledged(connection, case, told, heard=settled.code != NOBODY_LISTENS)]


def _acknowledged(connection: Connection, case: Case, told: _Told, *, heard: bool) -> Finding:
    """Send an event once more: the city keeps one of it, and must acknowledge."""
    device, row = case.loaded.settings.door.device, told.again
    if row is None:
        said = "no event has been stored yet that it could acknowledge"
        if not heard:
            return bad(NAMES[5], "nobody at the city listens to this door", "start the city's ingest")
        return unknown(NAMES[5], said, "start the door, then: kiosk test visitor")
    connection.publish(wire.event_topic(device, row.kind), row.payload, qos=1)

    def has_come() -> bool:
        came = [wire.decode_acknowledgement(one.payload) for one in connection.came]
        return any(
            isinstance(a, wire.Acknowledgement) and a.ledger == told.ledger and row.sequence in a.sequences
            for a in came
        )

    _turn(connection, case, has_come, ACKNOWLEDGED_WITHIN_S)
    said = f"event {row.sequence}, sent once more"
    if has_come():
        return ok(NAMES[5], f"acknowledges {said}")
    fix = "start the city's ingest, and look at its database"
    return bad(NAMES[5], f"does not acknowledge {said}, within {ACKNOWLEDGED_WITHIN_S:.0f} s", fix)
