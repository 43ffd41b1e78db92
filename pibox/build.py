"""Makes the box's disk from Debian's and Python's package registries, step by step; a step that is done is not redone.

The result is what an imager leaves on a card: Raspberry Pi OS's parts as far as Debian has them, a user `pi`, nothing
of the kiosk. `install` puts the release on it, over SSH, as a technician does.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pibox.systems import SYSTEMS, System

ROOT = Path(__file__).resolve().parents[1]
GUEST = Path(__file__).parent / "guest"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
IMAGE_MB = 5000
LGPIO = "lgpio==0.2.2.0"
CONTROL = """Package: {name}
Version: {version}
Architecture: amd64
Maintainer: the box
Description: {name}, from Python's registry
"""
UNDER_TEST = "PIBOX_SYSTEM"
"""Names a system to the tests."""
STARTED = "systemd-networkd systemd-timesyncd ssh pibox-lines pibox-agent"
MASKED = "serial-getty@ttyS0 getty@tty1 apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer"
"""The console would hang up the line under whoever writes to it; the others only take time."""
NETWORK = "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nNTP=127.0.0.1\n"


@dataclass(frozen=True, slots=True)
class Cache:
    """Where the box keeps what it has made. Never in the tree."""

    folder: Path
    system: System

    @property
    def root(self) -> Path:
        """The system, as files."""
        return self.folder / "root"

    @property
    def boot(self) -> Path:
        """Kernel and first file system, for the machine."""
        return self.folder / "boot"

    @property
    def card(self) -> Path:
        """The disk as an imager leaves it."""
        return self.folder / "card.ext4"

    @property
    def key(self) -> Path:
        """The technician's SSH key."""
        return self.folder / "technician"


def cache_for(suite: str = "") -> Cache:
    """The cache of this user for a system; not named: the one that is being tested."""
    system = SYSTEMS[suite or os.environ.get(UNDER_TEST, "trixie")]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Cache(home / "door-kiosk-pibox" / system.suite, system)


def build(cache: Cache) -> None:
    """Make everything that is missing. Ends the program where that needs root and is not."""
    if os.geteuid() != 0:
        sys.exit("pibox: file systems with other people's files are made by root: sudo -E scripts/pibox ...")
    cache.folder.mkdir(parents=True, exist_ok=True)
    for number, (name, step) in enumerate(STEPS, 1):
        mark = cache.folder / f"{name}.made"
        meant = _digest_of(name, cache.system)
        if mark.exists() and mark.read_text(encoding="utf-8") == meant:
            continue
        print(f"[{number}/{len(STEPS)}] {name}: {step.__doc__}", flush=True)
        began = time.monotonic()
        step(cache)
        mark.write_text(meant, encoding="utf-8")
        print(f"      {time.monotonic() - began:.0f} s", flush=True)


def _digest_of(name: str, system: System) -> str:
    """What a step was made from: everything above it, so that a change of one remakes those after it."""
    below = (system.packages, system.tools, system.picamera2, LGPIO, IMAGE_MB)
    told = repr(system.packages) if name == "system" else repr(below)
    if name == "settings":
        files = (path for path in sorted(GUEST.iterdir()) if path.is_file())
        told += "".join([system.more_settings, *(path.read_text(encoding="utf-8") for path in files)])
    return hashlib.sha256(told.encode()).hexdigest()


def _system(cache: Cache) -> None:
    """Debian by debootstrap: 2 to 6 min, 450 MB from the network."""
    shutil.rmtree(cache.root, ignore_errors=True)
    packed = cache.folder / "debs"
    packed.mkdir(exist_ok=True)
    include = f"--include={','.join(cache.system.packages)}"
    keyring = f"--keyring={KEYRING}"  # and the mirror that debootstrap itself knows
    where = [cache.system.suite, str(cache.root)]
    _run("debootstrap", "--variant=minbase", f"--cache-dir={packed}", keyring, include, *where)


