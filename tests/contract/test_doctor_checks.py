"""`kiosk doctor`, check by check, on real files, ports, processes and pictures; the broker has a file of its own."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from gpiozero import OutputDevice

from city import risk
from city.signing import load_key
from kiosk.camera import Luma
from kiosk.clock import S, SystemClock
from kiosk.doctor import camera_checks, examine, line_checks, machine_checks, trust_checks
from kiosk.doctor.case import Case, Held, held, programs_with, view_at
from kiosk.doctor.finding import Finding, Mark, bad, document, is_green, ok, table, unknown
from kiosk.gpio_alerts import pin_factory
from kiosk.messages import Direction, Exposure, Screen, View, Wording
from kiosk.screen import ScreenServer
from kiosk.testing.carriers import code_modules
from kiosk.testing.clock import ManualClock
from tests.doctor import SECRETS, Frames, case, noisy, site, told

VIEW = {"screen": "attract", "fault": "", "online": True, "waiting": 0}
CONTACTS = "[inputs]\nfire = 5\nentry_passage = 6\n"


# The table.


def test_a_table_has_a_line_for_each_finding_and_the_fix_below_it() -> None:
    """Aligned, wrapped, and counted at the end."""
    findings = [
        ok("camera", "30 frames a second"),
        bad("log-in", "refused " + 3 * "and again " + "for ever", "renew it"),
        unknown("heat", "?"),
    ]
    assert table(findings, colour=False, width=60).splitlines() == [
        "ok      camera  30 frames a second",
        "bad     log-in  refused and again and again and again for",
        "                ever",
        "                > renew it",
        "unknown heat    ?",
        "",
        "1 well, 1 to mend, 1 not looked at",
    ]


def test_colours_are_for_terminals() -> None:
    """And change no word."""
    plain, coloured = (table([ok("heat", "48 °C")], colour=colour, width=80) for colour in (False, True))
    assert coloured.replace("\033[32m", "").replace("\033[0m", "") == plain


def test_the_document_says_whether_all_is_well() -> None:
    """Only what is bad is not."""
    assert json.loads(document("door-01", [unknown("heat", "?")])) == {
        "device": "door-01",
        "green": True,
        "findings": [{"name": "heat", "mark": "unknown", "said": "?", "fix": ""}],
    }
    assert not is_green([ok("heat", ""), bad("log-in", "", "")])


# Who has the door.


def test_a_door_that_nobody_has_is_taken_for_the_time_of_the_examination(tmp_path: Path) -> None:
    """A second program then learns who has it."""
    config = site(tmp_path)
    with ExitStack() as stack, ExitStack() as second:
        assert held(config, 0, stack) == Held()
        other = held(config, 0, second)
    assert (other.by.startswith(f"process {os.getpid()} ("), other.running) == (True, None)


def test_a_daemon_that_runs_is_asked_what_it_shows(tmp_path: Path) -> None:
    """Through its page, which only reads."""
    config, server = site(tmp_path), ScreenServer(port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    words = Wording(vi="Đang chờ", en="Waiting")
    server.show(
        View(screen=Screen.ATTRACT, wording=words, direction=Direction.ENTRY, fault="camera: black · view: moved")
    )
    try:
        with ExitStack() as stack, ExitStack() as second:
            held(config, 0, stack)
            running = held(config, server.port, second).running
    finally:
        server.close()
        thread.join()
    assert running is not None
    assert (running.view["screen"], running.fault("view"), running.fault("lines")) == ("attract", "moved", "")
    assert view_at(server.port) is None


def test_programs_with_a_file_open_are_named(tmp_path: Path) -> None:
    """As it is done for /dev/gpiochip0; this program itself is not meant."""
    chip = tmp_path / "gpiochip0"
    chip.touch()
    hold = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with (
        chip.open(),
        subprocess.Popen(
            [sys.executable, "-c", hold, str(chip)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
    ):
        assert other.stdout is not None
        other.stdout.readline()
        found = programs_with(str(tmp_path / "gpiochip*"))
        other.communicate()
    assert [who.partition(" (")[0] for who in found] == [f"process {other.pid}"]


@pytest.mark.parametrize(
    ("screen", "mark"), [("attract", Mark.OK), ("out_of_order", Mark.BAD), ("fire", Mark.BAD), ("locked", Mark.BAD)]
)
def test_the_first_finding_is_how_the_door_stands(tmp_path: Path, screen: str, mark: Mark) -> None:
    """Every finding has its place: the door comes first, and a door that runs has neither lines nor camera tried."""
    findings = list(examine.examine(case(site(tmp_path), view=VIEW | {"screen": screen})))
    assert (findings[0].name, findings[0].mark) == ("door", mark)
    assert [finding.name for finding in findings] == [
        *("door", "camera", "picture", "lines"),
        *("broker name", "broker line", "broker tls", "log-in", "publish", "city"),
        *("certificate", "trust", "risk list", "clock", "outbox", "disk", "card"),
        *("heat", "power", "memory", "page", "browser", "service"),
    ]


def test_every_bad_finding_says_what_to_do(tmp_path: Path) -> None:
    """No camera, no broker: each has its fix."""
    findings = list(examine.examine(case(site(tmp_path))))
    wrong = {finding.name: finding.fix for finding in findings if finding.mark is Mark.BAD}
    assert {"camera", "broker line"} <= wrong.keys()
    assert all(wrong.values())


def test_a_check_that_hangs_is_left_behind() -> None:
    """The rest of the examination does not wait for a driver."""
    never = threading.Event()
    found = examine.within("camera", 0.05, lambda: [ok("camera", str(never.wait(30.0)))])
    never.set()
    assert found == [bad("camera", "no answer within 0 s", "a driver or the disk hangs: restart the computer")]


# Camera.


def pictures_of(
    config: Path, pictures: list[Luma], gap_ms: int = 33, gain: float = 1.0, hold_s: float = 0.0
) -> list[Finding]:
    """What is found in these pictures."""
    frames = Frames(pictures, gap_ms, Exposure(exposure_us=8000, gain=gain))
    found = camera_checks.camera(case(config, open_camera=lambda: frames, hold_a_code_s=hold_s))
    assert frames.closed
    return found


def scene(blur_px: float = 0.0) -> list[Luma]:
    """A door with a code in it, sharp or not."""
    modules = np.pad(code_modules(b"somebody's declaration, or nearly"), 4)
    code = np.where(modules, 40, 200).astype(np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    pictures = noisy(90, contrast=60)
    for picture in pictures:
        picture[20 : 20 + code.shape[0], 50 : 50 + code.shape[1]] = code
    return [np.array(cv2.GaussianBlur(each, (0, 0), blur_px), np.uint8) for each in pictures] if blur_px else pictures


@pytest.mark.parametrize(
    ("pictures", "gap_ms", "gain", "camera", "picture"),
    [
        (scene(), 33, 1.0, "ok: v4l2: 640x360, 30 frames a second", "ok: brightness "),
        (
            scene(),
            45,
            1.0,
            "warn: v4l2: 640x360, 22 frames a second; 30 are configured, the longest gap was 45 ms",
            "ok: ",
        ),
        (scene(), 90, 1.0, "bad: v4l2: 640x360, 11 frames a second; 30 are configured", "ok: "),
        (scene(), 33, 12.0, "ok: ", "warn: brightness "),
        (scene(6.0), 33, 1.0, "ok: ", "warn: brightness "),
        (noisy(90), 33, 1.0, "ok: ", "bad: the camera sees nothing but one surface"),
        (noisy(8), 33, 1.0, "ok: ", "bad: the picture is black"),
        (noisy(250), 33, 1.0, "ok: ", "bad: the picture is white"),
        (scene()[:1], 33, 1.0, "ok: ", "bad: the picture is frozen"),
        ([], 33, 1.0, "bad: it opens, and gives no frames", "unknown: no frame came"),
    ],
    ids=["well", "slow", "too slow", "dark", "blurred", "covered", "black", "white", "frozen", "none"],
)
def test_two_seconds_of_pictures_tell_how_a_camera_is(
    tmp_path: Path, pictures: list[Luma], gap_ms: int, gain: float, camera: str, picture: str
) -> None:
    """Rate, light, sharpness, and whether anything is before the lens but a hand."""
    found = list(told(pictures_of(site(tmp_path), pictures, gap_ms, gain)).values())
    assert [said.startswith(start) for said, start in zip(found, (camera, picture), strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (scene(), ok("code", "read, at 6.0 pixels a module")),
        (noisy(90), bad("code", "none was seen within 3 s", "hold it up within the picture, and light it")),
    ],
)
def test_a_code_that_is_held_up_is_read_and_its_text_stays_out_of_the_finding(
    tmp_path: Path, pictures: list[Luma], expected: Finding
) -> None:
    """How many pixels a module has is what a technician can change."""
    assert pictures_of(site(tmp_path), pictures, hold_s=3.0)[2] == expected


def test_a_camera_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """In the driver's sentence, parted into what and what to do."""
    found = camera_checks.camera(case(site(tmp_path), hold_a_code_s=1.0))
    fix = "plug the camera in, or correct [camera] path"
    assert found[0] == bad("camera", "there is no /dev/video99", fix)
    assert [finding.mark for finding in found[1:]] == [Mark.UNKNOWN] * 2


