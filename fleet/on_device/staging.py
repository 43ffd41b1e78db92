"""A release, from files that somebody sent to a folder that can run: checked, whole, and not yet in use.

Takes only what the door's own list of signers has signed, and files only by their SHA-256. Nothing comes from a
network but the system packages that a bundle does not hold (the camera's, which belong to the system's image).
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleet.on_device.files import Refused, digest_of, sync_folder, sync_tree, write_whole
from fleet.on_device.layout import Layout
from fleet.on_device.service import run

NAMESPACE = "kiosk-release"
"""ssh-keygen's: a signature for anything else does not count as one over a release."""
SPARE_BYTES = 50_000_000
"""Stays free beside a release: the outbox and the journal live on the same card."""
INSTALL_WITHIN_S = 1200.0


def stage(layout: Layout, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Install a release beside those that are there; the answer says whether it had to be.

    Raises:
        Refused: not signed by the right key, files missing or damaged, no room, a package or wheel that fails.
    """
    manifest = _verified(layout, asked["manifest"], asked["signature"], asked["signers"])
    name = str(manifest["name"])
    if layout.whole(name):
        return {"release": name, "installed": False}
    try:
        _tidy(layout)
        _room(layout, manifest, Path(asked["incoming"]))
        _take_in(layout, manifest, Path(asked["incoming"]))
        _system_packages(layout, manifest)
        _build(layout, manifest, asked["manifest"])
    except OSError as error:
        shutil.rmtree(layout.releases / name, ignore_errors=True)
        raise Refused(f"the release cannot be installed: {error}; is the card full or damaged?") from error
    return {"release": name, "installed": True}


def install_packages(names: list[str], sources: list[str]) -> None:
    """apt, quietly; `sources` are options that say where from.

    Raises:
        Refused: with apt's last words.
    """
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *sources, *names]
    done = run([*environment, *command], within_s=INSTALL_WITHIN_S)
    if done.returncode:
        words = " ".join(done.stdout.strip().splitlines()[-2:])
        raise Refused(
            f"apt cannot install {', '.join(names)} ({words}); connect the device to a network with Debian's packages"
            " once, or flash an image that has them"
        )


def missing(names: list[str]) -> list[str]:
    """Those of the system packages that are not installed."""
    return [name for name in names if "ok installed" not in run(["dpkg-query", "-W", "-f${Status}", name]).stdout]


def _verified(layout: Layout, manifest: str, signature: str, signers: str) -> dict[str, Any]:
    if not layout.signers.exists():
        write_whole(layout.signers, signers.encode())
    elif layout.signers.read_text(encoding="utf-8") != signers:
        raise Refused(f"this door trusts another release key; if that is meant, remove {layout.signers} there first")
    kept = layout.home / "manifest.sig"
    write_whole(kept, signature.encode())
    who = ["-I", NAMESPACE, "-n", NAMESPACE, "-f", str(layout.signers), "-s", str(kept)]
    done = run(["ssh-keygen", "-Y", "verify", *who], stdin=manifest)
    kept.unlink()
    if done.returncode:
        raise Refused(f"the release is not signed by a key this door trusts: {done.stdout.strip()}")
    told: dict[str, Any] = json.loads(manifest)
    return told


def _room(layout: Layout, manifest: Mapping[str, Any], incoming: Path) -> None:
    moved = sum(row["bytes"] for row in _rows(manifest) if not (layout.store / row["sha256"]).exists())
    if incoming.exists() and incoming.stat().st_dev == layout.store.stat().st_dev:
        moved = 0
    needed = moved + int(manifest["unpacked_bytes"]) + SPARE_BYTES
    free = shutil.disk_usage(layout.home).free
    if free < needed:
        raise Refused(
            f"{layout.home} has {free / 1e6:.0f} MB free, the release needs {needed / 1e6:.0f} MB;"
            " free some (journalctl --vacuum-size=50M, apt-get clean) or take a larger card"
        )


def _rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(manifest["files"].values())


def _take_in(layout: Layout, manifest: Mapping[str, Any], incoming: Path) -> None:
    for path, row in manifest["files"].items():
        kept = layout.store / row["sha256"]
        if kept.exists():
            continue
        sent = incoming / row["sha256"]
        if not sent.exists():
            raise Refused(f"{path} has not been sent; run kiosk-fleet apply again")
        if digest_of(sent) != row["sha256"]:
            sent.unlink()
            raise Refused(f"{path} was damaged on the way; run kiosk-fleet apply again")
        part = kept.with_suffix(".new")
        shutil.move(sent, part)
        part.chmod(0o644)
        shutil.chown(part, "root", "root")
        part.rename(kept)
    sync_folder(layout.store)


def _system_packages(layout: Layout, manifest: Mapping[str, Any]) -> None:
    if names := missing(list(manifest["packages"])):
        folder = _laid_out(layout, manifest, "debs")
        listed = layout.home / "debs.list"
        listed.write_text(f"deb [trusted=yes] file:{folder} ./\n", encoding="utf-8")
        own = [f"Dir::Etc::SourceList={listed}", "Dir::Etc::SourceParts=-", f"Dir::State::Lists={folder}/lists"]
        sources = [word for option in own for word in ("-o", option)]
        (folder / "lists/partial").mkdir(parents=True)
        run(["apt-get", "update", "--quiet", *sources], within_s=INSTALL_WITHIN_S)
        install_packages(names, sources)
        shutil.rmtree(folder)
        listed.unlink()


def _laid_out(layout: Layout, manifest: Mapping[str, Any], kind: str) -> Path:
    """The files of one kind in a folder, under their own names, for a tool that goes by names."""
    folder = layout.home / f"{kind}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    for path, digest in _of_kind(manifest, kind):
        (folder / Path(path).name).hardlink_to(layout.store / digest)
    return folder


def _of_kind(manifest: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    return ((path, row["sha256"]) for path, row in manifest["files"].items() if path.split("/")[0] == kind)


def _build(layout: Layout, manifest: Mapping[str, Any], text: str) -> None:
    release = layout.releases / str(manifest["name"])
    shutil.rmtree(release, ignore_errors=True)
    try:
        _environment(layout, manifest, release)
    except (Refused, OSError, subprocess.TimeoutExpired):
        shutil.rmtree(release, ignore_errors=True)
        raise
    for path, row in manifest["files"].items():
        if path.split("/")[0] not in {"wheels", "debs"}:
            (release / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(layout.store / row["sha256"], release / path)
    sync_tree(release)
    write_whole(release / "release.json", text.encode())


def _environment(layout: Layout, manifest: Mapping[str, Any], release: Path) -> None:
    """A virtual environment of its own that sees the system's packages: picamera2 and lgpio are there."""
    wheels = _laid_out(layout, manifest, "wheels")
    lines = [f"{wheels / Path(path).name} --hash=sha256:{digest}" for path, digest in _of_kind(manifest, "wheels")]
    (wheels / "requirements.txt").write_text("\n".join(lines), encoding="utf-8")
    pip = next(wheels.glob("pip-*.whl"))
    flags = ["--no-index", "--no-deps", "--ignore-installed", "--require-hashes", "--no-cache-dir"]
    offline = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", *flags]
    python = str(release / "bin/python")
    for command in (
        ["python3", "-m", "venv", "--without-pip", "--system-site-packages", str(release)],
        [python, "-I", f"{pip}/pip", "install", *offline, "--requirement", str(wheels / "requirements.txt")],
        [str(release / "bin/kiosk"), "version"],
    ):
        done = run(command, within_s=INSTALL_WITHIN_S)
        if done.returncode:
            words = " ".join(done.stdout.strip().splitlines()[-3:])
            raise Refused(f"the release does not install ({Path(command[0]).name} {command[1]}: {words})")
    shutil.rmtree(wheels)


def _tidy(layout: Layout) -> None:
    """Take away releases that no way leads to, and stored files that no kept release is made of."""
    undo = layout.change / "undo/change.json"
    earlier = json.loads(undo.read_text(encoding="utf-8"))["release"] if undo.exists() else None
    layout.releases.mkdir(parents=True, exist_ok=True)
    layout.store.mkdir(parents=True, exist_ok=True)
    needed: set[str] = set()
    for release in layout.releases.iterdir():
        if release.name not in {layout.release_now(), earlier} or not layout.whole(release.name):
            shutil.rmtree(release)
        else:
            manifest = json.loads((release / "release.json").read_text(encoding="utf-8"))
            needed |= {row["sha256"] for row in _rows(manifest)}
    for file in layout.store.iterdir():
        if file.name not in needed:
            file.unlink()
