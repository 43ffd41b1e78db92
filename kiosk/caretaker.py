"""Looks after the daemon from its core thread: tells systemd how it is, and what may cure what does not recover.

Decides when systemd hears of progress and of its lack, and remembers what was tried over restarts. What a stage is, and
how long each may take, others say (docs/supervision.md).
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kiosk import ladder
from kiosk.city_files import write_whole
from kiosk.clock import Now, S
from kiosk.ladder import Ladder, Step
from kiosk.supervisor import DeadMan, ServiceNotifier, Supervisor

log = logging.getLogger("kiosk")

FEED_EVERY_NS = 1 * S
"""systemd wants to hear of us within WatchdogSec=10."""


class Caretaker:
    """Asked at every turn of the core.

    Args:
        supervisor: knows who makes progress.
        notifier: to systemd.
        dead_man: ends the process should the core not come back.
        tried: the file that remembers restarts and reboots.
        on_late: told which stages make no progress, or an empty text.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        notifier: ServiceNotifier,
        dead_man: DeadMan,
        tried: Path,
        *,
        on_late: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._notifier = notifier
        self._dead_man = dead_man
        self._tried = tried
        self._on_late = on_late
        self._ladder = Ladder(ladder.decoded(_read(tried)))
        self._fed_ns = 0
        self._was_late = False

    def stamp_for(self, stage: str) -> Callable[[], None]:
        """Give a stage the function it calls when it has made progress."""
        return self._supervisor.stamp_for(stage)

    def look(self, now: Now, *, down: bool) -> Step | None:
        """Notice who is late, and what to do about a driver that is `down`, if anything; that is on disk already."""
        late = ", ".join(self._supervisor.late())
        self._on_late(late and f"no progress in {late}; the kiosk is about to be restarted")
        if now.monotonic_ns - self._fed_ns < FEED_EVERY_NS:
            return None
        self._fed_ns = now.monotonic_ns
        if not late or self._was_late:  # all are late once after a pause of the whole machine
            self._notifier.say("WATCHDOG=trigger" if late else "WATCHDOG=1")
        self._was_late = bool(late)
        self._dead_man.rearm()
        return self._climb(now, down=down)

    def _climb(self, now: Now, *, down: bool) -> Step | None:
        cure = self._ladder.step(now, down=down)
        if cure:
            with suppress(OSError):  # without a disk to remember on, systemd's own limit ends a row of restarts
                write_whole(self._tried, ladder.encoded(self._ladder.tried).encode())
            log.error("out of order for %d s: asking for a %s", ladder.PATIENCE_NS // S, cure)
        return cure


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
