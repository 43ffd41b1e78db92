"""One MQTT 5 connection to one broker, from CONNECT to its end.

paho is bare transport here and gets no thread of its own: whoever owns the connection turns its socket, so that none of
the faults of paho's queue and thread can occur (docs/decisions/0003). Decides when a connection is over, and why.
Refuses to know what is sent. The uplink owns it, one at a time.
"""

import select
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from kiosk.broker import Broker
from kiosk.causes import NotMqtt, why

CONNECT_WITHIN_S = 5.0
"""For TCP and TLS together, and again for CONNACK. Name resolution has the system's own limit."""
BIGGEST_MESSAGE = 48 * 1024 * 1024
"""Bytes we let the broker send at once (Maximum Packet Size): a risk list of 5 million people, on a Pi of 1 GB."""
KEEP_ALIVE_S = 15
"""A dead broker is noticed within one and a half of these."""
DISCONNECT_WITH_WILL = 0x04
"""MQTT 5, 3.14.2.1: the broker announces this door as offline although it left politely."""
CONNACK = 0x20
MOST_AROUND = 12
"""Bytes of a PUBLISH of QoS 1 without properties beside topic and payload (MQTT 5, 3.3), with some to spare."""


class Ended(Exception):
    """Why a connection is over, or never was: one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A message for us."""

    topic: str
    payload: bytes
    correlation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The broker's PUBACK of what was published under `mid`; below 0x80 it has taken it."""

    mid: int
    code: int
    reason: str


class _Line(ssl.SSLSocket):
    """Notes what paho swallows, the first bytes and the error that ended it, and closes what paho leaves open."""

    first = b""
    error: Exception | None = None

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature is ssl's
        try:
            super().do_handshake(block)
        except Exception:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            got = super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.error = error
            raise
        if not self.first:
            self.first = got
        return got

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 - whatever has bytes
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.error = error
            with suppress(OSError):  # who hung up may have said why before
                self.recv(1)
            raise


