"""Lines to rest, by a program that knows little and loads fast; the kernel's side is played here."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk import rest_lines
from kiosk.rest_lines import CHIPINFO, GET_CHIPINFO, GET_LINE, OUTPUTS, PULL_DOWN, PULL_UP, main, note, rest_levels
from kiosk.settings import LineSettings

SHIPPED = Path(__file__).parents[2] / "config"


class Kernel:
    """Answers the two requests of linux/gpio.h that are made; offsets into the second are those of its struct."""

    def __init__(self, label: bytes = b"pinctrl-bcm2711") -> None:
        self.label = label
        self.busy: set[int] = set()
        self.driven: dict[int, tuple[int, int]] = {}

    def ioctl(self, _chip: int, request: int, data: bytearray) -> int:
        """Do as the kernel does: fill in the chip's label, or claim one line."""
        if request == GET_CHIPINFO:
            data[:] = CHIPINFO.pack(b"gpiochip0", self.label, 54)
            return 0
        assert (request, len(data)) == (GET_LINE, 592)
        (gpio,) = struct.unpack_from("I", data, 0)
        flags, attributes, kind = struct.unpack_from("QI20xI", data, 288)
        value, mask = struct.unpack_from("QQ", data, 328)
        (count,) = struct.unpack_from("I", data, 560)
        assert (attributes, kind, mask, count, flags & 8) == (1, 2, 1, 1, 8)
        if gpio in self.busy:
            raise OSError(16, "Device or resource busy")
        self.driven[gpio] = (value, flags - 8)
        struct.pack_into("i", data, 588, os.open("/dev/null", os.O_RDONLY))
        return 0


@pytest.fixture
def devices(tmp_path: Path) -> str:
    """A /dev with one chip in it."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "gpiochip4").touch()
    return str(tmp_path / "dev")


def written(folder: Path, text: str) -> str:
    """A kiosk.toml with that text."""
    path = folder / "kiosk.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_it_knows_the_same_lines_as_the_settings() -> None:
    """It does not import them: they take a second to load."""
    defaults = LineSettings()
    assert {name: getattr(defaults, name) for name in OUTPUTS} == OUTPUTS
    assert rest_levels(str(SHIPPED / "kiosk.toml")) == dict.fromkeys(defaults.gpios().values(), False)


def test_every_line_is_driven_to_its_rest_level_with_its_pull_and_let_go(tmp_path: Path, devices: str) -> None:
    """Active low rests high."""
    kernel = Kernel()
    path = written(tmp_path, '[lines]\namber = -1\nspare_1 = 12\nactive_low = ["entry_relay"]\n')
    opened = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert main([path], ioctl=kernel.ioctl, devices=devices) == 0
    assert len(os.listdir("/proc/self/fd")) == opened  # noqa: PTH208
    low, high = (0, PULL_DOWN), (1, PULL_UP)
    assert kernel.driven == {17: low, 22: low, 23: low, 24: high, 25: low, 12: low}


def test_a_line_that_somebody_holds_keeps_no_other_from_rest(
    tmp_path: Path, devices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and the exit code says that not all is at rest."""
    kernel = Kernel()
    kernel.busy = {24}
    assert main([written(tmp_path, "")], ioctl=kernel.ioctl, devices=devices) == 4
    assert sorted(kernel.driven) == [17, 22, 23, 25, 27]
    assert capsys.readouterr().err == (
        "rest-lines: GPIO 24 cannot be put to rest (Device or resource busy); does another program hold it?\n"
    )


def test_the_daemons_note_counts_before_a_configuration_that_was_edited_since(tmp_path: Path, devices: str) -> None:
    """What was driven goes to rest, wherever the file says the relay is now."""
    kernel = Kernel()
    note({24: True, 5: False}, str(tmp_path))
    path = written(tmp_path, "not TOML at all")
    assert main([str(tmp_path / rest_lines.NOTE), path], ioctl=kernel.ioctl, devices=devices) == 0
    assert kernel.driven == {24: (1, PULL_UP), 5: (0, PULL_DOWN)}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[lines\n", 3, "not TOML"),
        ("\xff", 3, "not TOML"),
        ("[lines]\n", 4, "no chip whose label begins with pinctrl-"),
        ('[lines]\npin_factory = "mock"\n', 0, ""),
        ("lines = 3\n", 0, ""),
    ],
    ids=["not TOML", "not TOML either", "no chip", "no hardware", "no lines"],
)
def test_what_cannot_be_put_to_rest_is_said(
    tmp_path: Path, devices: str, text: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chip of something else than the header is left alone."""
    kernel = Kernel(label=b"usb-expander")
    assert main([written(tmp_path, text)], ioctl=kernel.ioctl, devices=devices) == code
    err = capsys.readouterr().err
    assert said in err
    assert (kernel.driven, bool(err)) == ({}, code != 0)


def test_no_file_is_a_mistake_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """All names that were tried are in the sentence."""
    assert main(["no-note", "no.toml"]) == 3
    assert capsys.readouterr().err == "rest-lines: none of no-note, no.toml exists\n"


def test_it_loads_nothing_slow(tmp_path: Path) -> None:
    """With the daemon's note not even TOML: a relay waits for this program."""
    note({}, str(tmp_path))
    command = [sys.executable, "-I", "-S", "-X", "importtime", rest_lines.__file__, str(tmp_path / rest_lines.NOTE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "fcntl" in loaded
    assert loaded & {"kiosk", "tomllib", "gpiozero", "typing", "re", "pathlib"} == set()