def test_the_camera_of_a_running_door_is_its_own_affair(tmp_path: Path) -> None:
    """What the door says of it is told."""
    found = camera_checks.camera(
        case(site(tmp_path), view=VIEW | {"fault": "camera: the picture is black: uncover the lens"})
    )
    assert found[0] == bad("camera", "the picture is black", "uncover the lens")


# Lines.


def waited(config: Path) -> Case:
    """A door whose time passes by waiting."""
    clock = ManualClock()
    return case(config, clock=clock, pause=lambda seconds: clock.advance(int(seconds * S)))


def test_lines_are_claimed_one_by_one_and_given_back(tmp_path: Path) -> None:
    """And contacts are read."""
    found = told(line_checks.lines(waited(site(tmp_path, more=CONTACTS.replace("fire = 5\n", "")))))
    assert found == {"lines": "ok: 6 can be claimed, and rest (simulated)", "inputs": "ok: 1 can be read, and rest"}


def test_a_contact_that_is_active_although_nobody_works_it_is_named(tmp_path: Path) -> None:
    """A fire contact that nothing is wired to reads as fire: it must be closed at rest."""
    found = line_checks.lines(waited(site(tmp_path, more=CONTACTS)))
    assert found[1].mark is Mark.BAD
    assert found[1].said == "active although nobody should work it: fire, GPIO 5, pin 29"


