"""The city's answers to look-ups on a real mosquitto and a real database, and what its command line makes and sends."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from city.cli import DONE, FAULT, main
from city.lookup import LookUps
from city.store import Store
from kiosk import wire
from kiosk.broker import Broker
from kiosk.city_feed import CityFeed
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.credentials.keyring import city_issuers
from kiosk.credentials.subject import subject_of
from kiosk.messages import Flag
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
NOBODY, A, B, CARD = "0" * 32, "a" * 32, "b" * 32, "c" * 32
SECRET = "0f" * 20


class Asker:
    """A client of the broker that asks in any way, and hears all answers."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[str, bytes, bytes]] = []
        """Who was answered, what, and the mark of the request."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._came
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        assert self._ready.wait(10.0)

    def ask(self, payload: bytes | str, *, device: str = "door-01", there: str = "", mark: bytes = b"m") -> None:
        """Ask as this device; `there` is where the answer shall go, if not to it."""
        about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        about.ResponseTopic = there or wire.answer_topic(device)
        about.CorrelationData = mark
        self._client.publish(wire.look_up_topic(device), payload, qos=1, properties=about).wait_for_publish(10.0)

    def about(self, subject: str, *, device: str = "door-01", mark: bytes = b"m") -> None:
        """Ask about a person."""
        self.ask(wire.LookUp(subject=subject).model_dump_json(), device=device, mark=mark)

    def close(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    def _came(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        if not message.topic.endswith("/lookup"):
            mark = getattr(message.properties, "CorrelationData", b"")
            self.answers.append((message.topic, bytes(message.payload), mark))


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What is to be closed after the test, last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store(tmp_path: Path, cleanup: ExitStack) -> Store:
    """The city's database."""
    store = Store(address(tmp_path))
    cleanup.callback(store.close)
    return store


@pytest.fixture
def troubles() -> list[str]:
    """What the desk said."""
    return []


@pytest.fixture
def asker(broker: Mosquitto, store: Store, troubles: list[str], cleanup: ExitStack) -> Asker:
    """Somebody who asks a desk that is there."""
    ready, stopping = threading.Event(), threading.Event()
    desk = LookUps(
        Broker(host="127.0.0.1", port=broker.port, tls=False), store, on_ready=ready.set, on_trouble=troubles.append
    )
    thread = threading.Thread(target=desk.run, args=(stopping.wait,))
    thread.start()
    cleanup.callback(thread.join, 10.0)
    cleanup.callback(stopping.set)
    assert ready.wait(10.0)
    return cleanup.enter_context(closing(Asker(broker.port)))


def address(folder: Path) -> str:
    """Of the city's database."""
    return f"sqlite:///{folder / 'city.sqlite3'}"


def test_the_newest_declaration_is_given_by_any_of_a_person_s_pseudonyms(store: Store) -> None:
    """One that was issued before does not take its place; a card that changes hands follows its new owner."""
    store.keep_declaration(b"second", subject=A, issued_at=AT, aliases=[CARD])
    store.keep_declaration(b"first", subject=A, issued_at=AT - timedelta(hours=1), aliases=())
    assert [store.declaration_of(who) for who in (A, CARD, B, NOBODY)] == [b"second", b"second", b"", b""]
    store.keep_declaration(b"third", subject=A, issued_at=AT + timedelta(hours=1), aliases=())
    store.keep_declaration(b"b's", subject=B, issued_at=AT, aliases=[CARD])
    assert [store.declaration_of(who) for who in (A, CARD, B)] == [b"third", b"b's", b"b's"]


def test_each_question_is_answered_to_who_asked_under_its_own_mark(
    asker: Asker, store: Store, troubles: list[str]
) -> None:
    """Nothing is an answer too: the city has no declaration."""
    store.keep_declaration(b"TKYT1:A", subject=A, issued_at=AT, aliases=[CARD])
    asker.about(A, mark=b"\x00\xff1")
    asker.about(CARD, device="door-02", mark=b"2")
    asker.about(NOBODY, mark=b"3")
    until(lambda: len(asker.answers) == 3)
    one, two = wire.answer_topic("door-01"), wire.answer_topic("door-02")
    assert asker.answers == [(one, b"TKYT1:A", b"\x00\xff1"), (two, b"TKYT1:A", b"2"), (one, b"", b"3")]
    assert troubles == []


