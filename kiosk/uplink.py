"""The way to the city over MQTT 5: which broker, when to connect, when to begin anew.

Each round tries the brokers in their order; the wait between rounds is `kiosk.back_off`'s. What is said over a live
connection is `kiosk.exchange`'s: a row leaves the outbox only when the city says it has committed it. TLS files that
were renewed are taken up at a quiet moment; bad ones never end a good connection. The daemon runs `Uplink.run`, and
may run it again after a bug.
"""

import select
import socket
import threading
from collections.abc import Callable, Sequence
from random import Random

from kiosk import wire
from kiosk.back_off import SPREAD_S, BackOff
from kiosk.broker import Broker, TlsFiles
from kiosk.clock import Clock, S
from kiosk.connection import CONNECT_WITHIN_S, Connection, Ended
from kiosk.errors import OutboxFault
from kiosk.exchange import Exchange, Feed, Hears, Source
from kiosk.messages import LinkStatus

TICK_S = 0.5
"""Longest the thread waits without stamping its progress."""
JUST_BOOTED_S = 120
"""A machine that was switched on no longer ago waits before its first connect as after a lost connection: power comes
back to a whole street at once."""
RENEWAL_LOOK_S = 60
"""How often the TLS files are looked at while they are in use."""


class Uplink:
    """One device's connection to the city.

    Args:
        brokers: where to, in the order in which they are tried; at least one.
        origin: who we are; the device is also the client id.
        outbox: what to drain.
        clock: for timers.
        hears: whom to tell.
        feed: takes what the city sends to all kiosks.
        heartbeat_s: between signs of life.
        spread_s: over how long the doors of one broker spread their connects (`kiosk.back_off`).
        version: of this firmware, for the birth.
        random: jitter.

    Raises:
        UplinkFault: files for TLS cannot be used.
    """

    def __init__(  # noqa: PLR0913 - two of them are the site's figures, with a default each
        self,
        brokers: Sequence[Broker],
        origin: wire.Origin,
        outbox: Source,
        clock: Clock,
        hears: Hears,
        *,
        feed: Feed | None = None,
        heartbeat_s: int = 60,
        spread_s: float = SPREAD_S,
        version: str,
        random: Random,
    ) -> None:
        self._brokers = [(broker, TlsFiles(broker) if broker.tls else None) for broker in brokers]
        self._device = origin.device
        self._outbox = outbox
        self._clock = clock
        self._hears = hears
        self._exchange = Exchange(
            origin, outbox, clock, hears, feed=feed, heartbeat_s=heartbeat_s, version=version, random=random
        )
        self._back_off = BackOff(random.uniform, spread_s)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._closing = threading.Event()
        self._seen = 0
        self._told: LinkStatus | None = None
        self._told_fault: str | None = None

    def ask(self, subject: str) -> None:
        """Look somebody up with the city; `Hears.on_answer` gets the answer, if one comes. From any thread."""
        self._exchange.ask(subject)
        self.nudge()

    def nudge(self) -> None:
        """Something was stored or let go: look at the outbox now. From any thread."""
        try:
            self._wake_in.send(b"!")
        except OSError:
            return  # it has enough wake-ups waiting, or has ended

    def close(self) -> None:
        """Say goodbye and let `run` end. From any thread."""
        self._closing.set()
        self.nudge()

    def run(self, stamp: Callable[[], None]) -> None:
        """Connect, drain, and connect again until `close`; `stamp` is called at least every `TICK_S`.

        Name resolution and the connect itself may take longer than a tick; the supervisor allows for it.
        """
        self._told_fault = None  # a run that follows on a bug takes back what was told of it
        self._seen = self._outbox.newest
        if self._now_ns() < JUST_BOOTED_S * S:
            self._idle(self._back_off.next_s(stood_s=JUST_BOOTED_S, alert=self._has_alert(0)), stamp)
        while not self._closing.is_set():
            self._seen = self._outbox.newest
            wait_s = self._one_round(stamp)
            self._tell(online=False)
            self._idle(wait_s, stamp)
        self._wake_in.close()
        self._wake_out.close()

    def _one_round(self, stamp: Callable[[], None]) -> float:
        """Try each broker until one takes us, and stay with that to its end; the answer is how long to wait then."""
        for broker, files in self._brokers:
            stamp()
            connection = Connection(
                broker, self._device, files.for_connection() if files else None, self._exchange.will, self._wake_out
            )
            self._tell_fault(files)
            try:
                self._reach(connection, stamp)
                began_ns = self._now_ns()
            except Ended as end:
                self._say(end)
                if self._closing.is_set():
                    return 0.0
            else:
                renewed = self._stay(connection, files, stamp)
                self._seen = self._outbox.newest
                stood_s = (self._now_ns() - began_ns) / S
                return 0.0 if renewed else self._back_off.next_s(stood_s=stood_s, alert=self._has_alert(0))
        return self._back_off.next_s(stood_s=0.0, alert=self._has_alert(0))

    def _reach(self, connection: Connection, stamp: Callable[[], None]) -> None:
        try:
            connection.open()
            deadline_ns = self._now_ns() + int(CONNECT_WITHIN_S * S)
            while not connection.is_open:
                stamp()
                connection.turn(TICK_S)
                if not connection.is_open and (self._closing.is_set() or self._now_ns() > deadline_ns):
                    connection.give_up()
        except Exception:
            connection.drop()
            raise

    def _stay(self, connection: Connection, files: TlsFiles | None, stamp: Callable[[], None]) -> bool:
        """Serve a connection to its end; the answer is whether that is for renewed TLS files."""
        try:
            renewed = self._serve(connection, files, stamp)
            connection.leave(TICK_S)
        except (Ended, OutboxFault) as end:
            self._say(end)
            return False
        finally:
            connection.drop()
        return renewed

    def _serve(self, connection: Connection, files: TlsFiles | None, stamp: Callable[[], None]) -> bool:
        self._exchange.begin(connection)
        renewed, looked_ns = False, self._now_ns()
        while not self._closing.is_set():
            stamp()
            self._tell(online=True)
            if renewed and self._exchange.is_quiet:
                return True
            self._exchange.say(connection, events=not renewed)
            came = connection.turn(TICK_S)
            self._exchange.hear(connection, stamp, came=came)
            now_ns = self._now_ns()
            if files and not renewed and now_ns - looked_ns > RENEWAL_LOOK_S * S:
                renewed, looked_ns = files.renewed(), now_ns
            self._tell_fault(files)
        return False

    def _now_ns(self) -> int:
        return self._clock.now().monotonic_ns

    def _say(self, end: Exception) -> None:
        if not self._closing.is_set():
            self._hears.on_trouble(str(end))

    def _tell(self, *, online: bool) -> None:
        status = LinkStatus(online=online, waiting=self._outbox.waiting)
        if status != self._told:
            self._told = status
            self._hears.on_status(status)

    def _tell_fault(self, files: TlsFiles | None) -> None:
        fault = "; ".join(filter(None, (files.trouble if files else "", self._exchange.trouble)))
        if fault != self._told_fault:
            self._told_fault = fault
            self._hears.on_fault(fault)

    def _has_alert(self, after: int) -> bool:
        try:
            return bool(self._outbox.alerts_after(after, 1))
        except OutboxFault:
            return False

    def _idle(self, seconds: float, stamp: Callable[[], None]) -> None:
        """Wait so long, or until an alert is raised, or not at all if one was during an attempt that failed."""
        deadline_ns = self._now_ns() + int(seconds * S)
        while not self._closing.is_set() and not self._is_raised() and (left_ns := deadline_ns - self._now_ns()) > 0:
            stamp()
            self._tell(online=False)
            if select.select([self._wake_out], [], [], min(TICK_S, left_ns / S))[0]:
                self._wake_out.recv(4096)

    def _is_raised(self) -> bool:
        """An alert has come since the last attempt began, or the last connection ended."""
        if not self._has_alert(self._seen):
            return False
        self._back_off.hurry()
        return True
