"""A mosquitto that can be killed, stopped and told to refuse; part of `torture/broker.py`."""

import base64
import hashlib
import os
import signal
import subprocess
from pathlib import Path

from demo.broker import program
from demo.processes import free_port
from kiosk import wire

PASSWORD = "a door's password"  # noqa: S105 - of a broker that lives for a minute
SETTINGS = """user root
listener {port} {host}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
persistence false
set_tcp_nodelay true
max_inflight_messages 20
max_queued_messages 100000
"""


class Mosquitto:
    """The broker, which can be treated badly."""

    def __init__(self, folder: Path, host: str, users: list[str], space: str) -> None:
        self.port = free_port()
        self._folder, self._users = folder, users
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(SETTINGS.format(port=self.port, host=host, folder=folder), encoding="utf-8")
        self._within = ["ip", "netns", "exec", space] if space else []
        self._address, self._space = (host, self.port), space
        self.let_in()
        self.start()

    def start(self) -> None:
        """Start it, with nothing in its memory."""
        command = [*self._within, program(), "-c", str(self._settings)]
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self, sign: signal.Signals) -> None:
        """End it."""
        self._process.send_signal(sign)
        self._process.wait(30.0)

    def signal(self, sign: signal.Signals) -> None:
        """Tell it something."""
        self._process.send_signal(sign)

    def let_in(self, *, log_in: bool = True, publish: bool = True) -> None:
        """Write who may log in and who may publish events; it takes effect at SIGHUP."""
        doors = self._users if log_in else []
        users = [f"{user}:{_hashed(PASSWORD)}" for user in [*doors, "city-ingest"]]
        rights = ["user city-ingest", "topic readwrite #", f"pattern readwrite {wire.ROOT}/%u/state"]
        rights += [f"pattern read {wire.ROOT}/%u/#", f"pattern write {wire.ROOT}/%u/heartbeat"]
        rights += [f"pattern write {wire.ROOT}/%u/event/+"] if publish else []
        for name, lines in (("passwords", users), ("acl", rights)):
            file = self._folder / name
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            file.chmod(0o600)


def _hashed(password: str) -> str:
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
