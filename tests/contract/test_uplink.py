"""The uplink against a real mosquitto, and against servers that are none.

Every event arrives and none is let go early; what the city sends comes in, and each answer to who asked.
"""

import json
import socket
import ssl
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import IO, Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from city import certificates, publish, risk, signing, trust
from city.certificates import Authority as CertificateAuthority
from city.lookup import LookUps
from city.store import Store
from kiosk import wire
from kiosk.back_off import QUICK_S, SPREAD_S
from kiosk.broker import Broker, TlsFiles, brokers_of, tls_context
from kiosk.city_feed import RISK_LIST, TRUST, CityFeed
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.clock import Clock, Now, S, SystemClock
from kiosk.connection import BIGGEST_MESSAGE
from kiosk.errors import UplinkFault
from kiosk.exchange import FETCH_WITHIN_S, LIST_SILENT_S, Feed, Hears
from kiosk.messages import Alert, AlertNews, AlertState, Answer, Direction, Fault, Flag, LinkStatus, Reason
from kiosk.outbox import Outbox
from kiosk.questions import ANSWER_WITHIN_S, MOST_WAITING
from kiosk.revival import revived
from kiosk.risk_list import RiskList
from kiosk.settings import UplinkSettings
from kiosk.trust import Bundle
from kiosk.uplink import Uplink
from kiosk.window import ACKNOWLEDGE_WITHIN_S, PARKED_S, WINDOW
from tests.certificates import Authority
from tests.mosquitto import PROGRAM, SETTINGS, Ear, Mosquitto, free_port
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
STATE = wire.state_topic("door-01")
EVENTS = f"{wire.ROOT}/door-01/event/+"
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PRIVATE = signing.new_key()
KEY, OTHER_KEY = signing.load_key(PRIVATE), signing.load_key(signing.new_key())
CITY = trust.city_issuers(PRIVATE)
A, B = "a" * 32, "b" * 32


class JumpingClock:
    """The machine's clock, and the hours a test adds to it."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._ahead_ns = 0

    def now(self) -> Now:
        """The time, after all jumps."""
        now = self._clock.now()
        return Now(monotonic_ns=now.monotonic_ns + self._ahead_ns, utc=now.utc, utc_trusted=True)

    def jump(self, seconds: float) -> None:
        """Let so much pass at once."""
        self._ahead_ns += round(seconds * S)


class Soon(Random):
    """Jitter that is always a twentieth of a second: tests do not wait for politeness."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__()
        self._seconds = seconds
        self.asked: list[tuple[float, float]] = []
        """The bounds, each time."""

    def uniform(self, a: float, b: float) -> float:
        """See above."""
        self.asked.append((a, b))
        return min(self._seconds, b)


def happened(number: int) -> Fault:
    """An event that tells its number."""
    return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=f"event {number}")


ALERT = Alert(
    at=AT, utc_trusted=True, direction=Direction.ENTRY, reasons=(Reason.AT_RISK_CONTACT,), scheme=None, subject=None
)


class Kiosk:
    """A real outbox, feed and uplink, each in its thread, and all they said."""

    def __init__(
        self,
        folder: Path,
        port: int,
        clock: Clock,
        *,
        brokers: Sequence[Broker] = (),
        device: str = "door-01",
        feed: Feed | None = None,
        patient: bool = False,
    ) -> None:
        origin = wire.Origin(device=device, place="place-0001", access_point="main")
        self.troubles: list[str] = []
        self.statuses: list[LinkStatus] = []
        self.answers: list[Answer] = []
        self.changes: list[tuple[int, int]] = []
        """Versions of the trust bundle and the risk list, 0 for none."""
        self.refusals: list[tuple[str, str]] = []
        self.jitter = Soon(60.0 if patient else 0.05)
        self.stamps = 0
        self.faults: list[str] = []
        self.commands: list[bytes] = []
        self.alerts: list[AlertNews] = []
        self.bugs: list[Exception] = []
        self.outbox = Outbox(
            folder / f"{device}.sqlite3",
            origin,
            on_health=self.troubles.append,
            on_change=self._changed,
            on_alert=self.alerts.append,
        )
        self.feed = CityFeed(
            TrustFiles(folder, folder / "provisioned", CITY),
            RiskFiles(folder, CITY),
            CITY,
            on_change=self._learnt,
            on_trouble=lambda stage, said: self.refusals.append((stage, said)),
        )
        self.uplink = Uplink(
            brokers or [Broker(host="127.0.0.1", port=port, tls=False)],
            origin,
            self.outbox,
            clock,
            Hears(
                on_status=self.statuses.append,
                on_answer=self.answers.append,
                on_trouble=self.troubles.append,
                on_fault=self._fault,
                on_command=self.commands.append,
                on_alert=self.alerts.append,
                faults=lambda: ["camera", "printer"],
            ),
            feed=feed or self.feed,
            version="0.1.0",
            random=self.jitter,
        )
        self._count = 0
        self._writer = threading.Thread(target=self.outbox.write, args=(lambda: None,))
        self._sender = threading.Thread(target=self._run, args=(clock,))
        self._writer.start()
        self._sender.start()

    def _run(self, clock: Clock) -> None:
        run = partial(self.uplink.run, self._stamp)
        revived(run, clock, on_bug=self.bugs.append, pause=lambda _: None, uniform=Soon().uniform)

    def _fault(self, fault: str) -> None:
        """As the daemon and the gate: what changes becomes an event."""
        if fault != (self.faults[-1] if self.faults else ""):
            self.faults.append(fault)
            self.outbox.append([Fault(at=AT, utc_trusted=True, stage="uplink", recovered=not fault, detail=fault)])

    def _changed(self) -> None:
        self.uplink.nudge()

    def _learnt(self, bundle: Bundle | None, risk_list: RiskList | None) -> None:
        self.changes.append((bundle.version if bundle else 0, risk_list.version if risk_list else 0))

    def _stamp(self) -> None:
        self.stamps += 1

    @property
    def online(self) -> bool:
        """The last the uplink said."""
        return bool(self.statuses) and self.statuses[-1].online

    @property
    def alive(self) -> bool:
        """The uplink's thread has not ended."""
        return self._sender.is_alive()

    def happen(self, count: int) -> None:
        """Store events that tell their number."""
        for number in range(self._count + 1, self._count + count + 1):
            assert self.outbox.append([happened(number)]).wait(10.0)
        self._count += count

    def close_within(self, seconds: float) -> None:
        """Close the uplink; it must end in time."""
        self.uplink.close()
        self._sender.join(seconds)
        assert not self._sender.is_alive(), f"run() has not ended within {seconds} s of close()"

    def close(self) -> None:
        """End both threads."""
        with suppress(AssertionError):
            self.close_within(10.0)
        self.outbox.close()
        self._writer.join(10.0)


class City:
    """Subscribes to the events and acknowledges when told to."""

    def __init__(self, port: int, ca_file: str = "", certificate: tuple[str, str] = ("", "")) -> None:
        self.ear = Ear(port, EVENTS, STATE, ca_file=ca_file, certificate=certificate)

    def events(self) -> list[int]:
        """Sequences of all events heard, in order, repetitions included."""
        return [json.loads(payload)["data"]["sequence"] for topic, payload, _ in self.ear.heard if "/event/" in topic]

    def states(self) -> list[dict[str, Any]]:
        """Every birth and will heard."""
        return [json.loads(payload) for topic, payload, _ in self.ear.heard if topic == STATE]

    def acknowledge(self, ledger: str, *sequences: int) -> None:
        """Say that these are committed."""
        said = wire.Acknowledgement(ledger=ledger, sequences=list(sequences))
        self.ear.say(wire.acknowledgement_topic("door-01"), said.model_dump_json())