class Connection:
    """One connection; `open` makes it.

    Args:
        broker: where to.
        client_id: who we are there.
        tls: None for a broker on this machine.
        will: topic and payload that the broker retains and publishes when we have gone.
        wake: a socket that ends a waiting `turn` when something comes in.
    """

    def __init__(
        self, broker: Broker, client_id: str, tls: ssl.SSLContext | None, will: tuple[str, str], wake: socket.socket
    ) -> None:
        self.came = deque[Came]()
        self.settled = deque[Settled]()
        self._broker = broker
        self._wake = wake
        self._ending = ""
        self._line: socket.socket | None = None
        self._first = b""
        self._unconfirmed = set[int]()
        self._most_unconfirmed = 65_535
        self._biggest_packet = 0
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if broker.username:
            client.username_pw_set(broker.username, broker.password)
        if tls:
            tls.sslsocket_class = _Line
            client.tls_set_context(tls)
        client.will_set(*will, qos=1, retain=True)
        client.on_socket_open = self._opened
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._received

    @property
    def is_open(self) -> bool:
        """The broker has accepted us; publishing before it would overtake and be lost."""
        return self._client.is_connected()

    @property
    def room(self) -> int:
        """How many messages of QoS 1 the broker takes now (its Receive Maximum)."""
        return self._most_unconfirmed - len(self._unconfirmed)

    def open(self) -> None:
        """Connect and send CONNECT; the answer comes in by `turn`.

        Raises:
            Ended: it cannot be reached.
        """
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = BIGGEST_MESSAGE
        host, port = self._broker.host, self._broker.port
        try:
            self._client.connect(host, port, keepalive=KEEP_ALIVE_S, clean_start=True, properties=limits)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def give_up(self) -> NoReturn:
        """CONNECT has not been answered.

        Raises:
            Ended: always.
        """
        raise Ended(f"the broker did not answer CONNECT within {CONNECT_WITHIN_S:.0f} s; is it overloaded?")

    def subscribe(self, *topics: tuple[str, int]) -> None:
        """Ask for topics, each with its QoS."""
        self._client.subscribe(list(topics))

    def unsubscribe(self, topic: str) -> None:
        """Ask for it no more."""
        self._client.unsubscribe(topic)

    def publish(self, topic: str, payload: str | bytes, *, qos: int, retain: bool = False, **about: Any) -> int:  # noqa: ANN401 - MQTT properties
        """Send it, and give the number under which it is settled; `about` are properties by their MQTT names."""
        properties = None
        if about:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            for name, value in about.items():
                setattr(properties, name, value)
        mid = self._client.publish(topic, payload, qos, retain, properties).mid
        if qos:
            self._unconfirmed.add(mid)
        return mid

    def takes(self, topic: str, payload: bytes) -> bool:
        """Whether the broker takes a message of this size (its Maximum Packet Size)."""
        return not self._biggest_packet or len(topic) + len(payload) + MOST_AROUND <= self._biggest_packet

    def turn(self, timeout_s: float) -> bool:
        """Move bytes for one round: until something comes, somebody wakes us, or the time is over.

        Returns:
            Whether bytes came.

        Raises:
            Ended: the connection is over.
        """
        line = self._line
        if line is None or self._client.socket() is None:
            raise self._said(self._ending or "the broker closed the connection")
        writers = [line] if self._client.want_write() else []
        readable, writable, _ = select.select([line, self._wake], writers, [], timeout_s)
        if self._wake in readable:
            self._wake.recv(4096)
        if line in readable:
            self._first = self._first or _first(line)  # who hangs up a moment later has said it before
        try:
            if line in readable:
                self._read()
            if writable:
                self._client.loop_write()
            self._client.loop_misc()
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise self._said(f"the broker sent what is not MQTT 5 ({type(error).__name__})") from error
        if self._ending:
            raise self._said(self._ending)
        return line in readable

    def leave(self, timeout_s: float) -> None:
        """Say goodbye, so that the broker publishes the will at once.

        Raises:
            Ended: the connection was over before.
        """
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL))
        while self._client.want_write():
            self.turn(timeout_s)

    def drop(self) -> None:
        """Hang up, whatever it is doing; nobody knows whether it comes back, so the broker publishes the will."""
        self._client.on_disconnect = None
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL))

    def _read(self) -> None:
        self._client.loop_read()
        while isinstance(line := self._client.socket(), ssl.SSLSocket) and line.pending():
            self._client.loop_read()  # TLS holds decrypted bytes that select cannot see

    def _said(self, sentence: str) -> Ended:
        """What to say of an end: before CONNACK, first bytes and errors tell who is at the other side."""
        first = self._first
        if isinstance(self._line, _Line):
            first = first and self._line.first
            if self._line.error:
                return self._unreachable(self._line.error)
        return self._unreachable(NotMqtt(first)) if first and first[0] != CONNACK else Ended(sentence)

    def _unreachable(self, error: Exception) -> Ended:
        return Ended(f"cannot reach the broker at {self._broker.address}: {why(error)}")

    # paho calls these from `turn`; a connection they find at its end is ended there.

    def _opened(self, _c: mqtt.Client, _u: object, line: object) -> None:
        if isinstance(line, socket.socket):
            self._line = line
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a question waits for nothing

    def _connected(self, _c: mqtt.Client, _u: object, _f: object, reason: ReasonCode, about: Properties | None) -> None:
        if reason.is_failure:
            self._ending = f"the broker refuses this device: {reason}; check uplink.username, certificate and ACL"
        self._most_unconfirmed = max(1, getattr(about, "ReceiveMaximum", self._most_unconfirmed))
        self._biggest_packet = getattr(about, "MaximumPacketSize", 0)

    def _disconnected(self, _c: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None) -> None:
        self._ending = self._ending or f"the connection to the broker is gone: {reason}"

    def _published(self, _c: mqtt.Client, _u: object, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        if mid in self._unconfirmed:  # paho calls this for QoS 0 as well
            self._unconfirmed.discard(mid)
            self.settled.append(Settled(mid=mid, code=reason.value, reason=str(reason)))

    def _received(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        self.came.append(Came(topic=message.topic, payload=bytes(message.payload), correlation=correlation))


def _first(line: socket.socket) -> bytes:
    """The first bytes that wait, without taking them; TLS has its own notes."""
    if isinstance(line, ssl.SSLSocket):
        return b"\0"
    try:
        return line.recv(8, socket.MSG_PEEK)
    except OSError:
        return b""
