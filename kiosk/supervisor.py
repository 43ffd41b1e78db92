"""Is every stage making progress? Tells systemd, which restarts what hangs.

Each stage stamps its progress from its own thread; the core thread asks here who is late. A hung stage means that
systemd is told at once, and ends and starts the process (systemd/kiosk.service). The core itself is watched by
`DeadMan`: it ends every relay's pulse, so it may be away for seconds only.
"""

import faulthandler
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial

from kiosk.clock import Clock, S

LATE_AFTER_NS = 10 * S
"""Every thread stamps at least once a second; ten is a hang, not load."""
MACHINE_LATE_AFTER_NS = 300 * S
"""It looks every ten seconds, and a sick card may hold it up for minutes without harm to the door."""
CORE_HUNG_S = 5.0
"""The thread that ends every relay's pulse may be away for so long."""
UPLINK_LATE_AFTER_NS = 45 * S
"""Name resolution blocks for as long as the system's resolver likes (resolv.conf(5): 5 s, twice, for each of three
servers); the uplink stamps between two brokers."""


class Supervisor:
    """Keeps the latest stamp of every stage.

    Args:
        clock: for stamps.
        late_after_ns: the stages that must make progress, and how long each may go without.
    """

    def __init__(self, clock: Clock, late_after_ns: Mapping[str, int]) -> None:
        self._clock = clock
        self._late_after_ns = dict(late_after_ns)
        self._stamps = dict.fromkeys(late_after_ns, clock.now().monotonic_ns)

    def stamp_for(self, stage: str) -> Callable[[], None]:
        """Give a stage the function it calls when it has made progress."""
        return partial(self._stamp, stage)

    def late(self) -> list[str]:
        """Name the stages that have made no progress for too long."""
        now_ns = self._clock.now().monotonic_ns
        return [stage for stage, at_ns in self._stamps.items() if now_ns - at_ns > self._late_after_ns[stage]]

    def _stamp(self, stage: str) -> None:
        self._stamps[stage] = self._clock.now().monotonic_ns


class DeadMan:
    """Ends this process when the core has not come back in time, so that ExecStopPost puts the lines to rest.

    Args:
        after_s: how long it may be away; 0 where nothing watches, as in a test.
    """

    def __init__(self, after_s: float = 0.0) -> None:
        self._after_s = after_s

    def rearm(self) -> None:
        """The core is here. The clock that runs now is a thread of the C library: no code in Python can hold it up."""
        if self._after_s:
            faulthandler.dump_traceback_later(self._after_s, exit=True)

    def disarm(self) -> None:
        """The lines are at rest."""
        if self._after_s:
            faulthandler.cancel_dump_traceback_later()


class ServiceNotifier:
    """sd_notify(3), as much of it as we need; silent when systemd did not start us.

    Args:
        address: the value of NOTIFY_SOCKET; a leading "@" means the abstract namespace.
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls) -> "ServiceNotifier":
        """Use the socket systemd named for us, if any."""
        return cls(os.environ.get("NOTIFY_SOCKET", ""))

    @property
    def is_heard(self) -> bool:
        """Whether systemd started us."""
        return bool(self._address)

    def say(self, state: str) -> None:
        """Send one state, such as "READY=1", "WATCHDOG=1" or "STOPPING=1"."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect(self._address)
            line.sendall(state.encode())
