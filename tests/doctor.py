"""A door for `kiosk doctor`: its folder, its case, and a city's broker with certificates in it."""

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from city import certificates
from city.provision import new_secrets, provision
from kiosk.camera import FrameSource, Luma, frame_of
from kiosk.clock import MS, SystemClock
from kiosk.config import Loaded, load
from kiosk.doctor.case import Case, Held, Running
from kiosk.doctor.finding import Finding
from kiosk.errors import CameraFault
from kiosk.gpio_alerts import pin_factory
from kiosk.messages import Exposure, Frame
from tests.builders import REPOSITORY
from tests.mosquitto import Mosquitto

DAY = timedelta(days=1)
DEVICE = "door-01"
SECRETS = new_secrets(bytes(32))
CONFIG = """
rules_file = "{rules}"
[door]
device = "door-01"
[camera]
source = "v4l2"
path = "/dev/video99"
[lines]
pin_factory = "mock"
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
[outbox]
path = "outbox.sqlite3"
[screen]
port = 0
[clock]
trust = "always"
[uplink]
host = "127.0.0.1"
"""
BROKER = """user root
listener {{port}} 127.0.0.1
allow_anonymous false
persistence false
cafile {folder}/ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
acl_file {acl}
"""


class Frames:
    """A camera that shows these pictures again and again, `gap_ms` apart, without waiting."""

    def __init__(self, pictures: Sequence[Luma], gap_ms: int = 33, exposure: Exposure | None = None) -> None:
        self._pictures = pictures
        self._gap_ns = gap_ms * MS
        self._exposure = exposure
        self.closed = False

    def frames(self) -> Iterator[Frame]:
        """See `FrameSource`."""
        for number, picture in enumerate(cycle(self._pictures)):
            yield frame_of(picture.copy(), number, number * self._gap_ns, self._exposure)

    def expose(self, exposure: Exposure | None) -> None:
        """See `FrameSource`."""

    def close(self) -> None:
        """See `FrameSource`."""
        self.closed = True


def no_camera() -> FrameSource:
    """What opening a camera that is not there does."""
    raise CameraFault("there is no /dev/video99: plug the camera in, or correct [camera] path")


def noisy(level: int, contrast: int = 0) -> list[Luma]:
    """Pictures of one surface, or of two halves that differ, each with a sensor's noise of its own."""
    rng = np.random.default_rng(11)
    still = np.full((360, 640), level, dtype=np.int16)
    still[:, 320:] += contrast
    noises = (rng.integers(-2, 3, size=still.shape, dtype=np.int16) for _ in range(4))
    return [np.clip(still + noise, 0, 255).astype(np.uint8) for noise in noises]


def site(folder: Path, uplink: str = "port = 1\ntls = false\n", more: str = "") -> Path:
    """Provision a door; the answer is its configuration."""
    provision(folder, SECRETS, SystemClock().now().utc)
    config = folder / "kiosk.toml"
    config.write_text(CONFIG.format(rules=REPOSITORY / "config" / "rules.toml") + uplink + more, encoding="utf-8")
    return config


def case(config: Path, *, view: dict[str, Any] | None = None, held: Held | None = None, **other: Any) -> Case:  # noqa: ANN401 - fields of `Case`
    """A door whose daemon does not run, or shows `view`, on a computer without systemd."""
    loaded: Loaded = load(config)
    running = Held(by="process 1", running=Running(view=view)) if view else Held()
    usual = Case(
        loaded=loaded,
        clock=SystemClock(),
        held=held or running,
        open_camera=no_camera,
        pin_factory=lambda: pin_factory("mock"),
        systemctl=lambda _words: None,
    )
    return replace(usual, **other)


def told(findings: list[Finding]) -> dict[str, str]:
    """What each says, with its mark."""
    return {finding.name: f"{finding.mark}: {finding.said}" for finding in findings}


class CityBroker:
    """A mosquitto that wants certificates, as the city's does.

    Args:
        folder: for its files.
        days: for how long its certificate is valid from ten days ago.
    """

    def __init__(self, folder: Path, days: int = 400) -> None:
        now = SystemClock().now().utc
        self.folder = folder
        self.authority = certificates.new_authority("city", now - 10 * DAY, 1000 * DAY)
        self._write("ca.pem", certificates.certificate_pem(self.authority.certificate))
        pair = certificates.new_server(self.authority, ["127.0.0.1"], now - 10 * DAY, days * DAY)
        self._pair("broker", pair)
        acl = REPOSITORY / "config" / "broker" / "acl"
        self.mosquitto = Mosquitto(folder, BROKER.format(folder=folder, acl=acl))

    def uplink(self, device: str = DEVICE, days: int = 400) -> str:
        """What a door's [uplink] says to log in as `device`."""
        now = SystemClock().now().utc
        self._pair("door", certificates.new_device(self.authority, device, now - 10 * DAY, days * DAY))
        files = {"ca_file": "ca.pem", "certificate_file": "door.pem", "key_file": "door.key"}
        return f"port = {self.mosquitto.port}\n" + "".join(
            f'{key} = "{self.folder / name}"\n' for key, name in files.items()
        )

    def _pair(self, name: str, pair: tuple[bytes, bytes]) -> None:
        self._write(f"{name}.pem", pair[0])
        self._write(f"{name}.key", pair[1])

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)


class Impostor:
    """Something that listens on a port and says one thing to whoever connects."""

    def __init__(self, says: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._says = says
        self.port = int(self._socket.getsockname()[1])

    def serve(self, stopped: Callable[[], bool]) -> None:
        """Answer until `stopped`; for a thread."""
        self._socket.settimeout(0.05)
        while not stopped():
            try:
                line, _ = self._socket.accept()
            except TimeoutError:
                continue
            with line:
                line.settimeout(2.0)
                line.recv(1024)
                line.sendall(self._says)
        self._socket.close()
