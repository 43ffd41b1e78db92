"""`city command` over a real broker: numbers, what is published, and what is made of the answer."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from city import command, office
from city.cli import main
from city.provision import BUNDLE, COMMAND_KEY
from city.signing import public_pem
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import Now, SystemClock
from kiosk.commands import Said, read_command
from kiosk.messages import CommandAnswer, Order, StoredEvent
from kiosk.trust import Bundle, read_bundle
from tests.builders import START, at_ms
from tests.mosquitto import Ear, Mosquitto
from tests.waiting import until

DEVICE = "door-01"
LIFE = timedelta(minutes=5)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A city's folder of keys."""
    folder = tmp_path / "keys"
    office.make_keys(folder, START)
    return folder


def held(keys: Path) -> Bundle:
    """The folder's trust bundle."""
    bundle = read_bundle((keys / BUNDLE).read_bytes(), office.public_key(keys))
    assert isinstance(bundle, Bundle)
    return bundle


def taken(keys: Path, payload: bytes, now: Now) -> Said:
    """What a door with the folder's bundle makes of a command."""
    read = read_command(payload, held(keys).command_pem, device=DEVICE, now=now, last_number=0)
    assert isinstance(read, Said)
    return read


def answered(number: int, detail: str = "muted for 60 s", *, done: bool = True) -> bytes:
    """What a door says came of a command."""
    event = CommandAnswer(at=START, utc_trusted=True, number=number, order="mute", done=done, detail=detail)
    origin = wire.Origin(device=DEVICE, place="p", access_point="main")
    return wire.encode_event(StoredEvent(ledger="l", sequence=1, event=event), origin)


def test_what_the_city_signs_a_door_takes(keys: Path) -> None:
    """Bundle and command key come from one folder, and belong together."""
    sent = command.command(keys, DEVICE, Order.LOCK, START, seconds=600, lifetime=LIFE)
    issued = int(START.timestamp())
    assert taken(keys, sent.payload, at_ms(0)) == Said(
        device=DEVICE, number=sent.number, issued=issued, expires=issued + 300, order="lock", seconds=600
    )


def test_numbers_of_a_device_only_rise(keys: Path) -> None:
    """Within a millisecond, and after the clock was set back; each device has its own, and the file has them first."""

    def number(device: str, at: datetime) -> int:
        given = command.next_number(keys, device, at)
        assert json.loads((keys / command.NUMBERS).read_text(encoding="utf-8"))[device] == given
        return given

    ms = int(START.timestamp() * 1000)
    assert [number(DEVICE, START), number(DEVICE, START), number("door-02", START)] == [ms, ms + 1, ms]
    assert number(DEVICE, START - timedelta(days=1)) == ms + 2
    assert number(DEVICE, START + timedelta(seconds=1)) == ms + 1000


