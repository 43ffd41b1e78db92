"""How the computer itself is: heat, power, memory, disk. Each trouble is a sentence; the rest is for diagnostics.

Reads what Linux and the Pi's firmware tell in /proc and /sys, so it needs no program and no rights. Decides what is
trouble; refuses to know what follows. The daemon asks in a thread of its own, because a sick card blocks.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HOT_C, COOL_C = 80.0, 75.0
"""The Pi slows itself down from 80 °C on (Raspberry Pi documentation, "Frequency management and thermal control")."""
LEAST_MEMORY_MB, ENOUGH_MEMORY_MB = 60, 90
"""Below, the kernel begins to throw programs out of a Pi with 1 GB."""
LEAST_DISK_MB, ENOUGH_DISK_MB = 100, 150
"""A full outbox of 100,000 events, as configured at first, takes about that."""
UNDER_VOLTAGE, FREQUENCY_CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
"""Bits of get_throttled that speak of now (Raspberry Pi documentation, vcgencmd)."""
CHECK_EVERY_S = 10.0
MB = 1024 * 1024

TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"
THROTTLING = "sys/devices/platform/soc/soc:firmware/get_throttled"
MEMORY = "proc/meminfo"
UPTIME = "proc/uptime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One look at the machine; None where it does not tell. `throttled` are the firmware's bits."""

    temperature_c: float | None
    throttled: int | None
    memory_free_mb: int | None
    disk_free_mb: int | None
    up_s: int | None


class Machine:
    """This computer.

    Args:
        folder: on the disk that matters, where the outbox is.
        root: where /proc and /sys are.
    """

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder = folder
        self._root = root
        self._hot = self._short = self._full = False

    def vitals(self) -> Vitals:
        """Look."""
        heat, bits = self._read(TEMPERATURE), self._read(THROTTLING)
        up = self._read(UPTIME).split()
        return Vitals(
            temperature_c=int(heat) / 1000 if heat.lstrip("-").isdigit() else None,
            throttled=int(bits, 16) if bits else None,
            memory_free_mb=_memory_free_mb(self._read(MEMORY)),
            disk_free_mb=self._disk_free_mb(),
            up_s=int(float(up[0])) if up else None,
        )

    def trouble(self, seen: Vitals) -> str:
        """What a technician must hear of, in one text; empty where all is well.

        What is over its limit must come well below it to be well again.
        """
        self._hot = _over(seen.temperature_c, HOT_C, COOL_C, was=self._hot)
        self._short = _under(seen.memory_free_mb, LEAST_MEMORY_MB, ENOUGH_MEMORY_MB, was=self._short)
        self._full = _under(seen.disk_free_mb, LEAST_DISK_MB, ENOUGH_DISK_MB, was=self._full)
        bits = seen.throttled or 0
        told = {
            f"hotter than {HOT_C:.0f} °C: give the housing air or shade": self._hot,
            "too little voltage: use the Pi's own power supply and a short, thick cable": bits & UNDER_VOLTAGE,
            "slowed down by heat or power": bits & (FREQUENCY_CAPPED | THROTTLED | SOFT_LIMIT),
            f"less than {LEAST_MEMORY_MB} MB of memory left: stop what else runs here": self._short,
            f"less than {LEAST_DISK_MB} MB of disk left beside the outbox: free it": self._full,
        }
        return "; ".join(text for text, holds in told.items() if holds)

    def watch(self, stopping: threading.Event, tell: Callable[[str], None], stamp: Callable[[], None]) -> None:
        """Look every ten seconds until `stopping`; `tell` gets the trouble, or an empty text."""
        while not stopping.is_set():
            stamp()
            tell(self.trouble(self.vitals()))
            stopping.wait(CHECK_EVERY_S)

    def _read(self, name: str) -> str:
        try:
            return (self._root / name).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def _disk_free_mb(self) -> int | None:
        try:
            seen = os.statvfs(self._folder)
        except OSError:
            return None
        return seen.f_bavail * seen.f_frsize // MB


def _memory_free_mb(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return int(amount.split()[0]) // 1024
    return None


def _over(value: float | None, limit: float, well: float, *, was: bool) -> bool:
    return value is not None and value >= (well if was else limit)


def _under(value: float | None, limit: float, well: float, *, was: bool) -> bool:
    return value is not None and value < (well if was else limit)
