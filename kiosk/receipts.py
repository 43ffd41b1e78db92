"""What becomes of events handed to the outbox: numbered, then stored in time, or late, or given up.

The outbox makes receipts and its writer settles them; the core waits on them. Nothing here knows the file.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from kiosk.messages import Alert, Event, StoredEvent


@dataclass(slots=True)
class Receipt:
    """What becomes of events handed to the outbox."""

    events: tuple[Event, ...]
    sequences: tuple[int, ...] = ()
    late: bool = False
    _stored: threading.Event = field(default_factory=threading.Event)
    _deciding: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the commit; if it is not there in time the events are marked `late_record`."""
        if self._stored.wait(timeout_s):
            return True
        with self._deciding:
            self.late = not self._stored.is_set()
            return not self.late

    def settle(self, sequences: tuple[int, ...], *, marked_late: bool) -> bool:
        """The commit is done, says the writer; False, and nothing settled, where the events still need their mark."""
        with self._deciding:
            if self.late and not marked_late:
                return False
            self.sequences = sequences
            self._stored.set()
            return True


Numbered = tuple[Receipt, list[StoredEvent]]


def numbered(receipts: Iterable[Receipt], ledger: str, last: int) -> list[Numbered]:
    """Give each event the next sequence after `last`."""
    numbers = count(last + 1)
    return [
        (receipt, [_stored(ledger, next(numbers), event, late=receipt.late) for event in receipt.events])
        for receipt in receipts
    ]


def not_settled(batch: Iterable[Numbered]) -> list[Numbered]:
    """Settle what was stored in time, or is marked already; the answer is what has to be marked late first."""
    return [
        (receipt, stored)
        for receipt, stored in batch
        if not receipt.settle(sequences(stored), marked_late=all(one.event.late_record for one in stored))
    ]


def sequences(stored: Iterable[StoredEvent]) -> tuple[int, ...]:
    """Their numbers."""
    return tuple(one.sequence for one in stored)


def late_one(stored: StoredEvent) -> StoredEvent:
    """Mark it: the door moved before it was on disk."""
    return replace(stored, event=replace(stored.event, late_record=True))


def within_bound(unstored: list[Receipt], most: int) -> tuple[list[Receipt], int]:
    """Give up the oldest beyond a bound, but no alert; how many events that were."""
    excess, kept, given_up = len(unstored) - most, list[Receipt](), 0
    for receipt in unstored:
        if excess > 0 and not any(isinstance(event, Alert) for event in receipt.events):
            excess -= 1
            given_up += len(receipt.events)
        else:
            kept.append(receipt)
    return kept, given_up


def _stored(ledger: str, sequence: int, event: Event, *, late: bool) -> StoredEvent:
    stored = StoredEvent(ledger=ledger, sequence=sequence, event=event)
    return late_one(stored) if late else stored
