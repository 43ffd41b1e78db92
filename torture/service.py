"""As much of systemd as a unit file of ours asks for: starts, watches, ends, rests, starts again, gives up.

Every setting is read from `systemd/kiosk.service`; only paths of the installed kiosk are put in this tree's place.
Modelled on systemd.service(5) and sd_notify(3): NotifyAccess=main by the kernel's word on the sender, WATCHDOG=1 and
WATCHDOG=trigger, SIGABRT and SIGCONT to a process that is late and SIGKILL after TimeoutStopSec, ExecStopPost after
every end, the start limit, and OnFailure with MONITOR_EXIT_STATUS. A reboot is only noted, and the limit begins anew.
"""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from kiosk.clock import S, SystemClock

ROOT = Path(__file__).parents[1]
INSTALLED = "/opt/kiosk/current"
PACKAGE = f"{INSTALLED}/lib/python3*/site-packages/kiosk"
CREDENTIALS = struct.Struct("3i")


class Happened(NamedTuple):
    """Something systemd did or saw; `what` is one of start, ready, late, end, rested, failed, reboot.

    `detail` is the exit status; of ready and rested the CPU it took until then, in s and ms.
    """

    at_ns: int
    what: str
    detail: str = ""


def settings_of(unit: Path) -> dict[str, str]:
    """Every setting of a unit file; the last of those that may come more than once."""
    text = unit.read_text(encoding="utf-8").replace("\\\n", "")
    rows = (line.partition("=") for line in text.splitlines() if line[:1].isalpha())
    return {name: value.strip() for name, _, value in rows}


