"""Four doors with one thing wrong each, as `kiosk doctor` sees them; docs/operations.md shows what it prints.

Each is a real door's folder, and the doctor a process of its own; brokers and other programs are real too.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kiosk.doctor.finding import Finding, Mark, table
from kiosk.testing.carriers import code_modules
from tests.builders import REPOSITORY
from tests.doctor import CityBroker, noisy, site
from tests.mosquitto import Ear, Mosquitto, free_port
from tests.waiting import until

WIDTH = 100
"""Columns of the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What one run of the doctor found, and its exit code."""

    findings: list[Finding]
    code: int

    @property
    def wrong(self) -> str:
        """The bad findings with their fixes, as printed; without the summary."""
        return table([finding for finding in self.findings if finding.mark is Mark.BAD], colour=False, width=WIDTH)


def kiosk(*words: str) -> list[str]:
    """The command line of one of our programs."""
    return [sys.executable, "-m", "kiosk", *words]


def door(folder: Path, uplink: str, *, covered: bool = False) -> Path:
    """A door whose camera shows a picture of its folder; the answer is its configuration."""
    (folder / "images").mkdir()
    modules = np.where(np.pad(code_modules(b"nobody's"), 4), 30, 210).astype(np.uint8)
    picture = (
        noisy(90)[0].repeat(2, axis=0).repeat(2, axis=1) if covered else modules.repeat(8, axis=0).repeat(8, axis=1)
    )
    assert cv2.imwrite(str(folder / "images" / "1.png"), picture)
    config = site(folder, uplink)
    text = config.read_text(encoding="utf-8")
    text = text.replace('source = "v4l2"\npath = "/dev/video99"', 'source = "images"\npath = "images"\nfps = 10')
    config.write_text(text, encoding="utf-8")
    return config


def examined(config: Path, folder: Path) -> Examined:
    """Run the doctor; what differs from run to run is written as it would be on a device."""
    done = subprocess.run(
        kiosk("doctor", "--json", "--config", str(config)),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60.0,
        check=False,
    )
    said = done.stdout.replace(f"{Path(sys.executable).name} -m kiosk", "kiosk").replace(str(folder), "/etc/kiosk")
    said = re.sub(r"\d{4}-\d\d-\d\d", "2021-11-17", re.sub(r"process \d+", "process 812", said))
    return Examined(
        findings=[Finding(**fields | {"mark": Mark(fields["mark"])}) for fields in json.loads(said)["findings"]],
        code=done.returncode,
    )


def broker_down(folder: Path, stack: ExitStack) -> Examined:
    """Nothing listens at the broker's port."""
    del stack
    return examined(door(folder, f"port = {free_port()}\ntls = false\n"), folder)


def expired_certificate(folder: Path, stack: ExitStack) -> Examined:
    """The door's own, five days ago."""
    city = CityBroker(folder)
    stack.callback(city.mosquitto.start().stop)
    return examined(door(folder, city.uplink(days=5)), folder)


def taken_line(folder: Path, stack: ExitStack) -> Examined:
    """Somebody is walking through the lines in another terminal."""
    broker = Mosquitto(folder)
    stack.callback(broker.start().stop)
    config = door(folder, f"port = {broker.port}\ntls = false\n")
    log = stack.enter_context((folder / "selftest.log").open("wb"))
    other = subprocess.Popen(
        kiosk("selftest", "--config", str(config), "lines"), stdin=subprocess.PIPE, stdout=log, cwd=REPOSITORY
    )
    stack.callback(other.communicate, b"")
    stack.callback(other.terminate)
    until(lambda: (folder / "selftest.log").stat().st_size > 0, 20.0, what="the selftest has begun")
    return examined(config, folder)


def covered_camera(folder: Path, stack: ExitStack) -> Examined:
    """A hand, tape or cardboard before the lens; the city's broker is there, and somebody listens."""
    broker = Mosquitto(folder)
    stack.callback(broker.start().stop)
    stack.callback(Ear(broker.port, "kiosk/v1/+/heartbeat").close)
    return examined(door(folder, f"port = {broker.port}\ntls = false\n", covered=True), folder)


CASES: dict[str, Callable[[Path, ExitStack], Examined]] = {
    "broker-down": broker_down,
    "expired-certificate": expired_certificate,
    "taken-line": taken_line,
    "covered-camera": covered_camera,
}
