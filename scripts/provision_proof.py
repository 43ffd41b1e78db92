"""kiosk-fleet from bare Debian systems to working doors, and everything that goes wrong on the way.

Bookworm and Trixie, systemd as PID 1, real sshd, no way to any network but a bridge of their own; camera and lines are
simulated, as the inventory says. A real mosquitto with the shipped configuration, which lets in only who has a
certificate by the city's authority for doors, tells which door came in. Exit code 0: everything ended as it should.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import provision_cases as cases
from provision_doors import ROOT, Proof, timed
from provision_lab import PASSWORD, SYSTEMS, Box, Lab, make_root, run, within
from rich.console import Console
from rich.table import Table

from pibox.releases import CRASHES, HANGS, Edit, derived

BALLAST_BYTES = 80_000_000
"""What is sent must take long enough to be cut."""
SMALL_MB = 120


def inside(parsed: argparse.Namespace) -> int:
    """In namespaces of our own."""
    run("mount", "--make-rprivate", "/")
    folder: Path = parsed.folder
    proof = Proof(folder, Lab(folder / "machines", parsed.cache, parsed.cgroup), folder / "good")
    boxes = [
        Box(name=f"door-{number}", system=SYSTEMS[number % 2], address=f"192.0.2.{10 + number}", sudo_asks=number == 1)
        for number in range(parsed.doors)
    ]
    spoiled = [
        Box(name="wrong-password", system="bookworm", address="192.0.2.81", password=f"not {PASSWORD}"),
        Box(name="full-disk", system="trixie", address="192.0.2.82", opt_mb=SMALL_MB),
    ]
    _, seconds = timed(lambda: proof.boot([*boxes, *spoiled]))
    told = {box.system: proof.machine(box.name).run("systemctl", "--version").split("\n")[0] for box in boxes}
    proof.note("booted", f"{len(boxes) + len(spoiled)} systems: {told}", good=True, seconds=seconds)
    doors = {box.name: box.address for box in boxes}
    prove(proof, doors, {**{box.name: box.address for box in spoiled}, "unreachable": "192.0.2.99"})
    if parsed.keep:
        shutil.copytree(folder, parsed.keep, ignore=shutil.ignore_patterns("machines", "*.key", "city", *derivatives()))
    return tell(proof)


def derivatives() -> list[str]:
    """The folders of releases."""
    return ["good", "second", "crashing", "hanging", "forged", "third"]


def prove(proof: Proof, doors: dict[str, str], bad: dict[str, str]) -> None:
    """Every case, on these doors and those that cannot be."""
    folder, key = proof.folder, proof.folder / "release.key"
    first, last = dict(list(doors.items())[:3]), list(doors.items())[-1]

    def made(tag: str, *edits: Edit, ballast_bytes: int = 1) -> Path:
        return derived(folder / "good", folder, tag, key, *edits, ballast_bytes=ballast_bytes)

    second = made("second")
    hanging = made("hanging", HANGS)
    crashing = made("crashing", CRASHES)
    cases.bare_to_green(proof, doors, bad)
    cases.bad_update(proof, first, crashing, "an update that crashes")
    cases.bad_update(proof, first, hanging, "an update that never gets READY")
    cases.cut_power(proof, *last, hanging)
    cases.wrong_signature(proof, *last, second)
    cases.good_update(proof, doors, second)
    cases.cut_connection(proof, *last, made("third", ballast_bytes=BALLAST_BYTES))
    cases.collected(proof, first)


def tell(proof: Proof) -> int:
    """The report; the answer is the exit code."""
    table = Table("what", "seen", "s", "")
    for row in proof.rows:
        table.add_row(row.what, row.seen, f"{row.seconds:.1f}", "[green]ok[/]" if row.good else "[red]BAD[/]")
    Console(width=150).print(table)
    applied = json.loads((proof.folder / "apply.json").read_text(encoding="utf-8"))["doors"]
    times = sorted(door["seconds"] for door in applied if door["status"] == "changed")
    if times:
        print(f"from bare to green, each of {len(times)} doors side by side: {times[0]:.0f} to {times[-1]:.0f} s")
    return 0 if all(row.good for row in proof.rows) else 1


def outside(parsed: argparse.Namespace) -> int:
    """Make roots and releases, which need a network; then everything else without one. Leaves nothing behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    mirror = run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages").splitlines()
    debian = next(line.split()[1] for line in mirror if line.startswith("Debian "))
    for system in SYSTEMS:
        make_root(parsed.cache, system, debian)
    group = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").is_dir() else Path("/sys/fs/cgroup")
    cgroup = group / f"kiosk-proof-{os.getpid()}"
    cgroup.mkdir()
    folder = Path(tempfile.mkdtemp(prefix="kiosk-proof-"))
    try:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "release.key"))
        script = [sys.executable, str(ROOT / "scripts" / "bundle.py"), "--key", str(folder / "release.key")]
        subprocess.run([*script, "--out", str(folder / "good"), "--arch", os.uname().machine], check=True)
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
        command += [__file__, "--inside", f"--folder={folder}", f"--cache={parsed.cache}", f"--cgroup={cgroup}"]
        command += [f"--doors={parsed.doors}", *([f"--keep={parsed.keep}"] if parsed.keep else [])]
        return subprocess.run(command, check=False).returncode
    finally:
        within(60.0, lambda: "populated 0" in (cgroup / "cgroup.events").read_text("ascii"), "every process is gone")
        for path in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        cgroup.rmdir()
        shutil.rmtree(folder)


def main(arguments: Sequence[str]) -> int:
    """Both halves: one makes what the other uses."""
    parser = argparse.ArgumentParser(prog="scripts/provision-proof", description=__doc__)
    cache = Path(tempfile.gettempdir()) / "kiosk-proof-roots"
    parser.add_argument("--doors", type=int, default=10, metavar="N", help="at once, default %(default)s")
    parser.add_argument("--cache", type=Path, default=cache, help="keeps the bare roots (650 MB), default %(default)s")
    parser.add_argument("--keep", type=Path, help="gets the reports and logs")
    for hidden in ("--folder", "--cgroup"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    return inside(parsed) if parsed.inside else outside(parsed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
