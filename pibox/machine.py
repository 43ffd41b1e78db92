"""One run of the box: qemu, its window on lines and camera, its plugs. Knows nothing of the firmware.

Times in what it tells are the guest's CLOCK_MONOTONIC, in seconds. Called by the
verbs of `scripts/pibox` and by tests/system.
"""

import base64
import itertools
import json
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.processes import free_port
from pibox.build import Cache

QEMU = "qemu-system-x86_64"
KERNEL = (
    "console=ttyS0 net.ifnames=0 panic=0 quiet loglevel=4 mitigations=off systemd.show_status=0"
    " trace_event=gpio:* trace_clock=mono trace_buf_size=4M"
)
ICOUNT = "shift=1,sleep=on"
"""The box's clocks go by the instructions it has run (2 ns each), and by the host's only while it idles: on a busy
host it is slow as a whole, and no time-out in it is shorter for that."""
CPU = "Westmere"
"""The least that numpy's wheels run on (x86-64-v2): what emulates AVX is slower than doing without, by a fifth."""
MEMORY_MB = "1536"
HOST = "10.0.2.2"
"""The machine that runs the box, as the box sees it."""


class BoxFault(Exception):
    """The box does not do what it is told; the text says what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a line as the kernel recorded it.

    `kind`: "set" to a level, "out" or "in" (value 0: it worked), "let_go": nobody holds the line any more, and its
    resistor decides. `at` is seconds of CLOCK_MONOTONIC; `by` is the task.
    """

    line: int
    kind: str
    value: int
    at: float
    by: str


