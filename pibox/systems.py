"""The systems that a kiosk runs on, as far as the box must tell them apart. Called by everything that makes a disk.

Trixie's libcamera has a virtual camera, so that the daemon reads it through picamera2, as on a Pi. Bookworm's has none:
there the camera is one on USB to the daemon, which v4l2loopback stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LIBCAMERA = ("python3-libcamera", "libcamera-ipa", "libcamera-tools")
BASE = (
    *("systemd-sysv", "udev", "dbus", "systemd-timesyncd", "kmod", "procps", "iproute2", "openssh-server", "sudo"),
    *(
        "curl",
        "ca-certificates",
        "initramfs-tools",
        "linux-image-amd64",
        "e2fsprogs",
        "netbase",
        "libpam-systemd",
        "zstd",
        "busybox-static",
    ),
    *("python3", "python3-venv", "python3-pip", "python3-numpy"),
)
FOR_LGPIO = ("python3-dev", "swig", "python3-setuptools", "python3-wheel")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One release of Debian."""

    suite: str
    packages: tuple[str, ...]
    tools: tuple[str, ...]
    """What builds the modules, and lgpio where the registry has it as source only; none of it stays."""
    more_modules: str
    """A script that puts sources beside gpio-sim's."""
    picamera2: tuple[str, ...]
    """From Python's registry; empty where there is no camera for it."""
    parts: Mapping[str, str]
    """What else of `pibox/guest` goes where."""
    more_settings: str
    """A script for what is not a file of `pibox/guest`."""
    units: str
    hardware: str
    """The kind of door, for kiosk-fleet's inventory."""
    camera_files: tuple[str, ...]
    """What a daemon whose camera works holds open, one of them: words in the names."""


TRIXIE = System(
    suite="trixie",
    packages=(*BASE, "python3-pil", "python3-prctl", *LIBCAMERA, "libzbar0t64"),
    tools=("linux-headers-amd64", "linux-source", *FOR_LGPIO, "gcc", "make"),
    more_modules="",
    picamera2=(
        *("picamera2==0.3.38", "PiDNG", "piexif", "simplejpeg", "videodev2", "av", "libarchive-c", "tqdm", "OpenEXR"),
        *("jsonschema", "attrs", "referencing", "rpds-py", "jsonschema-specifications"),
    ),
    parts=MappingProxyType(
        {
            "pibox_camera.py": "usr/lib/python3/dist-packages",
            "virtual.yaml": "usr/share/libcamera/pipeline/virtual",
        }
    ),
    more_settings="""
python3 -c 'from PIL import Image
Image.new("RGB", (1280, 720), "grey").save("/usr/share/libcamera/pipeline/virtual/grey.jpg")'
""",
    units="",
    hardware="pi",
    camera_files=("dma_heap", "dmabuf"),
)
"""Debian 13: Python 3.13, systemd 257, Linux 6.12."""

BOOKWORM = System(
    suite="bookworm",
    packages=(*BASE, "libzbar0"),
    tools=("linux-headers-amd64", "linux-source", "gcc", "make", "v4l2loopback-source", "bzip2"),
    more_modules=r"""
tar -xf /usr/src/v4l2loopback.tar.bz2 -C /tmp/module --transform='s,.*/,,' --wildcards '*.[ch]'
echo 'obj-m += v4l2loopback.o' >>/tmp/module/Kbuild
""",
    picamera2=(),
    parts=MappingProxyType(
        {
            "usb_camera.py": "usr/lib/pibox",
            "pibox-usb-camera.service": "etc/systemd/system",
            "bookworm.conf": "etc/systemd/system/pibox-agent.service.d",
        }
    ),
    more_settings="",
    units="pibox-usb-camera",
    hardware="pi-usb-camera",
    camera_files=("/dev/video0",),
)
"""Debian 12: Python 3.11, systemd 252, Linux 6.1."""

SYSTEMS: Mapping[str, System] = MappingProxyType({system.suite: system for system in (TRIXIE, BOOKWORM)})
