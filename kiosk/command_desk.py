"""Takes the city's commands: checks each, keeps its number, and only then passes it on.

Decides what is reported of refusals, and which lock still stands after a restart. The number of a genuine command is
on disk before anybody acts on it, so that no power cut makes a repetition good. Refuses to know MQTT, and what orders
do. The uplink calls `CommandDesk.receive`, in its own thread; before that, the daemon asks `CommandDesk.standing`.
"""

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from kiosk.city_files import write_whole
from kiosk.clock import Clock, Now, S
from kiosk.commands import BIGGEST_NUMBER, Limits, Said, permitted, read_command
from kiosk.messages import Answered, Command, CommandAnswer, Order
from kiosk.settings import CommandSettings
from kiosk.trust import Bundle

FILE = "commands.json"
REPORT_EVERY_NS = 60 * S
"""Refusals of what is not new and genuine are told so often at most: a forger must not fill the outbox."""
US_NS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock that was ordered, and its end by both hands of the clock; `until_ns` counts in the boot of that name."""

    number: int
    seconds: int
    until: datetime
    boot_id: str
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a restart must know. `since`: numbers were lost then, and older commands do not count."""

    number: Annotated[int, Field(ge=0, le=BIGGEST_NUMBER)] = 0
    since: datetime | None = None
    lock: Lock | None = None


_KEPT = TypeAdapter(Kept)


class CommandDesk:
    """Where this door's commands arrive.

    A door without the file of numbers, or with a damaged one, takes no command issued before its start: one that was
    taken already may be among those. A damaged file is reported, a missing one is every new door's.

    Args:
        folder: exists, and is this kiosk's own.
        device: who we are.
        limits: what the site allows.
        clock: the door's.
        boot_id: of this boot; empty if unknown.
        bundle: the trust bundle in force, which names the command key.
        on_command: gets what is to be done; in the thread of `receive`.
        on_answer: gets what was refused; in the same thread, or in the one that makes the desk.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        limits: Limits,
        clock: Clock,
        *,
        boot_id: str,
        bundle: Callable[[], Bundle | None],
        on_command: Callable[[Command], None],
        on_answer: Callable[[Answered], None],
    ) -> None:
        self._file = folder / FILE
        self._device = device
        self._limits = limits
        self._clock = clock
        self._boot_id = boot_id
        self._bundle = bundle
        self._on_command = on_command
        self._on_answer = on_answer
        self._writing = threading.Lock()
        self._told: dict[bool, tuple[int, int]] = {}
        """When a refusal was last told, and how many have not been since; for strangers' and for signed ones."""
        self._settled = 0
        """The number of the last lock that the door has answered."""
        self._lost_ns: int | None = None
        """When this process found no numbers."""
        self._kept = self._load()

    def receive(self, payload: bytes) -> None:
        """Take one message; from then on there is exactly one answer to each command that is new and genuine."""
        if not payload:
            return  # how a broker says that it forgets a retained one
        now, bundle = self._clock.now(), self._bundle()
        said = read_command(
            payload,
            bundle.command_pem if bundle else b"",
            device=self._device,
            now=now,
            last_number=self._kept.number,
            since=self._since(now),
        )
        if isinstance(said, Answered):
            self._refuse(said, now)
            return
        command = permitted(said, self._limits)
        try:
            with self._writing:
                self._keep(said, command, now)
        except OSError as error:
            why = f"its number cannot be kept ({error.strerror}): free some space on the door's disk"
            self._refuse(Answered(number=said.number, order=said.order, done=False, detail=why), now)
            return
        if isinstance(command, Answered):
            self._on_answer(command)
        else:
            self._on_command(command)

    def standing(self) -> Command | None:
        """The lock that was ordered before this start and still lasts.

        Within one boot its end is known exactly. After another, and while nobody has set the clock, it lasts its whole
        time once more: how long the door was without power is not known, and who is locked out can ask staff.
        """
        lock, now = self._kept.lock, self._clock.now()
        if lock is None or Order.LOCK not in self._limits.allow:
            return None
        left_s: float = lock.seconds
        if lock.boot_id and lock.boot_id == self._boot_id:
            left_s = (lock.until_ns - now.monotonic_ns) / S
        elif now.utc_trusted:
            left_s = (lock.until - now.utc).total_seconds()
        seconds = min(math.ceil(left_s), lock.seconds, self._limits.longest_s[Order.LOCK])
        return Command(number=lock.number, order=Order.LOCK, seconds=seconds) if seconds > 0 else None

    def settled(self, answer: CommandAnswer) -> None:
        """What came of a command: a lock that was refused, or has been released, does not stand.

        Only the first answer to a lock is the door's; later ones refuse repetitions of it. From a thread that may wait
        for the disk. What the disk refuses is written with the next command.
        """
        with self._writing, suppress(OSError):
            lock = self._kept.lock
            released = answer.done and answer.order == Order.RELEASE
            first = lock is not None and answer.number == lock.number != self._settled
            if first and answer.number is not None:
                self._settled = answer.number
            if lock is not None and (released or (first and not answer.done)):
                self._kept = replace(self._kept, lock=None)
                self._write(self._kept)

    @property
    def last_number(self) -> int:
        """Of the newest command that was taken; 0 for none."""
        return self._kept.number

    def _load(self) -> Kept:
        try:
            return _KEPT.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "damaged"
            detail = f"{FILE} cannot be read ({why}): commands issued before this start do not count"
            self._on_answer(Answered(number=None, order=None, done=False, detail=detail))
        self._lost_ns = self._clock.now().monotonic_ns
        return Kept()

    def _since(self, now: Now) -> datetime | None:
        """From when on commands count. A clock that was set since the start shows the start at its right time too."""
        if self._lost_ns is None or not now.utc_trusted:
            return self._kept.since
        return now.utc - timedelta(microseconds=(now.monotonic_ns - self._lost_ns) // US_NS)

    def _keep(self, said: Said, command: Command | Answered, now: Now) -> None:
        lock = self._kept.lock
        if isinstance(command, Command) and command.order is Order.LOCK:
            lock = Lock(
                number=command.number,
                seconds=command.seconds,
                until=now.utc.astimezone(UTC) + timedelta(seconds=command.seconds),
                boot_id=self._boot_id,
                until_ns=now.monotonic_ns + command.seconds * S,
            )
        self._write(Kept(number=said.number, since=self._since(now), lock=lock))

    def _write(self, kept: Kept) -> None:
        write_whole(self._file, _KEPT.dump_json(kept))
        self._kept = kept

    def _refuse(self, answer: Answered, now: Now) -> None:
        told_ns, untold = self._told.get(answer.number is None, (None, 0))
        if told_ns is not None and now.monotonic_ns - told_ns < REPORT_EVERY_NS:
            self._told[answer.number is None] = (told_ns, untold + 1)
            return
        self._told[answer.number is None] = (now.monotonic_ns, 0)
        more = f"; {untold} more were refused since the last report" if untold else ""
        self._on_answer(replace(answer, detail=answer.detail + more))


def limits_of(settings: CommandSettings) -> Limits:
    """What a site's settings allow."""
    longest_s = {
        Order.UNLOCK: settings.longest_unlock_s,
        Order.LOCK: settings.longest_lock_s,
        Order.MUTE: settings.longest_mute_s,
    }
    return Limits(allow=frozenset(map(Order, settings.allow)), longest_s=longest_s)