@pytest.mark.parametrize("damage", ["[]", "{", '{"door-01": "x"}'])
def test_a_damaged_file_of_numbers_stops_the_desk(keys: Path, damage: str) -> None:
    """A number that was used before would be refused at the door; a person decides."""
    (keys / command.NUMBERS).write_text(damage, encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged; if this machine's clock is right, remove it"):
        command.next_number(keys, DEVICE, START)


def test_a_folder_of_before_says_how_to_get_a_command_key(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One verb makes the key and the bundle that names it; the same verb ends the old key."""
    before = held(keys)
    (keys / COMMAND_KEY).unlink()
    wanted = ["command", DEVICE, "test", "--keys", str(keys), "--broker", "127.0.0.1:1"]
    assert main(wanted) == 4
    assert f"`city trust --new-command-key --keys {keys}` makes one" in capsys.readouterr().err
    assert main(["trust", "--new-command-key", "--keys", str(keys)]) == 0
    after = held(keys)
    assert (after.version, after.command_pem) == (2, public_pem((keys / COMMAND_KEY).read_bytes()))
    assert after.command_pem != before.command_pem
    assert main(["trust", "--keys", str(keys)]) == 0
    assert held(keys).command_pem == after.command_pem


class Desk:
    """`city command`, run beside the test, and a door's ear at the other end."""

    def __init__(self, broker: Mosquitto, keys: Path) -> None:
        self.ear = Ear(broker.port, wire.command_topic(DEVICE))
        self._pool = ThreadPoolExecutor(1)
        self._arguments = ["--keys", str(keys), "--broker", f"127.0.0.1:{broker.port}"]
        self._keys = keys

    def orders(self, *arguments: str) -> "Future[int]":
        """The verb with these arguments; gives its exit code later."""
        return self._pool.submit(main, ["command", DEVICE, *arguments, *self._arguments])

    def heard(self) -> Said:
        """The command, at the door."""
        until(lambda: self.ear.heard, what="a command arrives")
        topic, payload, retained = self.ear.heard.pop()
        assert (topic, retained) == (f"kiosk/v1/{DEVICE}/command", False)
        return taken(self._keys, payload, SystemClock().now())

    def close(self) -> None:
        """End."""
        self._pool.shutdown()
        self.ear.close()


@pytest.fixture
def desk(broker: Mosquitto, keys: Path) -> Iterator[Desk]:
    """A desk and a door at one broker."""
    made = Desk(broker, keys)
    yield made
    made.close()


@pytest.mark.parametrize(("done", "code", "told"), [(True, 0, "done"), (False, 4, "refused")])
def test_the_verb_waits_for_what_came_of_it(
    desk: Desk, capsys: pytest.CaptureFixture[str], *, done: bool, code: int, told: str
) -> None:
    """Other answers are not taken for its own; the detail alone goes to standard output."""
    ended = desk.orders("mute", "--seconds", "60")
    said = desk.heard()
    topic = wire.event_topic(DEVICE, "command-answer")
    desk.ear.say(topic, answered(said.number - 1, "another"))
    desk.ear.say(topic, b"no event")
    desk.ear.say(topic, answered(said.number, "the detail", done=done))
    assert ended.result(10.0) == code
    output = capsys.readouterr()
    assert (said.order, said.seconds, said.expires - said.issued) == ("mute", 60, 300)
    assert (output.out, output.err) == ("the detail\n", f"city: {DEVICE} mute ({said.number}): {told}\n")


def test_the_verb_need_not_wait(desk: Desk, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate travels as text; without an answer, not waiting is no failure and waiting is."""
    file = keys / "new.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    ended = desk.orders("install_certificate", "--new-certificate", str(file), "--no-wait", "--valid-minutes", "1")
    said = desk.heard()
    assert (said.text, said.expires - said.issued) == ("-----BEGIN CERTIFICATE-----\n", 60)
    assert ended.result(10.0) == 0
    assert desk.orders("test", "--wait", "0.2").result(10.0) == 4
    assert "no answer; is the door online?" in capsys.readouterr().err


def test_a_broker_that_refuses_is_told(desk: Desk, keys: Path) -> None:
    """Nobody waits for an answer to what was never sent."""
    sent = command.command(keys, DEVICE, Order.TEST, START, lifetime=LIFE)
    nobody = Broker(host="127.0.0.1", port=1, tls=False)
    with pytest.raises(ConnectionError, match="cannot reach the broker"):
        command.send(sent, nobody, SystemClock(), within_s=1.0)
    assert desk.ear.heard == []


FORBIDDING = """user root
listener {port} 127.0.0.1
allow_anonymous true

"""


def test_a_command_the_broker_does_not_let_through_is_told(tmp_path: Path, keys: Path) -> None:
    """Who is not `city-command` hears so at once."""
    acl = tmp_path / "acl"
    acl.write_text("topic read kiosk/v1/+/event/command-answer\n", encoding="ascii")
    acl.chmod(0o600)

    broker = Mosquitto(tmp_path, FORBIDDING + f"acl_file {acl}\n").start()
    try:
        sent = command.command(keys, DEVICE, Order.TEST, START, lifetime=LIFE)
        with pytest.raises(PermissionError, match="the broker refuses commands to door-01: log in as city-command"):
            command.send(sent, Broker(host="127.0.0.1", port=broker.port, tls=False), SystemClock(), within_s=10.0)
    finally:
        broker.stop()
