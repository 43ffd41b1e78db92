"""The box's own program in the guest: tells every change of a line, and does what the host asks for.

It belongs to the box, not to the firmware, and uses what Debian's own Python has. It speaks JSON lines on a virtio
console. Changes come from the kernel's tracing of GPIO, which records from the moment the kernel starts, and from
probes on gpio-sim, so that none is missed and each has the kernel's time. Requests: {"id", "do", ...}; see `_DO`.
"""

import base64
import errno
import http.client
import json
import os
import re
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

PORT = Path("/dev/virtio-ports/pibox")
TRACING = Path("/sys/kernel/tracing")
CHIP = Path("/sys/devices/platform")
RUN = Path("/run/pibox")
NTP_EPOCH_S = 2_208_988_800
CHANGE = re.compile(rb"^\s*(?P<task>.+?)-(?P<pid>\d+)\s.*?\s(?P<at>\d+\.\d+): (?P<kind>\w+): (?P<rest>.*)$")
FIELD = re.compile(rb"\b(\d+) (in|out|set|get)\s*\(?(-?\d+)\)?|offset=(?:0x)?([0-9a-f]+)")


class Port:
    """Lines to and from the host."""

    def __init__(self) -> None:
        while not PORT.exists():
            time.sleep(0.05)
        self._fd = os.open(PORT, os.O_RDWR)
        self._lock = threading.Lock()

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send one."""
        rest = memoryview(json.dumps(what).encode() + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def asked(self) -> Any:
        """Requests, for ever."""
        parts: list[bytes] = []
        while True:
            try:
                got = os.read(self._fd, 1 << 16)
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EIO}:
                    raise
                got = b""
            if not got:
                time.sleep(0.1)  # the host has not opened its end
                continue
            *ends, rest = got.split(b"\n")
            for end in ends:
                yield json.loads(b"".join([*parts, end]))
                parts.clear()
            parts.append(rest)


def base() -> int:
    """The kernel's own number of the chip's first line, as its tracing gives them."""
    for chip in Path("/sys/class/gpio").glob("gpiochip*"):
        if (chip / "label").read_text().startswith("pinctrl-"):
            return int((chip / "base").read_text())
    return 0


def change_of(line: bytes, first: int) -> dict[str, Any] | None:
    """One line of the trace, or None for what is not about a line's level."""
    found = CHANGE.match(line)
    field = found and FIELD.search(found["rest"])
    if not found or not field or field[2] == b"get":
        return None
    if field[4]:
        gpio, kind, value = int(field[4], 16), found["kind"].decode(), 0
    else:
        gpio, kind, value = int(field[1]) - first, field[2].decode(), int(field[3])
    by = f"{found['task'].decode(errors='replace')}-{found['pid'].decode()}"
    return {"line": gpio, "kind": kind, "value": value, "at": float(found["at"]), "by": by}


def watch(port: Port) -> None:
    """Tell every change, from the oldest that the kernel has kept."""
    first = base()
    with (TRACING / "trace_pipe").open("rb", buffering=0) as pipe:
        kept = b""
        while True:
            *lines, kept = (kept + pipe.read(1 << 16)).split(b"\n")
            for change in filter(None, (change_of(line, first) for line in lines)):
                port.tell({"change": change})


def pull(asked: Mapping[str, Any]) -> None:
    """Work a contact, or read a level: gpio-sim's own files."""
    (pulls,) = CHIP.glob(f"gpio-sim.*/gpiochip*/sim_gpio{asked['line']}/pull")
    pulls.write_text("pull-up" if asked["up"] else "pull-down")


def levels(_asked: Mapping[str, Any]) -> dict[str, int]:
    """All lines as they are now."""
    files = CHIP.glob("gpio-sim.*/gpiochip*/sim_gpio*/value")
    return {path.parent.name.removeprefix("sim_gpio"): int(path.read_text()) for path in files}


