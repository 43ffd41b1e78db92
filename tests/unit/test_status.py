"""A running door in a few lines."""

import json
from dataclasses import replace

import pytest

from kiosk.status import Status, document, lines, long

VIEW = {
    "screen": "attract",
    "wording": {"vi": "x"},
    "initials": "N.V.X.",
    "direction": "entry",
    "online": True,
    "link_since": "2021-11-22T01:30:00+00:00",
    "waiting": 2,
    "fault": "camera: black · view: moved",
    "alert": "delivered",
    "today": {"presentations": 12, "grants": 10, "without_grant": 1},
    "muted": True,
}
STATUS = Status(
    device="door-01",
    version="0.1.0",
    view=VIEW,
    outbox={"check-in": 2},
    trust_version=3,
    trust_age_s=90_000,
    risk_list_version=8,
    risk_list_age_s=None,
    temperature_c=48.2,
    memory_free_mb=400,
    disk_free_mb=None,
    up_s=3 * 86_400,
    service="active, running",
)


def test_people_read_a_line_for_each_thing() -> None:
    """What is not known is left out or said to be unknown; nothing of the person at the door is told."""
    assert lines(STATUS).splitlines() == [
        "door       door-01, entry: open, waiting for the next visitor",
        "service    active, running",
        "city       online since 2021-11-22T01:30:00+00:00",
        "outbox     2 waiting (in the file: 2 check-in)",
        "alert      delivered, not closed",
        "today      12 presentations, 10 grants, 1 without grant",
        "faults     camera: black",
        "           view: moved",
        "trust      version 3, 25 h old",
        "risk list  version 8, age unknown",
        "computer   up 3 days, 48 °C, 400 MB of memory left",
        "firmware   0.1.0",
        "sound      muted by the city's order",
    ]


def test_a_door_that_has_nothing_says_so() -> None:
    """Offline, without sensor, bundle or list."""
    bare = replace(
        STATUS, view={"screen": "fire"}, outbox={}, trust_version=0, service="", up_s=None, temperature_c=None
    )
    told = dict(line.split(maxsplit=1) for line in lines(replace(bare, memory_free_mb=None)).splitlines())
    assert told["city"] == "OFFLINE"
    assert (told["trust"], told["service"], told["computer"]) == ("none", "not by systemd", "tells nothing")
    assert told["today"] == "not counted: this lane has no passage sensor"


def test_programs_get_all_but_wording_and_initials() -> None:
    """As one document."""
    told = json.loads(document(STATUS))
    assert (told["running"], told["device"], told["view"]["waiting"]) == (True, "door-01", 2)
    assert {"wording", "initials"}.isdisjoint(told["view"])


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 days")]
)
def test_durations_are_as_people_say_them(seconds: int, words: str) -> None:
    """In the largest unit of which there are some."""
    assert long(seconds) == words
