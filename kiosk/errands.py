"""Does what a command asks of the device itself, outside of the core, and answers.

One errand after the other, in a thread of its own: none takes a step of the door's time. Refuses to know who ordered
it, and ends no process: the daemon does, once the answer to `restart` is stored. The daemon runs `Errands.run`.
"""

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from kiosk.clock import Clock
from kiosk.device_keys import DeviceKeys
from kiosk.messages import Answered, Command, Order

RESYNC_WITHIN_S = 60
"""For bundle and list to come again; a list of a million people over 1.2 Mbit/s."""
LOOK_S = 0.5
"""How soon the end is noticed while the city is waited for."""
NO_CERTIFICATE = "this door logs in without a certificate ([uplink] certificate_file is empty)"

Resync = Callable[[Callable[[str], None]], None]
"""Asks for everything anew; what it is given is told once all has come, and what is held then."""


class Errands:
    """What a door does for the city besides being a door.

    Args:
        keys: this door's own.
        clock: for the life of certificates.
        diagnose: writes the report of the device's health.
        resync: fetches what the city sends to all.
        on_answer: gets each errand's outcome, in the errands' thread.
    """

    def __init__(
        self,
        keys: DeviceKeys,
        clock: Clock,
        *,
        diagnose: Callable[[], str],
        resync: Resync,
        on_answer: Callable[[Answered], None],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._resync = resync
        self._on_answer = on_answer
        self._closing = False
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ways: dict[Order, Callable[[Command], tuple[bool, str]]] = {
            Order.RESYNC: self._fetch_again,
            Order.RESTART: lambda _: (True, "restarting"),
            Order.ROTATE_KEY: self._rotate_key,
            Order.INSTALL_CERTIFICATE: self._install,
            Order.DIAGNOSTICS: lambda _: (True, diagnose()),
        }

    def do(self, command: Command) -> None:
        """Take on an errand. From any thread; returns at once."""
        self.later(partial(self._carry, command))

    def later(self, job: Callable[[], None]) -> None:
        """Take on whatever else may wait for a slow disk. From any thread; returns at once."""
        self._waiting.put(job)

    def close(self) -> None:
        """Let `run` end. Errands that wait stay undone, and unanswered. From any thread."""
        self._closing = True
        self._waiting.put(lambda: None)

    def run(self) -> None:
        """Do errands until `close`."""
        while not self._closing:
            self._waiting.get()()

    def _carry(self, command: Command) -> None:
        try:
            done, detail = self._ways[command.order](command)
        except OSError as error:
            done, detail = False, f"the disk refuses ({error.strerror})"
        self._on_answer(Answered(number=command.number, order=command.order, done=done, detail=detail))

    def _fetch_again(self, _command: Command) -> tuple[bool, str]:
        told: SimpleQueue[str] = SimpleQueue()
        self._resync(told.put)
        for _ in range(round(RESYNC_WITHIN_S / LOOK_S)):
            try:
                return True, told.get(timeout=LOOK_S)
            except Empty:
                if self._closing:
                    break
        return False, f"bundle and list have not both come within {RESYNC_WITHIN_S} s; what comes later is still taken"

    def _rotate_key(self, _command: Command) -> tuple[bool, str]:
        if not self._keys.used:
            return False, NO_CERTIFICATE
        return True, self._keys.new_request()

    def _install(self, command: Command) -> tuple[bool, str]:
        if not self._keys.used:
            return False, NO_CERTIFICATE
        objection = self._keys.install(command.text, self._clock.now().utc)
        held = self._keys.certificate
        until = f"in use, until {held.not_valid_after_utc:%Y-%m-%d}" if held else ""
        return not objection, objection or until
