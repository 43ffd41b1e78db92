import json
from dataclasses import asdict
from datetime import timedelta

from kiosk.diagnostics import MOST_BYTES, Holdings, report
from kiosk.machine import Vitals
from tests.builders import START, at_ms

VITALS = Vitals(temperature_c=61.2, throttled=0x50000, memory_free_mb=512, disk_free_mb=9000, up_s=60)
HOLDINGS = Holdings(
    trust_version=7,
    risk_list_version=12,
    risk_list_made=START - timedelta(seconds=90),
    certificate_until=START + timedelta(days=30),
    waiting=3,
    last_command=1_637_544_600_000,
)
EMPTY = Holdings(
    trust_version=0, risk_list_version=0, risk_list_made=None, certificate_until=None, waiting=0, last_command=0
)


def told(faults: dict[str, str], holdings: Holdings = HOLDINGS, *, utc_trusted: bool = True) -> str:
    """The report of a door at `START`."""
    now = at_ms(0, utc_trusted=utc_trusted)
    return report(now, version="0.1.0", boot_id="b", faults=faults, vitals=asdict(VITALS), holdings=holdings)


def test_a_report_says_how_a_door_is() -> None:
    """Software, machine, what it holds, and what is wrong now; a stage that works is not in it."""
    assert json.loads(told({"camera": "no frames", "uplink": ""})) == {
        "version": "0.1.0",
        "at": "2021-11-22T01:00:00+00:00",
        "utc_trusted": True,
        "boot_id": "b",
        "temperature_c": 61.2,
        "throttled": 0x50000,
        "memory_free_mb": 512,
        "disk_free_mb": 9000,
        "up_s": 60,
        "trust_version": 7,
        "risk_list_version": 12,
        "risk_list_made": "2021-11-22T00:58:30+00:00",
        "risk_list_age_s": 90,
        "certificate_until": "2021-12-22T01:00:00+00:00",
        "waiting": 3,
        "last_command": 1_637_544_600_000,
        "faults": {"camera": "no frames"},
    }


def test_what_a_door_does_not_know_is_null() -> None:
    """A clock that may be wrong tells no age."""
    unknown = json.loads(told({}, EMPTY))
    assert (unknown["risk_list_age_s"], unknown["certificate_until"], unknown["risk_list_made"]) == (None, None, None)
    assert json.loads(told({}, utc_trusted=False))["risk_list_age_s"] is None


def test_a_report_always_fits() -> None:
    """However much is wrong, in whatever script; what is left out is counted."""
    faults = {f"stage-{number:02}": "ạ" * 400 for number in range(40)}
    text = told(faults)
    report = json.loads(text)
    assert len(text.encode()) <= MOST_BYTES
    assert len(report["faults"]) + report["faults_left_out"] == 40
    assert report["faults"]["stage-00"] == "ạ" * 200
