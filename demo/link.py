"""A door's outbox and uplink without a door, and the city's ingest, each in its threads: for measurements and tortures.

Both are the real ones; what is made up is only what happens at the door, and how fast its time goes.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Self

from city.ingest import Ingest, Stored
from city.store import Store
from kiosk import wire
from kiosk.broker import Broker
from kiosk.clock import Clock, Now, S, SystemClock, boot_id
from kiosk.exchange import Hears
from kiosk.messages import Event, LinkStatus
from kiosk.outbox import Outbox
from kiosk.outbox_file import Bounds
from kiosk.uplink import Uplink

STOP_WITHIN_S = 30.0
BOUNDS = Bounds()


class QuickClock:
    """The machine's clock, `factor` times as fast: a door's ten seconds pass in less."""

    def __init__(self, factor: int) -> None:
        self._clock, self._factor = SystemClock(), factor
        self._since_ns = self._clock.now().monotonic_ns
        self._ahead_ns = 0

    def now(self) -> Now:
        """The time since boot goes fast, UTC does not."""
        now = self._clock.now()
        passed_ns = (now.monotonic_ns - self._since_ns) * self._factor
        return Now(monotonic_ns=self._since_ns + passed_ns + self._ahead_ns, utc=now.utc, utc_trusted=True)

    def jump(self, seconds: float) -> None:
        """Let so much pass at once."""
        self._ahead_ns += round(seconds * S)


class Impatient(Random):
    """Jitter of a fraction: what is tried is not the wait between two connections."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - never mind from where
        """Up to a second of the door's time."""
        return super().uniform(0.0, min(1.0, b))


class Door:
    """One door's outbox and uplink; a context.

    Args:
        folder: for the outbox.
        brokers: where to.
        device: who it is.
        clock: the uplink's.
        random: the uplink's.
        bounds: the outbox's.
        before: called first in the uplink's thread.
    """

    def __init__(
        self,
        folder: Path,
        brokers: Sequence[Broker],
        *,
        device: str = "door-01",
        clock: Clock,
        random: Random,
        bounds: Bounds = BOUNDS,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        origin = wire.Origin(device=device, place="place-0001", access_point="main", boot_id=boot_id())
        self.device = device
        self.troubles: list[str] = []
        self.faults: list[str] = []
        self.online = threading.Event()
        self.times_online = 0
        self.outbox = Outbox(
            folder / f"{device}.sqlite3",
            origin,
            on_health=self.troubles.append,
            on_change=lambda: self.uplink.nudge(),  # noqa: PLW0108 - the uplink is made next
            bounds=bounds,
        )
        hears = Hears(on_status=self._status, on_trouble=self.troubles.append, on_fault=self.faults.append)
        self.uplink = Uplink(brokers, origin, self.outbox, clock, hears, version="0", random=random)
        self._before = before
        self._writer = threading.Thread(target=self.outbox.write, args=(lambda: None,))
        self._sender = threading.Thread(target=self._send)

    def store(self, *events: Event) -> tuple[int, ...]:
        """Have events on disk; their sequences.

        Raises:
            TimeoutError: the disk does not take them.
        """
        receipt = self.outbox.append(events)
        if not receipt.wait(STOP_WITHIN_S):
            raise TimeoutError(f"an event is not on disk after {STOP_WITHIN_S:.0f} s")
        return receipt.sequences

    def __enter__(self) -> Self:
        """Start."""
        self._writer.start()
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End both threads."""
        self.uplink.close()
        self._sender.join(STOP_WITHIN_S)
        self.outbox.close()
        self._writer.join(STOP_WITHIN_S)

    def _send(self) -> None:
        self._before()
        self.uplink.run(lambda: None)

    def _status(self, status: LinkStatus) -> None:
        if status.online and not self.online.is_set():
            self.times_online += 1
            self.online.set()
        elif not status.online:
            self.online.clear()


class Ingesting:
    """The city's ingest on its embedded SQLite; a context.

    Args:
        folder: for the database.
        broker: where from.
        on_stored: told of each event after its commit.
        make: the ingest, where another than the real one is wanted.
        before: called first in its thread.
    """

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        *,
        on_stored: Callable[[Stored], None] = lambda _: None,
        make: type[Ingest] = Ingest,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = Store(f"sqlite:///{folder / 'city.sqlite3'}")
        self.troubles: list[str] = []
        self.ready, self._stopping = threading.Event(), threading.Event()
        self._ingest = make(
            broker,
            self.store,
            SystemClock(),
            on_ready=self.ready.set,
            on_stored=on_stored,
            on_trouble=self.troubles.append,
        )
        self._before = before
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(STOP_WITHIN_S)
        self.store.close()

    def _run(self) -> None:
        self._before()
        self._ingest.run(self._stopping.wait)
