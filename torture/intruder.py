"""A kiosk in the wrong hands: its certificate tried against everything it is not for. All is refused, and is seen.

    scripts/torture intruder [--noise 200] [--seed 1] [--seconds 600] [--control] [--json]

config/broker with real certificates, the real ingest, and another kiosk with its outbox, uplink and command desk.
door-01's certificate is used to speak for door-02 and for the city, to hear what is not for it, to take another's
client id, to repeat what door-02 has said, and to send what is no MQTT and no event; then somebody with the city's
login at the broker, but not the command key, commands door-02. After each attempt nothing has come through,
everybody is still there, and it stands in the broker's log, the ingest's, or the city's database.
"""

import re
import socket
import ssl
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import forged
import malformed
import verdict
from siege import HOST, INTRUDER, VICTIM, Client, Siege, heard, spoken, until

from demo.processes import DemoFault
from kiosk import wire
from kiosk.broker import tls_context

NOT_AUTHORIZED = 0x87
CITYS = [wire.TRUST_TOPIC, wire.SNAPSHOT_TOPIC, wire.DELTA_TOPIC]
FILTERS = ["#", "+/#", "+/+/+/+", "$SYS/#", "$CONTROL/#", "kiosk/v1/#", "kiosk/v1/+/answer", "kiosk/v1/+/event/+"]
SHARED = f"$share/ingest/{wire.event_topic('+', '+')}"
"""The group that the ingest might have; its real name is a secret of the city's database."""
KEPT_BACK = ("mosquitto", "too large outgoing PUBLISH for city-ingest")
AFTER_A_LOSS = 10
"""Most times that a kiosk says something again before it counts as lost."""
FEW = 24
_LEDGERS = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing to try. `make` says what went wrong, if anything did; `seen` is what must then stand in `log`."""

    kind: str
    name: str
    make: Callable[[Siege, bytes], str]
    log: str
    seen: str


def trespasses() -> Iterator[Attempt]:
    """Speaking for others, and hearing what is for others."""
    for topic in [*spoken(VICTIM), *heard(VICTIM), *heard(INTRUDER), *CITYS, "$SYS/broker/x", "$CONTROL/dynsec/v1"]:

        def speak(siege: Siege, token: bytes, topic: str = topic) -> str:
            reason = siege.intruder.say(topic, token, retain=True)
            return siege.broke(token) or ("" if reason == NOT_AUTHORIZED else f"answered with {reason:#x}")

        # a topic of the broker's own is refused before it is logged by name
        yield Attempt(kind="publish", name=topic, make=speak, log="mosquitto", seen=_denied(topic))
    for topic in [*FILTERS, *heard(VICTIM), *(topic for topic in spoken(VICTIM) if "/event/" not in topic)]:

        def listen(siege: Siege, token: bytes, topic: str = topic) -> str:
            siege.intruder.heard.clear()
            siege.intruder.subscribe(topic)
            _everybody_speaks(siege, token)
            siege.intruder.subscribe(wire.DELTA_TOPIC)
            siege.settle()
            siege.intruder.unsubscribe(topic, wire.DELTA_TOPIC)
            strange = [where for where, said in siege.intruder.heard if token in said or where.startswith("$")]
            return f"heard at {strange[0]}" if strange else ""

        yield Attempt(kind="subscribe", name=topic, make=listen, log="mosquitto", seen=_subscribed(topic))


def identities() -> Iterator[Attempt]:
    """Being somebody else."""

    def as_victim(siege: Siege, token: bytes) -> str:
        with Client(siege.broker(INTRUDER), VICTIM, *heard(VICTIM)) as thief:
            reason = thief.say(wire.event_topic(VICTIM, "alert"), token)
            _everybody_speaks(siege, token)
            wrong = siege.broke(b"never said") or ("heard what is not for it" if thief.has_heard(token) else "")
            return wrong or ("" if reason == NOT_AUTHORIZED else f"answered with {reason:#x}")

    def at_the_city_s(siege: Siege, _token: bytes) -> str:
        with suppress(OSError):
            client = Client(siege.broker(INTRUDER, port=siege.city_port), "city-ingest")
            if not until(client.gone.is_set):
                return "a kiosk is in at the city's listener"
        return siege.broke(b"never said")

    def last_will(siege: Siege, _token: bytes) -> str:
        siege.watch.heard.clear()
        Client(siege.broker(INTRUDER), INTRUDER, will=wire.state_topic(VICTIM)).vanish()
        siege.settle()
        return "the will was published" if siege.watch.has_heard(b"the intruder's will") else siege.broke(b"never said")

    def no_certificate(siege: Siege, _token: bytes) -> str:
        broker = siege.broker("city-ingest", port=siege.port)
        with suppress(OSError):
            if not until(Client(broker, VICTIM).gone.is_set):
                return "the devices' listener takes another authority's certificate"
        return siege.broke(b"never said")

    taken = rf"as {INTRUDER} .*u'{INTRUDER}'"
    untrusted = "certificate verify failed"  # what stands before it depends on when the broker looks
    yield Attempt(kind="identity", name="door-02's client id", make=as_victim, log="mosquitto", seen=taken)
    yield Attempt(kind="identity", name="the city's listener", make=at_the_city_s, log="mosquitto", seen=untrusted)
    yield Attempt(kind="identity", name="another authority", make=no_certificate, log="mosquitto", seen=untrusted)
    will = rf"Will message specified[^\n]*\n[^\n]*{re.escape(wire.state_topic(VICTIM))}"
    yield Attempt(kind="identity", name="a will that speaks for door-02", make=last_will, log="mosquitto", seen=will)


def repetitions() -> Iterator[Attempt]:
    """What door-02 has said, byte for byte, by somebody who has written it down."""
    said = malformed.written(malformed.event(VICTIM, 1, ledger="a" * 16))
    topic = wire.event_topic(VICTIM, "fault")

    def said_again(siege: Siege, _token: bytes) -> str:
        siege.victim.say(topic, said)
        until(lambda: (VICTIM, "a" * 16, 1) in {row[:3] for row in siege.events()})
        before, reason = siege.events(), siege.intruder.say(topic, said)
        siege.settle()
        return "" if reason == NOT_AUTHORIZED and siege.events() == before else f"answered with {reason:#x}"

    def as_its_own(siege: Siege, _token: bytes) -> str:
        before = siege.events()
        siege.intruder.say(wire.event_topic(INTRUDER, "fault"), said)
        return "" if _settled(siege) and siege.events()[: len(before)] == before else "the city's events have changed"

    own = rf"{INTRUDER}/event/fault: kept unread: source or type"
    yield Attempt(kind="replay", name="at door-02's topic", make=said_again, log="mosquitto", seen=_denied(topic))
    yield Attempt(kind="replay", name="at its own topic", make=as_its_own, log="ingest", seen=own)


def packets(random: Random, noise: int) -> Iterator[Attempt]:
    """What is no MQTT, over TLS that is in order."""
    for name, sent in malformed.packets(INTRUDER, random, noise):

        def send(siege: Siege, _token: bytes, sent: bytes = sent) -> str:
            return siege.broke(b"never said") if _is_dropped(siege, sent) else "the broker keeps the connection"

        yield Attempt(kind="packet", name=name, make=send, log="mosquitto", seen=malformed.DROPPED)


def payloads() -> Iterator[Attempt]:
    """What is no event, at a topic where the intruder may publish."""
    topic = wire.event_topic(INTRUDER, "fault")
    for name, sent in malformed.payloads(INTRUDER, VICTIM):

        def send(siege: Siege, _token: bytes, sent: bytes = sent) -> str:
            before = siege.events()
            siege.intruder.say(topic, sent)
            if not _settled(siege):
                return "the ingest takes nothing any more"
            return "" if siege.events()[: len(before)] == before else "the city's events have changed"

        log, seen = (
            ("mosquitto", "too large outgoing PUBLISH for city-ingest")
            if len(sent) > 1 << 20
            else ("ingest", "kept unread")
        )
        yield Attempt(kind="payload", name=name, make=send, log=log, seen=seen)


def swallowed(siege: Siege, tally: "Tally") -> None:
    """Join the ingest's group, if its name is known: what is swallowed is said again until the city has it."""
    since, left = siege.marks(), {f"swallowed-{number}" for number in range(FEW)}
    siege.intruder.heard.clear()
    siege.intruder.subscribe(SHARED)
    for _ in range(AFTER_A_LOSS):
        for ledger in sorted(left):
            siege.victim.say(wire.event_topic(VICTIM, "fault"), _fault(ledger))
        until(partial(_are_stored, siege, left), 0.5)
        left -= {row[1] for row in siege.events()}
        tally.said_again += len(left)
        if not left:
            break
    siege.intruder.unsubscribe(SHARED)
    heard_one = ["the intruder heard an event"] if siege.intruder.has_heard(b"camera") else []
    unseen = [] if siege.shows("mosquitto", _subscribed(SHARED), since) else ["nobody could see it"]
    lost = [f"{len(left)} events are lost"] if left else []
    lost += [f"{tally.said_again} events had to be said again"] if tally.said_again else []
    tally.count("shared_subscription", [*lost, *heard_one, *unseen])


