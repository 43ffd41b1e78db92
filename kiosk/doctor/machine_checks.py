"""The outbox and its disk, heat, power and memory, the page and its browser, and the service.

Reads what Linux tells in /proc and /sys; one small file is written beside the outbox and removed, to time the card.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kiosk import outbox_view
from kiosk.clock import MS
from kiosk.doctor.case import Case, view_at
from kiosk.doctor.finding import Finding, bad, ok, parted, unknown, warn
from kiosk.errors import OutboxFault
from kiosk.machine import (
    COOL_C,
    ENOUGH_DISK_MB,
    ENOUGH_MEMORY_MB,
    HOT_C,
    LEAST_DISK_MB,
    LEAST_MEMORY_MB,
    UNDER_VOLTAGE,
    Machine,
)
from kiosk.outbox_view import Standing
from kiosk.screen import LOOPBACK

CHECKED_WITHIN_S = 5.0
SLOW_SYNC_MS = 100
"""A grant waits at most 150 ms for its record (docs/decisions/0002)."""
EVER = 16
"""Bits of get_throttled from here on say what has been since the start (Raspberry Pi documentation, vcgencmd)."""
WORN = 9
"""Of 11: 80 to 90 % of an eMMC's life is used (JEDEC JESD84-B51, DEVICE_LIFE_TIME_EST)."""
SERVICE, SCREEN_UNIT = "kiosk.service", "kiosk-screen.service"
ASKED = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "WatchdogUSec", "StatusText")
UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
WELL, NONE = {"active", "inactive"}, {"0", "infinity"}
SET_ASIDE = "start the door: it sets a damaged file aside and begins a new one"
CHANGE_CARD = "change the card: kiosk outbox export first, then the provisioning anew"


def storage(case: Case) -> list[Finding]:
    """Findings `outbox`, `disk` and `card`."""
    path = Path(case.loaded.settings.outbox.path)
    return [_outbox(case, path), _disk(path.parent), _card(case, path.parent)]


def _outbox(case: Case, path: Path) -> Finding:
    if fault := case.running.fault("outbox") if case.running else "":
        return parted("outbox", fault, CHANGE_CARD)
    if not path.exists():
        return ok("outbox", "none yet; the first start makes it")
    try:
        found = outbox_view.standing(path)
        damage = None if case.held.by else outbox_view.damage(path, CHECKED_WITHIN_S)
    except OutboxFault as fault:
        return bad("outbox", str(fault), SET_ASIDE)
    if damage:
        return bad("outbox", f"{path.name} is damaged ({damage})", f"{SET_ASIDE}; {CHANGE_CARD}")
    return _stands(found, "" if damage is None else ", whole")


def _stands(found: Standing, checked: str) -> Finding:
    said = f"{sum(found.waiting.values())} events wait, ledger {found.ledger[:8]}{checked}"
    if found.set_aside:
        fix = "export what waits in them: kiosk outbox --file FILE export; then remove them"
        return warn("outbox", f"{said}; set aside as damaged: {', '.join(found.set_aside)}", fix)
    if found.dropped:
        return warn("outbox", f"{said}; {found.dropped} dropped beyond its bounds", "connect the uplink sooner")
    return ok("outbox", said)


def _disk(folder: Path) -> Finding:
    try:
        seen = os.statvfs(folder)
    except OSError as error:
        return bad("disk", f"{folder}: {error.strerror}", "provision the door anew: kiosk-fleet apply")
    free = seen.f_bavail * seen.f_frsize >> 20
    if seen.f_flag & os.ST_RDONLY:
        return bad("disk", f"{folder} is read-only: the kernel does that after errors of the card", CHANGE_CARD)
    fix = "remove what does not belong here: old releases, logs (journalctl --vacuum-size=50M)"
    if free < LEAST_DISK_MB:
        return bad("disk", f"{free} MB are free", fix)
    return warn("disk", f"{free} MB are free", fix) if free < ENOUGH_DISK_MB else ok("disk", f"{free} MB are free")


def _card(case: Case, folder: Path) -> Finding:
    troubles, known = _worn(case.root, folder)
    if troubles:
        return bad("card", "; ".join(troubles), CHANGE_CARD)
    try:
        took_ms = _sync_ms(case, folder)
    except OSError as error:
        fix = "run this as the door's user: sudo -u kiosk"
        return unknown("card", f"{known}; a write was refused ({error.strerror})", fix)
    said = f"{known}; a small write takes {took_ms} ms"
    return warn("card", f"{said}: slow", CHANGE_CARD) if took_ms > SLOW_SYNC_MS else ok("card", said)


def _worn(root: Path, folder: Path) -> tuple[list[str], str]:
    """What the file system and an eMMC say of themselves; an SD card says nothing."""
    device = folder.stat().st_dev
    block = root / "sys/dev/block" / f"{os.major(device)}:{os.minor(device)}"
    name = block.resolve().name
    errors = _number(root / "sys/fs/ext4" / name / "errors_count")
    life = max((_number(path) or 0 for path in _lives(block)), default=0)
    troubles = [f"ext4 on {name} has met {errors} errors"] if errors else []
    troubles += [f"{name} has used {10 * (life - 1)} % or more of its life"] if life >= WORN else []
    return troubles, "no errors of ext4" if errors == 0 else "it tells nothing of itself"


