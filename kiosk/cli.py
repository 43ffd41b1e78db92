"""`kiosk`: the technician's command line.

It turns words into parts and prints answers; it decides nothing about people. A mistake of the technician's is
answered in sentences, never in a stack trace; a bug keeps its trace, for us.
"""

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kiosk import __version__, outbox_view, rest_lines, selftest, technician, visitor_verb, wire, wiring
from kiosk.camera import FrameSource, PiCamera, V4l2Camera, luma_of_file
from kiosk.city_data import kept
from kiosk.clock import TIMESYNC_MARK, Clock, SystemClock
from kiosk.config import Loaded, effective, load
from kiosk.daemon import Daemon
from kiosk.errors import ConfigError, KioskError, LineFault, StageFault
from kiosk.explain import Explained, desk, explain, explain_image, granted, lines_of, payload_in
from kiosk.gpio_alerts import GpioLines, pin_factory
from kiosk.ladder import Step
from kiosk.line_inputs import GpioInputs
from kiosk.messages import Line
from kiosk.parts import Parts, gate_for
from kiosk.recordings import ImageFolder, VideoFile
from kiosk.settings import LineSettings, Settings
from kiosk.supervisor import CORE_HUNG_S, DeadMan, ServiceNotifier

DONE, DIFFERENT, USAGE, CONFIG, FAULT, RESTART, REBOOT = 0, 1, 2, 3, 4, 5, 6
TRY_AGAIN_S = 60.0
"""Ten starts within ten minutes are systemd's limit (systemd/kiosk.service)."""
CONFIG_FILE = Path("/etc/kiosk/kiosk.toml")