def _are_stored(siege: Siege, ledgers: set[str]) -> bool:
    return ledgers <= {row[1] for row in siege.events()}


def _fault(ledger: str) -> bytes:
    return malformed.written(malformed.event(VICTIM, 1, ledger=ledger))


def _settled(siege: Siege) -> bool:
    """Whether the ingest still stores what the other kiosk says."""
    ledger = f"{next(_LEDGERS):016d}"
    siege.victim.say(wire.event_topic(VICTIM, "fault"), _fault(ledger))
    return until(lambda: (VICTIM, ledger) in {row[:2] for row in siege.events()[-3:]})


def _everybody_speaks(siege: Siege, token: bytes) -> None:
    """The other kiosk and the city say what is not for the intruder."""
    for topic in (wire.state_topic(VICTIM), wire.heartbeat_topic(VICTIM), wire.look_up_topic(VICTIM)):
        siege.victim.say(topic, token)
    for client, topic in siege.speakers:
        client.say(topic, token)


def _is_dropped(siege: Siege, sent: bytes) -> bool:
    """Whether the broker ends the connection, once all is sent and no more will come."""
    context = tls_context(siege.broker(INTRUDER))
    with (
        suppress(OSError),
        socket.create_connection((HOST, siege.port), timeout=5.0) as line,
        context.wrap_socket(line, server_hostname=HOST) as tls,
    ):
        tls.sendall(sent)
        if _ends(tls, 0.05):
            return True
        socket.socket.shutdown(tls, socket.SHUT_WR)
        return _ends(tls, 5.0)
    return True