def _lives(block: Path) -> Iterator[Path]:
    """The file has two figures, for two kinds of cells; partitions stand below the device."""
    yield from (block.resolve().parent / "device").glob("life_time")
    yield from (block.resolve() / "device").glob("life_time")


def _number(path: Path) -> int | None:
    """The greatest of a file's numbers."""
    try:
        return max(int(word, 0) for word in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None


def _sync_ms(case: Case, folder: Path) -> int:
    path = folder / ".doctor"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        began_ns = case.clock.now().monotonic_ns
        os.write(descriptor, bytes(1024))
        os.fsync(descriptor)
        return (case.clock.now().monotonic_ns - began_ns) // MS
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()


def computer(case: Case) -> list[Finding]:
    """Findings `heat`, `power` and `memory`."""
    seen = Machine(Path(case.loaded.settings.outbox.path).parent, case.root).vitals()
    return [_heat(seen.temperature_c), _power(seen.throttled), _memory(seen.memory_free_mb)]


def _heat(temperature_c: float | None) -> Finding:
    if temperature_c is None:
        return unknown("heat", "this computer does not tell")
    fix = "give the housing air or shade"
    if temperature_c >= HOT_C:
        return bad("heat", f"{temperature_c:.0f} °C: it slows itself down", fix)
    told = warn("heat", f"{temperature_c:.0f} °C", fix) if temperature_c >= COOL_C else None
    return told or ok("heat", f"{temperature_c:.0f} °C")


def _power(throttled: int | None) -> Finding:
    fix = "use the Pi's own power supply and a short, thick cable"
    if throttled is None:
        return unknown("power", "this computer does not tell")
    if throttled & UNDER_VOLTAGE:
        return bad("power", "too little voltage", fix)
    if throttled & UNDER_VOLTAGE << EVER:
        return warn("power", "there was too little voltage since the start", fix)
    return ok("power", "enough since the start")


def _memory(free_mb: int | None) -> Finding:
    if free_mb is None:
        return unknown("memory", "this computer does not tell")
    if free_mb < LEAST_MEMORY_MB:
        return bad("memory", f"{free_mb} MB are left", "stop what else runs here")
    low = free_mb < ENOUGH_MEMORY_MB
    return (
        warn("memory", f"{free_mb} MB are left", "stop what else runs here")
        if low
        else ok("memory", f"{free_mb} MB are left")
    )


def services(case: Case) -> list[Finding]:
    """Findings `page`, `browser` and `service`."""
    return [_page(case), _browser(case), _service(case)]


def _page(case: Case) -> Finding:
    port = case.loaded.settings.screen.port
    if case.running:
        return ok("page", f"the door answers at http://{LOOPBACK}:{port}/")
    if case.held.by or port == 0:
        return unknown("page", case.busy or "any port will do")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            who = "another kiosk" if view_at(port) else "another program"
            fix = f"stop the one that `ss -ltnp 'sport = :{port}'` names, or choose another screen.port"
            return bad("page", f"port {port} is taken by {who} ({error.strerror})", fix)
    return ok("page", f"port {port} is free")


def _browser(case: Case) -> Finding:
    paths = [case.root / folder / SCREEN_UNIT for folder in UNIT_FOLDERS]
    unit = next((path for path in paths if path.exists()), None)
    if unit is None:
        return ok("browser", f"this door has none: {SCREEN_UNIT} is not installed")
    starts = [line for line in unit.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart=")]
    program = Path(starts[-1].partition("=")[2].split()[0].lstrip("-+:@!")) if starts else Path()
    if not (case.root / str(program).lstrip("/")).exists():
        return bad("browser", f"{program} is not there, which {SCREEN_UNIT} starts", f"apt install {program.name}")
    state = _states(case, SCREEN_UNIT).get("ActiveState", "")
    if state and state != "active":
        return bad("browser", f"{SCREEN_UNIT} is {state}", f"systemctl enable --now {SCREEN_UNIT}")
    return ok("browser", f"{program}{state and ', '}{state}")


def _service(case: Case) -> Finding:
    states = _states(case, SERVICE)
    if not states:
        return unknown("service", "systemd does not run here")
    active, restarts = states.get("ActiveState"), int(states.get("NRestarts") or 0)
    status = states.get("StatusText") or f"{active}, {states.get('SubState')}"
    wrong = {
        ("is not installed", "kiosk-fleet apply"): states.get("LoadState") != "loaded",
        ("does not start with the computer", f"systemctl enable {SERVICE}"): "enabled"
        not in states.get("UnitFileState", ""),
        (f"is not well: {status}", "see why: kiosk logs; then: systemctl restart kiosk"): active not in WELL,
        ("has no watchdog", "install the unit of this release: kiosk-fleet apply"): states.get("WatchdogUSec") in NONE,
    }
    if found := next((words for words, so in wrong.items() if so), None):
        return bad("service", f"{SERVICE} {found[0]}", found[1])
    if active == "inactive":
        return warn("service", f"{SERVICE} is stopped", "systemctl start kiosk")
    said = f"active, {restarts} restarts since it was started"
    return warn("service", said, "see why: kiosk logs") if restarts else ok("service", said)


def _states(case: Case, unit: str) -> dict[str, str]:
    said = case.systemctl(["show", unit, f"--property={','.join(ASKED)}"])
    pairs = [line.partition("=") for line in (said or "").splitlines()]
    return {name: value for name, _, value in pairs}
