"""The ingest's own connection to the broker: logging in, batches, and how each way of losing it is told."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from city.link import Link, Lost
from city.packets import Message
from city.printer import MOST_WAITING, Printer
from kiosk.broker import Broker
from kiosk.clock import SystemClock
from tests.certificates import Authority
from tests.mosquitto import PROGRAM, Ear, Mosquitto
from tests.waiting import until

TOPIC = "kiosk/v1/+/event/+"
WORD = "a password"


def login(port: int) -> Broker:
    """A broker on loopback, without TLS."""
    return Broker(host="127.0.0.1", port=port, tls=False)


def linked(broker: Broker, topic: str = TOPIC) -> Link:
    """A connection."""
    return Link(broker, client_id="city-ingest", topic=topic, clock=SystemClock())


class Counterfeit:
    """A broker that says what it is told to, on a socket."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._thread.join(10.0)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            for answer in self._answers:
                connection.recv(65_536)
                connection.sendall(answer)


CONNACK, SUBACK = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01"


def test_what_comes_is_given_in_batches_and_answered(broker: Mosquitto) -> None:
    """In order, no more at once than asked for; what is not settled stays with the broker."""
    with ExitStack() as stack:
        link = stack.enter_context(closing(linked(login(broker.port))))
        ear = stack.enter_context(closing(Ear(broker.port, "answers")))
        for number in range(30):
            ear.say("kiosk/v1/door-01/event/fault", str(number))
        came: list[Message] = []
        while len(came) < 30:
            batch = link.take(7, 5.0)
            assert 0 < len(batch) <= 7
            came += batch
        assert [int(message.payload) for message in came] == list(range(30))
        assert link.take(7, 0.0) == []
        link.settle(came, [("answers", message.payload) for message in came])
        until(lambda: link.take(1, 0.01) == [] and len(ear.heard) == 30)
        assert [int(payload) for _, payload, _ in ear.heard] == list(range(30))


def test_a_broker_that_takes_few_at_once_gets_few_at_once(stopped_broker: Mosquitto) -> None:
    """Its Receive Maximum is 20 by default; 500 answers arrive all the same."""
    broker = stopped_broker.start()
    with closing(linked(login(broker.port))) as link, closing(Ear(broker.port, "answers")) as ear:
        link.settle([], [("answers", str(number).encode()) for number in range(500)])
        until(lambda: link.take(1, 0.01) == [] and len(ear.heard) == 500)
        assert link.refused == 0


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((b"\x20\x03\x00\x87\x00",), r"the broker refuses city-ingest: reason 0x87"),
        ((CONNACK, b"\x90\x04\x00\x01\x00\x87"), r"the broker refuses the subscription .*: reason 0x87"),
        ((b"\x20\xff\xff\xff\xff\xff",), r"sends what is no MQTT 5: a length of five bytes"),
        ((b"\xe0\x02\x89\x00",), r"ends the connection: reason 0x89"),
        ((b"",), r"has closed the connection|is lost"),
    ],
)
def test_a_broker_that_will_not_have_us_is_told_with_its_reason(answers: tuple[bytes, ...], said: str) -> None:
    """In one sentence."""
    with closing(Counterfeit(*answers)) as broker, pytest.raises(Lost, match=said):
        linked(login(broker.port))


def test_a_broker_that_is_not_there_is_told() -> None:
    """With its address."""
    with pytest.raises(Lost, match=r"cannot reach the broker at 127.0.0.1:1 "):
        linked(login(1))


def test_a_connection_that_ends_is_lost(broker: Mosquitto) -> None:
    """At the next turn."""
    with closing(linked(login(broker.port))) as link:
        broker.kill()
        with pytest.raises(Lost, match=r"has closed the connection|is lost"):
            link.take(1, 5.0)


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[Broker]:
    """A broker that wants a certificate of whoever comes, and the ingest's log-in."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    city = Authority("city")
    city.write(tmp_path / "ca.pem")
    city.issue("127.0.0.1", tmp_path / "broker.pem", tmp_path / "broker.key")
    files = "cafile {0}/ca.pem\ncertfile {0}/broker.pem\nkeyfile {0}/broker.key\nrequire_certificate false\n"
    settings = "user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\n"
    (tmp_path / "passwords").touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(tmp_path / "passwords"), "city-ingest", WORD], check=True)
    broker = Mosquitto(tmp_path, settings.replace("{folder}", str(tmp_path)) + files.format(tmp_path)).start()
    yield Broker(
        host="127.0.0.1",
        port=broker.port,
        tls=True,
        username="city-ingest",
        password=WORD,
        ca_file=str(tmp_path / "ca.pem"),
    )
    broker.stop()


def test_over_tls_messages_longer_than_a_record_come_and_go(mutual: Broker) -> None:
    """Logged in with a name and a password; another password is refused."""
    payloads = [bytes([number]) * 50_000 for number in range(20)]
    with closing(linked(mutual, "answers")) as link:
        link.settle([], [("answers", payload) for payload in payloads])
        came: list[Message] = []
        while len(came) < 20:
            came += link.take(100, 5.0)
        assert [message.payload for message in came] == payloads
    with pytest.raises(Lost, match=r"refuses city-ingest: reason 0x8[67]"):
        linked(replace(mutual, password=WORD * 2))
    with pytest.raises(Lost, match=r"cannot reach the broker .*certificate"):
        linked(replace(mutual, ca_file=""))


def test_lines_that_nobody_reads_are_dropped_and_told_once() -> None:
    """Whoever prints goes on; a reader who comes late finds the first ones."""
    reader, writer = os.pipe()
    said: list[str] = []
    with open(reader, "rb") as late:  # noqa: PTH123 - a pipe
        with open(writer, "wb"), Printer(said.append, writer) as printer:  # noqa: PTH123
            for number in range(MOST_WAITING * 2):
                printer.put(f"{number:01000}")
            draining = threading.Thread(target=late.read)
            draining.start()
        draining.join(10.0)
    assert said == ["nobody reads what is printed: lines are dropped, nothing else is"]