def test_a_line_that_somebody_else_has_is_named(tmp_path: Path) -> None:
    """All others are still tried."""
    factory = pin_factory("mock")
    other = OutputDevice(24, pin_factory=factory)
    found = line_checks.lines(case(site(tmp_path), pin_factory=lambda: factory))
    other.close()
    assert found[0].mark is Mark.BAD
    assert found[0].said.startswith("lines.entry_relay: GPIO 24 cannot be claimed (")
    assert ";" not in found[0].said.partition(")")[0]


def test_lines_that_another_of_our_programs_moves_are_left_alone(tmp_path: Path) -> None:
    """It is named."""
    found = line_checks.lines(case(site(tmp_path, more=CONTACTS), held=Held(by="process 9 (kiosk selftest lines)")))
    assert told(found) == {
        "lines": "bad: another kiosk program has them: process 9 (kiosk selftest lines)",
        "inputs": "unknown: not tried: another program has the door",
    }


# What the city has sent, and the clock.


def test_trust_and_clock_are_judged_by_what_the_city_signed(tmp_path: Path) -> None:
    """The bundle of provisioning is version 1; the site goes without a risk list."""
    trust, listed, clock = trust_checks.city(case(site(tmp_path)))
    today = f"{SystemClock().now().utc:%Y-%m-%d}"
    assert told([trust, listed]) == {
        "trust": f"ok: version 1, of {today}, 1 issuers' keys",
        "risk list": "ok: this site goes without one",
    }
    assert (clock.mark, clock.said.endswith("believed as configured")) == (Mark.OK, True)


def test_without_a_bundle_nobody_is_let_in(tmp_path: Path) -> None:
    """Which is bad; so is one that somebody has changed."""
    config = site(tmp_path)
    bundle = tmp_path / "trust.bundle"
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    assert trust_checks.city(case(config))[0].mark is Mark.BAD
    bundle.unlink()
    assert told(trust_checks.city(case(config)))["trust"] == "bad: no trust bundle"