def test_an_answer_goes_nowhere_but_to_the_kiosk_that_asked(asker: Asker, store: Store, troubles: list[str]) -> None:
    """A request that names another topic, or none, or cannot be read is told without its content."""
    store.keep_declaration(b"TKYT1:A", subject=A, issued_at=AT, aliases=())
    request = wire.LookUp(subject=A).model_dump_json()
    asker.ask(request, there=wire.answer_topic("door-02"))
    asker.ask(request, there="elsewhere/" + SECRET)
    for unreadable in (b"", b"\xff", b"[]", b'{"subject":"%b"}' % SECRET.encode(), b"9" * 70_000):
        asker.ask(unreadable)
    asker.about(A, mark=b"good")
    until(lambda: asker.answers)
    assert asker.answers == [(wire.answer_topic("door-01"), b"TKYT1:A", b"good")]
    assert len(troubles) == 7
    assert [said for said in troubles if not said.startswith("kiosk/v1/door-01/lookup: not answered: ")] == []
    assert [said for said in troubles if SECRET in said or len(said) > 200] == []


def run(*words: object) -> int:
    """The command line, in this process."""
    return main([str(word) for word in words])


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A city's folder of keys, as the command line makes it."""
    folder = tmp_path / "keys"
    assert run("keys", folder) == DONE
    capsys.readouterr()
    return folder


def test_what_the_office_declares_is_found_by_number_and_by_card(keys: Path, tmp_path: Path, store: Store) -> None:
    """As the bytes that the person's phone shows; without --store nothing is kept."""
    declare = ("declare", tmp_path / "code.png", "--keys", keys)
    assert run(*declare, "--number", "048090000002") == DONE
    also = ("--store", address(tmp_path), "--also", "bhyt:DN4790000000001")
    assert run(*declare, "--number", "048090000001", *also) == DONE
    subject_key = (keys / "subject.key").read_bytes()
    people = [("id", "048090000001"), ("bhyt", "DN4790000000001"), ("id", "048090000002")]
    found = [store.declaration_of(subject_of(kind, number, subject_key)) for kind, number in people]
    assert found[0].startswith(b"TKYT1:")
    assert found[1:] == [found[0], b""]


def feed(folder: Path, keys: Path) -> CityFeed:
    """What a kiosk with these keys makes of what is published."""
    city = city_issuers((keys / "city.pem").read_bytes())
    folder.mkdir()
    return CityFeed(
        TrustFiles(folder, keys / "trust.bundle", city),
        RiskFiles(folder, city),
        city,
        on_change=lambda _b, _r: None,
        on_trouble=lambda stage, said: pytest.fail(f"{stage}: {said}"),
    )


def test_what_the_office_publishes_a_kiosk_takes(
    broker: Mosquitto, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cleanup: ExitStack
) -> None:
    """Keys, two trust bundles and two risk lists, each the next of the one before; all of it is retained."""
    kiosk, people = feed(tmp_path / "kiosk", keys), tmp_path / "people.csv"
    assert kiosk.bundle is not None
    assert (kiosk.bundle.version, len(kiosk.bundle.issuers), kiosk.bundle.authority_pem[:10]) == (1, 1, b"-----BEGIN")
    assert run("trust", "--keys", keys, "--area", "79:2021-07-01", "--revoke", SECRET[:32]) == DONE
    publish = ("--keys", keys, "--broker", f"127.0.0.1:{broker.port}")
    assert run("publish", "trust", keys / "trust.bundle", *publish) == DONE
    ear = cleanup.enter_context(closing(Ear(broker.port, f"{wire.CITY}/#")))
    until(lambda: len(ear.heard) == 1)
    people.write_text(f"{A},f0\n{B},f1\n", encoding="utf-8")
    assert run("risk-list", people, tmp_path, "--keys", keys) == DONE
    snapshot, delta = tmp_path / "risk-list.snapshot", tmp_path / "risk-list.delta"
    assert run("publish", "risk-list", snapshot, *publish) == DONE
    until(lambda: len(ear.heard) == 2)
    people.write_text(f"{B},isolate\n{CARD},f1\n", encoding="utf-8")
    assert run("risk-list", people, tmp_path, "--keys", keys) == DONE
    assert run("publish", "risk-list", snapshot, delta, *publish) == DONE
    until(lambda: len(ear.heard) == 4)
    for topic, payload, _ in [*ear.heard[:2], ear.heard[3]]:
        kiosk.receive(topic, payload)
    by_delta = kiosk.risk_list
    assert by_delta is not None
    assert (kiosk.bundle.version, len(kiosk.bundle.revoked), by_delta.version) == (2, 1, 2)
    assert [by_delta.flag_of(who) for who in (A, B, CARD)] == [None, Flag.ISOLATE, Flag.F1]
    late = cleanup.enter_context(closing(Ear(broker.port, f"{wire.CITY}/#")))
    until(lambda: len(late.heard) == 3)
    assert sorted(late.heard) == sorted((topic, payload, True) for topic, payload, _ in [ear.heard[0], *ear.heard[2:]])
    assert capsys.readouterr().out.splitlines()[1].startswith("city/v1/trust: trust bundle, version 2, 1 kids, ")


