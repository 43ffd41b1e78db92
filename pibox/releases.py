"""A release made from a good one, to try updates with: files of our wheel edited, named and signed anew.

Called by `pibox/install.py` and `scripts/provision_proof.py`.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from fleet.bundle import MANIFEST, SIGNATURE
from fleet.on_device.files import digest_of
from fleet.on_device.staging import NAMESPACE

Edit = tuple[str, str, str]
"""A file of our wheel, a text in it, and what stands there instead."""
READY = 'notifier.say("READY=1")'
HANGS: Edit = ("kiosk/daemon.py", READY, 'notifier.say("STATUS=waiting")')
"""It starts, and never says that it is ready."""
CRASHES: Edit = ("kiosk/daemon.py", READY, f'{READY}; __import__("os").abort()')


def derived(good: Path, folder: Path, tag: str, key: Path, *edits: Edit, ballast_bytes: int = 1) -> Path:
    """The folder of the new releases, one for each in `good`; with one more file, so that no two are the same."""
    out = folder / tag
    shutil.copytree(good, out, copy_function=os.link)
    for place in (path.parent for path in sorted(out.glob(f"*/{MANIFEST}"))):
        wheel = next(place.glob("wheels/door_kiosk-*.whl"))
        with zipfile.ZipFile(wheel) as old:
            content = {name: old.read(name) for name in old.namelist()}
        for name, before, after in edits:
            if before.encode() not in content[name]:
                sys.exit(f"{name} holds no {before}; what makes it fail must be mended")
            content[name] = content[name].replace(before.encode(), after.encode())
        wheel.unlink()
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
            for name, data in content.items():
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        manifest["name"] += f"-{tag}"
        ballast = place / "docs" / "ballast.md"
        ballast.unlink(missing_ok=True)  # it may be another release's as well
        ballast.write_bytes(os.urandom(ballast_bytes))
        for path in (wheel, ballast):
            row = {"sha256": digest_of(path), "bytes": path.stat().st_size}
            manifest["files"][str(path.relative_to(place))] = row
        for name in (MANIFEST, SIGNATURE):
            (place / name).unlink()
        (place / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        signing = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(place / MANIFEST)]
        subprocess.run(signing, check=True, capture_output=True)
    return out
