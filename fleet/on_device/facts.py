"""What a door is now, and what a technician may take away from it. Reads; changes nothing."""

import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleet.on_device.change import newest_result
from fleet.on_device.files import digest_of
from fleet.on_device.layout import Layout
from fleet.on_device.service import UNIT, Health, health, run, shown
from fleet.on_device.staging import missing

CERTIFICATE, KEY = "keys/device.pem", "keys/device.key"
RENEWED = "var/lib/kiosk/device.pem"
"""`kiosk.device_keys` keeps a renewed pair there: a key as well, which stays here."""
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n")


def facts(layout: Layout, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a plan is made from; `asked` names the files and system packages it is about."""
    return {
        "os": _os_release(layout).get("VERSION_CODENAME", "unknown"),
        "machine": platform.machine(),
        "model": _text(layout.root / "proc/device-tree/model").strip("\0"),
        "release": layout.release_now(),
        "releases": _releases(layout),
        "store": sorted(path.name for path in layout.store.iterdir()) if layout.store.is_dir() else [],
        "files": digests(layout, asked["files"]),
        "missing": missing(list(asked["packages"])),
        "key": (layout.config / KEY).exists(),
        "certificates": [_certificates(path) for path in (layout.config / CERTIFICATE, layout.root / RENEWED)],
        "service": shown(UNIT, "ActiveState").get("ActiveState", "unknown"),
        "enabled": [unit for unit in asked["units"] if shown(unit, "UnitFileState").get("UnitFileState") == "enabled"],
        "under_way": (layout.change / "before").is_dir(),
        "result": newest_result(layout),
    }


def digests(layout: Layout, paths: Iterable[str]) -> dict[str, str | None]:
    """SHA-256 of each file that is there."""
    return {path: digest_of(layout.at(path)) if layout.at(path).is_file() else None for path in paths}


def told(found: Health) -> dict[str, Any]:
    """A health as JSON."""
    return {"green": found.green, "by": found.by, "said": found.said}


def diagnostics(layout: Layout) -> dict[str, str]:
    """Texts for somebody who looks for a fault, by file name. None holds a person, a key or a password.

    The configuration is shown by `kiosk check-config`, which masks what is secret; the outbox by its counts alone.
    """
    kiosk, config = str(layout.current / "bin/kiosk"), str(layout.config / "kiosk.toml")
    as_kiosk = ["runuser", "-u", "kiosk", "--"]
    commands: dict[str, list[str]] = {
        "kiosk-journal.txt": ["journalctl", "--unit", "kiosk*", "--lines=2000", "--output=short-iso", "--no-pager"],
        "kiosk-status.txt": ["systemctl", "status", "--no-pager", "--lines=0", "kiosk*"],
        "system-errors.txt": ["journalctl", "--boot", "--priority=err", "--lines=300", "--no-pager"],
        "kernel.txt": ["journalctl", "--dmesg", "--lines=300", "--no-pager"],
        "configuration.txt": [*as_kiosk, kiosk, "check-config", config],
        "outbox.txt": [*as_kiosk, kiosk, "outbox", "show", "--config", config],
        "disk.txt": ["df", "-h", str(_existing(layout.home)), "/var"],
        "power.txt": ["vcgencmd", "get_throttled"],
        "clock.txt": ["timedatectl", "show"],
    }
    texts = {name: _said(command) for name, command in commands.items()}
    found = json.dumps(told(health(layout)), indent=1) if layout.current.exists() else "no release runs here"
    texts["health.txt"] = f"{found}\n"
    return texts


def _said(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not on this device\n"
    return run(command).stdout


def _releases(layout: Layout) -> list[str]:
    folder = layout.releases
    return sorted(path.name for path in folder.iterdir() if layout.whole(path.name)) if folder.is_dir() else []


def _os_release(layout: Layout) -> dict[str, str]:
    lines = _text(layout.root / "etc/os-release").splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _certificates(path: Path) -> str:
    return "".join(_PEM.findall(_text(path)))


def _existing(path: Path) -> Path:
    while not os.access(path, os.F_OK):
        path = path.parent
    return path
