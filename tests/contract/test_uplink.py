"""The uplink against a real mosquitto, and against servers that are none.

Every event arrives and none is let go early; what the city sends comes in, and each answer to who asked.
"""

import json
import socket
import ssl
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from city import publish, risk, signing, trust
from city.lookup import LookUps
from city.store import Store
from kiosk import wire
from kiosk.broker import Broker, tls_context
from kiosk.city_feed import RISK_LIST, TRUST, CityFeed
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.clock import Clock, Now, S, SystemClock
from kiosk.errors import UplinkFault
from kiosk.messages import Alert, Answer, Direction, Fault, Flag, LinkStatus, Reason
from kiosk.outbox import Outbox
from kiosk.questions import ANSWER_WITHIN_S, MOST_WAITING
from kiosk.risk_list import RiskList
from kiosk.trust import Bundle
from kiosk.uplink import ACKNOWLEDGE_WITHIN_S, BIGGEST_MESSAGE, FETCH_WITHIN_S, WINDOW, Uplink
from tests.certificates import Authority
from tests.mosquitto import PROGRAM, Ear, Mosquitto, free_port
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
STATE = wire.state_topic("door-01")
EVENTS = f"{wire.ROOT}/door-01/event/+"
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
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

    def uniform(self, a: float, b: float) -> float:
        """See above."""
        return min(a + 0.05, b)


def happened(number: int) -> Fault:
    """An event that tells its number."""
    return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=f"event {number}")


ALERT = Alert(
    at=AT, utc_trusted=True, direction=Direction.ENTRY, reasons=(Reason.AT_RISK_CONTACT,), scheme=None, subject=None
)


class Kiosk:
    """A real outbox, feed and uplink, each in its thread, and all they said."""

    def __init__(
        self, folder: Path, port: int, clock: Clock, broker: Broker | None = None, device: str = "door-01"
    ) -> None:
        origin = wire.Origin(device=device, place="place-0001", access_point="main")
        self.troubles: list[str] = []
        self.statuses: list[LinkStatus] = []
        self.answers: list[Answer] = []
        self.changes: list[tuple[int, int]] = []
        """Versions of the trust bundle and the risk list, 0 for none."""
        self.refusals: list[tuple[str, str]] = []
        self.stamps = 0
        self.outbox = Outbox(
            folder / f"{device}.sqlite3", origin, on_health=self.troubles.append, on_change=self._changed
        )
        self.feed = CityFeed(
            TrustFiles(folder, folder / "provisioned", CITY),
            RiskFiles(folder, CITY),
            CITY,
            on_change=self._learnt,
            on_trouble=lambda stage, said: self.refusals.append((stage, said)),
        )
        self.uplink = Uplink(
            broker or Broker(host="127.0.0.1", port=port, tls=False),
            origin,
            self.outbox,
            clock,
            feed=self.feed,
            on_status=self.statuses.append,
            on_answer=self.answers.append,
            on_trouble=self.troubles.append,
            version="0.1.0",
            random=Soon(),
        )
        self._count = 0
        self._writer = threading.Thread(target=self.outbox.write, args=(lambda: None,))
        self._sender = threading.Thread(target=self.uplink.run, args=(self._stamp,))
        self._writer.start()
        self._sender.start()

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

    def __init__(self, port: int, ca_file: str = "") -> None:
        self.ear = Ear(port, EVENTS, STATE, ca_file=ca_file)

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
    """Start a kiosk at a port, or with a whole login."""

    def started(port: int = 0, broker: Broker | None = None, device: str = "door-01") -> Kiosk:
        kiosk = Kiosk(tmp_path, port, clock, broker, device)
        cleanup.callback(kiosk.close)
        return kiosk

    return started


@pytest.fixture
def listen(cleanup: ExitStack) -> Callable[..., City]:
    """Put a city at a port."""

    def listening(port: int, ca_file: str = "") -> City:
        city = City(port, ca_file)
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
    assert kiosk.troubles[0].startswith(f"cannot reach the broker at 127.0.0.1:{stopped_broker.port} (")
    assert kiosk.troubles[0].endswith("; check network, name and TLS")
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