def _ends(tls: ssl.SSLSocket, within_s: float) -> bool:
    tls.settimeout(within_s)
    try:
        while tls.recv(4096):
            pass
    except TimeoutError:
        return False
    return True


def _denied(topic: str) -> str:
    return rf"Denied PUBLISH from {INTRUDER} [^\n]*'{re.escape(topic)}'"


def _subscribed(topic: str) -> str:
    return rf": {INTRUDER} \d+ {re.escape(topic)}\n"


class Tally:
    """What was tried, and what went wrong."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.faults: list[str] = []
        self.said_again = 0

    def count(self, kind: str, faults: list[str]) -> None:
        """One attempt more."""
        self.tried[kind] += 1
        self.faults += [f"{kind}: {fault}" for fault in faults]


def torture(siege: Siege, attempts: list[Attempt], random: Random, seconds: int) -> Tally:
    """Try them, one after the other."""
    tally = Tally()
    for at in verdict.bounded(range(len(attempts)), len(attempts), seconds, "attempts"):
        one = attempts[at]
        if one.kind == "packet":
            siege.intruder.close()  # whoever is then door-01 in the log is the attempt
        since = siege.marks()
        token = f"<{random.randbytes(8).hex()}>".encode()
        wrong = one.make(siege, token)
        if not wrong and not siege.shows(one.log, one.seen, since):
            wrong = f"nothing in the log of {one.log}"
        tally.count(one.kind, [f"{one.name}: {wrong}"] if wrong else [])
        if one.kind != "packet" and siege.intruder.gone.is_set():
            siege.intruder = siege.enter(INTRUDER)
    siege.intruder = siege.enter(INTRUDER)
    if sum(tally.tried.values()) < len(attempts):
        tally.faults.append("the time was over first")
    return tally


def main() -> int:
    """Break in, and say."""
    parser = verdict.parser("intruder", __doc__, seconds=600)
    parser.add_argument("--noise", type=int, default=200, help="packets of random bytes, default: %(default)s")
    parser.add_argument("--control", action="store_true", help="a broker that allows everything: must fail")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        try:
            siege = Siege(Path(name), stack, everything_allowed=given.control)
        except DemoFault as fault:
            print(f"intruder: {fault}", file=sys.stderr)
            return verdict.UNABLE
        random, attempts = Random(given.seed), [*trespasses(), *identities()]
        if not given.control:
            attempts += [*repetitions(), *payloads(), *packets(random, given.noise)]
        tally = torture(siege, attempts, random, given.seconds)
        if not given.control:
            swallowed(siege, tally)
            for told, faults in forged.commands(siege, Path(name)):
                tally.count("command", [f"{told}: {fault}" for fault in faults])
        stored = len(siege.events())
    figures = {"attempts": sum(tally.tried.values()), **tally.tried, "said_again": tally.said_again}
    return verdict.tell("intruder", {**figures, "stored": stored, "seed": given.seed}, tally.faults, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