EXIT_CODES = """exit codes:
  0  done
  1  replay: the gate does something else now than was recorded; explain: the code would not open an entry;
     selftest: a line does not do what it should
  2  the command line cannot be understood
  3  a configuration file has mistakes; all of them are listed
  4  a stage cannot start (camera, lines, outbox, uplink, screen); the sentence says which and what to do
  5  run: a driver has not recovered for a minute; starting again may cure it
  6  run: starting again did not cure it; a reboot may
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    parsed = _parser().parse_args(arguments)
    do: Callable[[argparse.Namespace], int] = parsed.do
    try:
        return do(parsed)
    except ConfigError as error:
        print(f"{len(error.mistakes)} to mend:", file=sys.stderr)
        for mistake in error.mistakes:
            print(f"  {mistake}", file=sys.stderr)
        return CONFIG
    except KioskError as fault:
        print(f"kiosk: {fault}", file=sys.stderr)
        return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kiosk",
        description="Check-in kiosk for a door: reads health-declaration QR codes, judges, drives the lane, reports.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run the door until stopped; systemd does this")
    run.add_argument("--config", type=Path, default=CONFIG_FILE, help="default: %(default)s")
    run.set_defaults(do=_run)
    check = verbs.add_parser("check-config", help="list every mistake in a configuration, or show what it means")
    check.add_argument("file", type=Path, help="a kiosk.toml")
    check.set_defaults(do=_check_config)
    replay = verbs.add_parser("replay", help="feed a journal to the gate and compare what it does with what it did")
    replay.add_argument("journal", type=Path, help="a file that a run with [journal] path wrote")
    replay.add_argument("--config", type=Path, required=True, help="the kiosk.toml of that run")
    replay.set_defaults(do=_replay)
    explaining = verbs.add_parser("explain", help="show each step from a code to its verdict, personal data masked")
    explaining.add_argument(
        "code", help="its text, @FILE with its bytes (a text stays in the shell's history), or an image"
    )
    explaining.add_argument("--config", type=Path, default=CONFIG_FILE, help="default: %(default)s")
    explaining.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    explaining.set_defaults(do=_explain)
    outbox = verbs.add_parser("outbox", help="show or export what waits for the city; changes nothing")
    outbox.add_argument("--config", type=Path, default=CONFIG_FILE, help="default: %(default)s")
    outbox.add_argument("--file", type=Path, help="another file than [outbox] path: one that was set aside")
    outbox.add_argument("what", choices=["show", "export"], nargs="?", default="show", help="default: %(default)s")
    outbox.add_argument("to", type=Path, nargs="?", help="export: a new file for lines of JSON, identities sealed")
    outbox.set_defaults(do=_outbox)
    for name, text, do in LINE_VERBS:
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--config", type=Path, default=CONFIG_FILE, help="default: %(default)s")
        verb.set_defaults(do=do)
    verb.add_argument("what", choices=["lines"], help="lights, buzzer, relays and contacts")
    verb.add_argument("--yes", action="store_true", help="ask nothing: drive every output, read every input")
    technician.add_verbs(verbs, CONFIG_FILE, _camera, _clock)
    visitor_verb.add_verbs(verbs)
    version = verbs.add_parser("version", help="print the firmware's version")
    version.set_defaults(do=_version)
    return parser


def _version(_parsed: argparse.Namespace) -> int:
    print(f"kiosk {__version__}")
    return DONE


def _check_config(parsed: argparse.Namespace) -> int:
    loaded = load(parsed.file)
    print(effective(loaded.settings))
    print(f"\n# rules {loaded.rules.version}: {len(loaded.rules.areas)} epidemic areas; nothing to mend")
    for trouble in kept(loaded)[1]:
        print(f"# but: {trouble}")
    return DONE


def _outbox(parsed: argparse.Namespace) -> int:
    path = parsed.file or Path(load(parsed.config).settings.outbox.path)
    if (parsed.what == "export") != bool(parsed.to):
        print("kiosk outbox: export needs a file to write, show takes none", file=sys.stderr)
        return USAGE
    if parsed.to:
        print(f"{outbox_view.export(path, parsed.to)} events exported to {parsed.to}")
    else:
        print(outbox_view.told(path, outbox_view.standing(path)))
    return DONE


def _replay(parsed: argparse.Namespace) -> int:
    loaded = load(parsed.config)
    gate = gate_for(loaded, kept(loaded)[0])
    steps = different = 0
    try:
        lines = parsed.journal.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            entry = wire.decode_entry(line)
            effects = tuple(gate.step(entry.given, entry.now))
            steps += 1
            if effects != entry.effects:
                different += 1
                print(f"step {number}: {type(entry.given).__name__}\n  then {entry.effects}\n  now  {effects}")
    except (OSError, ValueError) as error:
        raise ConfigError([f"{parsed.journal}: not a journal of this version ({error})"]) from error
    print(f"{steps} steps replayed, {different} different")
    return DIFFERENT if different else DONE


def _explain(parsed: argparse.Namespace) -> int:
    loaded = load(parsed.config)
    at = desk(loaded, _clock(loaded.settings).now())
    try:
        named = payload_in(parsed.code)
        luma = luma_of_file(np.frombuffer(named.read_bytes(), dtype=np.uint8)) if isinstance(named, Path) else None
    except OSError as error:
        raise ConfigError([f"{error.filename}: cannot be read ({error.strerror})"]) from error
    told: list[Explained]
    if isinstance(named, bytes):
        told = [explain(named, at)]
    elif luma is None:
        raise ConfigError([f"{named}: not an image that can be read"])
    else:
        told = explain_image(luma, at)
    if parsed.json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print("\n\n".join("\n".join(lines_of(each)) for each in told) or "no code was read in this image")
    return DONE if told and all(map(granted, told)) else DIFFERENT


def _wiring(parsed: argparse.Namespace) -> int:
    settings = load(parsed.config).settings
    print(wiring.pin_table(settings.lines, settings.inputs))
    print(f"for config.txt:\n\n{wiring.boot_config(settings.lines, settings.inputs)}")
    for caution in wiring.cautions(settings.lines):
        print(f"caution: {caution}")
    return DONE


def _rest_lines(parsed: argparse.Namespace) -> int:
    return rest_lines.main([str(parsed.config)])


def _selftest(parsed: argparse.Namespace) -> int:
    settings = load(parsed.config).settings
    with ExitStack() as stack:
        _alone(parsed.config, stack)
        factory = pin_factory(settings.lines.pin_factory)
        lines = _lines(settings.lines, factory)
        stack.callback(lines.close)
        inputs = GpioInputs(settings.inputs.contacts(), factory)
        stack.callback(inputs.close)
        bench = selftest.Bench(
            lines=lines,
            inputs=inputs,
            clock=SystemClock(),
            pause=threading.Event().wait,
            say=print,
            ask=None if parsed.yes else input,
        )
        findings = selftest.walk(settings.lines, settings.inputs, bench)
    print(selftest.table(findings))
    return DIFFERENT if any(finding.trouble for finding in findings) else DONE


LINE_VERBS: tuple[tuple[str, str, Callable[[argparse.Namespace], int]], ...] = (
    ("wiring", "print what hangs on which pin, and the lines for the board's config.txt", _wiring),
    ("rest-lines", "put every output to rest and leave; systemd does it when the daemon is gone", _rest_lines),
    ("selftest", "walk through every line: drive each output, wait for each input", _selftest),
)


def _alone(config: Path, stack: ExitStack) -> None:
    """Hold the configuration for this program alone: RPi.GPIO would let two move the same lines."""
    file = stack.enter_context(config.open("rb"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LineFault(f"lines: another kiosk program runs with {config}; stop it: systemctl stop kiosk") from error


def _lines(lines: LineSettings, factory: Any) -> GpioLines:  # noqa: ANN401 - gpiozero ships no types
    hz = lines.buzzer_hz if lines.buzzer_kind == "passive" else None
    return GpioLines(lines.gpios(), frozenset(map(Line, lines.active_low)), factory, hz)


def _note_lines(lines: LineSettings) -> None:
    """Tell `rest_lines` what is driven from now on, where systemd gives us a folder for it."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if folder and lines.pin_factory != "mock":
        rest_lines.note({gpio: line.value in lines.active_low for line, gpio in lines.gpios().items()}, folder)


