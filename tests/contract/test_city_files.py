"""What the city sent, kept through crashes and power cuts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from city import risk, signing, trust
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.errors import CityFilesFault
from kiosk.messages import Flag
from kiosk.risk_list import RiskList
from kiosk.trust import Bundle

KEY = signing.load_key(signing.new_key())
CITY = by_kid([Issuer(kid=kid_of(KEY.public_key()), key=KEY.public_key(), uses=frozenset({Use.CITY}))])
MADE = datetime(2021, 11, 22, 6, tzinfo=UTC)
A, B = "a" * 32, "b" * 32


def snapshot(version: int, flags: dict[str, Flag]) -> bytes:
    """A whole list."""
    return risk.snapshot(flags, version=version, made_at=MADE, key=KEY)


def delta(base: int, flags: dict[str, Flag]) -> bytes:
    """The next version."""
    return risk.delta(flags, (), base=base, version=base + 1, made_at=MADE, key=KEY)


def taken(folder: Path, *contents: bytes) -> RiskList:
    """The list after updates that all follow."""
    files, held = RiskFiles(folder, CITY), None
    for content in contents:
        after = files.take(held, content)
        assert isinstance(after, RiskList)
        held = after
    assert held is not None
    return held


def test_a_restart_finds_the_list_as_it_was(tmp_path: Path) -> None:
    """Snapshot and deltas, also beyond the tenth, give the same list again."""
    twelve = [delta(base, {f"{base:x}".ljust(32, "0"): Flag.F1}) for base in range(8, 20)]
    taken(tmp_path, snapshot(8, {}), *twelve, delta(20, {A: Flag.F0}))
    held, troubles = RiskFiles(tmp_path, CITY).load()
    assert held is not None
    assert (held.version, len(held.keys), held.flag_of(A), troubles) == (21, 13, Flag.F0, [])


def test_a_new_snapshot_takes_the_place_of_all_before(tmp_path: Path) -> None:
    """Nothing of the old list stays, on disk or in memory."""
    held = taken(tmp_path, snapshot(1, {A: Flag.F0}), delta(1, {A: Flag.F1}), snapshot(7, {B: Flag.F1}))
    assert (held.flag_of(A), held.flag_of(B)) == (None, Flag.F1)
    assert [path.name for path in tmp_path.iterdir()] == ["risk-list.snapshot"]


def test_a_refused_update_leaves_files_and_list(tmp_path: Path) -> None:
    """Forged, cut short, or out of turn."""
    held, files = taken(tmp_path, snapshot(5, {A: Flag.F0})), RiskFiles(tmp_path, CITY)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for wrong in (snapshot(5, {}), snapshot(9, {})[:-1], delta(6, {}), b"", snapshot(9, {B: Flag.F0})[:-3] + b"abc"):
        assert isinstance(files.take(held, wrong), str)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_power_cut_leaves_behind_is_passed_over(tmp_path: Path) -> None:
    """A half-written file beside the list, and a delta older than the snapshot."""
    taken(tmp_path, snapshot(1, {A: Flag.F0}), delta(1, {B: Flag.F1}))
    stale = (tmp_path / "risk-list.2.delta").read_bytes()
    taken(tmp_path, snapshot(4, {A: Flag.F0}))
    (tmp_path / "risk-list.2.delta").write_bytes(stale)
    (tmp_path / "risk-list.snapshot.new").write_bytes(stale[:9])
    held, troubles = RiskFiles(tmp_path, CITY).load()
    assert held is not None
    assert (held.version, held.flag_of(B), troubles) == (4, None, [])


def test_a_damaged_file_is_told_and_kept(tmp_path: Path) -> None:
    """The kiosk then has no list, and says which file and why."""
    taken(tmp_path, snapshot(1, {A: Flag.F0}))
    path = tmp_path / "risk-list.snapshot"
    path.write_bytes(path.read_bytes()[:-2])
    held, troubles = RiskFiles(tmp_path, CITY).load()
    assert (held, troubles) == (
        None,
        [f"{path}: cut short or changed on the way: its content is not what the city signed"],
    )
    assert path.exists()


def test_a_disk_that_refuses_is_a_fault(tmp_path: Path) -> None:
    """With the file's name; the list that is held stays."""
    with pytest.raises(CityFilesFault, match=r"risk-list\.snapshot: cannot be written"):
        RiskFiles(tmp_path / "gone", CITY).take(None, snapshot(1, {}))


def bundle(version: int) -> bytes:
    """A bundle that trusts nobody."""
    return trust.signed(Bundle(version=version, made_at=MADE, issuers={}), key=KEY)


def version_held(folder: Path, *, troubles: int = 0) -> int | None:
    """What a restart finds."""
    held, told = TrustFiles(folder, folder / "provisioned", CITY).load()
    assert len(told) == troubles
    return held.version if held else None


def test_the_newest_bundle_wins_wherever_it_came_from(tmp_path: Path) -> None:
    """From provisioning first; later over the network; and again from a technician who brought a newer one."""
    files = TrustFiles(tmp_path, tmp_path / "provisioned", CITY)
    assert version_held(tmp_path) is None
    (tmp_path / "provisioned").write_bytes(bundle(3))
    assert version_held(tmp_path) == 3
    assert isinstance(files.take(files.load()[0], bundle(5)), Bundle)
    assert version_held(tmp_path) == 5
    (tmp_path / "provisioned").write_bytes(bundle(8))
    assert version_held(tmp_path) == 8


def test_an_old_or_forged_bundle_changes_no_file(tmp_path: Path) -> None:
    """A roll-back is refused with the numbers, a forgery with its reason."""
    files = TrustFiles(tmp_path, tmp_path / "provisioned", CITY)
    held = files.take(None, bundle(5))
    assert isinstance(held, Bundle)
    assert files.take(held, bundle(4)) == "version 4 is not newer than 5, which is held"
    forged = trust.signed(Bundle(version=9, made_at=MADE, issuers={}), key=signing.load_key(signing.new_key()))
    assert files.take(held, forged) == "not by the city: header: no trusted key bears this kid"
    assert version_held(tmp_path) == 5


def test_a_damaged_bundle_is_told_and_the_other_one_serves(tmp_path: Path) -> None:
    """The kept file was damaged: what the technician brought is older, but the city's."""
    TrustFiles(tmp_path, tmp_path / "provisioned", CITY).take(None, bundle(5))
    (tmp_path / "provisioned").write_bytes(bundle(3))
    (tmp_path / "trust.bundle").write_bytes(bundle(5)[:-9])
    assert version_held(tmp_path, troubles=1) == 3