def test_a_broker_that_denies_publishing_says_so_and_the_event_stays(
    stopped_broker: Mosquitto, start: Start, tmp_path: Path
) -> None:
    """MQTT 5 tells a denied publish from an accepted one."""
    (tmp_path / "acl").write_text(f"topic read {wire.ROOT}/#\ntopic write {STATE}\n", encoding="utf-8")
    with stopped_broker._settings.open("a", encoding="utf-8") as settings:
        settings.write(f"acl_file {tmp_path / 'acl'}\n")
    kiosk = start(stopped_broker.start().port)
    until(lambda: kiosk.online)
    kiosk.happen(1)
    until(lambda: kiosk.troubles)
    assert kiosk.troubles[0] == "the broker refuses to take an event: Not authorized; check the ACL of door-01"
    assert (kiosk.outbox.waiting, kiosk.alive) == (1, True)
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
    sentences = ("the broker ", "the connection to the broker ", "an acknowledgement cannot be read: ")
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
        publish.send([publish.Document(topic=topic, payload=payload, said="")], host="127.0.0.1", port=self._port)


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
    until(lambda: not kiosk.uplink._fetching)
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
    until(lambda: kiosk.uplink._in_flight)
    server.say(b"\x30\xc0\xa9\xa5\x04\x00\x1a" + wire.SNAPSHOT_TOPIC.encode() + b"\x00")
    for _ in range(3):
        clock.jump(ACKNOWLEDGE_WITHIN_S - 2)
        heard_ns = clock.now().monotonic_ns
        server.say(b"TKRL1")
        until(lambda heard_ns=heard_ns: kiosk.uplink._heard_ns >= heard_ns)  # type: ignore[misc]
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
    until(lambda: kiosk.changes and not kiosk.uplink._fetching if has_list else kiosk.uplink._fetching)
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
    desk = LookUps("127.0.0.1", broker.port, store, on_ready=ready.set, on_trouble=lambda _: None)
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
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city's authority, its broker's certificate for 127.0.0.1, and somebody else's authority."""
    folder = tmp_path_factory.mktemp("certificates")
    city = Authority("city")
    city.write(folder / "ca.pem")
    city.issue("127.0.0.1", folder / "broker.pem", folder / "broker.key")
    Authority("somebody else").write(folder / "other.pem")
    return folder


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    """A real mosquitto that speaks TLS only."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    files = f"certfile {certificates / 'broker.pem'}\nkeyfile {certificates / 'broker.key'}\n"
    settings = "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n" + files
    broker = Mosquitto(tmp_path, settings).start()
    yield broker
    broker.stop()


def test_over_tls_events_arrive_and_go_as_they_do_without(
    tls_broker: Mosquitto, certificates: Path, start: Start, listen: Callable[..., City]
) -> None:
    """More of them than a window, so that acknowledgements come in while events go out."""
    city = listen(tls_broker.port, ca_file=str(certificates / "ca.pem"))
    login = Broker(host="127.0.0.1", port=tls_broker.port, tls=True, ca_file=str(certificates / "ca.pem"))
    kiosk = start(broker=login)
    until(lambda: kiosk.online, what=str(kiosk.troubles))
    kiosk.happen(20)
    until(lambda: len(city.events()) == WINDOW)
    city.acknowledge(kiosk.outbox.ledger, *range(1, WINDOW + 1))
    until(lambda: len(city.events()) == 20)
    city.acknowledge(kiosk.outbox.ledger, *range(WINDOW + 1, 21))
    until(lambda: kiosk.outbox.waiting == 0)
    assert (city.events(), kiosk.troubles) == (list(range(1, 21)), [])


PAHO_LEAVES_A_SOCKET_TO_THE_COLLECTOR = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
"""When a handshake fails, paho 2.2.0 drops its socket without closing it; the collector closes it at once."""


@PAHO_LEAVES_A_SOCKET_TO_THE_COLLECTOR
def test_a_broker_of_another_authority_is_not_spoken_to(
    tls_broker: Mosquitto, certificates: Path, start: Start
) -> None:
    """The sentence says that it is the certificate."""
    login = Broker(host="127.0.0.1", port=tls_broker.port, tls=True, ca_file=str(certificates / "other.pem"))
    kiosk = start(broker=login)
    until(lambda: len(kiosk.troubles) >= 2)
    assert "CERTIFICATE_VERIFY_FAILED" in kiosk.troubles[0]
    assert kiosk.troubles[0].endswith("; check network, name and TLS")
    assert kiosk.alive
    kiosk.close_within(2.0)


@PAHO_LEAVES_A_SOCKET_TO_THE_COLLECTOR
def test_a_broker_under_another_name_is_not_spoken_to(tls_broker: Mosquitto, certificates: Path, start: Start) -> None:
    """Its certificate is for 127.0.0.1 and not for localhost."""
    login = Broker(host="localhost", port=tls_broker.port, tls=True, ca_file=str(certificates / "ca.pem"))
    kiosk = start(broker=login)
    until(lambda: kiosk.troubles)
    assert "certificate is not valid for 'localhost'" in kiosk.troubles[0]
    kiosk.close_within(2.0)


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
