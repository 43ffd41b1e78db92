"""The plan: what a door is to be, held against what it is."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city.certificates import certificate_pem, new_authority, new_device
from fleet.bundle import Bundle, Entry, for_door
from fleet.errors import BundleError
from fleet.inventory import Door, read
from fleet.plan import City, Plan, asked, contents, plan
from fleet.rollout import batches

NOW = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
YEAR = timedelta(days=365)
AUTHORITY = new_authority("devices", NOW, 10 * YEAR)
CITY = City(files={"city.pem": b"city", "subject.key": b"s" * 32}, devices=AUTHORITY.certificate)
(DOOR,) = read(
    "doors.csv", "device,host,place,access_point,direction\nd-1,192.0.2.7,p-1,main,entry\n", lambda name: name
)
UNIT, WHEEL = Entry(path="systemd/kiosk.service", sha256="1" * 64, size=10), "wheels/door_kiosk-1-py3-none-any.whl"
BUNDLE = Bundle(
    folder=Path("bundle"),
    name="1.0-aaaa",
    os="bookworm",
    architecture="aarch64",
    entries=(
        UNIT,
        Entry(path="systemd/kiosk.sysusers.conf", sha256="2" * 64, size=10),
        Entry(path="systemd/kiosk-screen.service", sha256="5" * 64, size=10),
        Entry(path="config/rules.toml", sha256="3" * 64, size=10),
        Entry(path=WHEEL, sha256="4" * 64, size=2_000_000),
    ),
    manifest="",
    signature="",
    signers="",
)
PLACES = ["/etc/kiosk/rules.toml", "/etc/systemd/system/kiosk.service", "/etc/sysusers.d/kiosk.conf"]


def facts_of(door: Door, certificates: list[bytes], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - facts are JSON
    """A door that is what it should be, but for what is given."""
    own = {place: hashlib.sha256(content).hexdigest() for place, content in contents(door, CITY).items()}
    installed = {place: entry.sha256 for place, entry in BUNDLE.installed().items()}
    good = {
        "releases": [BUNDLE.name],
        "release": BUNDLE.name,
        "store": [entry.sha256 for entry in BUNDLE.entries],
        "files": {**own, **installed},
        "missing": [],
        "key": True,
        "certificates": [pem.decode() for pem in certificates],
        "service": "active",
        "enabled": [],
    }
    return {**good, **more}


def certificate(device: str = "d-1", life: timedelta = YEAR) -> bytes:
    """What the city's authority for doors signs."""
    return new_device(AUTHORITY, device, NOW, life)[0]


def test_a_door_that_is_right_has_an_empty_plan() -> None:
    """Which is why a second apply changes nothing."""
    made = plan(DOOR, facts_of(DOOR, [certificate()]), BUNDLE, CITY, NOW)
    assert made == Plan(device="d-1", bundle=BUNDLE, release_before=BUNDLE.name)
    assert (made.steps, made.changes_door) == ((), False)


def test_a_bare_door_gets_everything() -> None:
    """Packages, all files of the release, a key with its certificate, configuration, and the start."""
    bare = facts_of(DOOR, [], releases=[], release=None, store=[], files={}, missing=["python3-picamera2"], key=False)
    assert plan(DOOR, {**bare, "service": "inactive"}, BUNDLE, CITY, NOW).steps == (
        "install python3-picamera2",
        "send 5 files, 2.0 MB",
        "install release 1.0-aaaa",
        "certificate: a new key, made on the door, and its certificate",
        "write /etc/kiosk/keys/city.pem, /etc/kiosk/keys/subject.key, /etc/kiosk/kiosk.toml, " + ", ".join(PLACES),
        "run 1.0-aaaa in place of nothing",
    )


def test_only_files_that_a_door_has_not_stored_are_sent() -> None:
    """An update is our own wheel, not the hundred megabytes below it."""
    facts = facts_of(DOOR, [certificate()], releases=["0.9"], release="0.9", store=[digit * 64 for digit in "1235"])
    made = plan(DOOR, facts, BUNDLE, CITY, NOW)
    assert [entry.path for entry in made.send] == [WHEEL]
    assert made.steps[-1] == "run 1.0-aaaa in place of 0.9"