def _module(cache: Cache) -> None:
    """gpio-sim for its kernel: 2 to 5 min, 300 MB from the network."""
    tools = " ".join(cache.system.tools)
    install = f"DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {tools}"
    prepared(cache, f"apt-get update -qq; {install}; {SOURCES} {cache.system.more_modules} {MODULES}")


def _packages(cache: Cache) -> None:
    """Packages of lgpio and picamera2, as Raspberry Pi OS has them: 1 to 3 min, 70 MB from the network."""
    wanted = {"python3-lgpio": ("0.2.2.0", [LGPIO]), "python3-picamera2": ("0.3.38", cache.system.picamera2)}
    made = [
        PACKED.format(name=name, wanted=" ".join(parts), control=CONTROL.format(name=name, version=f"{version}+box"))
        for name, (version, parts) in wanted.items()
        if parts
    ]
    tools = " ".join(cache.system.tools)
    purge = f"DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq --auto-remove {tools}; apt-get clean"
    prepared(cache, "\n".join([*made, purge, "rm -rf /usr/src/* /var/lib/apt/lists/* /tmp/*"]))


def prepared(cache: Cache, script: str) -> None:
    """Run a script in the system, with what it needs of this one: name servers, authorities, devices."""
    shutil.copytree(GUEST, cache.root / "tmp/guest", dirs_exist_ok=True)
    shutil.copyfile("/etc/resolv.conf", cache.root / "etc/resolv.conf")
    shutil.copyfile(
        os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"), cache.root / "tmp/authorities.pem"
    )
    for folder in ("proc", "dev"):
        _run("mount", "--bind", f"/{folder}", str(cache.root / folder))
    try:
        _in(cache, script)
    finally:
        for folder in ("dev", "proc"):
            _run("umount", "-l", str(cache.root / folder))


SOURCES = r"""
for old in $(ls /lib/modules | sort -V | head -n -1); do  # the headers may have brought a newer kernel along
    DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq linux-image-$old
    rm -rf /lib/modules/$old
done
version=$(ls /lib/modules)
mkdir -p /tmp/module
tar -xf /usr/src/linux-source-*.tar.xz -C /tmp/module --transform='s,.*/,,' --wildcards '*/drivers/gpio/gpio-sim.c' \
    '*/drivers/gpio/gpiolib.h' '*/kernel/irq/irq_sim.c'
cp /tmp/guest/Kbuild /tmp/module/
# What hangs on a line decides its level, not the Pi's weak resistor (gpio-sim would take its request for a change).
sed -i 's/return gpio_sim_apply_pull(chip, offset, [01]);/return 0;/' /tmp/module/gpio-sim.c
sed -i 's/irq_to_desc(\([a-z_>-]*\))/irq_data_to_desc(irq_get_irq_data(\1))/' /tmp/module/irq_sim.c
"""
MODULES = r"""
make -s -C /lib/modules/$version/build M=/tmp/module modules
install -D -m 644 -t /lib/modules/$version/updates /tmp/module/*.ko
depmod $version
"""
INITRD = r"""
version=$(ls /lib/modules)
mkdir -p /tmp/first/bin /tmp/first/dev /tmp/first/root /tmp/first/modules
cd /tmp/first
cp /bin/busybox bin/
install -m 755 /tmp/init init
number=100
for module in virtio_pci virtio_blk crc32c_generic ext4 i6300esb; do
    modprobe --set-version $version --show-depends $module
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
    number=$((number + 1))
    case $path in *.xz) xz -dc $path ;; *) cat $path ;; esac >modules/$number.ko
done
find . | cpio --quiet -o -H newc >/tmp/initrd.img
rm -rf /tmp/first /tmp/init
"""
PACKED = """
stage=/tmp/{name}
mkdir -p $stage/DEBIAN $stage/usr/lib/python3/dist-packages
cat >$stage/DEBIAN/control <<'END'
{control}END
export PIP_CERT=/tmp/authorities.pem SSL_CERT_FILE=/tmp/authorities.pem PYPI=1
pip install -q --no-deps --no-build-isolation --no-cache-dir --root-user-action=ignore \\
    --target $stage/usr/lib/python3/dist-packages {wanted}
if [ {name} = python3-picamera2 ]; then
    cp /tmp/guest/pibox_camera.py /tmp/guest/pykms.py $stage/usr/lib/python3/dist-packages/
    cp /tmp/guest/pykms.py $stage/usr/lib/python3/dist-packages/kms.py
    sed -i 's/if next(iter(.*status == libcamera.FrameMetadata.Status.Success:/if True:  # never set here/' \\
        $stage/usr/lib/python3/dist-packages/picamera2/picamera2.py
    echo 'import pibox_camera' >>$stage/usr/lib/python3/dist-packages/picamera2/__init__.py
fi
dpkg-deb --build -Znone $stage /tmp/{name}.deb
dpkg -i /tmp/{name}.deb
"""


