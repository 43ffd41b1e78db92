"""PURE. The kinds of door: what each needs from the system, and what that means in kiosk.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Table = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Hardware:
    """System packages, and the tables of kiosk.toml that follow."""

    packages: tuple[str, ...]
    settings: Table


SCREEN_PACKAGE, SCREEN_UNIT = "cog", "kiosk-screen.service"
"""The browser of a door with a display of its own, and what starts it."""
KINDS: Mapping[str, Hardware] = MappingProxyType(
    {
        "pi": Hardware(
            ("python3-picamera2", "python3-lgpio"),
            {"camera": {"source": "picamera2"}, "lines": {"pin_factory": "lgpio"}},
        ),
        "pi-usb-camera": Hardware(
            ("python3-lgpio",),
            {"camera": {"source": "v4l2", "path": "/dev/video0"}, "lines": {"pin_factory": "lgpio"}},
        ),
        "simulated": Hardware(
            (),
            {
                "camera": {"source": "visitors", "path": "/var/lib/kiosk/showings.json"},
                "lines": {"pin_factory": "mock"},
            },
        ),
    }
)
"""picamera2 and lgpio come from the system, confirmed with its libcamera and kernel."""
