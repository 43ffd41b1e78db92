"""Debian systems for `provision_proof.py`: bare roots made once, and machines of them that boot and have power cuts.

A root is what debootstrap makes, with what an image of Raspberry Pi OS Lite has for a technician: systemd, sshd, sudo,
python3. A machine is systemd-nspawn with systemd as PID 1, an overlay of its own over the root, and an address on a
bridge that leads nowhere else. Runs inside namespaces that the proof has made; what is left over ends with them.
"""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SYSTEMS = ("bookworm", "trixie")
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,sudo,python3,ca-certificates,iproute2"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
GATEWAY = "192.0.2.1"
"""RFC 5737: addresses for documentation, used nowhere."""
USER, PASSWORD = "pi", "raspberry"
BOOT_WITHIN_S = 60.0
MADE = "made"


def run(*command: str, stdin: str = "", check: bool = True) -> str:
    """What a command says; anything but success ends the proof."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(command[:4])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def make_root(cache: Path, system: str, mirror: str) -> None:
    """Make one bare root, unless it is there."""
    root = cache / system
    if (cache / f"{system}.{MADE}").exists():
        return
    print(f"debootstrap {system}: a minute or two, once", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    private = ["unshare", "--mount", "--propagation", "private"]  # what it mounts in the root goes when it does
    run(
        *private,
        "debootstrap",
        "--variant=minbase",
        f"--include={PACKAGES}",
        f"--keyring={KEYRING}",
        system,
        str(root),
        mirror,
    )
    (cache / f"{system}.{MADE}").touch()


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """How one machine comes out of its box."""

    name: str
    system: str
    address: str
    password: str = PASSWORD
    sudo_asks: bool = False
    opt_mb: int = 0
    """The size of /opt; 0: the disk's."""


class Machine:
    """One device. Made by `Lab.unpack`."""

    def __init__(self, box: Box, folder: Path, cache: Path, cgroup: Path) -> None:
        self.box = box
        self._root = folder / "root"
        self._cgroup = cgroup
        self._log = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("root", "upper", "work"):
            (folder / name).mkdir(parents=True)
        layers = f"lowerdir={cache / box.system},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self._root))
        self._personalise()

    def _personalise(self) -> None:
        """What an imager writes: name, user, password, host keys, address."""
        root, box = self._root, self.box
        (root / "etc/hostname").write_text(f"{box.name}\n", encoding="utf-8")
        (root / "etc/machine-id").write_text("", encoding="utf-8")
        run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", USER)
        run("chroot", str(root), "chpasswd", stdin=f"{USER}:{box.password}\n")
        rule = "ALL" if box.sudo_asks else "NOPASSWD: ALL"
        (root / "etc/sudoers.d/pi").write_text(f"{USER} ALL=(ALL) {rule}\n", encoding="utf-8")
        for key in root.glob("etc/ssh/ssh_host_*"):
            key.unlink()
        run("ssh-keygen", "-A", "-f", str(root))
        network = f"[Match]\nName=host0\n[Network]\nAddress={box.address}/24\nLinkLocalAddressing=no\n"
        (root / "etc/systemd/network/10-lab.network").write_text(network, encoding="utf-8")
        wants = root / "etc/systemd/system/multi-user.target.wants"
        (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
        (root / "var/lib/kiosk").mkdir()
        (root / "var/lib/kiosk/showings.json").write_text("[]\n", encoding="utf-8")

    def start(self) -> None:
        """Power on."""
        self._cgroup.mkdir(exist_ok=True)
        small = [f"--tmpfs=/opt:mode=0755,size={self.box.opt_mb}M"] if self.box.opt_mb else []
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self._root}"]
        command += [f"--machine={self.box.name}", "--network-bridge=br0", "--boot", "--console=pipe", *small]
        joined = f'echo $$ > "{self._cgroup}/cgroup.procs"; exec "$@"'
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", joined, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "UNIFIED_CGROUP_HIERARCHY": "1"},
            )
        within(BOOT_WITHIN_S, self._answers, f"{self.box.name} boots and its sshd answers: see {self._log}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.box.address, 22), 1.0) as connection:
                return connection.recv(3) == b"SSH"
        except OSError:
            return False

    def cut_power(self) -> None:
        """PID 1 and all it has are gone at once. What the disk's cache held survives, as it would not in a real cut."""
        run("kill", "-KILL", str(self._leader()))
        self._nspawn().wait(BOOT_WITHIN_S)

    def plug(self, *, connected: bool) -> None:
        """Its network cable."""
        run("ip", "link", "set", f"vb-{self.box.name}", "up" if connected else "down")

    def _nspawn(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            sys.exit(f"{self.box.name} has not been started")
        return self._process

    def _leader(self) -> int:
        pid = self._nspawn().pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        return int(child)

    def run(self, *command: str) -> str:
        """What a command says on the machine, as its console would; it may fail."""
        return run("nsenter", "--all", f"--target={self._leader()}", *command, check=False)

    def at(self, path: str) -> Path:
        """A file of the machine, seen from outside."""
        return self._root / path.lstrip("/")


class Lab:
    """A bridge, and machines on it.

    Args:
        folder: gets every machine's disk.
        cache: holds the bare roots.
        cgroup: a group of ours in the unified hierarchy.
    """

    def __init__(self, folder: Path, cache: Path, cgroup: Path) -> None:
        self._folder, self._cache, self._cgroup = folder, cache, cgroup
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {GATEWAY}/24 dev br0",
            "link set br0 up",
        ):
            run("ip", *words.split())

    def unpack(self, box: Box) -> Machine:
        """Take a machine out of its box and power it on."""
        machine = Machine(box, self._folder / box.name, self._cache, self._cgroup / box.name)
        machine.start()
        return machine


def within(seconds: float, holds: Callable[[], bool], what: str) -> float:
    """Wait until something holds; the answer is how long that took."""
    began = now()
    while not holds():
        if now() - began > seconds:
            sys.exit(f"not within {seconds:.0f} s: {what}")
        threading.Event().wait(0.1)
    return now() - began


def now() -> float:
    """Monotonic seconds."""
    return time.monotonic()  # noqa: TID251 - a script that measures
