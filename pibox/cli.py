"""The box by hand: `build`, `run`, `test`, `shell`. `scripts/pibox` installs what is missing and calls it."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.camera import fitted, luma_of_file
from kiosk.messages import Symptom
from pibox.build import UNDER_TEST, Cache, build, cache_for
from pibox.door import GPIOS, Door
from pibox.install import DISK, install
from pibox.machine import BoxFault, overlay
from pibox.results import GROUPS, run_tests
from pibox.systems import SYSTEMS, TRIXIE

WELL, WRONG = 0, 1
EPILOG = """needs: root, Debian 12 or newer, x86_64, 7 GB in the cache, 1.5 GB of memory for a run.
docs/pibox.md has the times."""
KEYS = """h: a healthy visitor    r: one at risk    c: camera pulled or plugged    n: network pulled or plugged
f: fire contact opened or closed    s: staff key    k: kill -9 the kiosk    j: its journal
p: plug pulled and put in again    q: power off"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    parsed = _parser().parse_args(arguments)
    do: Callable[[argparse.Namespace, Cache], int] = parsed.do
    try:
        return do(parsed, cache_for(parsed.system))
    except BoxFault as fault:
        print(f"pibox: {fault}", file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/pibox", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--system", choices=sorted(SYSTEMS), default=TRIXIE.suite, help="default: %(default)s")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    make = verbs.add_parser(
        "build", parents=[common], help="make the disk: Debian, the box's parts, this tree's release installed"
    )
    make.set_defaults(do=_build)
    look = verbs.add_parser(
        "run", parents=[common], help="a door to play with: keys for visitors and plugs, every line as it changes"
    )
    look.add_argument(
        "frames", nargs="?", type=Path, metavar="FOLDER", help="pictures to show to the camera, again and again"
    )
    look.set_defaults(do=_run)
    test = verbs.add_parser("test", parents=[common], help="build what has changed, then run tests/system")
    test.add_argument("--cuts", type=int, default=50, help="power cuts, default %(default)s")
    test.add_argument("--seed", type=int, default=1, help="of the cuts' moments and of what they lose")
    test.add_argument("--as-it-is", action="store_true", help="test the release that is installed, not the tree's")
    test.add_argument("words", nargs="*", help="for pytest, such as tests/system/test_power.py")
    test.set_defaults(do=_test)
    inside = verbs.add_parser(
        "shell", parents=[common], help="a root shell in the box; what it changes is gone afterwards"
    )
    inside.set_defaults(do=_shell)
    return parser


def _disk(cache: Cache, *, again: bool) -> Path:
    build(cache)
    return install(cache, again=again)


def _build(_parsed: argparse.Namespace, cache: Cache) -> int:
    print(_disk(cache, again=True))
    return WELL


def _test(parsed: argparse.Namespace, cache: Cache) -> int:
    began = time.monotonic()
    disk = _disk(cache, again=not parsed.as_it_is)
    built_s = time.monotonic() - began
    told = {"PIBOX_DISK": str(disk), "PIBOX_CUTS": str(parsed.cuts), "PIBOX_SEED": str(parsed.seed)}
    told[UNDER_TEST] = parsed.system
    return run_tests(cache.folder, [parsed.words] if parsed.words else GROUPS, told, built_s)


def _run(parsed: argparse.Namespace, cache: Cache) -> int:
    with tempfile.TemporaryDirectory(prefix="pibox-") as folder:
        door = Door(cache, overlay(cache, _disk(cache, again=False), Path(folder) / "disk.qcow2"), Path(folder))
        try:
            print("powered on; some minutes on a busy machine", flush=True)
            door.open()
            if parsed.frames:
                door.machine.show(*_pictures(parsed.frames), again=True)
            print(f"READY. {KEYS}", flush=True)
            _play(door)
        finally:
            door.close()
    return WELL


def _play(door: Door) -> None:
    """Keys from standard input, one a line; changes of lines as they come."""
    door.machine.told = _tell
    state = {"c": False, "n": True, "f": False}
    for word in sys.stdin:
        key = word.strip()[:1]
        if key in state:
            state[key] = not state[key]
        if key == "q":
            return
        if do := _keys(door, state).get(key):
            do()


def _keys(door: Door, state: dict[str, bool]) -> dict[str, Callable[[], object]]:
    machine = door.machine
    return {
        "h": door.visit,
        "r": lambda: door.visit(Symptom.FEVER),
        "c": lambda: machine.ask("gone", gone=state["c"]),
        "n": lambda: machine.plug_network(connected=state["n"]),
        "f": lambda: machine.ask("pull", line=6, up=state["f"]),
        "s": door.press_staff_key,
        "k": lambda: machine.run("systemctl", "kill", "--signal=KILL", "kiosk"),
        "j": lambda: print(door.journal()),
        "p": door.replug,
    }


def _tell(change: object) -> None:
    names = {gpio: line.value for line, gpio in GPIOS.items()}
    line, kind, value, at = (getattr(change, name) for name in ("line", "kind", "value", "at"))
    print(f"{at:10.3f} s  {names.get(line, line)}: {kind} {value}", flush=True)


def _pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """Every picture of a folder, as the camera would see it."""
    found = [luma_of_file(np.fromfile(path, np.uint8)) for path in sorted(folder.iterdir()) if path.is_file()]
    if not (pictures := [fitted(luma, 1280, 720) for luma in found if luma is not None]):
        raise BoxFault(f"{folder}: no picture that OpenCV {cv2.__version__} can read")
    return pictures


def _shell(_parsed: argparse.Namespace, cache: Cache) -> int:
    with tempfile.TemporaryDirectory(prefix="pibox-") as folder:
        disk = cache.folder / DISK
        door = Door(
            cache, overlay(cache, disk if disk.exists() else cache.card, Path(folder) / "disk.qcow2"), Path(folder)
        )
        try:
            door.city.open()
            door.machine.power_on()
            door.wake()
            time.sleep(1)
            known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
            where = ["-t", "-i", str(cache.key), "-p", str(door.machine.ssh_port), "pi@127.0.0.1", "sudo", "-i"]
            return subprocess.run(["ssh", *known, *where], check=False).returncode
        finally:
            door.close()
