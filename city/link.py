"""One fast connection to the broker: what came is given out in batches, and answered in batches.

Decides when a connection is over. Has no thread and no opinion on what the messages say; whoever has one makes another
when this one is lost. Called by `city.ingest`.
"""

import select
import socket
import ssl
from collections import deque
from collections.abc import Iterable

from city import packets
from city.packets import Message
from kiosk.broker import Broker, tls_context
from kiosk.clock import Clock, S

CONNECT_WITHIN_S = 5.0
KEEP_ALIVE_S = 30
RECEIVE_MAXIMUM = 2000
"""Messages the broker may have sent us that we have not acknowledged: two full batches."""
BIGGEST_PACKET = 1024 * 1024
"""The broker keeps what is longer to itself."""

_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Lost(Exception):
    """The connection is over, or never was; says why in a sentence."""


class Link:
    """One connection and one subscription.

    Args:
        broker: where to.
        client_id: who we are.
        topic: what to hear.
        clock: for timers.

    Raises:
        Lost: the broker cannot be reached, or refuses.
        kiosk.errors.UplinkFault: a certificate cannot be used.
    """

    def __init__(self, broker: Broker, *, client_id: str, topic: str, clock: Clock) -> None:
        self._clock = clock
        self._at = broker.address
        self._came = bytearray()
        self._messages: deque[Message] = deque()
        self._replies: deque[tuple[int, bytes]] = deque()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._in_flight = 0
        self._last_packet = 1
        self._refused = 0
        self._socket = _connected(broker)
        self._heard_ns = self._said_ns = clock.now().monotonic_ns
        self._pinged_ns = 0
        try:
            self._log_in(broker, client_id, topic)
        except Lost:
            self._socket.close()
            raise

    def take(self, most: int, within_s: float) -> list[Message]:
        """Give what has come, at most so many; waits for the first, and not for more.

        Raises:
            Lost: the connection is over.
        """
        if not self._messages:
            self._wait(within_s)
        while len(self._messages) < most and self._read():
            pass
        self._flush()
        self._keep_alive()
        return [self._messages.popleft() for _ in range(min(most, len(self._messages)))]

    def settle(self, messages: Iterable[Message], answers: Iterable[tuple[str, bytes]]) -> None:
        """Acknowledge messages to the broker and publish answers, topic and payload, with QoS 1.

        Raises:
            Lost: the connection is over.
        """
        self._send(b"".join(packets.puback(message.packet) for message in messages if message.packet))
        self._waiting.extend(answers)
        self._flush()

    @property
    def refused(self) -> int:
        """Answers the broker did not take."""
        return self._refused

    def close(self) -> None:
        """Say good-bye, if it can still be said."""
        try:
            self._send(packets.GOOD_BYE)
        except Lost:
            pass
        finally:
            self._socket.close()

    def _log_in(self, broker: Broker, client_id: str, topic: str) -> None:
        self._send(
            packets.connect(
                client_id,
                broker.username,
                broker.password,
                keep_alive_s=KEEP_ALIVE_S,
                receive_maximum=RECEIVE_MAXIMUM,
                biggest=BIGGEST_PACKET,
            )
        )
        reason, self._quota = packets.connection(self._reply(packets.CONNACK))
        if reason >= packets.REFUSED:
            raise Lost(f"the broker refuses {client_id}: reason {reason:#04x}")
        self._send(packets.subscribe(topic, 1))
        reason = packets.subscription(self._reply(packets.SUBACK))
        if reason >= packets.REFUSED:
            raise Lost(f"the broker refuses the subscription {topic}: reason {reason:#04x}")

    def _reply(self, kind: int) -> bytes:
        deadline_ns = self._clock.now().monotonic_ns + round(CONNECT_WITHIN_S * S)
        while self._clock.now().monotonic_ns < deadline_ns:
            self._wait(CONNECT_WITHIN_S)
            self._read()
            while self._replies:
                first, body = self._replies.popleft()
                if first == kind:
                    return body
        raise Lost(f"the broker at {self._at} does not answer")

    def _wait(self, within_s: float) -> None:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        select.select([self._socket], [], [], within_s)

    def _read(self) -> bool:
        """Take in what is there; whether there was anything."""
        try:
            came = self._socket.recv(256 * 1024)
        except _AGAIN:
            return False
        except OSError as error:
            raise Lost(f"the connection to {self._at} is lost ({error})") from error
        if not came:
            raise Lost(f"the broker at {self._at} has closed the connection")
        self._heard_ns, self._pinged_ns = self._clock.now().monotonic_ns, 0
        self._came += came
        try:
            whole, used = packets.split(self._came)
            for first, body in whole:
                self._one(first, body)
        except packets.Malformed as error:
            raise Lost(f"the broker at {self._at} sends what is no MQTT 5: {error}") from error
        del self._came[:used]
        return True

    def _one(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == packets.PUBLISH:
            self._messages.append(packets.message(first, body))
        elif kind == packets.PUBACK:
            self._in_flight -= 1
            self._refused += packets.acknowledgement(body) >= packets.REFUSED
        elif kind == packets.DISCONNECT:
            raise Lost(f"the broker at {self._at} ends the connection: reason {packets.good_bye(body):#04x}")
        elif kind != packets.PINGRESP:
            self._replies.append((kind, body))

    def _flush(self) -> None:
        """Publish as much as the broker takes unacknowledged."""
        saying = []
        while self._waiting and self._in_flight < self._quota:
            topic, payload = self._waiting.popleft()
            self._last_packet = self._last_packet % 0xFFFF + 1
            saying.append(packets.publish(topic, payload, self._last_packet))
            self._in_flight += 1
        self._send(b"".join(saying))

    def _keep_alive(self) -> None:
        now_ns = self._clock.now().monotonic_ns
        if self._pinged_ns and now_ns - self._pinged_ns > KEEP_ALIVE_S * S / 2:
            raise Lost(f"the broker at {self._at} is silent")
        if not self._pinged_ns and now_ns - min(self._said_ns, self._heard_ns) > KEEP_ALIVE_S * S / 2:
            self._send(packets.PING)
            self._pinged_ns = now_ns

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except _AGAIN:
                _, able, _ = select.select([], [self._socket], [], CONNECT_WITHIN_S)
                if not able:
                    raise Lost(f"the broker at {self._at} takes nothing") from None
            except OSError as error:
                raise Lost(f"the connection to {self._at} is lost ({error})") from error
        if data:
            self._said_ns = self._clock.now().monotonic_ns


def _connected(broker: Broker) -> socket.socket:
    context = tls_context(broker) if broker.tls else None
    try:
        plain = socket.create_connection((broker.host, broker.port), CONNECT_WITHIN_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = context.wrap_socket(plain, server_hostname=broker.host) if context else plain
        except OSError:
            plain.close()
            raise
    except OSError as error:
        raise Lost(f"cannot reach the broker at {broker.address} ({error})") from error
    made.settimeout(0)
    return made
