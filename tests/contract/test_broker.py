"""config/broker with a real mosquitto and real certificates: what each may say and hear, and who gets in at all."""

import shutil
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from city import certificates_cli
from city.ingest import EVENTS_TOPIC
from city.lookout import KINDS
from city.subscriber import topic_of
from demo.broker import CONFIG, TRAFFIC, USERS, prepare
from kiosk import wire
from kiosk.broker import Broker, tls_context
from kiosk.clock import SystemClock
from kiosk.connection import BIGGEST_MESSAGE
from kiosk.window import WINDOW
from tests.mosquitto import PROGRAM, Mosquitto, free_port
from tests.waiting import until

NOT_AUTHORIZED = 0x87
LONG_AGO = timedelta(days=30)
A, B = "door-01", "door-02"
EVENTS = tuple(wire.KINDS)
CITYS = (wire.TRUST_TOPIC, wire.SNAPSHOT_TOPIC, wire.DELTA_TOPIC)


def spoken(device: str) -> set[str]:
    """Where a kiosk publishes."""
    events = {wire.event_topic(device, kind) for kind in EVENTS}
    return events | {topic(device) for topic in (wire.state_topic, wire.heartbeat_topic, wire.look_up_topic)}


def heard(device: str) -> set[str]:
    """What a kiosk reads of its own."""
    answers = (wire.acknowledgement_topic, wire.answer_topic, wire.alert_states_topic, wire.command_topic)
    return {topic(device) for topic in answers}


def everything() -> set[str]:
    """All topics there are, with two kiosks."""
    return {*spoken(A), *heard(A), *spoken(B), *heard(B), *CITYS}


def events(kind: str = "") -> set[str]:
    """The topics of both kiosks' events."""
    return {wire.event_topic(device, one) for device in (A, B) for one in EVENTS if kind in ("", one)}


def both(*topics: str) -> set[str]:
    """Topics of A, and the same of B."""
    return {topic.replace(A, device) for topic in topics for device in (A, B)}


SIGNS = both(wire.state_topic(A), wire.heartbeat_topic(A))
WRITES: dict[str, set[str]] = {
    A: spoken(A),
    B: spoken(B),
    "city-ingest": both(wire.acknowledgement_topic(A)),
    "city-lookup": both(wire.answer_topic(A)),
    "city-desk": both(wire.alert_states_topic(A)),
    "city-command": both(wire.command_topic(A)),
    "city-publish": {*CITYS},
    "city-watch": set(),
}
READS: dict[str, set[str]] = {
    A: {*heard(A), *CITYS},
    B: {*heard(B), *CITYS},
    "city-ingest": {*events(), *CITYS},
    "city-lookup": {*both(wire.look_up_topic(A)), *CITYS},
    "city-desk": {*events("alert"), *events("escalation"), *SIGNS, *CITYS},
    "city-command": {*events("command-answer"), *CITYS},
    "city-publish": {*CITYS},
    "city-watch": {*events(), *SIGNS, *both(wire.alert_states_topic(A)), *CITYS},
}


