"""What the city sends to all kiosks: what is taken, what is refused and told, and when the whole list is needed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from city import risk, signing, trust
from kiosk import wire
from kiosk.city_feed import MOST_DELTAS, RISK_LIST, TRUST, CityFeed
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.messages import Flag
from kiosk.risk_list import RiskList
from kiosk.trust import Bundle

PRIVATE = signing.new_key()
KEY, OTHER_KEY = signing.load_key(PRIVATE), signing.load_key(signing.new_key())
CITY = trust.city_issuers(PRIVATE)
MADE = datetime(2021, 11, 22, 6, tzinfo=UTC)
A, B = "a" * 32, "b" * 32


def bundle(version: int, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    """A bundle that trusts nobody."""
    return trust.signed(Bundle(version=version, made_at=MADE, issuers={}), key=key)


def snapshot(version: int, flags: dict[str, Flag], key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    """A whole list."""
    return risk.snapshot(flags, version=version, made_at=MADE, key=key)


def delta(version: int, flags: dict[str, Flag] | None = None) -> bytes:
    """A change of the version before."""
    return risk.delta(flags or {}, (), base=version - 1, version=version, made_at=MADE, key=KEY)


class Door:
    """A feed over real files, and all it said."""

    def __init__(self, folder: Path) -> None:
        self.changes: list[tuple[int, int]] = []
        """Versions of bundle and list, 0 for none."""
        self.told: list[tuple[str, str]] = []
        self.feed = CityFeed(
            TrustFiles(folder, folder / "provisioned", CITY),
            RiskFiles(folder, CITY),
            CITY,
            on_change=self._changed,
            on_trouble=lambda stage, said: self.told.append((stage, said)),
        )

    def _changed(self, bundle: Bundle | None, risk_list: RiskList | None) -> None:
        self.changes.append((bundle.version if bundle else 0, risk_list.version if risk_list else 0))

    @property
    def held(self) -> tuple[int, int]:
        """Versions of bundle and list, 0 for none."""
        feed = self.feed
        return (feed.bundle.version if feed.bundle else 0, feed.risk_list.version if feed.risk_list else 0)

    def trusts(self, content: bytes) -> None:
        """A bundle comes."""
        self.feed.receive(wire.TRUST_TOPIC, content)

    def lists(self, content: bytes) -> None:
        """An update of the list comes; which kind it is, it says itself."""
        self.feed.receive(wire.SNAPSHOT_TOPIC, content)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """A door that holds nothing yet."""
    return Door(tmp_path)


def test_a_new_door_wants_the_list_and_takes_what_comes(door: Door, tmp_path: Path) -> None:
    """Bundle, snapshot and delta; a restart finds the same, tells nothing, and wants nothing."""
    assert (door.held, door.feed.wants_snapshot) == ((0, 0), True)
    door.trusts(bundle(3))
    door.lists(snapshot(7, {A: Flag.F0}))
    assert not door.feed.wants_snapshot
    door.lists(delta(8, {B: Flag.F1}))
    assert (door.changes, door.told) == ([(3, 0), (3, 7), (3, 8)], [])
    again = Door(tmp_path)
    assert (again.held, again.feed.wants_snapshot, again.changes, again.told) == ((3, 8), False, [], [])
    assert again.feed.risk_list is not None
    assert [again.feed.risk_list.flag_of(who) for who in (A, B)] == [Flag.F0, Flag.F1]


def test_what_is_held_already_changes_and_tells_nothing(door: Door) -> None:
    """The broker repeats its retained messages at each connection, and says nothing where it has forgotten one."""
    for content in (snapshot(7, {}), delta(8)):
        door.lists(content)
    door.trusts(bundle(3))
    changes = list(door.changes)
    door.trusts(bundle(3))
    door.lists(delta(8))
    door.lists(snapshot(8, {}))
    door.trusts(b"")
    door.lists(b"")
    assert (door.changes, door.told, door.feed.wants_snapshot) == (changes, [], False)


def test_piled_up_deltas_are_exchanged_for_the_whole_list(door: Door, tmp_path: Path) -> None:
    """After a hundred, the whole list is fetched once, so that a start stays quick; an old one is passed over."""
    door.lists(snapshot(1, {A: Flag.F0}))
    wanted = []
    for version in range(2, 2 + MOST_DELTAS):
        door.lists(delta(version))
        wanted.append(door.feed.wants_snapshot)
    assert (wanted, Door(tmp_path).feed.wants_snapshot) == ([False] * (MOST_DELTAS - 1) + [True], True)
    door.lists(snapshot(1, {}))
    assert (door.feed.wants_snapshot, door.held, door.told) == (False, (0, 1 + MOST_DELTAS), [])
    door.lists(snapshot(2 + MOST_DELTAS, {A: Flag.F0}))
    assert [path.name for path in tmp_path.iterdir()] == ["risk-list.snapshot"]


def test_a_resync_is_over_when_bundle_and_list_have_come_again(door: Door) -> None:
    """Whether they are newer or the same; the answer says what is held."""
    door.trusts(bundle(3))
    door.lists(snapshot(7, {}))
    done: list[str] = []
    for trusted, listed, told in (
        (3, 7, "trust bundle version 3, risk list version 7"),
        (4, 9, "trust bundle version 4, risk list version 9"),
        (4, 8, "trust bundle version 4, risk list version 9"),
    ):
        done.clear()
        door.feed.resync(done.append)
        assert (door.feed.wants_trust, door.feed.wants_snapshot) == (True, True)
        door.trusts(bundle(trusted))
        assert (door.feed.wants_trust, door.feed.wants_snapshot, done) == (False, True, [])
        door.lists(snapshot(listed, {}))
        assert (door.feed.wants_trust, door.feed.wants_snapshot, done) == (False, False, [told])
    assert (door.held, door.told) == ((4, 9), [])


def test_a_resync_is_not_over_with_what_is_refused(door: Door) -> None:
    """Neither a stranger's list, nor a change of one."""
    done: list[str] = []
    door.feed.resync(done.append)
    door.trusts(bundle(3))
    door.lists(snapshot(7, {}, OTHER_KEY))
    door.feed.receive(wire.DELTA_TOPIC, delta(8))
    assert (door.feed.wants_snapshot, done) == (True, [])
    door.feed.receive(wire.SNAPSHOT_TOPIC, snapshot(8, {}))
    assert (door.feed.wants_snapshot, done) == (False, ["trust bundle version 3, risk list version 8"])


