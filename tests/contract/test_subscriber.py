"""The city's library on a real mosquitto: what kiosks say, as typed values."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from city.subscriber import KINDS, Beat, Heard, Linked, Stood, Subscriber
from kiosk import wire
from kiosk.broker import Broker
from kiosk.messages import Alert, ClockStep, Direction, Reason, Scheme, StoredEvent
from kiosk.testing.clock import MORNING
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "city.md"
ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id="b")
ALERT = Alert(
    at=MORNING,
    utc_trusted=True,
    direction=Direction.ENTRY,
    reasons=(Reason.AT_RISK_SYMPTOM,),
    scheme=Scheme.DECLARATION,
    subject="0f" * 16,
)
BIRTH = wire.State(device="door-01", online=True, version="1", ledger="aa", at=MORNING)
BEAT = wire.Heartbeat(at=MORNING, boot_id="b", boot_ns=1, ledger="aa", newest=7, waiting=0, faults=[], version="1")


class Listener:
    """A subscriber, and all it heard and complained of."""

    def __init__(self, port: int, *kinds: str) -> None:
        self.heard: list[Heard] = []
        self.troubles: list[str] = []
        broker = Broker(host="127.0.0.1", port=port, tls=False)
        self.subscriber = Subscriber(
            broker, kinds=kinds or KINDS, client_id="test-listener", on_trouble=self.troubles.append
        )

    def hears(self, many: int) -> list[Heard]:
        """Take turns until it has heard so many things in all."""
        until(lambda: len(self.turned()) >= many, what=str(self.heard))
        return self.heard

    def turned(self) -> list[Heard]:
        """Take one turn; the answer is all it has heard."""
        self.heard += self.subscriber.turn(0.05)
        return self.heard


@pytest.fixture
def kiosk(broker: Mosquitto) -> Iterator[Ear]:
    """Somebody who can publish."""
    with closing(Ear(broker.port, "test")) as ear:
        yield ear


def event(sequence: int, body: Alert | ClockStep = ALERT) -> tuple[str, bytes]:
    """Topic and payload of an event."""
    stored = StoredEvent(ledger="aa", sequence=sequence, event=body)
    return wire.event_topic("door-01", wire.kind_of(body)), wire.encode_event(stored, ORIGIN)


def received(sequence: int) -> wire.Received:
    """What a subscriber makes of it."""
    return wire.Received(origin=ORIGIN, stored=StoredEvent(ledger="aa", sequence=sequence, event=ALERT))


def test_a_subscriber_hears_typed_values(broker: Mosquitto, kiosk: Ear) -> None:
    """A birth that stands at the broker, a heartbeat, an event, a will."""
    kiosk.say(wire.state_topic("door-01"), BIRTH.model_dump_json(), retain=True)
    listener = Listener(broker.port)
    with closing(listener.subscriber):
        assert listener.hears(2) == [Linked(up=True), Stood(device="door-01", state=BIRTH, retained=True)]
        kiosk.say(wire.heartbeat_topic("door-01"), BEAT.model_dump_json())
        kiosk.say(*event(7))
        will = BIRTH.model_copy(update={"online": False, "at": None})
        kiosk.say(wire.state_topic("door-01"), will.model_dump_json(), retain=True)
        assert listener.hears(5)[2:] == [
            Beat(device="door-01", heartbeat=BEAT),
            received(7),
            Stood(device="door-01", state=will, retained=False),
        ]
    assert listener.troubles == []


def test_a_subscriber_hears_only_what_it_asked_for(broker: Mosquitto, kiosk: Ear) -> None:
    """One kind of events, and no states."""
    listener = Listener(broker.port, "alert")
    with closing(listener.subscriber):
        listener.hears(1)
        kiosk.say(wire.state_topic("door-01"), BIRTH.model_dump_json())
        kiosk.say(*event(1, ClockStep(at=MORNING, utc_trusted=True, step_ms=5)))
        kiosk.say(*event(2))
        assert listener.hears(2) == [Linked(up=True), received(2)]


def test_there_is_no_kind_by_another_name() -> None:
    """A misspelt kind would hear nothing for ever."""
    with pytest.raises(ValueError, match="no kind 'alerts': one of check-in, alert, "):
        Subscriber(Broker(host="127.0.0.1", port=1, tls=False), kinds=["alerts"], client_id="x")


def test_what_cannot_be_read_is_passed_over_with_a_sentence_that_holds_none_of_it(
    broker: Mosquitto, kiosk: Ear
) -> None:
    """And what comes after it is heard."""
    listener = Listener(broker.port)
    private = "0123456789"
    with closing(listener.subscriber):
        listener.hears(1)
        for topic in (event(1)[0], wire.heartbeat_topic("door-01"), wire.state_topic("door-01")):
            for payload in (private.encode() + b"\xff", b"{}", b"[" * 50_000, b"1" * 100_000):
                kiosk.say(topic, payload)
        kiosk.say(wire.heartbeat_topic("d" * 65), BEAT.model_dump_json())
        kiosk.say(*event(2))
        assert listener.hears(2)[1:] == [received(2)]
    assert len(listener.troubles) == 13
    assert [said for said in listener.troubles if private in said or "passed over" not in said or len(said) > 400] == []


def test_a_subscriber_comes_back_when_the_broker_does(broker: Mosquitto) -> None:
    """It says that it heard nobody for a while, in one sentence and one value."""
    listener = Listener(broker.port)
    with closing(listener.subscriber):
        listener.hears(1)
        broker.kill()
        assert listener.hears(2) == [Linked(up=True), Linked(up=False)]
        until(lambda: listener.subscriber.turn(0.01) == [] and len(listener.troubles) == 2)
        broker.start()
        assert listener.hears(3)[2:] == [Linked(up=True)]
        with closing(Ear(broker.port, "test")) as ear:
            ear.say(*event(3))
        assert listener.hears(4)[3:] == [received(3)]
    said = " ".join(listener.troubles)
    assert re.fullmatch(r"the connection to the broker at \S+ is lost cannot reach the broker at \S+ \(.*\)", said)


def test_a_broker_that_cannot_be_reached_is_told_once(stopped_broker: Mosquitto) -> None:
    """From the start."""
    listener = Listener(stopped_broker.port)
    assert (listener.hears(1), listener.subscriber.turn(0.01)) == ([Linked(up=False)], [])
    assert len(listener.troubles) == 1


def test_the_example_of_the_page_is_a_program_that_runs(broker: Mosquitto, kiosk: Ear) -> None:
    """docs/city.md shows it; here it talks to the test's broker until it has heard one of each."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program = example.replace("port=1883", f"port={broker.port}")
    assert program != example
    kiosk.say(wire.state_topic("door-01"), BIRTH.model_dump_json(), retain=True)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(2)] == ["listening\n", "online door-01\n"]
        kiosk.say(wire.heartbeat_topic("door-01"), BEAT.model_dump_json())
        kiosk.say(*event(7))
        said = [running.stdout.readline() for _ in range(2)]
        running.kill()
    assert said == ["lives door-01 0\n", "alert door-01 aa 7 at_risk.symptom\n"]