class City:
    """A broker with config/broker, and certificates for everybody."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.folder, self.port, self.city_port = folder, free_port(), free_port()
        certificates_cli.make(folder, broker=["localhost", "127.0.0.1", "::1"], devices=[A, B], users=USERS, now=now)
        settings = prepare(folder, self.port, self.city_port).read_text(encoding="utf-8")
        self.broker = Mosquitto(folder, settings, self.port, self.city_port)

    def context(self, name: str, folder: Path | None = None) -> ssl.SSLContext:
        """What a client of that name logs in with; none if it is empty."""
        held = (folder or self.folder) / name
        named = {"certificate_file": f"{held}.pem", "key_file": f"{held}.key"} if name else {}
        return tls_context(Broker(host="", port=0, tls=True, ca_file=str(self.folder / "city-ca.pem"), **named))

    def listener(self, name: str) -> int:
        """The port of the listener that is meant for somebody."""
        return self.city_port if name.startswith("city-") else self.port


class Client:
    """Somebody at the broker: keeps what it hears, and each reason it is given."""

    def __init__(self, city: City, name: str, *, client_id: str = "", host: str = "localhost", will: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.reasons: dict[int, ReasonCode] = {}
        self.connected: list[ReasonCode] = []
        self.limits: Properties | None = None
        self.subscribed = 0
        self.gone = False
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or name, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        self._client.tls_set_context(city.context(name))
        if will:
            self._client.will_set(will, b"gone", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.on_disconnect = self._on_disconnect
        most = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        most.MaximumPacketSize = BIGGEST_MESSAGE
        self._client.connect(host, city.listener(name), keepalive=15, properties=most)
        self._client.loop_start()
        until(lambda: self.connected, what=f"{name}: CONNACK")

    def subscribe(self, *topics: str) -> "Client":
        """Subscribe, and wait for the answer."""
        before = self.subscribed
        self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        until(lambda: self.subscribed > before, what="SUBACK")
        return self

    def say(self, topic: str, payload: bytes = b"{}", *, qos: int = 1, retain: bool = False) -> int:
        """Publish; the answer is the broker's reason code."""
        mid = self._client.publish(topic, payload, qos=qos, retain=retain).mid
        until(lambda: mid in self.reasons or self.gone, what=f"an answer about {topic}")
        return self.reasons[mid].value if mid in self.reasons else -1

    def try_all(self, topics: Iterable[str]) -> dict[str, int]:
        """Publish to each without waiting between; the answers are the broker's reason codes."""
        mids = {topic: self._client.publish(topic, b"{}", qos=1).mid for topic in topics}
        until(lambda: all(mid in self.reasons for mid in mids.values()), what="all answers")
        return {topic: self.reasons[mid].value for topic, mid in mids.items()}

    def topics(self) -> set[str]:
        """Where it has heard something."""
        return {topic for topic, _ in self.heard}

    def vanish(self) -> None:
        """Be gone without a word."""
        line = self._client.socket()
        assert isinstance(line, socket.socket)
        line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leave politely."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, _c: mqtt.Client, _u: object, _f: object, reason: ReasonCode, about: Properties | None
    ) -> None:
        self.limits = about
        self.connected.append(reason)

    def _on_subscribe(self, _c: object, _u: object, _m: int, _reasons: object, _p: object) -> None:
        self.subscribed += 1

    def _on_publish(self, _c: mqtt.Client, _u: object, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        self.reasons[mid] = reason

    def _on_disconnect(self, _c: object, _u: object, _f: object, _r: object, _p: object) -> None:
        self.gone = True


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """One broker for all these tests; none of them retains anything but the two that restart it."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    made = City(tmp_path_factory.mktemp("broker"), SystemClock().now().utc)
    made.broker.start()
    yield made
    made.broker.stop()


def admitted(city: City, context: ssl.SSLContext, *, port: int = 0, host: str = "127.0.0.1") -> bool:
    """Whether the broker answers CONNECT with a CONNACK that takes the client."""
    name = b"whoever"
    body = struct.pack("!H4sBBHB", 4, b"MQTT", 5, 2, 15, 0) + struct.pack("!H", len(name)) + name
    try:
        with (
            socket.create_connection((host, port or city.port), timeout=10.0) as line,
            context.wrap_socket(line, server_hostname=host) as tls,
        ):
            tls.sendall(bytes([0x10, len(body)]) + body)
            answer = tls.recv(4)
    except OSError:
        return False
    return answer[:1] == b"\x20" and answer[3:4] == b"\0"


def rights() -> dict[tuple[str, str], set[str]]:
    """What the shipped ACL says: topics by user and by read or write; the user %u has the patterns."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    user = ""
    for line in (CONFIG / "acl").read_text(encoding="utf-8").splitlines():
        match line.split():
            case ["user", name]:
                user = name
            case ["topic", access, topic]:
                found[user, access].add(topic)
            case ["pattern", access, topic]:
                found["%u", access].add(topic)
            case [first, *_]:
                assert first.startswith("#")
    return found


def test_the_acl_has_the_contract_s_topics_and_no_other() -> None:
    """Every line is a topic that kiosk.wire makes, for those who need it."""
    kiosk, city, signs = "%u", "+", (wire.state_topic("+"), wire.heartbeat_topic("+"))
    assert rights() == {
        (kiosk, "write"): {
            wire.event_topic(kiosk, "+"),
            wire.state_topic(kiosk),
            wire.heartbeat_topic(kiosk),
            wire.look_up_topic(kiosk),
        },
        (kiosk, "read"): {*heard(kiosk), f"{wire.CITY}/#"},
        ("city-ingest", "read"): {EVENTS_TOPIC},
        ("city-ingest", "write"): {wire.acknowledgement_topic(city)},
        ("city-lookup", "read"): {wire.look_up_topic(city)},
        ("city-lookup", "write"): {wire.answer_topic(city)},
        ("city-desk", "read"): {topic_of(kind)[0] for kind in KINDS},
        ("city-desk", "write"): {wire.alert_states_topic(city)},
        ("city-command", "read"): {wire.event_topic(city, "command-answer")},
        ("city-command", "write"): {wire.command_topic(city)},
        ("city-publish", "write"): {*CITYS},
        ("city-watch", "read"): {wire.event_topic(city, "+"), *signs, wire.alert_states_topic(city), "$SYS/#"},
    }


def test_every_topic_has_somebody_who_speaks_and_somebody_who_hears() -> None:
    """No topic of the contract is left out of the table that the next tests go by."""
    assert set().union(*WRITES.values()) == everything()
    assert set().union(*READS.values()) == everything()
    assert {name for name in WRITES if name.startswith("city-")} == set(USERS)


@pytest.mark.parametrize("name", WRITES)
def test_each_publishes_where_it_may_and_nowhere_else(city: City, name: str) -> None:
    """The broker takes what is in the table, and answers Not authorized to all the rest."""
    elsewhere = {
        "$SYS/broker/load",
        "$CONTROL/dynamic-security/v1",
        "kiosk/v2/door-01/state",
        "spare",
        f"{wire.CITY}/x",
    }
    with closing(Client(city, name)) as client:
        answers = client.try_all(everything() | elsewhere)
    # 0x10: taken, and nobody is subscribed. A user of the city's may act as a kiosk of its own name; nobody listens.
    assert {topic for topic, code in answers.items() if code in (0, 0x10)} == WRITES[name]
    assert {answers[topic] for topic in answers if topic not in WRITES[name]} == {NOT_AUTHORIZED}


def test_each_hears_what_it_may_and_nothing_else(city: City) -> None:
    """Everybody subscribes to everything, and to each topic by name; what is not theirs does not come."""
    with ExitStack() as stack:
        clients = {name: stack.enter_context(closing(Client(city, name))) for name in READS}
        for client in clients.values():
            client.subscribe("#", "+/+/+/+", *sorted(everything()))
        for name, topics in WRITES.items():
            assert set(clients[name].try_all(topics).values()) <= {0, 0x10}
        last = wire.DELTA_TOPIC  # everybody reads it, so that what came before it has come
        assert clients["city-publish"].say(last, b"last") == 0
        for client in clients.values():
            until(lambda client=client: (last, b"last") in client.heard, what="the last message")  # type: ignore[misc]
        assert {name: client.topics() for name, client in clients.items()} == READS


def test_the_broker_s_figures_are_for_those_who_look_on(city: City) -> None:
    """$SYS comes to city-watch, and neither to a kiosk nor to another user of the city's."""
    with ExitStack() as stack:
        watch, kiosk, desk = (
            stack.enter_context(closing(Client(city, name))) for name in ("city-watch", A, "city-desk")
        )
        publisher = stack.enter_context(closing(Client(city, "city-publish")))
        for client in (kiosk, desk, watch):
            client.subscribe("$SYS/#", wire.DELTA_TOPIC)
        until(lambda: any(topic.startswith("$SYS/") for topic, _ in watch.heard), what="figures")
        publisher.say(wire.DELTA_TOPIC, b"last")
        for client in (kiosk, desk):
            until(lambda client=client: client.heard, what="the last message")  # type: ignore[misc]
            assert client.heard == [(wire.DELTA_TOPIC, b"last")]


def test_nobody_takes_a_kiosk_s_client_id(city: City) -> None:
    """Whoever calls itself door-02 with door-01's certificate is door-01; door-02 stays, and loses nothing."""
    with ExitStack() as stack:
        victim, thief, ingest = (
            stack.enter_context(closing(Client(city, name, client_id=told)))
            for name, told in ((B, B), (A, B), ("city-ingest", "city-ingest-1"))
        )
        victim.subscribe(wire.acknowledgement_topic(B))
        thief.subscribe(wire.acknowledgement_topic(B), wire.acknowledgement_topic(A))
        assert thief.say(wire.event_topic(B, "alert")) == NOT_AUTHORIZED
        ingest.say(wire.acknowledgement_topic(B), b"1")
        ingest.say(wire.acknowledgement_topic(A), b"2")
        until(lambda: victim.heard and thief.heard, what="both acknowledgements")
        assert (victim.heard, victim.gone) == ([(wire.acknowledgement_topic(B), b"1")], False)
        assert thief.heard == [(wire.acknowledgement_topic(A), b"2")]


def test_several_workers_of_the_city_share_a_user(city: City) -> None:
    """Two with one certificate and two client ids are both there, and share the events."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(closing(Client(city, "city-ingest", client_id=f"city-ingest-{n}"))) for n in (1, 2)
        ]
        for worker in workers:
            worker.subscribe(f"$share/ingest/{wire.ROOT}/+/event/+")
        kiosk = stack.enter_context(closing(Client(city, A)))
        for _ in range(4):
            kiosk.say(wire.event_topic(A, "fault"))
        until(lambda: sum(len(worker.heard) for worker in workers) == 4, what="all four")
        assert [(len(worker.heard), worker.gone) for worker in workers] == [(2, False), (2, False)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tls_of_both_versions_over_both_protocols(city: City, version: ssl.TLSVersion, host: str) -> None:
    """A kiosk gets in with TLS 1.2 and 1.3, over IPv4 and IPv6, and knows the broker by its address."""
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    context = city.context(A)
    context.minimum_version = context.maximum_version = version
    assert admitted(city, context, host=host)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_whoever_has_no_good_certificate_stays_out(city: City, version: ssl.TLSVersion, tmp_path: Path) -> None:
    """No certificate, one of another authority with the same name, an expired one, the broker's own, the city's."""
    now = SystemClock().now().utc
    certificates_cli.make(tmp_path / "other", broker=[], devices=[A], users=[], now=now)
    (tmp_path / "expired").mkdir()
    for name in ("devices-ca.pem", "devices-ca.key", "city-ca.pem", "city-ca.key"):
        shutil.copy(city.folder / name, tmp_path / "expired" / name)
    certificates_cli.make(tmp_path / "expired", broker=[], devices=[A], users=[], now=now - LONG_AGO, days=29)
    contexts = {
        "none": city.context(""),
        "other": city.context(A, tmp_path / "other"),
        "expired": city.context(A, tmp_path / "expired"),
        "broker": city.context("broker"),
        "city": city.context("city-ingest"),
        "good": city.context(A),
    }
    for context in contexts.values():
        context.minimum_version = context.maximum_version = version
    assert {who: admitted(city, context) for who, context in contexts.items()} == {
        **dict.fromkeys(contexts, False),
        "good": True,
    }


def test_no_kiosk_gets_into_the_city_s_listener(city: City) -> None:
    """There client ids are free, so a kiosk's certificate must be no good; the city's is."""
    assert not admitted(city, city.context(A), port=city.city_port)
    assert admitted(city, city.context("city-watch"), port=city.city_port)


def test_a_broker_of_another_authority_is_nobody_to_a_kiosk(city: City, tmp_path: Path) -> None:
    """Nor is one whose certificate has another name than the one the kiosk connects to."""
    certificates_cli.make(tmp_path, broker=[], devices=[], users=[], now=SystemClock().now().utc)
    stranger = tls_context(Broker(host="", port=0, tls=True, ca_file=str(tmp_path / "city-ca.pem")))
    with socket.create_connection(("127.0.0.1", city.port)) as line, pytest.raises(ssl.SSLCertVerificationError):
        stranger.wrap_socket(line, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", city.port)) as line, pytest.raises(ssl.SSLCertVerificationError):
        city.context(A).wrap_socket(line, server_hostname="broker.example")


def test_a_kiosk_that_dies_is_announced(city: City) -> None:
    """Its will is published (2.0.11 with per_listener_settings would not); a will that speaks for another is not."""
    with closing(Client(city, "city-watch")) as watch:
        watch.subscribe(wire.state_topic("+"))
        Client(city, B, will=wire.state_topic(A)).vanish()
        Client(city, A, will=wire.state_topic(A)).vanish()
        until(lambda: watch.heard, what="the will")
        with closing(Client(city, B)) as kiosk:
            kiosk.say(wire.state_topic(B), b"last")
        until(lambda: (wire.state_topic(B), b"last") in watch.heard, what="what came after it")
    assert watch.heard == [(wire.state_topic(A), b"gone"), (wire.state_topic(B), b"last")]


def test_the_limits_are_announced(city: City) -> None:
    """The biggest packet is the biggest risk list, QoS 2 is off, and nobody is thought alive for ever."""
    with closing(Client(city, A)) as client:
        assert client.limits is not None
        assert getattr(client.limits, "MaximumPacketSize", 0) == BIGGEST_MESSAGE
        assert getattr(client.limits, "MaximumQoS", 2) == 1
        assert getattr(client.limits, "ReceiveMaximum", 65535) > WINDOW


def test_the_biggest_risk_list_goes_through_and_nothing_bigger(city: City) -> None:
    """From city-publish to a kiosk; whoever sends more is disconnected before a byte of it is kept."""
    head = len(wire.SNAPSHOT_TOPIC) + 16
    with closing(Client(city, "city-publish")) as publisher, closing(Client(city, A)) as kiosk:
        kiosk.subscribe(wire.SNAPSHOT_TOPIC)
        biggest = b"x" * (BIGGEST_MESSAGE - head)
        assert publisher.say(wire.SNAPSHOT_TOPIC, biggest) == 0
        until(lambda: kiosk.heard, what="the list")
        assert kiosk.heard == [(wire.SNAPSHOT_TOPIC, biggest)]
        assert publisher.say(wire.SNAPSHOT_TOPIC, biggest + b"x" * head) == -1


def test_what_is_retained_outlives_a_restart(city: City) -> None:
    """The trust bundle, and the rights that go with it: a kiosk gets it from a broker that has just started."""
    with closing(Client(city, "city-publish")) as publisher:
        publisher.say(wire.TRUST_TOPIC, b"bundle", retain=True)
    city.broker.stop()
    city.broker.start()
    with closing(Client(city, A)) as kiosk:
        kiosk.subscribe(wire.TRUST_TOPIC)
        until(lambda: kiosk.heard, what="the bundle")
        assert kiosk.heard == [(wire.TRUST_TOPIC, b"bundle")]
    with closing(Client(city, "city-publish")) as publisher:
        publisher.say(wire.TRUST_TOPIC, b"", retain=True)


def test_a_refusal_is_in_the_broker_s_log(city: City) -> None:
    """Who published where it may not, and who subscribed to what, by name."""
    with closing(Client(city, A)) as client:
        client.say(wire.command_topic(B))
        client.subscribe(wire.answer_topic(B))
    lines = city.broker.log.read_text(encoding="utf-8").splitlines()
    assert any(f"Denied PUBLISH from {A} " in line and f"'{wire.command_topic(B)}'" in line for line in lines)
    assert any(line.endswith(f": {A} 1 {wire.answer_topic(B)}") for line in lines)


def test_the_service_keeps_refusals_in_the_journal_and_no_traffic(city: City) -> None:
    """What grep drops of the broker's log is each message's way, and nothing else."""
    with closing(Client(city, A)) as client:
        client.say(wire.command_topic(B))
        client.say(wire.event_topic(A, "fault"))
        client.subscribe(wire.answer_topic(B))
    unit = (CONFIG / "mosquitto.service.conf").read_text(encoding="utf-8")
    assert f'grep --line-buffered -vE "{TRAFFIC.pattern}"' in unit
    lines = city.broker.log.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not TRAFFIC.search(line)]
    assert not any("PUBACK" in line or "Received" in line for line in kept)
    assert any("Denied PUBLISH" in line for line in kept)
    assert any(line.endswith(wire.answer_topic(B)) for line in kept)
    assert any("New client connected" in line for line in kept)