def test_a_clock_that_is_behind_what_the_city_signed_is_wrong(tmp_path: Path) -> None:
    """By a year: a Pi without a battery begins where it ended."""
    config, now = site(tmp_path), SystemClock().now().utc
    clock = trust_checks.city(case(config, clock=ManualClock(now - timedelta(days=365))))[2]
    assert (clock.mark, "before the city signed" in clock.said) == (Mark.BAD, True)
    clock = trust_checks.city(case(config, clock=ManualClock(now, utc_trusted=False)))[2]
    assert (clock.mark, "nobody has set it since the start" in clock.said) == (Mark.BAD, True)


@pytest.mark.parametrize(
    ("hours", "mark", "said"),
    [
        (0.5, Mark.OK, "version 1, 30 min old"),
        (2, Mark.WARN, "version 1, 2 h old: stale"),
        (30, Mark.BAD, "version 1, 30 h old: too old, people are held for staff"),
    ],
)
def test_a_risk_list_is_judged_by_its_age(tmp_path: Path, hours: float, mark: Mark, said: str) -> None:
    """By the site's own limits: fresh for an hour, bearable for a day."""
    config = site(tmp_path)
    config.write_text(config.read_text().replace('risk_list = "none"', 'risk_list = "required"'))
    assert told(trust_checks.city(case(config)))["risk list"] == "bad: there is none: people are held for staff"
    made_at = SystemClock().now().utc.replace(microsecond=0)
    snapshot = risk.snapshot({}, version=1, made_at=made_at, key=load_key(SECRETS.city))
    (tmp_path / "risk-list.snapshot").write_bytes(snapshot)
    listed = trust_checks.city(case(config, clock=ManualClock(made_at + timedelta(hours=hours))))[1]
    assert (listed.mark, listed.said) == (mark, said)


# The computer.


def test_an_outbox_that_is_not_there_yet_is_no_trouble_and_one_that_is_broken_is(tmp_path: Path) -> None:
    """The first start makes it; a file of noise is set aside at the next."""
    config, path = site(tmp_path), tmp_path / "outbox.sqlite3"
    assert machine_checks.storage(case(config))[0] == ok("outbox", "none yet; the first start makes it")
    path.write_bytes(bytes(range(256)) * 40)
    assert machine_checks.storage(case(config))[0].mark is Mark.BAD


def test_a_damaged_page_of_the_outbox_is_found(tmp_path: Path) -> None:
    """SQLite's own check reads all of it, an index too that nobody has asked yet."""
    config, path = site(tmp_path), tmp_path / "outbox.sqlite3"
    write_outbox(path)
    whole = machine_checks.storage(case(config))[0]
    content = bytearray(path.read_bytes())
    content[-4096:] = bytes(4096)
    path.write_bytes(content)
    broken = machine_checks.storage(case(config))[0]
    assert (whole.mark, whole.said) == (Mark.OK, "300 events wait, ledger abcdefgh, whole")
    assert (broken.mark, broken.said.startswith("outbox.sqlite3 is damaged (")) == (Mark.BAD, True)


@pytest.mark.parametrize(
    ("files", "name", "expected"),
    [
        ({}, "heat", "unknown: this computer does not tell"),
        ({"sys/class/thermal/thermal_zone0/temp": "84300"}, "heat", "bad: 84 °C: it slows itself down"),
        ({"sys/class/thermal/thermal_zone0/temp": "48200"}, "heat", "ok: 48 °C"),
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "0"}, "power", "ok: enough since the start"),
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "50005"}, "power", "bad: too little voltage"),
        (
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "50000"},
            "power",
            "warn: there was too little voltage since the start",
        ),
        ({"proc/meminfo": "MemAvailable:  40960 kB\n"}, "memory", "bad: 40 MB are left"),
    ],
)
def test_a_pi_tells_of_heat_power_and_memory(tmp_path: Path, files: dict[str, str], name: str, expected: str) -> None:
    """What no file tells is unknown, and nothing bad."""
    config, root = site(tmp_path), tmp_path / "root"
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text(text)
    assert told(machine_checks.computer(case(config, root=root)))[name] == expected


