"""A real mosquitto for tests, on a free port of loopback, that can be stopped, killed and started again."""

import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.waiting import until

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

SETTINGS = """user root
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 20
"""


def free_port() -> int:
    """A TCP port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections there, on loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


class Mosquitto:
    """One broker, on the same port however often it is started."""

    def __init__(self, folder: Path, settings: str = SETTINGS, port: int = 0, *more_ports: int) -> None:
        """`more_ports`: of further listeners in the settings; it is started when all of them listen."""
        self.port = port or free_port()
        self._ports = (self.port, *more_ports)
        self.log = folder / "mosquitto.log"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(settings.format(port=self.port), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Mosquitto":
        """Start it, and wait until it takes connections."""
        assert PROGRAM is not None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "-c", str(self._settings)], stdout=log, stderr=log)
        until(lambda: all(map(listens, self._ports)), what=f"mosquitto listens: {self.log.read_text()}")
        return self

    def stop(self) -> None:
        """End it politely."""
        if self._process:
            self._process.terminate()
            self._process.wait(10.0)

    def kill(self) -> None:
        """End it with signal 9: what it kept in memory is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10.0)


class Ear:
    """A subscriber that keeps all it hears, and may speak."""

    def __init__(self, port: int, *topics: str, ca_file: str = "", certificate: tuple[str, str] = ("", "")) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        """Topic, payload and whether it was retained."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if ca_file:
            self._client.tls_set(ca_file, certificate[0] or None, certificate[1] or None)
        self._subscribed = threading.Event()
        self._topics = topics
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._came
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10.0)

    def say(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10.0)

    def close(self) -> None:
        """End."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: mqtt.Client, _u: object, _f: object, _r: ReasonCode, _p: Properties | None) -> None:
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])

    def _came(self, _client: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload), message.retain))
