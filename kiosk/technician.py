"""The technician's verbs at a door: `doctor`, `status` and `logs`; `kiosk.visitor_verb` has `test visitor`.

Decides what is gathered and how it is printed; `kiosk.doctor` decides what is well. Added to the command line by
`kiosk.cli`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kiosk import __version__, log_words, outbox_view, status
from kiosk.ages import age_s
from kiosk.camera import FrameSource
from kiosk.city_data import files_of
from kiosk.clock import Clock
from kiosk.config import Loaded, load
from kiosk.doctor import finding
from kiosk.doctor.case import Case, Held, held
from kiosk.doctor.examine import examine
from kiosk.doctor.finding import Finding
from kiosk.errors import OutboxFault
from kiosk.gpio_alerts import pin_factory
from kiosk.machine import Machine
from kiosk.settings import Settings

GREEN, RED = 0, 1
SYSTEMD = Path("/run/systemd/system")
"""There where systemd runs (sd_booted(3))."""
COMMAND_WITHIN_S = 10.0
SERVICE = "kiosk.service"

Cameras = Callable[[Settings, Clock], Callable[[], FrameSource]]
Clocks = Callable[[Settings], Clock]


def add_verbs(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", config: Path, cameras: Cameras, clocks: Clocks
) -> None:
    """Add the three.

    Args:
        verbs: of the command line.
        config: the usual configuration.
        cameras: chooses the camera that the settings name.
        clocks: chooses the clock.
    """
    doctor = verbs.add_parser("doctor", help="look at everything, say what is wrong and how to mend it")
    doctor.add_argument("--hold-a-code", type=float, default=0.0, metavar="SECONDS", help="read one that is held up")
    doctor.set_defaults(do=lambda parsed: _doctor(parsed, cameras, clocks))
    now = verbs.add_parser("status", help="how a running door is, in a few lines")
    now.set_defaults(do=lambda parsed: _status(parsed, clocks))
    for verb in (doctor, now):
        verb.add_argument("--config", type=Path, default=config, help="default: %(default)s")
        verb.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    logs = verbs.add_parser("logs", help="the door's journal in plain words")
    logs.add_argument("--since", default="-1d", help="--since=-1h, --since yesterday (systemd.time); default: a day")
    logs.add_argument("--file", type=Path, help="a log that was saved, by journalctl -o json or as it is")
    logs.set_defaults(do=_logs)


def _doctor(parsed: argparse.Namespace, cameras: Cameras, clocks: Clocks) -> int:
    loaded = load(parsed.config)
    settings, seconds = loaded.settings, parsed.hold_a_code
    clock = clocks(settings)
    if seconds:
        _say(f"Hold a code before the camera, for up to {seconds:.0f} s.", sys.stderr)
    with ExitStack() as stack:
        case = Case(
            loaded=loaded,
            clock=clock,
            held=held(parsed.config, settings.screen.port, stack),
            open_camera=_camera(settings, clock, cameras, stack),
            pin_factory=lambda: pin_factory(settings.lines.pin_factory),
            systemctl=systemctl,
            hold_a_code_s=seconds,
        )
        findings = list(examine(case))
    _say(_told(settings.door.device, findings, as_json=parsed.json))
    return GREEN if finding.is_green(findings) else RED


def _told(device: str, findings: Sequence[Finding], *, as_json: bool) -> str:
    if as_json:
        return finding.document(device, findings)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"door {device}\n{finding.table(findings, colour=colour)}"


def _camera(settings: Settings, clock: Clock, cameras: Cameras, stack: ExitStack) -> Callable[[], FrameSource]:
    if settings.camera.source != "visitors":
        return cameras(settings, clock)

    def simulated() -> FrameSource:
        from kiosk.testing.door import SimulatedDoor  # noqa: PLC0415 - no real door needs it

        door = SimulatedDoor(settings.camera, clock)
        stack.callback(door.close)
        return door.open_camera()

    return simulated


def _status(parsed: argparse.Namespace, clocks: Clocks) -> int:
    loaded = load(parsed.config)
    with ExitStack() as stack:
        who = held(parsed.config, loaded.settings.screen.port, stack)
        service = _service()
        if who.running is None:
            _say(_not_running(loaded, who, service, as_json=parsed.json))
            return RED
        found = _gathered(loaded, clocks(loaded.settings), who.running.view, service)
    _say(status.document(found) if parsed.json else status.lines(found))
    return GREEN


def _not_running(loaded: Loaded, who: Held, service: str, *, as_json: bool) -> str:
    device = loaded.settings.door.device
    if as_json:
        return json.dumps({"running": False, "device": device, "held_by": who.by, "service": service})
    if who.by:
        return f"door {device} does not answer: {who.by} has it, and shows no page; ask kiosk doctor"
    return f"door {device} does not run{service and f' (systemd: {service})'}; start it: systemctl start kiosk"


def _gathered(loaded: Loaded, clock: Clock, view: dict[str, Any], service: str) -> status.Status:
    path, now = Path(loaded.settings.outbox.path), clock.now()
    trust, risks = files_of(loaded)
    bundle, listed = trust.load()[0], risks.load()[0]
    try:
        waiting = outbox_view.standing(path).waiting
    except OutboxFault:
        waiting = {}
    seen = Machine(path.parent).vitals()
    return status.Status(
        device=loaded.settings.door.device,
        version=__version__,
        view=view,
        outbox=waiting,
        trust_version=bundle.version if bundle else 0,
        trust_age_s=age_s(bundle.made_at, now) if bundle else None,
        risk_list_version=listed.version if listed else 0,
        risk_list_age_s=age_s(listed.made_at, now) if listed else None,
        temperature_c=seen.temperature_c,
        memory_free_mb=seen.memory_free_mb,
        disk_free_mb=seen.disk_free_mb,
        up_s=seen.up_s,
        service=service,
    )


def _service() -> str:
    said = systemctl(["show", SERVICE, "--property=ActiveState,SubState"]) or ""
    states = dict(line.partition("=")[::2] for line in said.splitlines())
    return ", ".join(filter(None, (states.get("ActiveState"), states.get("SubState"))))


def systemctl(words: list[str]) -> str | None:
    """Ask systemd; None where it does not run, or does not answer."""
    return _ran(["systemctl", *words]) if SYSTEMD.exists() else None


def _ran(words: list[str]) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False)  # noqa: S603 - our words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def _logs(parsed: argparse.Namespace) -> int:
    try:
        said = list(log_words.read(_saved(parsed.file) if parsed.file else _journal(parsed.since)))
    except OSError as error:
        _say(f"kiosk logs: {error.filename}: cannot be read ({error.strerror})", sys.stderr)
        return RED
    if not said:
        where = str(parsed.file or f"the journal of {SERVICE} since {parsed.since}")
        _say(f"{where} has nothing; is it the right time, and may this user read the journal (sudo)?", sys.stderr)
        return RED
    _say("\n".join(map(log_words.line_of, said)))
    return GREEN


def _saved(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _journal(since: str) -> list[str]:
    words = ["journalctl", "--unit", SERVICE, "--output=json", "--no-pager", "--quiet", f"--since={since}"]
    return (_ran(words) or "").splitlines()


def _say(text: str, to: Any = None) -> None:  # noqa: ANN401 - a text file
    print(text, file=to or sys.stdout)
