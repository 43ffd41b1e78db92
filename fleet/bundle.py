"""A release as `scripts/bundle` leaves it: a folder, a manifest with every file's SHA-256, a signature over it.

Whose signature counts is the technician's list (ssh-keygen's allowed signers); the door has its own copy and checks
again. Decides which bundle fits which door.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import BundleError
from fleet.on_device.staging import NAMESPACE

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
UNITS = (".service", ".timer", ".socket", ".path", ".target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a release."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A release for one operating system and one architecture."""

    folder: Path
    name: str
    os: str
    architecture: str
    entries: tuple[Entry, ...]
    manifest: str
    signature: str
    signers: str

    def installed(self) -> dict[str, Entry]:
        """Where units, users and folders of this release belong on a door."""
        places = {}
        for entry in self.entries:
            place, _, name = entry.path.rpartition("/")
            if place == "systemd" and name.endswith(UNITS):
                places[f"/etc/systemd/system/{name}"] = entry
            elif place == "systemd":
                stem, kind = name.removesuffix(".conf").rsplit(".", 1)
                places[f"/etc/{kind}.d/{stem}.conf"] = entry
            elif entry.path == "config/rules.toml":
                places["/etc/kiosk/rules.toml"] = entry
        return places


def read(folder: Path, signers: Path) -> Bundle:
    """Read one bundle and check its signature; its files are checked when they are used.

    Raises:
        BundleError: it is damaged, or nobody in `signers` has signed it.
    """
    try:
        manifest = (folder / MANIFEST).read_text(encoding="utf-8")
        signature = (folder / SIGNATURE).read_text(encoding="utf-8")
        allowed = signers.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be read ({error.strerror}); scripts/bundle makes it") from error
    if not signed(manifest, folder / SIGNATURE, signers):
        raise BundleError(f"{folder}: not signed by a key in {signers}; do not install it")
    told = json.loads(manifest)
    return Bundle(
        folder=folder,
        name=told["name"],
        os=told["os"],
        architecture=told["architecture"],
        entries=tuple(Entry(path=path, sha256=row["sha256"], size=row["bytes"]) for path, row in told["files"].items()),
        manifest=manifest,
        signature=signature,
        signers=allowed,
    )


def signed(manifest: str, signature: Path, signers: Path) -> bool:
    """Whether the signature is one over this manifest, for releases of the kiosk, by an allowed signer."""
    who = ["-I", NAMESPACE, "-n", NAMESPACE, "-f", str(signers), "-s", str(signature)]
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", *who], input=manifest, capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def damaged(bundle: Bundle) -> list[str]:
    """The files whose content is not what the manifest says."""
    return [entry.path for entry in bundle.entries if not _whole(bundle.folder / entry.path, entry)]


def _whole(path: Path, entry: Entry) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def in_folder(folder: Path, signers: Path) -> list[Bundle]:
    """Every bundle in a folder, or the one that it is.

    Raises:
        BundleError: there is none, or one cannot be used, or they are of different releases.
    """
    places = [folder] if (folder / MANIFEST).exists() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    found = [read(place, signers) for place in places]
    if not found:
        raise BundleError(f"{folder}: no bundle in it; scripts/bundle makes them")
    if len(names := {bundle.name for bundle in found}) > 1:
        raise BundleError(f"{folder}: several releases ({', '.join(sorted(names))}); name the folder of one")
    for bundle in found:
        if bad := damaged(bundle):
            raise BundleError(f"{bundle.folder}: damaged: {', '.join(bad[:3])}; make or copy it again")
    return found


def for_door(bundles: Iterable[Bundle], facts: Mapping[str, object]) -> Bundle:
    """The bundle that fits what a door is.

    Raises:
        BundleError: none does.
    """
    have = list(bundles)
    for bundle in have:
        if (bundle.os, bundle.architecture) == (facts["os"], facts["machine"]):
            return bundle
    kinds = ", ".join(f"{bundle.os} on {bundle.architecture}" for bundle in have)
    raise BundleError(f"no release for {facts['os']} on {facts['machine']}; there is one for {kinds}")