@pytest.fixture
def clock() -> JumpingClock:
    """Time that can jump."""
    return JumpingClock()


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What is to be closed after the test, last first."""
    with ExitStack() as stack:
        yield stack


Start = Callable[..., Kiosk]


@pytest.fixture
def start(tmp_path: Path, clock: JumpingClock, cleanup: ExitStack) -> Start:
    """Start a kiosk at a port, or with whole log-ins."""

    def started(port: int = 0, *brokers: Broker, device: str = "door-01", feed: Feed | None = None) -> Kiosk:
        kiosk = Kiosk(tmp_path, port, clock, brokers=brokers, device=device, feed=feed)
        cleanup.callback(kiosk.close)
        return kiosk

    return started


@pytest.fixture
def listen(cleanup: ExitStack) -> Callable[..., City]:
    """Put a city at a port."""

    def listening(port: int, ca_file: str = "", certificate: tuple[str, str] = ("", "")) -> City:
        city = City(port, ca_file, certificate)
        cleanup.callback(city.ear.close)
        return city

    return listening


def test_events_are_published_in_order_and_at_most_a_window_of_them_unacknowledged(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """Sixteen go out; one more for each that the city acknowledges."""
    city, kiosk = listen(broker.port), start(broker.port)
    kiosk.happen(40)
    until(lambda: len(city.events()) >= WINDOW)
    ledger = kiosk.outbox.ledger
    for done in range(1, 25):
        city.acknowledge(ledger, done)
        until(lambda done=done: len(city.events()) >= WINDOW + done)  # type: ignore[misc]
        assert city.events() == list(range(1, WINDOW + done + 1))
    city.acknowledge(ledger, *range(25, 41))
    until(lambda: kiosk.outbox.waiting == 0)
    assert (city.events(), kiosk.troubles) == (list(range(1, 41)), [])
    until(lambda: kiosk.statuses[-1] == LinkStatus(online=True, waiting=0))


def test_an_alert_does_not_wait_for_the_history_before_it(
    broker: Mosquitto, tmp_path: Path, start: Start, listen: Callable[..., City]
) -> None:
    """After days without a broker alerts come first, each once; the rest follows in its order."""
    days = Outbox(tmp_path / "door-01.sqlite3", ORIGIN, on_health=lambda _: None, on_change=lambda: None)
    days.append([happened(number) for number in range(1, 41)])
    days.append([ALERT, happened(42), happened(43), ALERT])
    days.close()
    days.write(lambda: None)
    city = listen(broker.port)
    kiosk = start(broker.port)

    def all_heard() -> bool:
        if heard := city.events():
            city.acknowledge(kiosk.outbox.ledger, *heard)
        return len(heard) >= 44

    until(all_heard)
    until(lambda: kiosk.outbox.waiting == 0)
    assert city.events() == [41, 44, *range(1, 41), 42, 43]


def test_birth_and_will_are_retained_and_a_polite_end_publishes_the_will(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """Whoever subscribes later learns at once whether the door is online."""
    kiosk = start(broker.port)
    until(lambda: kiosk.online)
    city = listen(broker.port)
    until(lambda: len(city.states()) == 1)
    kiosk.close_within(2.0)
    until(lambda: len(city.states()) == 2)
    birth, will = city.states()
    assert datetime.fromisoformat(birth.pop("at")).tzinfo is not None
    same = {"device": "door-01", "version": "0.1.0", "ledger": kiosk.outbox.ledger}
    assert (birth, will) == ({**same, "online": True}, {**same, "online": False, "at": None})
    latecomer = listen(broker.port)
    until(lambda: latecomer.ear.heard)
    assert [(json.loads(payload)["online"], retained) for _, payload, retained in latecomer.ear.heard] == [
        (False, True)
    ]
    assert kiosk.troubles == []


def test_a_connection_that_is_killed_leaves_the_will_and_comes_back(
    broker: Mosquitto, start: Start, listen: Callable[..., City], cleanup: ExitStack
) -> None:
    """Somebody else logs in under the device's name: the broker throws it out, announces it, and it returns."""
    kiosk = start(broker.port)
    city = listen(broker.port)
    until(lambda: kiosk.online and len(city.states()) == 1)
    thief = socket.create_connection(("127.0.0.1", broker.port), timeout=5.0)
    cleanup.callback(thief.close)
    thief.sendall(b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x07door-01")
    until(lambda: [state["online"] for state in city.states()] == [True, False, True])
    assert len(kiosk.troubles) == 1
    assert kiosk.troubles[0].startswith("the connection to the broker is gone: ")


def test_a_row_stays_until_the_city_acknowledges_it_and_is_published_again_after_the_timer(
    broker: Mosquitto, start: Start, listen: Callable[..., City], clock: JumpingClock
) -> None:
    """The broker's own acknowledgement lets nothing go; the city's ten seconds are counted by the clock."""
    city, kiosk = listen(broker.port), start(broker.port)
    kiosk.happen(3)
    until(lambda: city.events() == [1, 2, 3])
    city.acknowledge(kiosk.outbox.ledger, 2)
    until(lambda: kiosk.outbox.waiting == 2)
    clock.jump(ACKNOWLEDGE_WITHIN_S + 1)
    until(lambda: city.events() == [1, 2, 3, 1, 3])
    assert kiosk.troubles == ["the city has not acknowledged within 10 s; is its ingest running?"]
    city.acknowledge(kiosk.outbox.ledger, 1, 3)
    until(lambda: kiosk.outbox.waiting == 0)


def test_acknowledgements_for_another_ledger_or_that_cannot_be_read_let_nothing_go(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """A sentence for each unreadable one, with nothing of its content; a number no database holds ends nothing."""
    city, kiosk = listen(broker.port), start(broker.port)
    kiosk.happen(1)
    until(lambda: city.events() == [1])
    topic = wire.acknowledgement_topic("door-01")
    city.acknowledge("another ledger", 1)
    unreadable = [
        b"\xff\x00SECRET",
        b'{"ledger":"x","sequences":["SECRET"]}',
        b'{"ledger":"x","sequences":[1,"SECRET"]}',
        b'{"ledger":"%b","sequences":[%d]}' % (kiosk.outbox.ledger.encode(), 10**30),
        b"[" * 50_000,
    ]
    for payload in unreadable:
        city.ear.say(topic, payload)
    until(lambda: len(kiosk.troubles) == len(unreadable))
    assert all(said.startswith("an acknowledgement cannot be read: ") for said in kiosk.troubles)
    assert not [said for said in kiosk.troubles if "SECRET" in said or len(said) > 200]
    assert (kiosk.outbox.waiting, kiosk.alive) == (1, True)


def test_a_broker_that_is_not_there_yet_gets_every_event_once_it_is(
    stopped_broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """Meanwhile the door is offline and says why."""
    kiosk = start(stopped_broker.port)
    kiosk.happen(5)
    until(lambda: kiosk.troubles)
    assert kiosk.troubles[0] == (
        f"cannot reach the broker at 127.0.0.1:{stopped_broker.port}: "
        "nothing listens there: the broker is down, or uplink.port is wrong"
    )
    assert not kiosk.online
    city = listen(stopped_broker.start().port)
    until(lambda: set(city.events()) == {1, 2, 3, 4, 5} or kiosk.outbox.waiting == 0)
    city.acknowledge(kiosk.outbox.ledger, 1, 2, 3, 4, 5)
    until(lambda: kiosk.outbox.waiting == 0)


def test_a_broker_killed_with_events_in_flight_gets_them_all_when_it_is_back(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """Nothing that was not acknowledged is lost, although the broker has forgotten it."""
    city, kiosk = listen(broker.port), start(broker.port)
    kiosk.happen(30)
    until(lambda: len(city.events()) >= WINDOW)
    city.acknowledge(kiosk.outbox.ledger, *range(1, 6))
    until(lambda: kiosk.outbox.waiting == 25)
    broker.kill()
    until(lambda: not kiosk.online)
    kiosk.happen(3)
    later = listen(broker.start().port)
    until(later.events)
    last = 0
    while last < 33:
        until(lambda last=last: max(later.events()) > last)  # type: ignore[misc]
        last = max(later.events())
        later.acknowledge(kiosk.outbox.ledger, *range(6, last + 1))
    until(lambda: kiosk.outbox.waiting == 0)
    assert sorted(set(later.events())) == list(range(6, 34))


def test_a_refused_login_says_what_to_check(stopped_broker: Mosquitto, start: Start) -> None:
    """The door goes on without the city, and its thread lives."""
    settings = stopped_broker._settings
    settings.write_text(settings.read_text().replace("anonymous true", "anonymous false"), encoding="utf-8")
    kiosk = start(stopped_broker.start().port)
    until(lambda: len(kiosk.troubles) >= 2)
    assert kiosk.troubles[0] == (
        "the broker refuses this device: Not authorized; check uplink.username, certificate and ACL"
    )
    assert (kiosk.alive, kiosk.online) == (True, False)
    kiosk.close_within(2.0)


def allow(broker: Mosquitto, *topics: str) -> Mosquitto:
    """Let everybody write to these only, and start the broker."""
    acl = broker._settings.with_name("acl")
    lines = [f"topic read {wire.ROOT}/#", *(f"topic write {topic}" for topic in topics)]
    acl.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with broker._settings.open("a", encoding="utf-8") as settings:
        settings.write(f"acl_file {acl}\n")
    return broker.start()


def test_a_kind_of_event_that_the_broker_denies_waits_aside_and_the_others_go_on(
    stopped_broker: Mosquitto, start: Start, listen: Callable[..., City], clock: JumpingClock
) -> None:
    """Told once; not sent again on this or the next connection, but after ten minutes; never deleted."""
    acknowledgements = wire.acknowledgement_topic("door-01")
    allow(stopped_broker, STATE, wire.event_topic("door-01", "fault"), acknowledgements)
    city, kiosk = listen(stopped_broker.port), start(stopped_broker.port)
    until(lambda: kiosk.online)
    assert kiosk.outbox.append([ALERT]).wait(10.0)
    until(lambda: kiosk.faults)
    kiosk.happen(2)
    until(lambda: city.events() == [2, 3, 4])
    city.acknowledge(kiosk.outbox.ledger, 2, 3, 4)
    until(lambda: kiosk.outbox.waiting == 1)
    said = (
        "the broker does not take alert events (Not authorized); they stay stored and are tried again every 10 min;"
        " check its ACL and limits"
    )
    assert (kiosk.faults, kiosk.online, kiosk.troubles) == ([said], True, [])
    stopped_broker.kill()
    until(lambda: not kiosk.online)
    stopped_broker._settings.write_text(
        stopped_broker._settings.read_text("utf-8").replace("acl_file", "#acl_file"), encoding="utf-8"
    )
    later = listen(stopped_broker.start().port)
    until(lambda: kiosk.online)
    kiosk.happen(1)
    until(lambda: later.events() == [5])
    later.acknowledge(kiosk.outbox.ledger, 5)
    until(lambda: kiosk.outbox.waiting == 1)
    clock.jump(PARKED_S + 1)
    until(lambda: later.events() == [5, 1])
    later.acknowledge(kiosk.outbox.ledger, 1)
    until(lambda: kiosk.faults == [said, ""])


def test_a_broker_that_denies_every_event_does_not_make_more_and_more_of_them(
    stopped_broker: Mosquitto, start: Start
) -> None:
    """The report of what is refused is an event itself, and refused: told once more, and then all is said."""
    kiosk = start(allow(stopped_broker, STATE).port)
    until(lambda: kiosk.online)
    assert kiosk.outbox.append([ALERT]).wait(10.0)
    until(lambda: len(kiosk.faults) == 2)
    kiosk.happen(20)
    until(lambda: len(kiosk.uplink._exchange._window._refused) == 23)
    assert (len(kiosk.faults), kiosk.outbox.waiting, kiosk.troubles, kiosk.online) == (2, 23, [], True)
    assert "take alert events (Not authorized), fault events (Not authorized); they stay" in kiosk.faults[-1]


def test_a_birth_that_the_broker_denies_ends_the_connection(stopped_broker: Mosquitto, start: Start) -> None:
    """Without it nobody knows that the door is online."""
    kiosk = start(allow(stopped_broker, "nothing").port)
    until(lambda: kiosk.troubles)
    assert kiosk.troubles[0] == (
        "the broker refuses to take this device's birth: Not authorized; check the ACL of door-01"
    )
    kiosk.close_within(2.0)


GARBAGE = {
    "text": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "noughts": bytes(64),
    "a CONNACK with properties cut off": b"\x20\x03\x00\x00\x7f",
    "a CONNACK of an unknown reason": b"\x20\x03\x00\x77\x00",
    "a CONNACK of an unknown property": b"\x20\x05\x00\x00\x02\xfe\x01",
    "a CONNACK with the wrong reserved bits": b"\x2f\x03\x00\x00\x00",
    "a length without end": b"\x20\xff\xff\xff\xff\xff",
    "an acknowledgement of nothing": b"\x20\x03\x00\x00\x00\x40\x04\x00\x63\x77\x00",
    "a message on no topic": b"\x20\x03\x00\x00\x00\x30\x03\x00\x09x",
    "a message whose topic is not UTF-8": b"\x20\x03\x00\x00\x00\x30\x05\x00\x02\xff\xfe\x00",
    "a SUBACK cut off": b"\x20\x03\x00\x00\x00\x90\x01\x00",
    "a DISCONNECT of an unknown reason": b"\x20\x03\x00\x00\x00\xe0\x01\x55",
    "an AUTH": b"\x20\x03\x00\x00\x00\xf0\x02\x18\x00",
    "a second CONNECT": b"\x20\x03\x00\x00\x00\x10\x00",
    "a PUBREL of nothing": b"\x20\x03\x00\x00\x00\x62\x02\x00\x09",
    "a PINGRESP with a body": b"\x20\x03\x00\x00\x00\xd0\x01\x00",
}


class Stranger:
    """A server that takes connections and says one thing to each, or nothing."""

    def __init__(self, words: bytes) -> None:
        self.visits = 0
        self._words = words
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._line.getsockname()[1])
        self._visitors: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End, and hang up."""
        self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._line.close()
        for visitor in self._visitors:
            visitor.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                self._visitors.append(visitor)
                self.visits += 1
                with suppress(OSError):
                    visitor.sendall(self._words)
                    if self._words:
                        visitor.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("words", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_server_that_talks_nonsense_gets_a_sentence_and_ends_no_thread(
    words: bytes, start: Start, cleanup: ExitStack
) -> None:
    """It is tried again, and the events wait."""
    stranger = Stranger(words)
    cleanup.callback(stranger.close)
    kiosk = start(stranger.port)
    kiosk.happen(1)
    until(lambda: stranger.visits >= 3 or not kiosk.alive)
    assert kiosk.alive
    assert len(kiosk.troubles) >= 2
    sentences = (
        "the broker ",
        "the connection to the broker ",
        "an acknowledgement cannot be read: ",
        f"cannot reach the broker at 127.0.0.1:{stranger.port}: it ",
    )
    assert all(said.startswith(sentences) for said in kiosk.troubles), kiosk.troubles
    assert kiosk.outbox.waiting == 1
    kiosk.close_within(2.0)


def test_a_server_that_says_nothing_is_given_up_after_its_time(
    start: Start, cleanup: ExitStack, clock: JumpingClock
) -> None:
    """Five seconds for the answer to CONNECT, and then again."""
    stranger = Stranger(b"")
    cleanup.callback(stranger.close)
    kiosk = start(stranger.port)
    until(lambda: stranger.visits == 1)
    clock.jump(6)
    until(lambda: stranger.visits == 2)
    assert kiosk.troubles == ["the broker did not answer CONNECT within 5 s; is it overloaded?"]
    kiosk.close_within(2.0)
    assert len(kiosk.troubles) == 1


def test_close_ends_the_thread_while_it_waits_to_try_again(start: Start) -> None:
    """Nobody listens at the port."""
    kiosk = start(free_port())
    until(lambda: kiosk.troubles)
    kiosk.close_within(2.0)


def test_a_nudge_after_the_end_is_harmless(start: Start) -> None:
    """The outbox stores its last event after the uplink has ended."""
    kiosk = start(free_port())
    kiosk.close_within(2.0)
    kiosk.happen(1)
    kiosk.uplink.nudge()
    assert kiosk.outbox.waiting == 1


def test_an_event_is_on_its_way_as_soon_as_it_is_stored(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """The nudge wakes the uplink: the median is far below its half-second tick."""
    city, kiosk = listen(broker.port), start(broker.port)
    until(lambda: kiosk.online)
    took_ms = []
    clock = SystemClock()
    for number in range(1, 10):
        began_ns = clock.now().monotonic_ns
        kiosk.happen(1)
        until(lambda number=number: len(city.events()) >= number)  # type: ignore[misc]
        took_ms.append((clock.now().monotonic_ns - began_ns) / 1e6)
        city.acknowledge(kiosk.outbox.ledger, number)
    assert statistics.median(took_ms) < 200, took_ms


# What a broker may say.


class Script:
    """A broker of bytes: it takes connections one after the other and hears what each publishes with QoS 1."""

    def __init__(self, connack: bytes = b"\x20\x03\x00\x00\x00") -> None:
        self._connack = connack
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._line.getsockname()[1])
        self.events: list[tuple[int, int]] = []
        """Packet identifier and sequence of every event, as they came."""
        self.beats: list[wire.Heartbeat] = []
        self.confirmed = 0
        self.most_unconfirmed = 0
        self.connections = 0
        self._visitor: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answer(self, packet: int, code: int) -> None:
        """PUBACK."""
        assert self._visitor is not None
        self.confirmed += 1
        self._visitor.sendall(b"\x40\x03" + packet.to_bytes(2) + bytes([code]))

    def acknowledge(self, ledger: str, *sequences: int) -> None:
        """The city's own."""
        assert self._visitor is not None
        topic = wire.acknowledgement_topic("door-01").encode()
        said = wire.Acknowledgement(ledger=ledger, sequences=list(sequences)).model_dump_json().encode()
        body = len(topic).to_bytes(2) + topic + b"\x00" + said
        assert len(body) < 128
        self._visitor.sendall(bytes([0x30, len(body)]) + body)

    def close(self) -> None:
        """End."""
        self._line.shutdown(socket.SHUT_RDWR)
        if self._visitor:
            with suppress(OSError):
                self._visitor.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._line.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._visitor, _ = self._line.accept()
                self.connections += 1
                with self._visitor, self._visitor.makefile("rb") as words, suppress(OSError, IndexError):
                    while True:
                        self._hear(words.read(1)[0], words)

    def _hear(self, first: int, words: IO[bytes]) -> None:
        assert self._visitor is not None
        length = shift = 0
        while True:
            byte = words.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        body = words.read(length)
        if first >> 4 == 1:
            self._visitor.sendall(self._connack)
        elif first >> 4 == 8:
            self._visitor.sendall(b"\x90\x04" + body[:2] + b"\x00\x01")
        elif first >> 4 == 3:
            self._published(first, body)

    def _published(self, first: int, body: bytes) -> None:
        end = 2 + int.from_bytes(body[:2])
        topic = body[2:end].decode()
        if topic.endswith("/heartbeat"):
            beat = wire.decode_heartbeat(body[end + 1 :])
            assert isinstance(beat, wire.Heartbeat)
            self.beats.append(beat)
        if first & 6:
            packet = int.from_bytes(body[end : end + 2])
            if topic.endswith("/state"):
                self.answer(packet, 0)
                self.confirmed -= 1
            else:
                self.events.append((packet, json.loads(body[end + 3 :])["data"]["sequence"]))
                self.most_unconfirmed = max(self.most_unconfirmed, len(self.events) - self.confirmed)


@pytest.fixture
def script(cleanup: ExitStack) -> Callable[..., Script]:
    """Make a broker of bytes with this CONNACK."""

    def made(properties: bytes = b"") -> Script:
        script = Script(bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties)
        cleanup.callback(script.close)
        return script

    return made


def test_a_broker_that_takes_few_messages_at_once_gets_no_more(script: Callable[..., Script], start: Start) -> None:
    """Its Receive Maximum counts, whatever our own window is."""
    broker = script(b"\x21\x00\x03")
    kiosk = start(broker.port)
    kiosk.happen(20)
    for number in range(20):
        until(lambda number=number: len(broker.events) > number)  # type: ignore[misc]
        packet, sequence = broker.events[number]
        broker.answer(packet, 0)
        broker.acknowledge(kiosk.outbox.ledger, sequence)
    until(lambda: kiosk.outbox.waiting == 0)
    assert [sequence for _, sequence in broker.events] == list(range(1, 21))
    assert (broker.most_unconfirmed, kiosk.troubles) == (3, [])


def test_after_days_offline_no_more_than_the_window_is_under_way(
    script: Callable[..., Script], tmp_path: Path, start: Start
) -> None:
    """A thousand wait; the broker takes each at once, the city acknowledges none, and no other one is sent."""
    days = Outbox(tmp_path / "door-01.sqlite3", ORIGIN, on_health=lambda _: None, on_change=lambda: None)
    days.append([happened(number) for number in range(1000)])
    days.close()
    days.write(lambda: None)
    broker = script()
    kiosk = start(broker.port)
    until(lambda: len(broker.events) == WINDOW)
    for packet, _ in list(broker.events):
        broker.answer(packet, 0)
    beats = len(broker.beats)
    kiosk.uplink.ask(A)
    kiosk.happen(1)
    until(lambda: not kiosk.uplink._exchange._window._published)
    stamps = kiosk.stamps
    until(lambda: kiosk.stamps > stamps + 2)
    assert ([sequence for _, sequence in broker.events], beats) == (list(range(1, WINDOW + 1)), 1)


def test_an_event_larger_than_the_broker_takes_is_not_sent(script: Callable[..., Script], start: Start) -> None:
    """Its Maximum Packet Size is known from the start; the others go."""
    broker = script(b"\x27\x00\x00\x03\x00")
    kiosk = start(broker.port)
    kiosk.outbox.append([replace(happened(0), detail="x" * 700)])
    kiosk.happen(1)
    until(lambda: kiosk.faults and len(broker.events) == 2)
    assert kiosk.faults[0].startswith("the broker does not take fault events (Packet too large); they stay stored")
    assert [sequence for _, sequence in broker.events] == [2, 3]


def test_a_full_quota_is_waited_for_on_the_same_connection(
    script: Callable[..., Script], start: Start, clock: JumpingClock
) -> None:
    """What was refused goes again, before what has waited since; nothing is parked and nothing told."""
    broker = script()
    kiosk = start(broker.port)
    kiosk.happen(1)
    for attempt in range(3):
        until(lambda attempt=attempt: len(broker.events) > attempt)  # type: ignore[misc]
        broker.answer(broker.events[-1][0], 0x97)
        until(lambda: not kiosk.uplink._exchange._window._in_flight)
        clock.jump(1)
        kiosk.uplink.nudge()
    kiosk.happen(1)
    until(lambda: len(broker.events) == 5)
    assert [sequence for _, sequence in broker.events] == [1, 1, 1, 1, 2]
    assert (broker.connections, kiosk.faults, kiosk.troubles) == (1, [], [])


def test_a_refusal_that_is_not_known_ends_the_connection_and_costs_nothing(
    script: Callable[..., Script], start: Start
) -> None:
    """The event goes again on the next one."""
    broker = script()
    kiosk = start(broker.port)
    kiosk.happen(1)
    until(lambda: broker.events)
    broker.answer(broker.events[0][0], 0x83)
    until(lambda: len(broker.events) == 2)
    assert kiosk.troubles == [
        "the broker refuses to take an event: Implementation specific error; check the ACL of door-01"
    ]
    assert [sequence for _, sequence in broker.events] == [1, 1]


def test_a_heartbeat_comes_with_the_connection_and_once_a_minute(
    script: Callable[..., Script], start: Start, clock: JumpingClock
) -> None:
    """It says what is stored, what waits, and what is out of order."""
    broker = script()
    kiosk = start(broker.port)
    until(lambda: broker.beats)
    kiosk.happen(3)
    for number in (2, 3):
        clock.jump(60)
        kiosk.uplink.nudge()
        until(lambda number=number: len(broker.beats) == number)  # type: ignore[misc]
    beat = broker.beats[-1]
    assert (beat.ledger, beat.newest, beat.waiting, beat.faults, beat.version) == (
        kiosk.outbox.ledger,
        3,
        3,
        ["camera", "printer"],
        "0.1.0",
    )
    assert [beat.newest for beat in broker.beats] == [0, 3, 3]


# When to connect.


def test_the_waits_are_those_of_the_law_for_32_000_doors(broker: Mosquitto, start: Start, clock: JumpingClock) -> None:
    """None before the first; after a long connection, anywhere in the spread; after a failure, one spread more."""
    kiosk = start(broker.port)
    until(lambda: kiosk.online)
    assert kiosk.jitter.asked == []
    clock.jump(SPREAD_S)
    broker.kill()
    until(lambda: len(kiosk.jitter.asked) >= 2)
    assert kiosk.jitter.asked[:2] == [(0.0, SPREAD_S), (SPREAD_S, 2 * SPREAD_S)]


def test_a_door_whose_machine_has_just_been_switched_on_waits_first_but_not_with_an_alert(
    broker: Mosquitto, start: Start, clock: JumpingClock
) -> None:
    """The power has come back to the whole street."""
    clock.jump(10 - clock.now().monotonic_ns / S)
    kiosk = start(broker.port)
    until(lambda: kiosk.online)
    assert kiosk.jitter.asked == [(0.0, SPREAD_S)]
    kiosk.close_within(2.0)
    assert kiosk.outbox.append([ALERT]).wait(10.0)
    kiosk.close()
    urgent = start(broker.port)
    until(lambda: urgent.online)
    assert urgent.jitter.asked == [(QUICK_S / 2, QUICK_S)]


def test_an_alert_that_is_raised_while_the_door_waits_ends_the_wait(tmp_path: Path, clock: JumpingClock) -> None:
    """Other events do not."""
    port = free_port()
    waiting = Kiosk(tmp_path, port, clock, patient=True)
    try:
        until(lambda: len(waiting.troubles) == 1)
        waiting.happen(3)
        assert waiting.outbox.append([ALERT]).wait(10.0)
        until(lambda: len(waiting.jitter.asked) == 2)
        assert waiting.jitter.asked == [(SPREAD_S, 2 * SPREAD_S), (QUICK_S / 2, QUICK_S)]
    finally:
        waiting.close()


# Several brokers.


def plain(port: int, host: str = "127.0.0.1") -> Broker:
    """A broker on this machine."""
    return Broker(host=host, port=port, tls=False)


def test_the_next_broker_is_taken_while_the_first_is_away_and_the_first_again_at_the_next_connection(
    tmp_path: Path, broker: Mosquitto, start: Start, listen: Callable[..., City], cleanup: ExitStack
) -> None:
    """In the same round, without a wait; what works is not given up for what came back."""
    (tmp_path / "second").mkdir()
    second = Mosquitto(tmp_path / "second").start()
    cleanup.callback(second.stop)
    broker.kill()
    kiosk = start(0, plain(broker.port), plain(second.port))
    city = listen(second.port)
    until(lambda: kiosk.online)
    (said,) = kiosk.troubles
    assert said.startswith(f"cannot reach the broker at 127.0.0.1:{broker.port}: ")
    first = listen(broker.start().port)
    kiosk.happen(1)
    until(lambda: city.events() == [1])
    city.acknowledge(kiosk.outbox.ledger, 1)
    until(lambda: kiosk.outbox.waiting == 0)
    assert first.events() == []
    second.kill()
    kiosk.happen(1)
    until(lambda: first.events() == [2])


def test_a_broker_that_refuses_is_passed_over(
    stopped_broker: Mosquitto, tmp_path: Path, start: Start, listen: Callable[..., City], cleanup: ExitStack
) -> None:
    """As one that is away."""
    settings = stopped_broker._settings
    settings.write_text(settings.read_text().replace("anonymous true", "anonymous false"), encoding="utf-8")
    (tmp_path / "second").mkdir()
    second = Mosquitto(tmp_path / "second").start()
    cleanup.callback(second.stop)
    kiosk = start(0, plain(stopped_broker.start().port), plain(second.port))
    until(lambda: kiosk.online)
    assert len(kiosk.troubles) == 1
    assert kiosk.troubles[0].startswith("the broker refuses this device: Not authorized; ")
    city = listen(second.port)
    until(lambda: len(city.states()) == 1)


def test_a_broker_may_have_an_address_of_ipv6(tmp_path: Path, start: Start, cleanup: ExitStack) -> None:
    """Written without brackets in `Broker`; the settings take them off."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 on loopback: {error}")
    settings = SETTINGS.replace("listener {port} 127.0.0.1", "listener {port} 127.0.0.1\nlistener {port} ::1")
    broker = Mosquitto(tmp_path, settings).start()
    cleanup.callback(broker.stop)
    one, other = brokers_of(UplinkSettings(host="::1", port=broker.port, tls=False, others=["[::1]:1"]))
    assert (one, other) == (plain(broker.port, "::1"), plain(1, "::1"))
    kiosk = start(0, other, one)
    until(lambda: kiosk.online)
    assert kiosk.troubles == [
        "cannot reach the broker at [::1]:1: nothing listens there: the broker is down, or uplink.port is wrong"
    ]


# Bugs.


class Stumbling:
    """A feed with a bug that shows a few times."""

    wants_snapshot = wants_trust = False

    def __init__(self, times: int) -> None:
        self.left = times

    def receive(self, topic: str, payload: bytes) -> None:
        """Stumble."""
        assert (topic, payload) == (wire.TRUST_TOPIC, b"whatever")
        self.left -= 1
        if self.left >= 0:
            raise ZeroDivisionError(f"{self.left} more")


def test_a_bug_in_what_the_uplink_calls_begins_it_anew_and_costs_no_event(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """A retained message makes it stumble at each connection, with events in flight, until it does no more."""
    city = listen(broker.port)
    Office(broker.port).send(wire.TRUST_TOPIC, b"whatever")
    feed = Stumbling(3)
    kiosk = start(broker.port, feed=feed)
    kiosk.happen(40)
    until(lambda: feed.left < 0)
    while kiosk.outbox.waiting:
        heard = len(city.events())
        city.acknowledge(kiosk.outbox.ledger, *set(city.events()[-100:]))
        until(lambda heard=heard: len(city.events()) > heard or not kiosk.outbox.waiting)  # type: ignore[misc]
    assert [str(bug) for bug in kiosk.bugs] == ["2 more", "1 more", "0 more"]
    assert set(city.events()) == set(range(1, 41))
    assert [state["online"] for state in city.states()][-1] is True


# What the city sends to this one.


def test_commands_are_handed_on_as_they_came_and_alerts_states_as_news(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """The states are retained, so that a door that was away learns at once; repetitions are no news."""
    city = listen(broker.port)
    topic = wire.alert_states_topic("door-01")

    def say(*alerts: tuple[int, AlertState]) -> None:
        standings = [wire.AlertStanding(ledger="f00d", sequence=number, state=state) for number, state in alerts]  # type: ignore[arg-type]
        city.ear.say(topic, wire.AlertStates(alerts=standings).model_dump_json(), retain=True)

    say((1, AlertState.ACKNOWLEDGED))
    kiosk = start(broker.port)
    until(lambda: len(kiosk.alerts) == 1)
    say((1, AlertState.ACKNOWLEDGED), (2, AlertState.ACKNOWLEDGED))
    say((1, AlertState.CLOSED), (2, AlertState.ACKNOWLEDGED))
    city.ear.say(topic, b"SECRET")
    city.ear.say(topic, b"", retain=True)
    city.ear.say(wire.command_topic("door-01"), b"\xd2\x84 anything")
    until(lambda: kiosk.commands)
    assert kiosk.commands == [b"\xd2\x84 anything"]
    assert [(news.ledger, news.sequence, news.state.value) for news in kiosk.alerts] == [
        ("f00d", 1, "acknowledged"),
        ("f00d", 2, "acknowledged"),
        ("f00d", 1, "closed"),
    ]
    assert [said.partition(":")[0] for said in kiosk.troubles] == ["the states of alerts cannot be read"]


def test_an_alert_is_delivered_when_the_city_acknowledges_it_and_not_before(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """The broker's own acknowledgement says nothing of it."""
    city, kiosk = listen(broker.port), start(broker.port)
    assert kiosk.outbox.append([ALERT]).wait(10.0)
    until(lambda: city.events() == [1])
    raised = AlertNews(ledger=kiosk.outbox.ledger, sequence=1, state=AlertState.RAISED)
    assert kiosk.alerts == [raised]
    city.acknowledge(kiosk.outbox.ledger, 1)
    city.acknowledge(kiosk.outbox.ledger, 1)
    until(lambda: len(kiosk.alerts) == 2)
    assert kiosk.alerts == [raised, replace(raised, state=AlertState.DELIVERED)]


# What the city sends to all kiosks.


class Office:
    """Signs and publishes for all kiosks, retained."""

    def __init__(self, port: int) -> None:
        self._port = port

    def trust(self, version: int) -> None:
        """A bundle that trusts nobody."""
        self.send(wire.TRUST_TOPIC, trust.signed(Bundle(version=version, made_at=AT, issuers={}), key=KEY))

    def snapshot(self, version: int, **flags: Flag) -> None:
        """A whole list."""
        self.send(wire.SNAPSHOT_TOPIC, risk.snapshot(flags, version=version, made_at=AT, key=KEY))

    def delta(self, version: int, **flags: Flag) -> None:
        """A change of the version before."""
        content = risk.delta(flags, (), base=version - 1, version=version, made_at=AT, key=KEY)
        self.send(wire.DELTA_TOPIC, content)

    def send(self, topic: str, payload: bytes) -> None:
        """Whatever it is."""
        publish.send(
            [publish.Document(topic=topic, payload=payload, said="")],
            Broker(host="127.0.0.1", port=self._port, tls=False),
        )


def test_trust_and_risk_list_come_whenever_the_door_does_and_changes_at_once(broker: Mosquitto, start: Start) -> None:
    """A new door gets what was published before it; the same again at the next connection says and changes nothing."""
    office = Office(broker.port)
    office.trust(3)
    office.snapshot(7, **{A: Flag.F0})
    kiosk = start(broker.port)
    until(lambda: kiosk.changes[-1:] == [(3, 7)])
    office.delta(8, **{B: Flag.F1})
    until(lambda: kiosk.changes[-1] == (3, 8))
    assert kiosk.feed.risk_list is not None
    assert [kiosk.feed.risk_list.flag_of(who) for who in (A, B)] == [Flag.F0, Flag.F1]
    kiosk.close()
    again = start(broker.port)
    until(lambda: again.online)
    office.trust(4)
    until(lambda: again.changes)
    assert (again.changes, again.refusals, kiosk.refusals) == ([(4, 8)], [], [])


def test_a_door_that_was_away_learns_at_once_that_it_missed_something(
    broker: Mosquitto, start: Start, listen: Callable[..., City]
) -> None:
    """The newest change is retained: it does not follow, and the door fetches the whole list, once."""
    office, city = Office(broker.port), listen(broker.port)
    office.snapshot(5)
    first = start(broker.port)
    until(lambda: first.changes == [(0, 5)])
    first.close()
    office.delta(6)
    office.snapshot(7, **{A: Flag.F0})
    office.delta(7, **{A: Flag.F0})
    kiosk = start(broker.port)
    until(lambda: len(kiosk.refusals) == 2)
    assert kiosk.changes == [(0, 7)]
    assert kiosk.refusals == [
        (RISK_LIST, "an update of the risk list was refused: version 7 changes version 6; held is 5"),
        (RISK_LIST, ""),
    ]
    until(lambda: not kiosk.uplink._exchange._fetching)
    kiosk.happen(1)
    until(city.events, what="the broker has heard all that the door said before this")
    office.snapshot(20)
    office.delta(8)
    until(lambda: len(kiosk.changes) == 2)
    assert kiosk.changes[-1] == (0, 8), "the list of version 20 was published before"


def test_forgeries_are_told_and_change_nothing(broker: Mosquitto, start: Start, listen: Callable[..., City]) -> None:
    """Whoever can publish at the city's topics cannot sign; events go out as ever."""
    office, city = Office(broker.port), listen(broker.port)
    office.trust(3)
    office.snapshot(7, **{A: Flag.F0})
    kiosk = start(broker.port)
    until(lambda: kiosk.changes[-1:] == [(3, 7)])
    forged = trust.signed(Bundle(version=9, made_at=AT, issuers={}), key=OTHER_KEY)
    office.send(wire.TRUST_TOPIC, forged)
    office.send(wire.DELTA_TOPIC, risk.delta({}, (A,), base=7, version=8, made_at=AT, key=OTHER_KEY))
    until(lambda: len(kiosk.refusals) == 2)
    why = "refused: not by the city: header: no trusted key bears this kid"
    assert kiosk.refusals == [
        (TRUST, f"a trust bundle from the city was {why}"),
        (RISK_LIST, f"an update of the risk list was {why}"),
    ]
    kiosk.happen(1)
    until(lambda: city.events() == [1])
    assert (kiosk.changes[-1], kiosk.troubles) == ((3, 7), [])


class Slow:
    """A server that takes one connection and says what it is told, when it is told."""

    def __init__(self) -> None:
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._line.getsockname()[1])
        self.visitor: socket.socket | None = None

    def greet(self) -> bytes:
        """Take the connection, accept it, and give what the visitor said."""
        self.visitor, _ = self._line.accept()
        words = self.visitor.recv(4096)
        self.say(b"\x20\x03\x00\x00\x00")
        return words

    def say(self, words: bytes) -> None:
        """Send this."""
        assert self.visitor is not None
        self.visitor.sendall(words)

    def close(self) -> None:
        """Hang up."""
        self._line.close()
        if self.visitor:
            self.visitor.close()


def test_acknowledgements_may_wait_behind_a_risk_list_that_takes_minutes(
    start: Start, cleanup: ExitStack, clock: JumpingClock
) -> None:
    """Over a poor line nine megabytes take long; while they come the door keeps the connection, and no longer."""
    server = Slow()
    cleanup.callback(server.close)
    kiosk = start(server.port)
    assert b"\x27" + BIGGEST_MESSAGE.to_bytes(4) in server.greet()
    kiosk.happen(1)
    until(lambda: kiosk.uplink._exchange._window._in_flight)
    server.say(b"\x30\xc0\xa9\xa5\x04\x00\x1a" + wire.SNAPSHOT_TOPIC.encode() + b"\x00")
    for _ in range(3):
        clock.jump(ACKNOWLEDGE_WITHIN_S - 2)
        heard_ns = clock.now().monotonic_ns
        server.say(b"TKRL1")
        until(lambda heard_ns=heard_ns: kiosk.uplink._exchange._heard_ns >= heard_ns)  # type: ignore[misc]
        stamps = kiosk.stamps
        until(lambda stamps=stamps: kiosk.stamps > stamps)  # type: ignore[misc]
    assert (kiosk.online, kiosk.troubles) == (True, [])
    clock.jump(ACKNOWLEDGE_WITHIN_S + 1)
    until(lambda: kiosk.troubles)
    assert kiosk.troubles[0] == "the city has not acknowledged within 10 s; is its ingest running?"


@pytest.mark.parametrize("has_list", [True, False], ids=["with a list", "a city without a list"])
def test_other_messages_do_not_hide_that_an_event_is_not_acknowledged(
    broker: Mosquitto, start: Start, listen: Callable[..., City], clock: JumpingClock, *, has_list: bool
) -> None:
    """Only a list that is coming does, and for no more than ten minutes."""
    office, city = Office(broker.port), listen(broker.port)
    if has_list:
        office.snapshot(1)
    kiosk = start(broker.port)
    until(
        lambda: kiosk.changes and not kiosk.uplink._exchange._fetching if has_list else kiosk.uplink._exchange._fetching
    )
    if not has_list:
        clock.jump(FETCH_WITHIN_S)
    kiosk.happen(1)
    until(lambda: city.events() == [1])
    clock.jump(ACKNOWLEDGE_WITHIN_S - 1)
    office.trust(1)
    until(lambda: kiosk.feed.bundle)
    clock.jump(2)
    until(lambda: kiosk.troubles, within_s=4.0)
    assert kiosk.troubles[0] == "the city has not acknowledged within 10 s; is its ingest running?"


# Look-ups.


class Desk:
    """Hears look-ups, and answers what it is told."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        """Who asked, about whom, and the mark of the request."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._came
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{wire.ROOT}/+/lookup", qos=1)
        self._client.loop_start()
        assert self._ready.wait(10.0)

    def answer(self, device: str, payload: bytes, correlation: bytes | None) -> None:
        """Say this to a kiosk."""
        about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if correlation is not None:
            about.CorrelationData = correlation
        self._client.publish(wire.answer_topic(device), payload, qos=1, properties=about).wait_for_publish(10.0)

    def close(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    def _came(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        asked = wire.decode_look_up(message.topic, bytes(message.payload))
        assert isinstance(asked, wire.Asked)
        assert getattr(message.properties, "ResponseTopic", "") == wire.answer_topic(asked.device)
        self.asked.append((asked.device, asked.subject, getattr(message.properties, "CorrelationData", b"")))


@pytest.fixture
def desk(broker: Mosquitto, cleanup: ExitStack) -> Desk:
    """Somebody at the city who answers by hand."""
    desk = Desk(broker.port)
    cleanup.callback(desk.close)
    return desk


def test_only_the_answer_to_one_s_own_question_counts_and_once(broker: Mosquitto, start: Start, desk: Desk) -> None:
    """Another mark, no mark, and the same again are passed over."""
    kiosk = start(broker.port)
    until(lambda: kiosk.online)
    kiosk.uplink.ask(A)
    until(lambda: desk.asked)
    ((device, subject, mark),) = desk.asked
    for wrong in (b"12345678", None, b"", mark[:-1]):
        desk.answer("door-01", b"TKYT1:WRONG", wrong)
    desk.answer("door-01", b"TKYT1:RIGHT", mark)
    desk.answer("door-01", b"TKYT1:AGAIN", mark)
    kiosk.uplink.ask(B)
    until(lambda: len(desk.asked) == 2)
    desk.answer("door-01", b"", desk.asked[1][2])
    until(lambda: len(kiosk.answers) >= 2)
    assert (device, subject) == ("door-01", A)
    assert kiosk.answers == [Answer(asked=A, payload=b"TKYT1:RIGHT"), Answer(asked=B, payload=b"")]
    assert kiosk.troubles == []


def test_an_answer_that_comes_too_late_is_ignored(
    broker: Mosquitto, start: Start, desk: Desk, clock: JumpingClock
) -> None:
    """So is one to a question that others have pushed out."""
    kiosk = start(broker.port)
    until(lambda: kiosk.online)
    kiosk.uplink.ask(A)
    until(lambda: desk.asked)
    clock.jump(ANSWER_WITHIN_S + 1)
    desk.answer("door-01", b"late", desk.asked[0][2])
    for number in range(MOST_WAITING + 1):
        kiosk.uplink.ask(f"{number:032x}")
        until(lambda number=number: len(desk.asked) == number + 2)  # type: ignore[misc]
    for _, subject, mark in desk.asked[1:]:
        desk.answer("door-01", subject.encode(), mark)
    until(lambda: len(kiosk.answers) >= MOST_WAITING)
    assert [answer.asked for answer in kiosk.answers] == [f"{number:032x}" for number in range(1, MOST_WAITING + 1)]


def test_what_is_asked_while_offline_is_not_asked_later(stopped_broker: Mosquitto, start: Start) -> None:
    """Nor is an answer taken that was meant for the connection before."""
    kiosk = start(stopped_broker.port)
    until(lambda: kiosk.troubles)
    kiosk.uplink.ask(A)
    with closing(Desk(stopped_broker.start().port)) as desk:
        until(lambda: kiosk.online)
        kiosk.uplink.ask(B)
        until(lambda: desk.asked)
        assert [subject for _, subject, _ in desk.asked] == [B]
        stopped_broker.kill()
        until(lambda: not kiosk.online)
    with closing(Desk(stopped_broker.start().port)) as after:
        until(lambda: kiosk.online)
        after.answer("door-01", b"of the connection before", desk.asked[0][2])
        kiosk.uplink.ask(A)
        until(lambda: after.asked)
        after.answer("door-01", b"", after.asked[0][2])
        until(lambda: kiosk.answers)
    assert kiosk.answers == [Answer(asked=A, payload=b"")]


def test_look_ups_do_not_wait_for_events_nor_fill_their_window(
    broker: Mosquitto, start: Start, desk: Desk, listen: Callable[..., City]
) -> None:
    """With a full window unacknowledged, a question goes out and is answered."""
    city, kiosk = listen(broker.port), start(broker.port)
    kiosk.happen(30)
    until(lambda: len(city.events()) == WINDOW)
    kiosk.uplink.ask(A)
    until(lambda: desk.asked)
    desk.answer("door-01", b"", desk.asked[0][2])
    until(lambda: kiosk.answers)
    city.acknowledge(kiosk.outbox.ledger, 1)
    until(lambda: len(city.events()) == WINDOW + 1)


def test_each_kiosk_gets_its_own_answers(broker: Mosquitto, start: Start, desk: Desk) -> None:
    """Also when the mark of one's question is said to the other."""
    one, other = start(broker.port), start(broker.port, device="door-02")
    until(lambda: one.online and other.online)
    one.uplink.ask(A)
    other.uplink.ask(B)
    until(lambda: len(desk.asked) == 2)
    marks = {device: mark for device, _, mark in desk.asked}
    desk.answer("door-02", b"stray", marks["door-01"])
    desk.answer("door-02", b"for two", marks["door-02"])
    desk.answer("door-01", b"for one", marks["door-01"])
    until(lambda: one.answers and other.answers)
    assert one.answers == [Answer(asked=A, payload=b"for one")]
    assert other.answers == [Answer(asked=B, payload=b"for two")]


def test_the_city_s_desk_answers_well_within_what_a_visitor_waits(
    broker: Mosquitto, start: Start, tmp_path: Path, cleanup: ExitStack
) -> None:
    """The gate gives it 800 ms; over loopback the median takes a small part of that."""
    store, ready, stopping = Store(f"sqlite:///{tmp_path / 'city.sqlite3'}"), threading.Event(), threading.Event()
    cleanup.callback(store.close)
    store.keep_declaration(b"TKYT1:A", subject=A, issued_at=AT, aliases=())
    desk = LookUps(
        Broker(host="127.0.0.1", port=broker.port, tls=False), store, on_ready=ready.set, on_trouble=lambda _: None
    )
    thread = threading.Thread(target=desk.run, args=(stopping.wait,))
    thread.start()
    cleanup.callback(thread.join, 10.0)
    cleanup.callback(stopping.set)
    kiosk = start(broker.port)
    until(lambda: ready.is_set() and kiosk.online)
    took_ms, clock = [], SystemClock()
    for number in range(1, 10):
        began_ns = clock.now().monotonic_ns
        kiosk.uplink.ask((A, B)[number % 2])
        until(lambda number=number: len(kiosk.answers) == number)  # type: ignore[misc]
        took_ms.append((clock.now().monotonic_ns - began_ns) / 1e6)
    expected = [Answer(asked=B, payload=b""), Answer(asked=A, payload=b"TKYT1:A")]
    assert kiosk.answers == [expected[number % 2] for number in range(9)]
    assert statistics.median(took_ms) < 400, took_ms


# TLS.


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city's authority, its broker's certificate for 127.0.0.1, and somebody else's authority."""
    folder = tmp_path_factory.mktemp("certificates")
    city = Authority("city")
    city.write(folder / "ca.pem")
    city.issue("127.0.0.1", folder / "broker.pem", folder / "broker.key")
    Authority("somebody else").write(folder / "other.pem")
    return folder


@pytest.fixture
def tls_broker(tmp_path: Path, pems: Path) -> Iterator[Mosquitto]:
    """A real mosquitto that speaks TLS only."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    files = f"certfile {pems / 'broker.pem'}\nkeyfile {pems / 'broker.key'}\n"
    settings = "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n" + files
    broker = Mosquitto(tmp_path, settings).start()
    yield broker
    broker.stop()


def test_over_tls_events_arrive_and_go_as_they_do_without(
    tls_broker: Mosquitto, pems: Path, start: Start, listen: Callable[..., City]
) -> None:
    """More of them than a window, so that acknowledgements come in while events go out."""
    city = listen(tls_broker.port, ca_file=str(pems / "ca.pem"))
    login = Broker(host="127.0.0.1", port=tls_broker.port, tls=True, ca_file=str(pems / "ca.pem"))
    kiosk = start(0, login)
    until(lambda: kiosk.online, what=str(kiosk.troubles))
    kiosk.happen(20)
    until(lambda: len(city.events()) == WINDOW)
    city.acknowledge(kiosk.outbox.ledger, *range(1, WINDOW + 1))
    until(lambda: len(city.events()) == 20)
    city.acknowledge(kiosk.outbox.ledger, *range(WINDOW + 1, 21))
    until(lambda: kiosk.outbox.waiting == 0)
    assert (city.events(), kiosk.troubles) == (list(range(1, 21)), [])


def test_a_broker_of_another_authority_is_not_spoken_to(tls_broker: Mosquitto, pems: Path, start: Start) -> None:
    """The sentence says that it is the certificate."""
    login = Broker(host="127.0.0.1", port=tls_broker.port, tls=True, ca_file=str(pems / "other.pem"))
    kiosk = start(0, login)
    until(lambda: len(kiosk.troubles) >= 2)
    assert "its certificate is of an unknown authority: something else answers" in kiosk.troubles[0]
    assert kiosk.alive
    kiosk.close_within(2.0)


def test_a_broker_under_another_name_is_not_spoken_to(tls_broker: Mosquitto, pems: Path, start: Start) -> None:
    """Its certificate is for 127.0.0.1 and not for localhost."""
    login = Broker(host="localhost", port=tls_broker.port, tls=True, ca_file=str(pems / "ca.pem"))
    kiosk = start(0, login)
    until(lambda: kiosk.troubles)
    assert "its certificate is for another host: something else answers" in kiosk.troubles[0]
    kiosk.close_within(2.0)


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[tuple[Mosquitto, Broker, CertificateAuthority]]:
    """A broker that wants a certificate, a door's log-in with one, and who signs."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    now = SystemClock().now().utc
    city = certificates.new_authority("city", now, 9 * DAY)
    (tmp_path / "ca.pem").write_bytes(certificates.certificate_pem(city.certificate))
    for name, (certificate, key) in {
        "broker": certificates.new_server(city, ["127.0.0.1"], now, DAY),
        "door": certificates.new_device(city, "door-01", now, DAY),
    }.items():
        (tmp_path / f"{name}.pem").write_bytes(certificate)
        (tmp_path / f"{name}.key").write_bytes(key)
    settings = (
        "user root\nlistener {port} 127.0.0.1\nrequire_certificate true\nuse_identity_as_username true\n"
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
    )
    broker = Mosquitto(tmp_path, settings).start()
    login = Broker(
        host="127.0.0.1",
        port=broker.port,
        tls=True,
        ca_file=str(tmp_path / "ca.pem"),
        certificate_file=str(tmp_path / "door.pem"),
        key_file=str(tmp_path / "door.key"),
    )
    yield broker, login, city
    broker.stop()


def test_a_renewed_certificate_is_taken_up_without_a_restart_and_half_of_one_harms_nothing(
    mutual: tuple[Mosquitto, Broker, CertificateAuthority],
    start: Start,
    listen: Callable[..., City],
    clock: JumpingClock,
) -> None:
    """The new certificate without its key is told; with it the door connects anew, and not before it is quiet."""
    broker, login, authority = mutual
    city = listen(broker.port, login.ca_file, (login.certificate_file, login.key_file))
    kiosk = start(0, login)
    until(lambda: kiosk.online, what=str(kiosk.troubles))
    certificate, key = certificates.new_device(authority, "door-01", SystemClock().now().utc, DAY)
    Path(login.certificate_file).write_bytes(certificate)
    clock.jump(61)
    kiosk.uplink.nudge()
    until(lambda: kiosk.faults)
    assert kiosk.faults[0].startswith("uplink: certificates cannot be used (")
    assert "KEY_VALUES_MISMATCH" in kiosk.faults[0]
    until(lambda: city.events() == [1])
    city.acknowledge(kiosk.outbox.ledger, 1)
    until(lambda: kiosk.outbox.waiting == 0)
    assert (kiosk.online, kiosk.troubles, connects(broker)) == (True, [], 1)
    clock.jump(55)
    kiosk.happen(1)
    until(lambda: city.events() == [1, 2])
    Path(login.key_file).write_bytes(key)
    clock.jump(6)
    kiosk.uplink.nudge()
    until(lambda: kiosk.faults[1:] == [""])
    assert connects(broker) == 1, "an event is on its way"
    city.acknowledge(kiosk.outbox.ledger, 2)
    until(lambda: kiosk.outbox.waiting == 1)
    clock.jump(LIST_SILENT_S)  # this city has no risk list, and the door waits for one
    until(lambda: city.events() == [1, 2, 3])
    assert (connects(broker), kiosk.troubles) == (2, [])


def connects(broker: Mosquitto) -> int:
    """How often the door has logged in."""
    return broker.log.read_text().count("as door-01")


def test_a_door_whose_certificate_the_broker_refuses_says_so(
    mutual: tuple[Mosquitto, Broker, CertificateAuthority], start: Start, tmp_path: Path
) -> None:
    """With TLS 1.3 the refusal comes after the handshake; it is not taken for a broken line."""
    _, login, _ = mutual
    now = SystemClock().now().utc
    other = certificates.new_authority("somebody else", now, 9 * DAY)
    certificate, key = certificates.new_device(other, "door-01", now, DAY)
    (tmp_path / "other.pem").write_bytes(certificate)
    (tmp_path / "other.key").write_bytes(key)
    refused = replace(login, certificate_file=str(tmp_path / "other.pem"), key_file=str(tmp_path / "other.key"))
    kiosk = start(0, refused)
    until(lambda: len(kiosk.troubles) >= 2)
    assert kiosk.troubles[0].startswith(f"cannot reach the broker at {login.address}: it refuses this door's certific")
    kiosk.close_within(2.0)


def test_tls_files_that_are_broken_between_connections_leave_the_last_good_ones_in_use(
    mutual: tuple[Mosquitto, Broker, CertificateAuthority],
) -> None:
    """A door is not shut out by somebody who copies files."""
    _, login, _ = mutual
    files = TlsFiles(login)
    good = files.for_connection()
    Path(login.key_file).write_text("half", encoding="ascii")
    assert (files.renewed(), files.for_connection() is good, bool(files.trouble)) == (False, True, True)
    Path(login.ca_file).unlink()
    assert (files.renewed(), files.for_connection() is good, bool(files.trouble)) == (False, True, True)


@pytest.mark.parametrize("key", ["ca_file", "certificate_file"])
def test_certificates_that_cannot_be_used_are_a_fault_at_the_start(key: str, tmp_path: Path) -> None:
    """Before the first connection, with the keys to look at."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate", encoding="utf-8")
    broker = Broker(host="localhost", port=8883, tls=True, **{key: str(junk)}, key_file=str(junk))
    with pytest.raises(UplinkFault, match=r"^uplink: certificates cannot be used \(.*\); check ca_file, "):
        tls_context(broker)


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    """And certificates are checked, names included."""
    context = tls_context(Broker(host="localhost", port=8883, tls=True))
    assert (context.minimum_version, context.verify_mode, context.check_hostname) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.CERT_REQUIRED,
        True,
    )