class Machine:
    """A Pi on the desk. Power is off until `power_on`.

    Args:
        cache: where its kernel is.
        disk: a qcow2 image of its own.
        folder: for its sockets and what its console says.
    """

    def __init__(self, cache: Cache, disk: str, folder: Path) -> None:
        self.changes: list[Change] = []
        """Every change since power-on, of all boots."""
        self.told: Callable[[Change], object] = str
        """What else gets each."""
        self.boots: list[str] = []
        self.console = folder / "console.log"
        self.ssh_port = free_port()
        self._cache, self._disk = cache, disk
        self._sockets = Path(tempfile.mkdtemp(prefix="pibox-", dir="/var/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._said_hello = threading.Condition()

    def power_on(self) -> None:
        """Start it; it is not up yet."""
        self.cut_power()
        for name in ("window", "qmp"):
            (self._sockets / name).unlink(missing_ok=True)
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._channel = self._connected("window")
        threading.Thread(target=self._listen, args=(self._channel,), daemon=True).start()

    def _command(self) -> list[str]:
        boot, sockets = self._cache.boot, self._sockets
        return [
            *(
                "nice",
                "-n",
                "19",
                QEMU,
                "-accel",
                "tcg",
                "-icount",
                ICOUNT,
                "-cpu",
                CPU,
                "-smp",
                "1",
                "-m",
                MEMORY_MB,
            ),
            *("-kernel", str(boot / "vmlinuz"), "-initrd", str(boot / "initrd.img"), "-append", KERNEL),
            *("-drive", self._disk),
            *("-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"),
            *("-device", "virtio-net-pci,netdev=net0,id=nic"),
            *("-device", "virtio-serial", "-chardev", f"socket,id=window,path={sockets / 'window'},server=on,wait=off"),
            *("-device", "virtserialport,chardev=window,name=pibox", "-device", "virtio-rng-pci"),
            *("-device", "i6300esb", "-action", "watchdog=reset", "-rtc", "base=utc,clock=vm"),
            *("-qmp", f"unix:{sockets / 'qmp'},server=on,wait=off"),
            *("-serial", f"file:{self.console}", "-display", "none", "-nodefaults", "-no-user-config"),
        ]

    def _connected(self, name: str) -> socket.socket:
        for _ in range(300):
            if self._process and self._process.poll() is not None:
                raise BoxFault(f"qemu does not start: {self.console.read_text(errors='replace')[-2000:]}")
            made = socket.socket(socket.AF_UNIX)
            with suppress(OSError):
                made.connect(str(self._sockets / name))
                return made
            made.close()
            time.sleep(0.05)
        raise BoxFault(f"qemu has no socket {name}")

    def _listen(self, channel: socket.socket) -> None:
        with suppress(OSError), channel.makefile("rb") as lines:
            for line in lines:
                try:
                    self._take(json.loads(line))
                except ValueError:
                    continue  # a line that a power cut tore

    def _take(self, told: dict[str, Any]) -> None:
        if change := told.get("change"):
            self.changes.append(Change(**change))
            self.told(self.changes[-1])
        elif hello := told.get("hello"):
            with self._said_hello:
                self.boots.append(hello)
                self._said_hello.notify_all()
        elif answer := self._answers.pop(told["id"], None):
            answer.put(told)

    def wait_boot(self, number: int = 1, within_s: float = 300.0) -> None:
        """Wait until its window has opened so many times."""
        with self._said_hello:
            if not self._said_hello.wait_for(lambda: len(self.boots) >= number, within_s):
                raise BoxFault(f"no boot within {within_s} s: {self.console.read_text(errors='replace')[-3000:]}")

    def ask(self, do: str, wait_s: float = 900.0, **more: object) -> Any:
        """Have the box's agent do something."""
        number = next(self._numbers)
        answer = self._answers[number] = queue.Queue()
        assert self._channel is not None
        with self._sending:
            self._channel.sendall(json.dumps({"id": number, "do": do, **more}).encode() + b"\n")
        told = self._answered(answer, wait_s, f"{do} {more.get('words', '')}")
        if "error" in told:
            raise BoxFault(f"{do}: {told['error']}")
        return told["answer"]

    def _answered(self, answer: "queue.Queue[dict[str, Any]]", wait_s: float, what: str) -> dict[str, Any]:
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            with suppress(queue.Empty):
                return answer.get(timeout=1.0)
            if self._process is None or self._process.poll() is not None:
                raise BoxFault(f"{what}: the machine is off: {self.console.read_text(errors='replace')[-300:]}")
        raise BoxFault(f"{what}: no answer within {wait_s} s")

    def run(self, *words: str, within_s: float = 120.0, stdin: str = "") -> str:
        """What a command says, as root, both streams; it may fail. `within_s` is by the box's own clock."""
        return str(self.ask("run", words=words, within_s=within_s, stdin=stdin)["said"])

    def show(self, *frames: NDArray[np.uint8], fps: float = 6.0, again: bool = False) -> None:
        """Put these before the camera, 1280x720 each; the last stays, or they begin `again`."""
        packed = [base64.b64encode(zlib.compress(frame.tobytes(), 1)).decode() for frame in frames]
        self.ask("scene", frames=packed, fps=fps, again=again)

    def qmp(self, execute: str, **arguments: object) -> None:
        """Tell qemu itself."""
        with self._connected("qmp") as connection, connection.makefile("rwb") as lines:
            lines.readline()
            for command in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                lines.write(json.dumps(command).encode() + b"\n")
                lines.flush()
                told = json.loads(lines.readline())
                if "error" in told:
                    raise BoxFault(f"{execute}: {told['error']}")

    def plug_network(self, *, connected: bool) -> None:
        """Its network cable."""
        self.qmp("set_link", name="nic", up=connected)

    def hang(self) -> None:
        """Make its kernel stand still, as a driver that loops with interrupts off would."""
        number = next(self._numbers)
        assert self._channel is not None
        crash = {"id": number, "do": "run", "words": ["sh", "-c", "echo c >/proc/sysrq-trigger"]}
        with self._sending:
            self._channel.sendall(json.dumps(crash).encode() + b"\n")

    def cut_power(self) -> None:
        """All at once: what its kernel had not written to the disk is gone."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._channel:
            self._channel.close()
            self._channel = None

    def wait_off(self, within_s: float = 180.0) -> None:
        """Wait until it has powered itself off."""
        assert self._process is not None
        self._process.wait(within_s)

    def close(self) -> None:
        """Take it away."""
        self.cut_power()
        shutil.rmtree(self._sockets, ignore_errors=True)


def overlay(cache: Cache, below: Path, path: Path) -> str:
    """A disk of its own for one run, that keeps only what differs; the answer is qemu's word for it."""
    kind = "qcow2" if below.suffix == ".qcow2" else "raw"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", kind, str(path)],
        check=True,
        cwd=cache.folder,
    )
    return drive(path)


def drive(path: Path) -> str:
    """How qemu is told of a disk."""
    return f"file={path},if=virtio,format=qcow2,cache=writeback,discard=unmap"


def within(seconds: float, holds: Callable[[], object], what: str) -> float:
    """Wait until something holds; the answer is how long that took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise BoxFault(f"not within {seconds:.0f} s: {what}")
        time.sleep(1.0)  # each look takes the box some of its time
    return time.monotonic() - began
