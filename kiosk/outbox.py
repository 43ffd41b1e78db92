"""The durable queue, and the only one: an event is accepted when its transaction is on disk.

SQLite in WAL mode with `synchronous=FULL` (docs/decisions/0003: NORMAL loses committed rows at a power cut). One
writer thread owns every change; callers get a `Receipt` and may wait for it within a bound. Sequences count from 1
without a gap inside one ledger, a name made with the file. A row goes when the city has acknowledged it; else only
beyond the bounds, told in an event, and an alert never (docs/decisions/0013). That an alert is open is kept over a
restart, until somebody has seen to it or a day has passed. A damaged file is set aside, told in an event, and a new
ledger begins. It knows no broker; the core thread appends, the uplink reads and acknowledges.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kiosk import wire
from kiosk.clock import Clock, S, SystemClock
from kiosk.drops import reported
from kiosk.errors import OutboxFault
from kiosk.events import stamp
from kiosk.let_go import LetGo
from kiosk.messages import Alert, AlertNews, AlertState, Event, Fault, StoredEvent
from kiosk.outbox_file import Bounds, Damaged, OutboxFile, Row, is_damage
from kiosk.receipts import Numbered, Receipt, late_one, not_settled, numbered, sequences, within_bound
from kiosk.set_aside import set_aside

RETRY_S = 1.0
"""Between attempts while the disk refuses: soon enough for a guard, seldom enough for a failing card."""
MOST_UNSTORED = 10_000
"""Events held in memory while the disk refuses; beyond that the oldest are given up, but alerts, counted and reported.
At an entry nobody is granted meanwhile (docs/decisions/0002)."""
JUDGE_AGE_EVERY_S = 3600

_BOUNDS = Bounds()
_CLOCK = SystemClock()


class _Acknowledged(tuple[int, ...]):
    """Sequences the city has committed, on their way to the writer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Closed:
    """An alert that is no longer open."""

    sequence: int


@dataclass(frozen=True, slots=True)
class _Damage:
    """What the reader found, in which ledger."""

    ledger: str
    why: str


_Work = Receipt | _Acknowledged | _Closed | _Damage


