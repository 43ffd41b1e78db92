"""Build the offline release: our wheel, the locked wheels, Debian's libraries, units, SBOM, checksums, signature.

One folder for each system and architecture; nothing in it is built from source but our own wheel, and everything that
is downloaded is held against a hash: the locks' for wheels, Debian's signed index for packages. The key is any SSH key,
also one on a token: ssh-keygen signs, and every device that is reached over SSH can verify.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path

from fleet import sbom
from fleet.bundle import MANIFEST, SIGNATURE
from fleet.on_device.staging import NAMESPACE
from fleet.sbom import Component

ROOT = Path(__file__).resolve().parents[1]
PIP = "pip==26.3 --hash=sha256:f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
"""Installs the wheels on the device, whose own may be missing or old."""
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
GLIBCS = {"bookworm": 36, "trixie": 41}
DEBIAN_NAMES = {"aarch64": "arm64", "x86_64": "amd64"}
PACKAGES = {"bookworm": ["libzbar0"], "trixie": ["libzbar0t64"]}
"""Libraries from Debian that our wheels load; a device has the rest, or gets it with them."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PARTS = ("systemd/*", "config/rules.toml", "config/kiosk.toml", "docs/*.md")
"""What else of the project goes along."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of device."""

    os: str
    architecture: str


def main(arguments: Sequence[str]) -> int:
    """Build every bundle that is asked for."""
    parsed = _parser().parse_args(arguments)
    out: Path = parsed.out
    targets = [Target(system, machine) for system in parsed.os for machine in parsed.arch]
    with tempfile.TemporaryDirectory() as folder:
        wheel = our_wheel(Path(folder))
        name = release_name(wheel)
        for number, target in enumerate(targets, 1):
            place = out / f"kiosk-{name}-{target.os}-{target.architecture}"
            _say(f"[{number}/{len(targets)}] {place}")
            shutil.rmtree(place, ignore_errors=True)
            collect(target, wheel, place, Path(folder))
            finish(target, name, place, parsed.key)
    public = Path(f"{parsed.key}.pub").read_text(encoding="utf-8").split()
    signers = f'{NAMESPACE} namespaces="{NAMESPACE}" {public[0]} {public[1]}\n'
    (out / "release-signers").write_text(signers, encoding="utf-8")
    _say(f"signed; put {out / 'release-signers'} beside the inventory (once, and not from where the bundle came)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bundle", description=__doc__)
    parser.add_argument("--key", type=Path, required=True, help="release key: ssh-keygen -t ed25519 -f release.key")
    parser.add_argument("--out", type=Path, required=True, help="gets a folder for each system and architecture")
    parser.add_argument("--os", nargs="+", choices=sorted(PYTHONS), default=sorted(PYTHONS), help="default: all")
    parser.add_argument(
        "--arch", nargs="+", choices=sorted(DEBIAN_NAMES), default=["aarch64"], help="default: aarch64, the Pi's"
    )
    return parser


def our_wheel(folder: Path) -> Path:
    """Build the project's wheel from a copy, with times that do not change from build to build."""
    _say("wheel of the project")
    source = folder / "source"
    leave_out = shutil.ignore_patterns(".*", "tests", "*.egg-info", "build", "benchmarks", "torture", "__pycache__")
    shutil.copytree(ROOT, source, ignore=leave_out)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder / "wheel"), str(source), environment=environment)
    return next((folder / "wheel").glob("*.whl"))


def release_name(wheel: Path) -> str:
    """Version and content: the same sources and locks give the same name, on every system and architecture."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    total = hashlib.sha256()
    with zipfile.ZipFile(wheel) as packed:
        for name in sorted(packed.namelist()):
            total.update(name.encode() + hashlib.sha256(packed.read(name)).digest())
    for path in [*sorted((ROOT / "config" / "locks").iterdir()), *_parts()]:
        total.update(path.name.encode() + _digest(path).encode())
    return f"{version}-{total.hexdigest()[:8]}"


def _parts() -> Iterator[Path]:
    for pattern in PARTS:
        yield from sorted(ROOT.glob(pattern))


def collect(target: Target, wheel: Path, place: Path, scratch: Path) -> None:
    """Everything that the release is made of, in its folder."""
    wheels = place / "wheels"
    wheels.mkdir(parents=True)
    shutil.copy(wheel, wheels)
    _say("  wheels of the lock")
    locked = scratch / f"{target.os}-requirements.txt"
    lock = (ROOT / "config" / "locks" / f"{target.os}.txt").read_text(encoding="utf-8")
    locked.write_text(f"{lock}\n{PIP}\n", encoding="utf-8")
    version = PYTHONS[target.os]
    interpreter = f"cp{version.replace('.', '')}"
    platforms = [f"manylinux_2_{minor}_{target.architecture}" for minor in range(GLIBCS[target.os], 11, -1)]
    platforms.append(f"manylinux2014_{target.architecture}")
    options = [word for platform in platforms for word in ("--platform", platform)]
    options += [word for abi in (interpreter, "abi3", "none") for word in ("--abi", abi)]
    options += ["--implementation", "cp", "--python-version", version, "--only-binary", ":all:", "--no-deps"]
    _pip("download", "--require-hashes", *options, "--requirement", str(locked), "--dest", str(wheels))
    _say("  libraries from Debian")
    debs(target, place / "debs", scratch)
    for path in _parts():
        copy = place / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def debs(target: Target, place: Path, scratch: Path) -> None:
    """Debian's packages and all they need, with an index, for a device without internet. apt checks the signatures."""
    own = scratch / f"apt-{target.os}-{target.architecture}"
    for folder in ("lists/partial", "archives/partial", "etc"):
        (own / folder).mkdir(parents=True)
    (own / "status").touch()
    (own / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {target.os} main\n", encoding="utf-8")
    settings = {
        "APT::Architecture": DEBIAN_NAMES[target.architecture],
        "APT::Architectures": DEBIAN_NAMES[target.architecture],
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": own / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": own / "lists",
        "Dir::State::status": own / "status",
        "Dir::Cache": own,
        "Dir::Cache::archives": own / "archives",
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", "update", "-qq", *options])
    wanted = ["--yes", "--download-only", "--no-install-recommends", *PACKAGES[target.os]]
    _run(["apt-get", "install", "-qq", *options, *wanted])
    place.mkdir()
    stanzas = []
    for deb in sorted((own / "archives").glob("*.deb")):
        shutil.copy(deb, place)
        fields = _run(["dpkg-deb", "--field", str(deb)]).rstrip("\n")
        digest, size = _digest(deb), deb.stat().st_size
        stanzas.append(f"{fields}\nFilename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n")
    (place / "Packages").write_text("\n".join(stanzas), encoding="utf-8")


def _mirror() -> str:
    """Where this machine's apt has Debian from."""
    told = _run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
    for line in told.splitlines():
        label, _, uri = line.rpartition(" ")
        if label == "Debian":
            return uri
    sys.exit("scripts/bundle: apt here knows no Debian; build on a Debian machine")


def finish(target: Target, name: str, place: Path, key: Path) -> None:
    """SBOM, manifest, signature."""
    made_at = datetime.fromtimestamp(0, UTC).isoformat()
    listed = sbom.document("door-kiosk", name, made_at, _components(place))
    (place / "sbom.cdx.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    files = sorted(path for path in place.rglob("*") if path.is_file())
    wheels = (path for path in files if path.suffix == ".whl")
    manifest = {
        "format": 1,
        "name": name,
        "os": target.os,
        "architecture": target.architecture,
        "python": PYTHONS[target.os],
        "packages": PACKAGES[target.os],
        "unpacked_bytes": sum(info.file_size for path in wheels for info in zipfile.ZipFile(path).infolist()),
        "files": {
            str(path.relative_to(place)): {"sha256": _digest(path), "bytes": path.stat().st_size} for path in files
        },
    }
    (place / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _run(["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(place / MANIFEST)])
    if not (place / SIGNATURE).exists():
        sys.exit("scripts/bundle: ssh-keygen left no signature")
    total = sum(path.stat().st_size for path in files)
    _say(f"  {len(files)} files, {total / 1e6:.0f} MB, {len(listed['components'])} components")


def _components(place: Path) -> Iterator[Component]:
    for wheel in sorted(place.glob("wheels/*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            metadata = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
            yield sbom.of_wheel(Parser().parsestr(packed.read(metadata).decode()), _digest(wheel))
    for deb in sorted(place.glob("debs/*.deb")):
        package, version = _run(["dpkg-deb", "--show", "--showformat", "${Package}\t${Version}", str(deb)]).split("\t")
        said = "see /usr/share/doc in the package"
        yield Component(kind="deb/debian", name=package, version=version, licence=said, sha256=_digest(deb))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pip(verb: str, *words: str, environment: dict[str, str] | None = None) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "pip", verb, *quiet, *words], environment=environment)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"scripts/bundle: {command[0]} {command[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