def _run(parsed: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    loaded = load(parsed.config)
    settings = loaded.settings
    clock = _clock(settings)
    with ExitStack() as stack:
        _alone(parsed.config, stack)
        _note_lines(settings.lines)
        daemon = _made(loaded, clock, stack)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: daemon.stop())
        logging.getLogger("kiosk").info("door %s, screen at %s", settings.door.device, daemon.screen.address)
        cure = daemon.run()
    return DONE if cure is None else {Step.RESTART: RESTART, Step.REBOOT: REBOOT}[cure]


def _made(loaded: Loaded, clock: Clock, stack: ExitStack) -> Daemon:
    """A stage that cannot start is tried again by systemd; not so fast that its limit takes it for a crash."""
    notifier = ServiceNotifier.from_environment()
    try:
        return Daemon(_parts(loaded, clock, stack, notifier))
    except StageFault as fault:
        if notifier.is_heard:
            logging.getLogger("kiosk").error("%s; trying again in a minute", fault)  # noqa: TRY400 - no stack trace
            notifier.say(f"STATUS={fault}")
            threading.Event().wait(TRY_AGAIN_S)
        raise


def _parts(loaded: Loaded, clock: Clock, stack: ExitStack, notifier: ServiceNotifier) -> Parts:
    """Choose the hardware, by the names in the configuration."""
    settings = loaded.settings
    if settings.camera.source == "visitors":
        from kiosk.testing.door import SimulatedDoor  # noqa: PLC0415 - no real door needs it, nor its time to load

        door = SimulatedDoor(settings.camera, clock)
        stack.callback(door.close)
        open_camera: Callable[[], FrameSource] = door.open_camera
        factory = door.pin_factory()
    else:
        open_camera = _camera(settings, clock)
        factory = pin_factory(settings.lines.pin_factory)
    journal, contacts = settings.journal.path, settings.inputs.contacts()
    return Parts(
        loaded=loaded,
        clock=clock,
        open_camera=open_camera,
        lines=_lines(settings.lines, factory),
        notifier=notifier,
        dead_man=DeadMan(CORE_HUNG_S),
        inputs=GpioInputs(contacts, factory) if contacts else None,
        runtime=Path(folder) if (folder := os.environ.get("RUNTIME_DIRECTORY")) else None,
        journal=stack.enter_context(Path(journal).open("w", encoding="utf-8", buffering=1)) if journal else None,
    )


def _clock(settings: Settings) -> SystemClock:
    return SystemClock({"timesyncd": TIMESYNC_MARK.exists, "always": lambda: True}[settings.clock.trust])


def _camera(settings: Settings, clock: Clock) -> Callable[[], FrameSource]:
    camera = settings.camera
    sources: dict[str, Callable[[], FrameSource]] = {
        "picamera2": lambda: PiCamera(clock, camera),
        "v4l2": lambda: V4l2Camera(clock, camera),
        "video": lambda: VideoFile(clock, Path(camera.path)),
        "images": lambda: ImageFolder(clock, Path(camera.path), camera.width, camera.height, camera.fps),
    }
    return sources[camera.source]