def test_a_card_that_met_errors_is_to_be_changed(tmp_path: Path) -> None:
    """ext4 counts them; an eMMC tells how much of its life is used."""
    config, root = site(tmp_path), tmp_path / "root"
    number = tmp_path.stat().st_dev
    partition = root / "sys/devices/mmcblk0/mmcblk0p2"
    partition.mkdir(parents=True)
    (root / "sys/dev/block").mkdir(parents=True)
    (root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    errors = root / "sys/fs/ext4/mmcblk0p2/errors_count"
    errors.parent.mkdir(parents=True)
    errors.write_text("0\n")
    assert machine_checks.storage(case(config, root=root))[2].said.startswith("no errors of ext4; a small write takes ")
    errors.write_text("3\n")
    life = root / "sys/devices/mmcblk0/device/life_time"
    life.parent.mkdir()
    life.write_text("0x02 0x0a\n")
    card = machine_checks.storage(case(config, root=root))[2]
    assert card.said == "ext4 on mmcblk0p2 has met 3 errors; mmcblk0p2 has used 90 % or more of its life"
    assert not (tmp_path / ".doctor").exists()


# The page, its browser and the service.


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """And what to do about it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        config = site(tmp_path)
        config.write_text(config.read_text().replace("[screen]\nport = 0", f"[screen]\nport = {port}"))
        taken = machine_checks.services(case(config))[0]
    assert (taken.mark, taken.said) == (Mark.BAD, f"port {port} is taken by another program (Address already in use)")
    assert machine_checks.services(case(config))[0] == ok("page", f"port {port} is free")


def test_a_browser_is_wanted_where_its_unit_is_installed(tmp_path: Path) -> None:
    """The program that the unit starts must be there."""
    config, root = site(tmp_path), tmp_path / "root"
    unit = root / "etc/systemd/system/kiosk-screen.service"
    unit.parent.mkdir(parents=True)
    unit.write_text((Path(__file__).parents[2] / "systemd" / "kiosk-screen.service").read_text())
    missing = machine_checks.services(case(config, root=root))[1]
    assert (missing.mark, missing.fix) == (Mark.BAD, "apt install cog")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/cog").touch()
    assert machine_checks.services(case(config, root=root))[1] == ok("browser", "/usr/bin/cog")


WELL = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0\nWatchdogUSec=10s\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, "unknown: systemd does not run here"),
        (WELL, "ok: active, 0 restarts since it was started"),
        (WELL.replace("NRestarts=0", "NRestarts=4"), "warn: active, 4 restarts since it was started"),
        (WELL.replace("=enabled", "=disabled"), "bad: kiosk.service does not start with the computer"),
        (WELL.replace("=10s", "=infinity"), "bad: kiosk.service has no watchdog"),
        (WELL.replace("=loaded", "=not-found"), "bad: kiosk.service is not installed"),
        (WELL.replace("=active", "=failed"), "bad: kiosk.service is not well: failed, running"),
        (WELL.replace("=active", "=inactive"), "warn: kiosk.service is stopped"),
    ],
)
def test_the_service_is_as_systemd_says(tmp_path: Path, said: str | None, expected: str) -> None:
    """Installed, enabled, watched, and running or stopped by somebody."""
    assert told(machine_checks.services(case(site(tmp_path), systemctl=lambda _words: said)))["service"] == expected


def write_outbox(path: Path) -> None:
    """Three hundred events that wait, in pages of 4 kB."""
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE ledger (name TEXT, device TEXT, dropped INTEGER)")
        file.execute("INSERT INTO ledger VALUES ('abcdefghij', 'door-01', 0)")
        file.execute(
            "CREATE TABLE events (sequence INTEGER PRIMARY KEY, kind TEXT, payload BLOB, acknowledged INTEGER)"
        )
        payload = json.dumps({"data": {"at": "2021-11-20T00:00:00+00:00"}, "pad": "x" * 700}).encode()
        file.executemany("INSERT INTO events VALUES (?, 'fault', ?, 0)", [(n, payload) for n in range(1, 301)])
        file.execute("PRAGMA user_version = 1")
        file.execute("CREATE INDEX last ON events (payload)")
    file.close()
