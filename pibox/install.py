"""Puts the release on the box's card as a technician does; the result is the disk that every run begins with.

kiosk-fleet's own program for doors unpacks the release and those that updates are tried with, before the card is made:
emulated, each takes a quarter of an hour. Everything after it, keys, certificate, configuration, units and the gate, is
`kiosk-fleet apply` over SSH.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from fleet import bundle
from fleet.agent import agent
from pibox.build import ROOT, Cache, make_card, prepared
from pibox.door import FIRE
from pibox.machine import BoxFault, Machine, overlay, within
from pibox.outside import City, grey, technician
from pibox.releases import HANGS, Edit, derived

DISK = "installed.raw"
SIGNERS = "release-signers"
UPDATES: Mapping[str, tuple[Edit, ...]] = MappingProxyType({"hanging": (HANGS,), "second": ()})
"""Releases to try updates with, by what their names end in: the folders of their bundles are in `updates`."""
TRIES = 5
"""A busy host may keep the box from answering for the quarter of a minute that ends kiosk-fleet's connection."""


def make_releases(cache: Cache) -> list[bundle.Bundle]:
    """Bundle the tree as it is (scripts/bundle), and derive the updates from it."""
    key, out, more = cache.folder / "release.key", cache.folder / "bundles", updates(cache)
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for folder in (out, more):
        shutil.rmtree(folder, ignore_errors=True)
    more.mkdir()
    words = ["--key", str(key), "--out", str(out), "--os", cache.system.suite, "--arch", "x86_64"]
    subprocess.run([str(ROOT / "scripts/bundle"), *words], check=True, stdout=subprocess.DEVNULL)
    for tag, edits in UPDATES.items():
        derived(out, more, tag, key, *edits)
    return [_bundle(folder) for folder in (out, *(more / tag for tag in UPDATES))]


def updates(cache: Cache) -> Path:
    """Where the bundles are that updates are tried with."""
    return cache.folder / "updates"


def _bundle(folder: Path) -> bundle.Bundle:
    (made,) = bundle.in_folder(folder, folder / SIGNERS)
    return made


def install(cache: Cache, *, again: bool) -> Path:
    """The installed disk; made anew when asked, or when there is none.

    Raises:
        BoxFault: the door is not green in the end; the text is what kiosk-fleet said.
    """
    disk = cache.folder / DISK
    if disk.exists() and not again:
        return disk
    with _said("release: scripts/bundle"):
        releases = make_releases(cache)
    with _said("releases unpacked by the door's own program"):
        _stage(cache, releases)
    with _said("card"):
        make_card(cache)
    with _said("first boot, kiosk-fleet apply"):
        part = cache.folder / "installing.qcow2"
        _apply(cache, part)
        raw = cache.folder / "installing.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(part), str(raw)], check=True)
        raw.replace(disk)
        part.unlink()
    return disk


def _stage(cache: Cache, releases: Sequence[bundle.Bundle]) -> None:
    """What `kiosk-fleet apply` has the door do with what was sent, in the door's file system."""
    incoming, unpacked, aside = (cache.root / name for name in ("tmp/incoming", "opt/kiosk/releases", "tmp/releases"))
    for folder in (incoming, aside, cache.root / "opt/kiosk"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (incoming, aside):
        folder.mkdir(parents=True)
    (cache.root / "tmp/agent.pyz").write_bytes(agent())
    try:
        for release in releases:
            for entry in release.entries:
                shutil.copyfile(release.folder / entry.path, incoming / entry.sha256)
            asked = {"manifest": release.manifest, "signature": release.signature, "signers": release.signers}
            told = json.dumps({**asked, "incoming": "/tmp/incoming", "packages": []})
            (cache.root / "tmp/asked.json").write_text(told, encoding="utf-8")
            prepared(cache, "python3 -I /tmp/agent.pyz stage </tmp/asked.json")
            # The door keeps what it runs and what it ran before, and here it runs nothing yet.
            (unpacked / release.name).rename(aside / release.name)
        for folder in aside.iterdir():
            folder.rename(unpacked / folder.name)
    finally:
        shutil.rmtree(incoming)
        shutil.rmtree(aside)


def _apply(cache: Cache, disk: Path) -> None:
    city = City(cache.folder / "outside")
    machine = Machine(cache, overlay(cache, cache.card, disk), cache.folder)
    try:
        city.open()
        machine.power_on()
        machine.wait_boot(within_s=1800)
        machine.ask("pull", line=FIRE, up=False)
        machine.show(grey())
        machine.ask("time", utc=time.time())
        within(1800, lambda: machine.run("systemctl", "is-active", "ssh").strip() == "active", "sshd")
        for verb in ("trust", "apply"):
            _insisted(cache, city, machine, verb)
        machine.run("systemctl", "poweroff")
        machine.wait_off(1800)
    finally:
        machine.close()
        city.close()


def _insisted(cache: Cache, city: City, machine: Machine, verb: str) -> None:
    said = ""
    for _ in range(TRIES):
        code, said = technician(cache, city, machine, verb)
        if code == 0:
            return
    raise BoxFault(f"kiosk-fleet {verb}: {said}")


@contextmanager
def _said(what: str) -> Iterator[None]:
    print(what, flush=True)
    began = time.monotonic()
    yield
    print(f"      {time.monotonic() - began:.0f} s", flush=True)
