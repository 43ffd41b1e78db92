"""Puts every output line to rest, whoever left it how: `rest_lines.py NOTE kiosk.toml`, the first that exists.

systemd runs it when the daemon is gone, however it went, and before it starts. A relay must not wait for it, so it
imports what Python loads in milliseconds: not the settings, not gpiozero, and TOML only where the daemon has left no
note of the lines it drives. It asks the kernel itself, through the GPIO character device (linux/gpio.h, version 2 of
its interface, Linux 5.10), and so works after every pin factory. It knows only as much of kiosk.toml as it needs, and
leaves judging the rest of it to `kiosk check-config`.
"""

import fcntl
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Ioctl = Callable[[int, int, bytearray], int]

OUTPUTS = {
    "green": 17,
    "amber": 27,
    "red": 22,
    "buzzer": 23,
    "entry_relay": 24,
    "exit_relay": 25,
    "spare_1": -1,
    "spare_2": -1,
}
"""As in kiosk.settings; a test keeps the two equal."""
FIRST_GPIO, LAST_GPIO = 0, 27
HEADER = b"pinctrl-"
"""How the label of a Pi's own chip begins: pinctrl-bcm2835, pinctrl-bcm2711, pinctrl-rp1. Their numbers move."""

GET_CHIPINFO = 0x8044B401
CHIPINFO = struct.Struct("32s32sI")
"""Name, label, number of lines."""
GET_LINE = 0xC250B407
LINE_REQUEST = struct.Struct("=I252x32s Q I20x IIQQ 216x II20xi")
"""First offset, consumer; flags, number of attributes; their first: id, padding, values, mask; lines, buffer, fd."""
OUTPUT, PULL_UP, PULL_DOWN = 1 << 3, 1 << 8, 1 << 9
VALUES = 2

NOTE = "rest-lines"
"""The daemon's note in its runtime directory: a GPIO and its rest level, 0 or 1, on each line."""
DONE, CONFIG, FAULT = 0, 3, 4


class Unusable(Exception):
    """There is nothing to be put to rest with; the text is a sentence for a technician."""


def main(arguments: "Sequence[str]", *, ioctl: "Ioctl" = fcntl.ioctl, devices: str = "/dev") -> int:
    """Put the lines to rest that the first file of `arguments` that exists names; the answer is the exit code."""
    path = next((path for path in arguments if os.path.exists(path)), None)  # noqa: PTH110 - pathlib is slow to load
    if path is None:
        sys.stderr.write(f"rest-lines: none of {', '.join(arguments)} exists\n")
        return CONFIG
    try:
        levels = rest_levels(path) if path.endswith(".toml") else noted(path)
        failed = rest(levels, ioctl, devices) if levels else []
    except (Unusable, OSError, ValueError) as error:
        sys.stderr.write(f"rest-lines: {error}\n")
        return CONFIG if isinstance(error, ValueError) else FAULT
    for sentence in failed:
        sys.stderr.write(f"rest-lines: {sentence}\n")
    return FAULT if failed else DONE


def note(levels: "Mapping[int, bool]", folder: str) -> None:
    """Leave a note of the lines that are driven from now on, whatever becomes of kiosk.toml meanwhile."""
    with open(f"{folder}/{NOTE}", "w", encoding="ascii") as file:  # noqa: PTH123
        file.writelines(f"{gpio} {int(high)}\n" for gpio, high in levels.items())


def noted(path: str) -> dict[int, bool]:
    """Read such a note.

    Raises:
        ValueError: it is none.
    """
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        return {int(gpio): level == "1" for gpio, level in (line.split() for line in file)}


def rest_levels(path: str) -> dict[int, bool]:
    """Say at which level each GPIO of a kiosk.toml rests: True for high. Empty where it names no hardware.

    Raises:
        ValueError: it is not TOML.
    """
    import tomllib  # noqa: PLC0415 - it takes longer to load than all the rest to do

    with open(path, "rb") as file:  # noqa: PTH123
        try:
            lines = tomllib.load(file).get("lines", {})
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
    if not isinstance(lines, dict) or lines.get("pin_factory") == "mock":
        return {}
    gpios = {name: lines.get(name, default) for name, default in OUTPUTS.items()}
    return {gpio: repr(name) in repr(lines.get("active_low")) for name, gpio in gpios.items() if _on_header(gpio)}


def _on_header(gpio: object) -> bool:
    return isinstance(gpio, int) and FIRST_GPIO <= gpio <= LAST_GPIO


def rest(levels: "Mapping[int, bool]", ioctl: "Ioctl", devices: str) -> list[str]:
    """Drive each GPIO to its level and let go of it; the answer is a sentence for each that could not be.

    The pull goes the same way, for a kernel that makes a line an input again when nobody holds it.

    Raises:
        Unusable: there is no Pi's GPIO here, or it may not be used.
    """
    failed = []
    chip = _header_chip(ioctl, devices)
    for gpio, high in levels.items():
        request = bytearray(
            LINE_REQUEST.pack(
                gpio, b"kiosk-rest", OUTPUT | (PULL_UP if high else PULL_DOWN), 1, VALUES, 0, int(high), 1, 1, 0, 0
            )
        )
        try:
            ioctl(chip, GET_LINE, request)
        except OSError as error:
            failed.append(f"GPIO {gpio} cannot be put to rest ({error.strerror}); does another program hold it?")
        else:
            os.close(LINE_REQUEST.unpack(request)[-1])
    os.close(chip)
    return failed


def _header_chip(ioctl: "Ioctl", devices: str) -> int:
    why = "no chip whose label begins with pinctrl-"
    for name in sorted(name for name in os.listdir(devices) if name.startswith("gpiochip")):  # noqa: PTH208
        try:
            chip = os.open(f"{devices}/{name}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            why = f"{name}: {error.strerror}; is the user in the group gpio?"
            continue
        info = bytearray(CHIPINFO.size)
        ioctl(chip, GET_CHIPINFO, info)
        if CHIPINFO.unpack(info)[1].startswith(HEADER):
            return chip
        os.close(chip)
    raise Unusable(f"the header's GPIO cannot be used ({why})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
