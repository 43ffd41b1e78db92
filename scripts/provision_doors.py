"""The proof's own side: a city, a broker, machines, kiosk-fleet as a technician runs it, and what is seen of a door.

Nothing here asks kiosk-fleet whether it has done well: that is looked at on the machine's console, and at the broker.
Used by `provision_cases.py` and `provision_proof.py`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provision_lab import GATEWAY, PASSWORD, USER, Box, Lab, Machine, now

from city import certificates_cli, office

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report."""

    what: str
    seen: str
    good: bool
    seconds: float


class Proof:
    """All of it, on one lab."""

    def __init__(self, folder: Path, lab: Lab, bundles: Path) -> None:
        self.folder, self._lab = folder, lab
        self._machines: dict[str, Machine] = {}
        self._good = bundles
        self.rows: list[Row] = []
        self._city = folder / "city"
        office.make_keys(self._city, datetime.now(UTC))  # noqa: TID251 - a script
        certificates_cli.make(self._city, broker=[GATEWAY], devices=[], users=[], now=datetime.now(UTC))  # noqa: TID251
        shipped = ROOT / "config" / "broker"
        text = (shipped / "mosquitto.conf").read_text(encoding="utf-8").replace("/etc/mosquitto/kiosk", str(self._city))
        settings = folder / "mosquitto.conf"
        settings.write_text(f"{text.replace('/var/lib/mosquitto', str(folder))}\nuser root\n", encoding="utf-8")
        shutil.copy(shipped / "acl", self._city)
        self._broker_log = folder / "mosquitto.log"
        with self._broker_log.open("ab") as log:
            subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(settings)], stdout=log, stderr=log)

    def boot(self, boxes: Sequence[Box]) -> None:
        """Take machines out of their boxes."""
        for box in boxes:
            self._machines[box.name] = self._lab.unpack(box)

    def machine(self, name: str) -> Machine:
        """One of them."""
        return self._machines[name]

    def note(self, what: str, seen: str, *, good: bool, seconds: float) -> None:
        """Add a line to the report, and say it now."""
        self.rows.append(Row(what, seen, good, seconds))
        print(f"{'ok ' if good else 'BAD'} {seconds:7.1f} s  {what}: {seen}", flush=True)

    def inventory(self, doors: Mapping[str, str], **more: object) -> Path:
        """An inventory of these doors and addresses."""
        lines = ["[defaults]", 'hardware = "simulated"', 'site = "proof"', 'direction = "entry"']
        lines += [
            f'user = "{USER}"',
            "[settings.uplink]",
            f'host = "{GATEWAY}"',
            "[settings.clock]",
            'trust = "always"',
        ]
        lines += ["[settings.camera]", "width = 320", "height = 240", "fps = 5"]
        lines += ["[settings.city_data]", 'risk_list = "none"']
        for section, table in more.items():
            lines += [f"[sites.proof.{section}]", *(f"{k} = {json.dumps(v)}" for k, v in dict(table).items())]  # type: ignore[call-overload]
        for name, address in doors.items():
            lines += ["[[doors]]", f'device = "{name}"', f'host = "{address}"', 'place = "place-0042"']
            lines += [f'access_point = "{name}"']
        path = self.folder / "doors.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def fleet(self, verb: str, inventory: Path, *words: str, release: Path | None = None) -> dict[str, Any]:
        """Run kiosk-fleet; its report, with `code`."""
        process = self.start(verb, inventory, *words, release=release)
        told, said = process.communicate(f"{PASSWORD}\n")
        report: dict[str, Any] = json.loads(told) if told.startswith("{") else {"doors": [], "said": told + said}
        return {**report, "code": process.returncode}

    def start(self, verb: str, inventory: Path, *words: str, release: Path | None = None) -> "subprocess.Popen[str]":
        """Start kiosk-fleet."""
        command = [sys.executable, "-m", "fleet.cli", verb, str(inventory), "--ask-password", *words]
        if verb in {"plan", "apply", "update"}:
            folder = release or self._good
            command += ["--json", "--release", str(folder), "--signers", str(folder / "release-signers")]
            command += ["--city", str(self._city)]
        elif verb != "trust":
            command.append("--json")
        environment = {**os.environ, "HOME": str(self.folder), "SSH_AUTH_SOCK": ""}
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def state(self, name: str) -> str:
        """What the door is, seen from its own console: everything installed and configured, and the process itself."""
        machine = self.machine(name)
        files = "find /opt/kiosk /etc/kiosk /etc/systemd/system -printf '%p %i %T@ %m %u %g\\n' | sort | sha256sum"
        pid = machine.run("systemctl", "show", "kiosk", "--property=MainPID,NRestarts,ActiveState")
        return machine.run("sh", "-c", files) + pid

    def release(self, name: str) -> str:
        """Which release runs there, and whether."""
        machine = self.machine(name)
        active = machine.run("systemctl", "is-active", "kiosk").strip()
        return f"{Path(machine.run('readlink', '/opt/kiosk/current').strip()).name} {active}"

    def outbox(self, name: str) -> str:
        """The outbox and the configuration of a door, as far as an update must leave them alone."""
        machine = self.machine(name)
        rows = machine.run(
            "runuser", "-u", "kiosk", "--", "python3", "-c",
            "import sqlite3; c = sqlite3.connect('/var/lib/kiosk/outbox.sqlite3');"
            "print([(t, c.execute(f'select count(*) from {t}').fetchone()) for (t,) in"
            " c.execute(\"select name from sqlite_master where type = 'table'\")])",
        )  # fmt: skip
        return rows + machine.run("sh", "-c", "cat /etc/kiosk/*.toml /etc/kiosk/keys/* | sha256sum")

    def came_in(self, name: str) -> bool:
        """Whether the broker let this door in by its certificate."""
        return f"u'{name}'" in self._broker_log.read_text(encoding="utf-8")


def statuses(report: Mapping[str, Any]) -> dict[str, str]:
    """Door by door."""
    return {door["device"]: door["status"] for door in report["doors"]}


def counted(report: Mapping[str, Any]) -> str:
    """How many doors ended how."""
    found = list(statuses(report).values())
    told = ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found)) or str(report.get("said"))
    red = [door["detail"] for door in report["doors"] if door["status"] == "red"]
    return f"{told}; {red[0]}" if red else told


def details(report: Mapping[str, Any], device: str) -> str:
    """What the report says of one door."""
    return next(str(door["detail"]) for door in report["doors"] if door["device"] == device)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and how long it took."""
    began = now()
    given = work()
    return given, now() - began
