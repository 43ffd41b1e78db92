"""`kiosk run` with hardware of the torture's, which does to its threads what it is told: `haunted.py TOML FOLDER RATE`.

The daemon is the real one, made of the parts that kiosk/cli.py gives it but camera, lines, contacts and clock. Words on
standard input: `hang NAME` and `crash NAME` for a thread, at its next call of a function of the kiosk's, outside of the
locks between threads; `hang core`, `lock core` (in Python, or holding the interpreter) and `crash core`; `hang camera`
(its driver comes back when it is closed) and `lose camera` (not even then). In FOLDER, `shown.npy` is what a visitor
holds up, and a camera is not there while `no-camera` is.
"""

import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from board import BoardLines

from kiosk import cli
from kiosk.clock import Clock, Now, SystemClock
from kiosk.config import load
from kiosk.daemon import Daemon
from kiosk.errors import CameraFault
from kiosk.ladder import Step
from kiosk.messages import Exposure, Frame
from kiosk.parts import Parts
from kiosk.supervisor import CORE_HUNG_S, DeadMan, ServiceNotifier
from kiosk.testing.lines import RecordingInputs

OURS = re.compile(r".*/(kiosk/(?!inbox|receipts)\w+|socketserver)\.py")
SIDES = (480, 640)
FPS = 10
CORE = "core"


class Curse:
    """What befalls which thread."""

    def __init__(self) -> None:
        self.on: dict[str, str] = {}

    def trace(self, frame: FrameType, _event: str, _arg: object) -> None:
        """Strike a thread where it calls a function; as `threading.settrace` wants it."""
        if not self.on or threading.current_thread().name not in self.on:
            return
        code = frame.f_code
        if OURS.fullmatch(code.co_filename) and code.co_name != "<lambda>":
            self.strike(threading.current_thread().name)

    def strike(self, name: str) -> None:
        """Hang or crash here."""
        how = self.on.pop(name)
        if how == "crash":
            raise RuntimeError("the torture's bug")
        if how == "lock":
            sum(range(10**12))
        threading.Event().wait()


class HauntedClock:
    """The machine's clock, at a pace; the core looks at it with every turn."""

    def __init__(self, rate: float, curse: Curse) -> None:
        self._clock, self._rate, self._curse = SystemClock(), rate, curse
        self._began = self._clock.now()

    def now(self) -> Now:
        """Read it."""
        if CORE in self._curse.on and threading.current_thread() is threading.main_thread():
            self._curse.strike(CORE)
        now, began = self._clock.now(), self._began
        gone_ns = round((now.monotonic_ns - began.monotonic_ns) * self._rate)
        later = began.utc + timedelta(microseconds=gone_ns / 1000)
        return Now(monotonic_ns=began.monotonic_ns + gone_ns, utc=later, utc_trusted=True)


class Haunted:
    """A camera before which people hold up what is in a file."""

    def __init__(self, folder: Path, clock: Clock, how: dict[str, str]) -> None:
        if (folder / "no-camera").exists():
            raise CameraFault("the camera cannot be opened (told so)")
        self._shown, self._clock, self._how = folder / "shown.npy", clock, how
        self._closed = threading.Event()
        self._random = np.random.default_rng(1)

    def frames(self) -> Iterator[Frame]:
        """Pictures with a little noise, as every camera's."""
        number, seen_ns, code = 0, 0, np.zeros((0, 0), np.uint8)
        while not self._closed.wait(1 / FPS):
            how = self._how.pop("camera", "")
            if how:
                (threading.Event() if how == "lose" else self._closed).wait()
                return
            luma = self._random.integers(126, 131, SIDES, dtype=np.uint8)
            if self._shown.exists():
                if self._shown.stat().st_mtime_ns != seen_ns:
                    seen_ns, code = self._shown.stat().st_mtime_ns, np.load(self._shown)
                luma[8 : 8 + code.shape[0], 8 : 8 + code.shape[1]] = code
            yield Frame(luma=luma, number=number, captured_ns=self._clock.now().monotonic_ns)
            number += 1

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """Let go."""
        self._closed.set()


def obey(curse: Curse) -> None:
    """Read words until the end of input."""
    for line in sys.stdin:
        how, name = line.split()
        curse.on[name] = how


def main(config: str, folder: Path, rate: float) -> int:
    """As `kiosk.cli._run`."""
    logging.basicConfig(level="INFO", format="%(levelname)s %(message)s", stream=sys.stderr)
    curse, loaded = Curse(), load(Path(config))
    clock, gpios = HauntedClock(rate, curse), loaded.settings.lines.gpios()
    threading.Thread(target=obey, args=(curse,), name="obey", daemon=True).start()
    threading.settrace(curse.trace)
    parts: dict[str, Any] = {
        "lines": BoardLines(gpios, folder / "board"),
        "inputs": RecordingInputs(loaded.settings.inputs.contacts()),
        "dead_man": DeadMan(CORE_HUNG_S),
    }
    with ExitStack() as stack:
        cli._alone(Path(config), stack)
        cli._note_lines(loaded.settings.lines)
        daemon = Daemon(
            Parts(
                loaded=loaded,
                clock=clock,
                open_camera=lambda: Haunted(folder, clock, curse.on),
                notifier=ServiceNotifier.from_environment(),
                **parts,
            )
        )
        signal.signal(signal.SIGTERM, lambda _number, _frame: daemon.stop())
        cure = daemon.run()
    return cli.DONE if cure is None else {Step.RESTART: cli.RESTART, Step.REBOOT: cli.REBOOT}[cure]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