REFUSED_BUNDLES = {
    "forged": (bundle(9, OTHER_KEY), "not by the city: header: no trusted key bears this kid"),
    "cut": (bundle(9)[:-1], "not by the city: message: not a COSE_Sign1 array"),
    "old": (bundle(4), "version 4 is not newer than 5, which is held"),
    "no bundle": (snapshot(9, {}), "not by the city: message: not a COSE_Sign1 array"),
}


@pytest.mark.parametrize("kind", REFUSED_BUNDLES)
def test_a_bundle_that_is_refused_changes_nothing_and_is_told_until_a_good_one_comes(door: Door, kind: str) -> None:
    """The bundle that is held counts as a good one: it is what the city sent last."""
    content, why = REFUSED_BUNDLES[kind]
    door.trusts(bundle(5))
    door.trusts(content)
    assert (door.held, door.changes) == ((5, 0), [(5, 0)])
    assert door.told == [(TRUST, f"a trust bundle from the city was refused: {why}")]
    door.trusts(bundle(5))
    assert door.told[1:] == [(TRUST, "")]


REFUSED_UPDATES = {
    "forged": (snapshot(9, {}, OTHER_KEY), "not by the city: header: no trusted key bears this kid"),
    "cut": (
        snapshot(9, {A: Flag.F0})[:-1],
        "cut short or changed on the way: its content is not what the city signed",
    ),
    "old": (snapshot(4, {}), "version 4 is not newer than 5, which is held"),
    "no list": (bundle(9), "not a risk list of this version"),
}


@pytest.mark.parametrize("kind", REFUSED_UPDATES)
def test_an_update_that_is_refused_changes_nothing_and_is_told_until_a_good_one_comes(door: Door, kind: str) -> None:
    """Nor does it make the door fetch the whole list: a forger could have 32,000 doors do so."""
    content, why = REFUSED_UPDATES[kind]
    door.lists(snapshot(5, {A: Flag.F0}))
    door.lists(content)
    assert (door.held, door.feed.wants_snapshot) == ((0, 5), False)
    assert door.told == [(RISK_LIST, f"an update of the risk list was refused: {why}")]
    door.lists(delta(6))
    assert (door.held, door.told[1:]) == ((0, 6), [(RISK_LIST, "")])


def test_a_missed_update_is_told_once_and_made_good_by_the_whole_list(door: Door) -> None:
    """Further changes are awaited in silence, and a list older than what was missed does not do."""
    door.lists(snapshot(5, {}))
    door.lists(delta(8))
    told = (RISK_LIST, "an update of the risk list was refused: version 8 changes version 7; held is 5")
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 5), True, [told])
    door.lists(delta(9))
    door.lists(snapshot(7, {}))
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 7), True, [told])
    door.lists(snapshot(9, {A: Flag.F0}))
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 9), False, [told, (RISK_LIST, "")])


def test_a_change_before_the_first_list_is_no_trouble(door: Door) -> None:
    """The whole list is on its way."""
    door.lists(delta(8))
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 0), True, [])
    door.lists(snapshot(8, {}))
    door.lists(delta(9))
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 9), False, [])


def test_a_disk_that_refuses_is_told_and_nothing_counts_that_is_not_kept(tmp_path: Path) -> None:
    """The door then wants the whole list, and is well again when the disk is."""
    folder = tmp_path / "gone"
    door = Door(folder)
    door.trusts(bundle(3))
    door.lists(snapshot(5, {}))
    assert (door.held, door.feed.wants_snapshot, door.changes) == ((0, 0), True, [])
    assert door.told == [
        (TRUST, f"{folder / 'trust.bundle'}: cannot be written (No such file or directory); free some space"),
        (RISK_LIST, f"{folder / 'risk-list.snapshot'}: cannot be written (No such file or directory); free some space"),
    ]
    folder.mkdir()
    door.trusts(bundle(3))
    door.lists(snapshot(5, {}))
    assert (door.held, door.told[2:]) == ((3, 5), [(TRUST, ""), (RISK_LIST, "")])


def test_a_damaged_file_is_told_at_the_start_and_made_good(tmp_path: Path) -> None:
    """The list is missing until the whole one comes."""
    Door(tmp_path).lists(snapshot(5, {A: Flag.F0}))
    path = tmp_path / "risk-list.snapshot"
    path.write_bytes(path.read_bytes()[:-2])
    door = Door(tmp_path)
    why = "cut short or changed on the way: its content is not what the city signed"
    assert (door.held, door.feed.wants_snapshot, door.told) == ((0, 0), True, [(RISK_LIST, f"{path}: {why}")])
    door.lists(snapshot(5, {A: Flag.F0}))
    assert (door.held, door.told[1:]) == ((0, 5), [(RISK_LIST, "")])
