"""A daemon in this process, all of it real but its camera, its lines and, where a test wants it, its time."""

from collections.abc import Sequence
from pathlib import Path

from city.provision import new_secrets, provision
from city.signing import load_key
from kiosk.camera import FrameSource
from kiosk.clock import Clock
from kiosk.config import Loaded, load
from kiosk.daemon import Daemon
from kiosk.messages import InputLine
from kiosk.parts import Parts
from kiosk.supervisor import ServiceNotifier
from kiosk.testing.lines import RecordingInputs, RecordingLines
from tests.builders import REPOSITORY

SUBJECT_KEY = bytes(32)

CONFIG = """
rules_file = "{rules}"
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
[lines]
pin_factory = "mock"
[outbox]
path = "outbox.sqlite3"
[uplink]
port = 1
tls = false
[screen]
port = 0
[clock]
trust = "always"
"""


class Door:
    """One door in a folder of its own; nobody answers at its broker's port.

    Args:
        folder: where its files go.
        clock: its time.
        camera: what stands in for the camera.
        notify: the address of a service manager's socket.
        inputs: the contacts, one on a GPIO each, from 4 on.
    """

    def __init__(
        self, folder: Path, clock: Clock, camera: FrameSource, notify: str = "", inputs: Sequence[InputLine] = ()
    ) -> None:
        held = new_secrets(SUBJECT_KEY)
        self.issuer = load_key(held.declaration)
        provision(folder, held, clock.now().utc)
        config = folder / "kiosk.toml"
        contacts = "\n".join(["[inputs]", *(f"{line} = {gpio}" for gpio, line in enumerate(inputs, 4))])
        text = CONFIG.format(rules=REPOSITORY / "config" / "rules.toml") + contacts
        config.write_text(text, encoding="utf-8")
        self.outbox = folder / "outbox.sqlite3"
        self.loaded: Loaded = load(config)
        self.lines = RecordingLines(frozenset(self.loaded.settings.lines.gpios()))
        self.inputs = RecordingInputs(inputs)
        self.daemon = Daemon(
            Parts(
                loaded=self.loaded,
                clock=clock,
                open_camera=lambda: camera,
                lines=self.lines,
                notifier=ServiceNotifier(notify),
                inputs=self.inputs if inputs else None,
            )
        )