class Outbox:
    """One file, opened or made; a damaged one is set aside first.

    Args:
        path: the SQLite file; its folder must exist.
        origin: written into every payload.
        on_health: told one sentence when storing starts to fail, and "" when it works again; called by the writer.
        on_change: called by the writer when something was stored or let go.
        on_alert: told of each open alert at the opening, and by the writer when one is stored or the city has it.
        on_acknowledged: told by the writer of the sequences that the city has stored.
        bounds: how much may wait.
        clock: for the outbox's own events, for ages, and for how long acknowledged rows may stay.

    Raises:
        OutboxFault: the file cannot be opened as an outbox, and not for damage.
    """

    def __init__(
        self,
        path: Path,
        origin: wire.Origin,
        *,
        on_health: Callable[[str], None],
        on_change: Callable[[], None],
        on_alert: Callable[[AlertNews], None] = lambda _: None,
        on_acknowledged: Callable[[Iterable[int]], None] = lambda _: None,
        bounds: Bounds = _BOUNDS,
        clock: Clock = _CLOCK,
    ) -> None:
        self._path = path
        self._origin = origin
        self._on_health = on_health
        self._on_change = on_change
        self._on_alert = on_alert
        self._on_acknowledged = on_acknowledged
        self._bounds = bounds
        self._clock = clock
        self._work: queue.Queue[_Work | None] = queue.Queue()
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._fault = self._damage = ""
        self._given_up = self._age_judged_ns = 0
        self._heard: list[int] = []
        self._let_go = LetGo()
        self._begun_anew = False
        self._stamp: Callable[[], None] = lambda: None
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise OutboxFault(
                f"{path}: cannot be used as the outbox ({error}); check folder, owner and disk"
            ) from error

    @property
    def ledger(self) -> str:
        """The name of the file in use."""
        return self._file.ledger

    @property
    def waiting(self) -> int:
        """How many accepted events the city has not acknowledged."""
        return int(self._waiting)

    @property
    def newest(self) -> int:
        """The highest sequence that is stored; 0 in a new ledger."""
        return int(self._released)

    def append(self, events: Iterable[Event]) -> Receipt:
        """Hand over events to be stored in one transaction; does not wait."""
        receipt = Receipt(tuple(events))
        self._work.put(receipt)
        return receipt

    def acknowledge(self, ledger: str, sequences: Iterable[int]) -> None:
        """Let rows go that the city has committed; another ledger's are not ours to let go."""
        if ledger == self.ledger:
            self._work.put(_Acknowledged(sequences))

    def close_alert(self, ledger: str, sequence: int) -> None:
        """An alert needs nobody's attention any more; written with the next events, or at the end."""
        if ledger == self.ledger:
            self._work.put(_Closed(sequence))

    def after(self, sequence: int, limit: int) -> list[Row]:
        """Read the oldest unacknowledged rows above `sequence`; for one reading thread.

        Raises:
            OutboxFault: the file cannot be read, or another has taken its place: ask again from 0, for its ledger.
        """
        return self._rows(sequence, limit, alerts=False)

    def alerts_after(self, sequence: int, limit: int) -> list[Row]:
        """As `after`, alerts only: they have a lane of their own, before whatever history waits."""
        return self._rows(sequence, limit, alerts=True)

    def _rows(self, sequence: int, limit: int, *, alerts: bool) -> list[Row]:
        with self._reading:
            if self._begun_anew:
                self._begun_anew = False
                raise OutboxFault(f"{self._path}: was damaged and set aside; a new ledger has begun")
            let_go = self._let_go.rows
            try:
                rows = self._file.rows(sequence, self._released, limit + len(let_go), alerts=alerts)
            except sqlite3.Error as error:
                if is_damage(error):
                    self._work.put(_Damage(self.ledger, str(error)))
                raise OutboxFault(f"{self._path}: cannot be read ({error}); check the disk") from error
        return [row for row in rows if row.sequence not in let_go][:limit]

    def write(self, stamp: Callable[[], None]) -> None:
        """Do the writer's work until `close`; `stamp` is called at each sign of progress, at least every second."""
        unstored: list[Receipt] = []
        self._stamp = stamp
        try:
            while unstored or not (self._closing.is_set() and self._work.empty()):
                stamp()
                batch = self._take(wait=not unstored)
                handed = [item for item in batch if isinstance(item, Receipt)]
                unstored, given_up = within_bound([*unstored, *handed], MOST_UNSTORED)
                self._given_up += given_up
                self._note(batch)
                if self._store(unstored):
                    unstored = []
                elif self._closing.wait(RETRY_S):
                    return
        finally:
            with self._reading:
                self._file.close()

    def close(self) -> None:
        """Let the writer store what it has and end."""
        self._closing.set()
        self._work.put(None)

    def _open(self) -> None:
        """Open the file, or set it aside and make another, which begins with the event that tells so."""
        told = ""
        try:
            self._file = OutboxFile(self._path, self._origin.device)
        except Damaged as damage:
            told = self._set_aside(str(damage))
            self._file = OutboxFile(self._path, self._origin.device)
        self._released = self._file.last
        self._waiting = self._file.waiting
        for sequence in sorted(self._file.open_alerts):
            waits = self._file.waiting_among([sequence])
            self._tell_alert(sequence, AlertState.RAISED if waits else AlertState.DELIVERED)
        if told:
            self.append([self._own_event(told)])

    def _tell_alert(self, sequence: int, state: AlertState) -> None:
        self._on_alert(AlertNews(ledger=self.ledger, sequence=sequence, state=state))

    def _set_aside(self, why: str) -> str:
        return f"{self._path.name} was damaged ({why}): set aside as {set_aside(self._path)}; a new ledger begins"

    def _begin_anew(self) -> bool:
        """What `_open` does, while others use the file; the reader is told by its next fault."""
        try:
            with self._reading:
                self._file.close()
                told = self._set_aside(self._damage)
                self._file = OutboxFile(self._path, self._origin.device)
                self._released, self._waiting = self._file.last, self._file.waiting
                self._heard, self._let_go, self._begun_anew = [], LetGo(), True
        except (sqlite3.Error, OSError, Damaged) as error:
            self._report(f"{self._path.name} is damaged and cannot be replaced ({error}); change the card")
            return False
        self._damage = ""
        self.append([self._own_event(told)])
        return True

    def _own_event(self, detail: str) -> Fault:
        now = self._clock.now()
        return Fault(**stamp(now), stage="outbox", recovered=True, detail=detail)

    def _take(self, *, wait: bool) -> list[_Work]:
        batch: list[_Work | None] = []
        try:
            batch.append(self._work.get(timeout=1.0) if wait else self._work.get_nowait())
            while True:
                batch.append(self._work.get_nowait())
        except queue.Empty:
            return [item for item in batch if item is not None]

    def _note(self, batch: list[_Work]) -> None:
        for item in batch:
            match item:
                case _Acknowledged():
                    self._heard += item
                case _Closed(sequence=sequence) if sequence in self._file.open_alerts:
                    self._let_go.add(set(), {sequence}, self._clock.now().monotonic_ns)
                case _Damage(ledger=ledger, why=why) if ledger == self.ledger:
                    self._damage = why

    def _store(self, receipts: list[Receipt]) -> bool:
        """Commit, or say why not; what could not be committed is tried again."""
        if self._damage and not self._begin_anew():
            return False
        batch = numbered(receipts, self.ledger, self._file.last)
        try:
            self._note_heard()
            now_ns, closing = self._clock.now().monotonic_ns, self._closing.is_set()
            rows, alerts = self._let_go.going(now_ns, closing=closing, storing=bool(receipts))
            if not receipts and not rows and not alerts:
                return True
            self._commit([one for _, stored in batch for one in stored], rows, alerts)
        except sqlite3.Error as error:
            self._damage = str(error) if is_damage(error) else ""
            self._report(self._fault_of(error))
            return False
        self._stamp()  # on a slow disk the marks below take as long again
        fault = self._settle(batch)
        self._let_go.gone(rows, alerts)
        for one in (one for _, stored in batch for one in stored if isinstance(one.event, Alert)):
            self._tell_alert(one.sequence, AlertState.RAISED)
        self._released = self._file.last
        self._tell_waiting()
        self._report(fault)
        return True

    def _note_heard(self) -> None:
        """Stop counting and reading what the city has; the rows go later, many at once."""
        if not self._heard:
            return
        news = self._file.waiting_among(self._heard) - self._let_go.rows
        self._let_go.add(news, set(), self._clock.now().monotonic_ns)
        self._heard = []
        self._on_acknowledged(news)
        for sequence in sorted(news & self._file.open_alerts):
            self._tell_alert(sequence, AlertState.DELIVERED)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._waiting = self._file.waiting - len(self._let_go.rows)
        self._on_change()

    def _commit(self, stored: list[StoredEvent], let_go: frozenset[int], closed: frozenset[int]) -> None:
        now = self._clock.now()
        now_s = int(now.utc.timestamp()) if now.utc_trusted else None
        judge = now_s is not None and (
            not self._age_judged_ns or now.monotonic_ns - self._age_judged_ns > JUDGE_AGE_EVERY_S * S
        )
        dropped = self._file.commit(
            [self._row(one) for one in stored],
            let_go,
            closed,
            now_s=now_s,
            bounds=self._bounds,
            judge_age=judge,
            report=lambda sequence, dropped, key: self._row(
                StoredEvent(ledger=self.ledger, sequence=sequence, event=self._own_event(reported(dropped, key)))
            ),
        )
        if judge and not dropped:
            self._age_judged_ns = now.monotonic_ns

    def _row(self, stored: StoredEvent) -> Row:
        payload = wire.encode_event(stored, self._origin)
        return Row(sequence=stored.sequence, kind=wire.kind_of(stored.event), payload=payload)

    def _settle(self, batch: list[Numbered]) -> str:
        """Tell the receipts; what became late during its commit is marked first, and no reader has seen it yet.

        The answer is the fault of a disk that refuses the marks; the events themselves are safe.
        """
        late, fault = not_settled(batch), ""
        try:
            if late:
                self._file.rewrite(self._row(late_one(one)) for _, stored in late for one in stored)
        except sqlite3.Error as error:
            fault = self._fault_of(error)
        for receipt, stored in late:
            receipt.settle(sequences(stored), marked_late=True)
        return fault

    def _fault_of(self, error: sqlite3.Error) -> str:
        """One sentence that seldom changes: each new one becomes an event, and that must not fill what is full."""
        at_least = 1 << self._given_up.bit_length() >> 1
        lost = f"; at least {at_least} events given up" if at_least else ""
        return f"{self._path.name} cannot be written ({error}){lost}; free the disk or change the card"

    def _report(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self._on_health(fault)
