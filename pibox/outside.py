"""Everything around the door: the city's keys, its broker and ingest on this machine, the technician, and visitors.

All of it is the project's own: the city's verbs, `kiosk-fleet`, the demo's visitors. The broker can be cut.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from city import certificates_cli, office
from city.declare import declaration_payload
from city.provision import DECLARATION_KEY, SUBJECT_KEY
from city.signing import load_key
from demo.processes import free_port, start_city
from kiosk.credentials import subject_of
from kiosk.messages import Symptom
from kiosk.testing.visitors import Medium, Showing, frame_count, render
from pibox.build import ROOT, Cache
from pibox.machine import HOST, Machine

DEVICE = "door-box"
FPS = 6.0
BROKER_PACE = 0.1
"""The box's seconds are longer than the host's, and a broker that lives by the host's would not wait for its pings."""
MOSQUITTO = """user root
per_listener_settings true
persistence false
listener {tls} 127.0.0.1
cafile {folder}/devices-ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
listener {plain} 127.0.0.1
allow_anonymous true
"""
INVENTORY = """# Written by the box.
[defaults]
hardware = "{hardware}"
user = "pi"
[settings.uplink]
host = "{host}"
port = {broker}
heartbeat_s = 60
spread_s = 5
[settings.city_data]
risk_list = "none"
look_up = false
[settings.inputs]
entry_passage = 5
fire = 6
staff_override = 13
[[doors]]
device = "{device}"
host = "127.0.0.1"
port = {ssh}
place = "place-0042"
access_point = "main"
direction = "entry"
"""


class City:
    """Keys, a broker and the ingest.

    Args:
        folder: keeps the keys, and the ports that an installed door knows.
        work: keeps what the city is told; the same folder if not given.
    """

    def __init__(self, folder: Path, work: Path | None = None) -> None:
        self.folder, self.work = folder, work or folder
        self.keys = folder / "city"
        self._stack = ExitStack()
        self._broker: subprocess.Popen[bytes] | None = None
        now = datetime.now(UTC)
        if not self.keys.exists():
            folder.mkdir(parents=True, exist_ok=True)
            office.make_keys(self.keys, now - timedelta(days=30))
            certificates_cli.make(self.keys, broker=[HOST], devices=[], users=[], now=now - timedelta(days=30))
            (folder / "ports.json").write_text(json.dumps([free_port(), free_port()]), encoding="utf-8")
        self.tls, self.plain = json.loads((folder / "ports.json").read_text(encoding="utf-8"))

    def open(self) -> None:
        """Start broker and ingest."""
        self.plug_broker()
        self.ingest = start_city("ingest", self.work, self.plain, self._stack)

    def plug_broker(self) -> None:
        """Start the broker, and wait for it."""
        settings = self.work / "mosquitto.conf"
        settings.write_text(MOSQUITTO.format(tls=self.tls, plain=self.plain, folder=self.keys), encoding="utf-8")
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        slowly = {"LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1", "FAKETIME": f"+0 x{BROKER_PACE}"}
        with (self.work / "mosquitto.log").open("ab") as log:
            self._broker = subprocess.Popen(
                [program, "-c", str(settings)], stdout=log, stderr=log, env=os.environ | slowly
            )

    def cut_broker(self) -> None:
        """Kill it."""
        if self._broker:
            self._broker.kill()
            self._broker.wait()

    def close(self) -> None:
        """End all."""
        self._stack.close()
        self.cut_broker()

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What the city has committed, as it came: `ledger`, `sequence`, `kind`, and the body's own fields."""
        with closing(sqlite3.connect(self.work / "city.sqlite3")) as base:
            rows = base.execute("select ledger, sequence, kind, body from events order by id").fetchall()
        told = (
            {**json.loads(body), "ledger": ledger, "sequence": sequence, "kind": is_}
            for ledger, sequence, is_, body in rows
        )
        return [event for event in told if kind in {"", event["kind"]}]

    def code(self, number: int, *symptoms: Symptom, at: datetime | None = None) -> bytes:
        """The declaration of one synthetic person."""
        subject_key = (self.keys / SUBJECT_KEY).read_bytes()
        return declaration_payload(
            key=load_key((self.keys / DECLARATION_KEY).read_bytes()),
            sub=subject_of("id", f"048{number:09d}", subject_key),
            initials="B.O.X.",
            issued_at=(at or datetime.now(UTC)) - timedelta(hours=1),
            symptoms=symptoms,
        )


def visitor(payload: bytes, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of somebody who walks up, holds up a code and goes."""
    showing = Showing(codes=(payload,), medium=Medium.PHONE, seed=seed)
    for index in range(frame_count(showing, FPS)):
        yield _smooth(render(showing, index, fps=FPS, width=1280, height=720, noise_key=seed))


def technician(cache: Cache, city: City, machine: Machine, verb: str, release: Path | None = None) -> tuple[int, str]:
    """Run kiosk-fleet against the box, as a technician does; the answer is its exit code and what it said."""
    inventory = city.folder / "doors.toml"
    told = {"hardware": cache.system.hardware, "host": HOST, "broker": city.tls, "device": DEVICE}
    inventory.write_text(INVENTORY.format(**told, ssh=machine.ssh_port), encoding="utf-8")
    bundles = release or cache.folder / "bundles"
    command = [sys.executable, "-m", "fleet.cli", verb, str(inventory), "--identity", str(cache.key)]
    if verb in {"plan", "apply", "update"}:
        command += ["--release", str(bundles), "--signers", str(bundles / "release-signers"), "--city", str(city.keys)]
    if verb == "trust":
        command.append("--accept")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, done.stdout + done.stderr


def grey() -> NDArray[np.uint8]:
    """Nobody: the door as the simulated visitors see it when they have gone."""
    return _smooth(render(None, 0, width=1280, height=720, fps=FPS, noise_key=0))


def _smooth(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sixteen greys: without the sensor's noise, which the box's camera adds again, a frame is a tenth as long."""
    return np.asarray((frame & 0xF0) + 8, dtype=np.uint8)