def _cpu_s(pid: int) -> float:
    """CPU of a process so far (proc(5): utime and stime)."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Service:
    """One unit, run in a thread until `close`.

    Args:
        command: what stands for ExecStart.
        folder: for its runtime and state directories and its log.
        config: what stands for /etc/kiosk/kiosk.toml.
        environment: for the service, besides systemd's own.
    """

    def __init__(self, command: Sequence[str], folder: Path, config: Path, environment: Mapping[str, str]) -> None:
        self.happened: list[Happened] = []
        self.pid = 0
        self._clock = SystemClock()
        self._unit = settings_of(ROOT / "systemd" / "kiosk.service")
        self._recover = settings_of(ROOT / "systemd" / "kiosk-recover.service")["ExecStart"]
        self._command = list(command)
        self._folder, self._config, self._runtime = folder, config, folder / "run-kiosk"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._environment = {
            **os.environ,
            **environment,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "RUNTIME_DIRECTORY": str(self._runtime),
        }
        self._stdin: IO[str] | None = None
        self._starts: deque[int] = deque()
        self._ending = threading.Event()
        self._fake_systemctl()
        self._thread = threading.Thread(target=self._run, name="service")
        self._thread.start()

    def tell(self, word: str) -> None:
        """Say something to the process's standard input, as no systemd does."""
        assert self._stdin is not None
        print(word, file=self._stdin, flush=True)

    def reset_failed(self) -> None:
        """Count starts from here."""
        self._starts.clear()

    def since(self, at_ns: int, *what: str) -> list[Happened]:
        """What of these happened from then on."""
        return [one for one in self.happened if one.at_ns >= at_ns and one.what in what]

    def close(self) -> None:
        """As `systemctl stop`."""
        self._ending.set()
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        starts, interval_ns = self._starts, int(self._unit["StartLimitIntervalSec"]) * S
        prevent = self._unit["RestartPreventExitStatus"].split()
        while not self._ending.is_set():
            now_ns = self._note("start")
            starts.append(now_ns)
            while starts and starts[0] < now_ns - interval_ns:
                starts.popleft()
            status = self._live()
            if self._ending.is_set():
                return
            if status in prevent or len(starts) >= int(self._unit["StartLimitBurst"]):
                self._note("failed", status)
                if not self._recovered(status):
                    return
                starts.clear()
            self._ending.wait(float(self._unit["RestartSec"]))

    def _live(self) -> str:
        """From start to rest; the answer is the exit status."""
        self._runtime.mkdir()
        with (self._folder / "kiosk.log").open("ab") as log:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stderr=log, text=True, env=self._environment, cwd=self._runtime
            )
        self._stdin, self.pid = process.stdin, process.pid
        ends = os.pidfd_open(process.pid)
        self._watch(process.pid, ends)
        at_ns, self.pid = self._clock.now().monotonic_ns, 0
        os.close(ends)
        code = process.wait()
        status = str(code) if code >= 0 else signal.Signals(-code).name.removeprefix("SIG")
        self.happened.append(Happened(at_ns, "end", status))
        self._rest()
        shutil.rmtree(self._runtime)
        return status

    def _watch(self, pid: int, ends: int) -> None:
        """Until it has ended, by itself or by us."""
        allowed_s, ready = float(self._unit["TimeoutStartSec"]), False
        deadline_ns = self._clock.now().monotonic_ns + round(allowed_s * S)
        while True:
            left_s = (deadline_ns - self._clock.now().monotonic_ns) / S
            came = select.select([self._socket.fileno(), ends], [], [], max(0.0, left_s))[0]
            if ends in came:
                return
            word = self._heard(pid) if came else "late"
            if word == "READY=1":
                self._note("ready", f"{_cpu_s(pid):.2f}")
                allowed_s, ready = float(self._unit["WatchdogSec"]), True
            elif word == "STOPPING=1":
                allowed_s, ready = float(self._unit["TimeoutStopSec"]), False
            elif word in ("WATCHDOG=trigger", "late"):
                self._note("late", word)
                self._end(pid, ends, signal.SIGABRT if ready else signal.SIGTERM)
                return
            if word in ("READY=1", "STOPPING=1") or (ready and word == "WATCHDOG=1"):
                deadline_ns = self._clock.now().monotonic_ns + round(allowed_s * S)

    def _heard(self, pid: int) -> str:
        word, extra, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        senders = [CREDENTIALS.unpack(data)[0] for _, kind, data in extra if kind == socket.SCM_CREDENTIALS]
        return word.decode() if senders == [pid] else ""  # NotifyAccess=main

    def _end(self, pid: int, ends: int, how: signal.Signals) -> None:
        for one in (how, signal.SIGCONT):
            os.kill(pid, one)
        if not select.select([ends], [], [], float(self._unit["TimeoutStopSec"]))[0]:
            os.kill(pid, signal.SIGKILL)
            select.select([ends], [], [])

    def _rest(self) -> None:
        program = f"{ROOT}/torture/resting.py {ROOT}/kiosk/rest_lines.py"
        command = self._unit["ExecStopPost"].lstrip("-").replace(f"{PACKAGE}/rest_lines.py", program)
        command = command.replace("/run/kiosk/", f"{self._runtime}/").replace(
            "/etc/kiosk/kiosk.toml", str(self._config)
        )
        self._note("rested", f"{1000 * self._sh(command):.0f}")

    def _recovered(self, status: str) -> bool:
        """Run what OnFailure names; whether it rebooted the machine."""
        log = self._folder / "systemctl.log"
        log.write_bytes(b"")
        (self._folder / "kiosk-recover").mkdir(exist_ok=True)
        # Called here only where systemd has given up, or was told not to start again.
        told_not_to = status in self._unit["RestartPreventExitStatus"].split()
        result = "exit-code" if told_not_to else "start-limit-hit"
        command = self._recover.replace(PACKAGE, f"{ROOT}/kiosk")
        self._sh(command, MONITOR_SERVICE_RESULT=result, MONITOR_EXIT_STATUS=status)
        rebooted = "reboot" in log.read_text(encoding="utf-8")
        if rebooted:
            self._note("reboot")
        return rebooted

    def _sh(self, command: str, **extra: str) -> float:
        """Run it to its end; the answer is the CPU it took, in s."""
        words = command.replace(f"{INSTALLED}/bin/python", sys.executable).removeprefix("/bin/sh -c ").strip("'")
        path = f"{self._folder / 'bin'}:{os.environ['PATH']}"
        state = str(self._folder / "kiosk-recover")
        environment = {**self._environment, "PATH": path, "STATE_DIRECTORY": state, **extra}
        with (self._folder / "kiosk.log").open("ab") as log:
            shell = subprocess.Popen(["/bin/sh", "-c", words], env=environment, stderr=log)
            _, shell.returncode, spent = os.wait4(shell.pid, 0)
        return spent.ru_utime + spent.ru_stime

    def _fake_systemctl(self) -> None:
        fake = self._folder / "bin" / "systemctl"
        fake.parent.mkdir()
        fake.write_text(f'#!/bin/sh\necho "$@" >>{self._folder}/systemctl.log\n', encoding="utf-8")
        fake.chmod(0o755)

    def _note(self, what: str, detail: str = "") -> int:
        at_ns = self._clock.now().monotonic_ns
        self.happened.append(Happened(at_ns, what, detail))
        return at_ns