def _settings(cache: Cache) -> None:
    """What an imager writes: user, host key, network, lines, camera."""
    root = cache.root
    if not cache.key.exists():
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(cache.key))
    places = {
        "agent.py": "usr/lib/pibox",
        "pibox-lines.sh": "usr/lib/pibox",
        "pibox-lines.service": "etc/systemd/system",
        "pibox-agent.service": "etc/systemd/system",
        "99-pibox.rules": "etc/udev/rules.d",
        "watchdog.conf": "etc/systemd/system.conf.d",
        "pibox-proc.conf": "etc/systemd/system/kiosk.service.d",
        **cache.system.parts,
    }
    for name, folder in places.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(GUEST / name, root / folder / name)
    (root / "etc/hosts").write_text("127.0.0.1 localhost pibox\n", encoding="utf-8")
    (root / "etc/hostname").write_text("pibox\n", encoding="utf-8")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults,noatime,errors=remount-ro 0 1\n", encoding="utf-8")
    (root / "etc/systemd/network/eth0.network").write_text(NETWORK, encoding="utf-8")
    (root / "etc/sudoers.d/pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n", encoding="utf-8")
    _in(
        cache,
        "id pi 2>/dev/null || useradd --create-home --shell /bin/bash pi; groupadd -f --system gpio;"
        f"systemctl -q enable {STARTED} {cache.system.units}; systemctl -q mask {MASKED};"
        "mkdir -p /etc/systemd/system-generators;"
        "ln -sf /dev/null /etc/systemd/system-generators/systemd-ssh-generator;"
        "ssh-keygen -A; systemd-machine-id-setup; mkdir -p /home/pi/.ssh;"
        f"touch /etc/.updated /var/.updated; {cache.system.more_settings}",
    )
    public = cache.key.with_suffix(".pub").read_bytes()
    (root / "home/pi/.ssh/authorized_keys").write_bytes(public)
    _in(cache, "chown -R pi:pi /home/pi/.ssh; chmod 700 /home/pi/.ssh; chmod 600 /home/pi/.ssh/*")


def make_card(cache: Cache) -> None:
    """The disk and the kernel of the machine: half a minute, 2 GB."""
    cache.boot.mkdir(exist_ok=True)
    shutil.copyfile(next((cache.root / "boot").glob("vmlinuz-*")), cache.boot / "vmlinuz")
    shutil.copyfile(GUEST / "init.sh", cache.root / "tmp/init")
    _in(cache, INITRD)
    (cache.root / "tmp/initrd.img").replace(cache.boot / "initrd.img")
    cache.card.unlink(missing_ok=True)
    _run("mkfs.ext4", "-q", "-d", str(cache.root), "-L", "rootfs", str(cache.card), f"{IMAGE_MB}M")
    _run("tune2fs", "-c", "0", "-i", "0", str(cache.card))


STEPS: tuple[tuple[str, Callable[[Cache], None]], ...] = (
    ("system", _system),
    ("module", _module),
    ("packages", _packages),
    ("settings", _settings),
)


def _in(cache: Cache, script: str) -> None:
    _run("chroot", str(cache.root), "/bin/sh", "-euc", script)


def _run(*command: str) -> None:
    words = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=words)
    if done.returncode:
        sys.exit(f"pibox: {' '.join(command[:3])}: {done.stdout.strip()[-3000:]}")