def test_a_city_s_keys_are_secret_and_not_made_twice(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kiosk trusts those that are there."""
    before = {path: path.read_bytes() for path in keys.iterdir()}
    secret = {path.name for path in before if path.stat().st_mode & 0o077 == 0}
    assert secret == {"city.key", "declaration.key", "authority.key", "command.key", "subject.key"}
    assert run("keys", keys) == FAULT
    assert {path: path.read_bytes() for path in keys.iterdir()} == before
    assert capsys.readouterr().err.startswith(f"city: {keys / 'city.key'} is there: ")


def test_the_office_refuses_to_make_or_send_what_kiosks_would_refuse(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules with a mistake, a line that is no entry, a file of somebody else's, a broker that is not there."""
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{A},f0\n{A},f9\n", encoding="utf-8")
    assert run("trust", "--keys", keys, "--rules", wrong) == FAULT
    assert run("risk-list", wrong, tmp_path, "--keys", keys) == FAULT
    assert run("publish", "trust", wrong, "--keys", keys) == FAULT
    assert run("publish", "risk-list", wrong, "--keys", keys) == FAULT
    assert run("publish", "trust", keys / "trust.bundle", "--keys", keys, "--broker", "127.0.0.1:1") == FAULT
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("city: the city's rules are not TOML: ")
    assert said[1] == f"city: {wrong}: line 2: not `subject,flag` (32 hex digits; f0, f1, isolate)"
    assert said[2].startswith("city: not a trust bundle that kiosks would take: ")
    assert said[3] == "city: not a risk list that kiosks would take: not a risk list of this version"
    assert "refused" in said[4]


def test_a_broker_that_denies_the_office_says_so(
    stopped_broker: Mosquitto, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only MQTT 5 tells a denied publish from an accepted one."""
    (tmp_path / "acl").write_text("topic read #\n", encoding="utf-8")
    with stopped_broker._settings.open("a", encoding="utf-8") as settings:
        settings.write(f"acl_file {tmp_path / 'acl'}\n")
    port = stopped_broker.start().port
    assert run("publish", "trust", keys / "trust.bundle", "--keys", keys, "--broker", f"127.0.0.1:{port}") == FAULT
    assert capsys.readouterr().err == "city: city/v1/trust: the broker does not take it: Not authorized\n"


class User:
    """A client of the broker with a name, which hears all that it may read."""

    def __init__(self, port: int, name: str) -> None:
        self.heard: list[str] = []
        self._reasons: list[ReasonCode] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(name)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self._client.on_publish = self._published
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        assert self._ready.wait(10.0)

    def may_say(self, topic: str) -> bool:
        """Publish there, and tell whether the broker took it."""
        said = len(self._reasons)
        self._client.publish(topic, b"x", qos=1)
        until(lambda: len(self._reasons) > said)
        return not self._reasons[-1].is_failure

    def close(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    def _published(self, _c: mqtt.Client, _u: object, _m: int, reason: ReasonCode, _p: Properties | None) -> None:
        self._reasons.append(reason)