class Scene:
    """What the camera sees: frames one after another, the last of which stays."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def play(self, asked: Mapping[str, Any]) -> None:
        """Show these from now on, in place of what was shown before; `again`: from the first, for ever."""
        frames = [zlib.decompress(base64.b64decode(frame)) for frame in asked["frames"]]
        self._ended.set()
        self._ended = threading.Event()
        self._put(frames[0])
        if len(frames) > 1:
            words, more = (frames, 1 / asked["fps"], self._ended), {"again": asked["again"]}
            threading.Thread(target=self._follow, args=words, kwargs=more, daemon=True).start()

    def _follow(self, frames: list[bytes], every_s: float, ended: threading.Event, *, again: bool) -> None:
        at = 0
        while not ended.wait(every_s) and (again or at + 1 < len(frames)):
            at = (at + 1) % len(frames)
            self._put(frames[at])

    def _put(self, luma: bytes) -> None:
        new = RUN / "scene.new"
        new.write_bytes(luma)
        new.rename(RUN / "scene")


def gone(asked: Mapping[str, Any]) -> None:
    """Pull the camera's cable, or plug it in."""
    if asked["gone"]:
        (RUN / "camera-gone").touch()
    else:
        (RUN / "camera-gone").unlink(missing_ok=True)


def run(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command as root."""
    done = subprocess.run(
        asked["words"],
        input=asked.get("stdin", "").encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=asked.get("within_s", 60),
        check=False,
    )
    return {"code": done.returncode, "said": done.stdout.decode(errors="replace")}


def page(asked: Mapping[str, Any]) -> str:
    """What a page of the kiosk's says; starting a program to ask takes an emulated machine seconds."""
    asking = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
    try:
        asking.request("GET", asked["path"])
        return asking.getresponse().read().decode()
    finally:
        asking.close()


def rows(asked: Mapping[str, Any]) -> list[list[object]]:
    """What a query of a SQLite file gives, as any program but its writer sees it: nothing that is not committed."""
    with closing(sqlite3.connect(f"file:{asked['path']}?mode=ro", uri=True, timeout=20)) as base:
        return [list(row) for row in base.execute(asked["query"])]


class TimeServer:
    """An NTP server on loopback, so that systemd-timesyncd can be told any time."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._serves = False

    def set(self, asked: Mapping[str, Any]) -> None:
        """From now on answer with this UTC time, in seconds since 1970."""
        self._ahead_s = asked["utc"] - time.clock_gettime(time.CLOCK_BOOTTIME)
        if not self._serves:
            self._serves = True
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.bind(("127.0.0.1", 123))
            while True:
                packet, who = listening.recvfrom(512)
                now = self._stamp()
                head = struct.pack(">BBbbII4s", 0x24, 1, packet[2], -20, 0, 0, b"BOX\0")
                listening.sendto(head + now + packet[40:48] + now + now, who)

    def _stamp(self) -> bytes:
        utc = time.clock_gettime(time.CLOCK_BOOTTIME) + self._ahead_s + NTP_EPOCH_S
        return struct.pack(">II", int(utc), int((utc % 1) * (1 << 32)))


TIME, SCENE = TimeServer(), Scene()
_DO: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "pull": pull,
    "levels": levels,
    "scene": SCENE.play,
    "gone": gone,
    "run": run,
    "page": page,
    "rows": rows,
    "time": TIME.set,
}


def answer(port: Port, asked: Mapping[str, Any]) -> None:
    """Do what is asked, and say what came of it."""
    try:
        port.tell({"id": asked["id"], "answer": _DO[asked["do"]](asked)})
    except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it
        port.tell({"id": asked["id"], "error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Serve for ever, also while the machine shuts down."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    port = Port()
    port.tell({"hello": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "at": time.monotonic()})
    threading.Thread(target=watch, args=(port,), daemon=True).start()
    for asked in port.asked():
        threading.Thread(target=answer, args=(port, asked), daemon=True).start()


if __name__ == "__main__":
    main()
