"""Real connections: many doors in one process, raw MQTT 5 over TCP, and a real mosquitto that is killed.

The doors' law is scaled so that they come as often as 32,000 would. What is counted is what the broker says it took.
"""

import asyncio
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

import numpy as np
from herd import STOOD_S, Law, peak

from demo.processes import MOSQUITTO, Started, free_port
from kiosk.clock import S, SystemClock

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SETTINGS = MOSQUITTO + "log_dest stderr\nlog_type notice\nlog_type information\n"
TOOK = "New connection from"
STARTED = "running"
AT_FIRST_A_SECOND = 1000
"""Connects while the crowd assembles."""
DOWN_S = 1.0
BACK_WITHIN_S = 120.0
SPARE_FILES = 200


@dataclass(slots=True)
class Count:
    """What was seen on either side."""

    tried: int = 0
    connected: set[int] = field(default_factory=set)
    took_s: list[float] = field(default_factory=list)
    back_s: dict[int, float] = field(default_factory=dict)


def connect_packet(door: str) -> bytes:
    """CONNECT of MQTT 5, 3.1: clean start, keep-alive 60 s, no properties, no will."""
    body = b"\0\4MQTT\5\2\0\x3c\0" + len(door).to_bytes(2, "big") + door.encode()
    return bytes([0x10, len(body)]) + body


async def live(at: int, law: Law, port: int, count: Count) -> None:
    """Be one door, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        since_s = loop.time()
        count.tried += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(connect_packet(f"door-{at:05}"))
                answer = await reader.readexactly(4)
                if answer[0] == 0x20 and answer[3] == 0:
                    since_s = count.back_s[at] = loop.time()
                    count.connected.add(at)
                    await reader.read()
            finally:
                writer.close()
        stood_s = loop.time() - since_s if at in count.connected else 0.0
        count.connected.discard(at)
        await asyncio.sleep(law.next_s(stood_s=stood_s, alert=False))


async def until_all(count: Count, doors: int) -> bool:
    """Whether all are connected in time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + BACK_WITHIN_S
    while len(count.connected) < doors and loop.time() < deadline_s:  # noqa: ASYNC110 - one look for thousands of doors
        await asyncio.sleep(0.05)
    return len(count.connected) == doors


class RealBroker:
    """Mosquitto on one port; notes when it took each connection."""

    def __init__(self, folder: Path, count: Count) -> None:
        self.port = free_port()
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(SETTINGS.format(port=self.port), "utf-8")
        self._log = folder / "mosquitto.log"
        self._count = count
        self._clock = SystemClock()
        self._process: Started | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.stop()

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        running = asyncio.Event()
        loop = asyncio.get_running_loop()

        def heard(line: str) -> None:
            if TOOK in line:
                self._count.took_s.append(self._clock.now().monotonic_ns / S)
            elif STARTED in line:
                loop.call_soon_threadsafe(running.set)

        assert PROGRAM is not None
        self._process = Started("the broker", [PROGRAM, "-c", self._settings], self._log, heard)
        await asyncio.wait_for(running.wait(), 20.0)

    def kill(self) -> None:
        """End it with signal 9."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.stop()


async def assemble(port: int, laws: Sequence[Law], random: Random, count: Count) -> list[asyncio.Task[None]]:
    """Bring all doors up, not all at once."""

    async def come(at: int, law: Law) -> None:
        await asyncio.sleep(random.uniform(0.0, len(laws) / AT_FIRST_A_SECOND))
        await live(at, law, port, count)

    return [asyncio.create_task(come(at, law)) for at, law in enumerate(laws)]


async def restart(laws: Sequence[Law], random: Random, stand_s: float) -> dict[str, int | float]:
    """Kill the broker under so many doors, start it again, and count."""
    count = Count()
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder, RealBroker(Path(folder), count) as broker:
        await broker.start()
        tasks = await assemble(broker.port, laws, random, count)
        came = await until_all(count, len(laws))
        await asyncio.sleep(stand_s)
        count.tried, count.took_s, count.back_s = 0, [], {}
        broker.kill()
        await asyncio.sleep(DOWN_S)
        await broker.start()
        up_s = loop.time()
        back = came and await until_all(count, len(laws))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    waits_s = np.array(list(count.back_s.values()) or [STOOD_S]) - up_s
    half, most, last = (round(float(wait_s), 1) for wait_s in np.percentile(waits_s, [50, 95, 100]))
    return {
        "doors": len(laws),
        "back": len(laws) if back else len(count.back_s),
        "connects": count.tried,
        "took": len(count.took_s),
        "peak": peak(np.sort(np.array(count.took_s))),
        "half_back_s": half,
        "most_back_s": most,
        "all_back_s": last,
    }


def room_for(doors: int) -> bool:
    """Whether this process and the broker may each open so many files; asks for as many as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = doors + SPARE_FILES
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted <= max(soft, hard)