def test_a_file_that_somebody_has_changed_is_written_again() -> None:
    """The inventory says what a door is, not the hand of whoever was there last."""
    facts = facts_of(DOOR, [certificate()])
    facts["files"]["/etc/kiosk/kiosk.toml"] = "0" * 64
    assert plan(DOOR, facts, BUNDLE, CITY, NOW).steps == ("write /etc/kiosk/kiosk.toml",)


def test_a_kiosk_that_does_not_run_is_started() -> None:
    """Even if every file is right."""
    made = plan(DOOR, facts_of(DOOR, [certificate()], service="failed"), BUNDLE, CITY, NOW)
    assert (made.steps, made.changes_door) == (("start what should run and does not",), True)


def test_a_door_with_a_screen_gets_its_browser() -> None:
    """The package, the unit started with the machine, and the page's port."""
    shown = DOOR.model_copy(update={"screen": True})
    facts = facts_of(shown, [certificate()])
    assert plan(shown, facts, BUNDLE, CITY, NOW).steps == ("start what should run and does not",)
    assert plan(shown, {**facts, "enabled": ["kiosk-screen.service"]}, BUNDLE, CITY, NOW).steps == ()
    told = asked(shown, CITY, [BUNDLE])
    assert set(told["files"]) - set(asked(DOOR, CITY, [BUNDLE])["files"]) == {
        "/etc/kiosk/screen.env",
        "/etc/systemd/system/kiosk-screen.service",
    }
    assert (told["packages"][-1], told["units"]) == ("cog", ["kiosk-screen.service"])
    assert contents(shown, CITY)["/etc/kiosk/screen.env"] == b"SCREEN_PORT=8080\n"


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ([b"", b""], "there is none"),
        ([certificate("d-2"), b""], "the one there is for d-2"),
        ([certificate(life=timedelta(days=20))], "the one there ends on 2021-12-10"),
        ([new_device(new_authority("x", NOW, 2 * YEAR), "d-1", NOW, YEAR)[0]], "the one there is by another authority"),
        ([certificate(life=timedelta(days=20)), certificate()], ""),
    ],
)
def test_a_certificate_is_signed_when_the_door_has_none_that_will_do(held: list[bytes], why: str) -> None:
    """The one that the kiosk has renewed by itself counts as well."""
    assert plan(DOOR, facts_of(DOOR, held), BUNDLE, CITY, NOW).certificate == why


def test_a_door_without_a_key_needs_a_certificate_whatever_lies_there() -> None:
    """Nothing fits a key that is gone."""
    made = plan(DOOR, facts_of(DOOR, [certificate()], key=False), BUNDLE, CITY, NOW)
    assert made.certificate == "a new key, made on the door, and its certificate"


def test_what_is_asked_of_a_door_names_every_file_of_the_plan() -> None:
    """And the system packages of its hardware."""
    told = asked(DOOR, CITY, [BUNDLE])
    assert set(told["files"]) == {*contents(DOOR, CITY), *PLACES}
    assert told["packages"] == ["python3-picamera2", "python3-lgpio"]


def test_a_release_is_chosen_by_system_and_architecture() -> None:
    """A door that none fits is told which there are."""
    other = replace(BUNDLE, os="trixie")
    assert for_door([BUNDLE, other], {"os": "trixie", "machine": "aarch64"}) is other
    with pytest.raises(BundleError, match="no release for bullseye on armv7l; there is one for bookworm on aarch64"):
        for_door([BUNDLE], {"os": "bullseye", "machine": "armv7l"})


def test_the_authority_s_certificate_is_not_a_door_s() -> None:
    """The names of both differ."""
    made = plan(DOOR, facts_of(DOOR, [certificate_pem(AUTHORITY.certificate)]), BUNDLE, CITY, NOW)
    assert made.certificate == "the one there is for devices"


@pytest.mark.parametrize(
    ("doors", "sizes"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (10, [1, 1, 8]), (32, [1, 4, 27]), (300, [1, 30, 269])]
)
def test_an_update_goes_to_one_door_then_a_tenth_then_the_rest(doors: int, sizes: list[int]) -> None:
    """All of them, in the inventory's order."""
    cut = batches(list(range(doors)))
    assert [len(batch) for batch in cut] == sizes
    assert [door for batch in cut for door in batch] == list(range(doors))
