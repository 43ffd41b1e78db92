"""A release on the laptop: signed by the right key, whole, or not used."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.bundle import MANIFEST, SIGNATURE, in_folder
from fleet.errors import BundleError
from fleet.on_device.files import Refused, digest_of
from fleet.on_device.layout import Layout
from fleet.on_device.staging import NAMESPACE, stage


def signed(folder: Path, key: Path, name: str = "1.0-aaaa", namespace: str = NAMESPACE) -> None:
    """Write a manifest over the folder's files and sign it."""
    for left in (MANIFEST, SIGNATURE):
        (folder / left).unlink(missing_ok=True)
    files = {
        str(path.relative_to(folder)): {"sha256": digest_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"name": name, "os": "bookworm", "architecture": "aarch64", "packages": [], "files": files}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "unpacked_bytes": 1}), encoding="utf-8")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key), str(folder / MANIFEST)], check=True
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with one bundle, a key, and the list of signers."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed (Debian's package openssh-client)")
    for name in ("release.key", "other.key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    words = (tmp_path / "release.key.pub").read_text(encoding="utf-8").split()
    (tmp_path / "signers").write_text(f'{NAMESPACE} namespaces="{NAMESPACE}" {words[0]} {words[1]}\n', encoding="utf-8")
    systemd = tmp_path / "releases" / "bookworm" / "systemd"
    systemd.mkdir(parents=True)
    for name in ("kiosk.service", "kiosk.sysusers.conf", "kiosk.tmpfiles.conf"):
        (systemd / name).write_text(name, encoding="utf-8")
    signed(systemd.parent, tmp_path / "release.key")
    return tmp_path


def test_a_good_release_says_where_its_files_belong(release: Path) -> None:
    """Units, users and folders."""
    (found,) = in_folder(release / "releases", release / "signers")
    assert (found.name, found.os, found.architecture) == ("1.0-aaaa", "bookworm", "aarch64")
    assert {place: entry.path for place, entry in found.installed().items()} == {
        "/etc/systemd/system/kiosk.service": "systemd/kiosk.service",
        "/etc/sysusers.d/kiosk.conf": "systemd/kiosk.sysusers.conf",
        "/etc/tmpfiles.d/kiosk.conf": "systemd/kiosk.tmpfiles.conf",
    }


def test_a_file_that_was_changed_is_named(release: Path) -> None:
    """Before anything is sent."""
    (release / "releases/bookworm/systemd/kiosk.service").write_text("kiosk.sErvice", encoding="utf-8")
    with pytest.raises(BundleError, match=r"damaged: systemd/kiosk\.service"):
        in_folder(release / "releases", release / "signers")


@pytest.mark.parametrize(("key", "namespace"), [("other.key", NAMESPACE), ("release.key", "git")])
def test_another_key_or_a_signature_for_something_else_is_refused(release: Path, key: str, namespace: str) -> None:
    """By the laptop, and by the door, which has its own list."""
    folder = release / "releases" / "bookworm"
    signed(folder, release / key, namespace=namespace)
    with pytest.raises(BundleError, match="not signed by a key in"):
        in_folder(release / "releases", release / "signers")
    asked = {
        "manifest": (folder / MANIFEST).read_text(encoding="utf-8"),
        "signature": (folder / SIGNATURE).read_text(encoding="utf-8"),
        "signers": (release / "signers").read_text(encoding="utf-8"),
        "incoming": str(folder),
    }
    layout = Layout(release / "door")
    with pytest.raises(Refused, match="not signed by a key this door trusts"):
        stage(layout, asked)
    with pytest.raises(Refused, match="this door trusts another release key"):
        stage(layout, {**asked, "signers": "somebody else's"})
    assert not layout.releases.exists()


def test_two_releases_in_one_folder_are_not_chosen_from(release: Path) -> None:
    """The technician names one."""
    other = release / "releases" / "trixie"
    shutil.copytree(release / "releases" / "bookworm", other)
    signed(other, release / "release.key", name="2.0-bbbb")
    with pytest.raises(BundleError, match="several releases"):
        in_folder(release / "releases", release / "signers")


def test_what_did_not_arrive_whole_is_not_installed(release: Path) -> None:
    """The door takes files by their SHA-256 alone."""
    folder = release / "releases" / "bookworm"
    asked = {
        "manifest": (folder / MANIFEST).read_text(encoding="utf-8"),
        "signature": (folder / SIGNATURE).read_text(encoding="utf-8"),
        "signers": (release / "signers").read_text(encoding="utf-8"),
        "incoming": str(release / "incoming"),
    }
    layout = Layout(release / "door")
    with pytest.raises(Refused, match=r"kiosk\.service has not been sent; run kiosk-fleet apply again"):
        stage(layout, asked)
    for path in sorted((folder / "systemd").iterdir()):
        sent = release / "incoming" / digest_of(path)
        sent.parent.mkdir(exist_ok=True)
        sent.write_text("damaged", encoding="utf-8")
    with pytest.raises(Refused, match=r"kiosk\.service was damaged on the way"):
        stage(layout, asked)
    assert list(layout.releases.iterdir()) == []
