"""A release that does not serve is undone by the door itself; `rollback` undoes the newest change."""

import sys
from importlib import import_module
from pathlib import Path

from fleet.work import Status
from pibox.build import ROOT
from pibox.door import Door
from pibox.outside import technician

sys.path.insert(0, str(ROOT / "scripts"))
READY = 'notifier.say("READY=1")'


def test_a_release_that_hangs_is_undone_and_a_good_one_stays(own_door: Door, tmp_path: Path) -> None:
    """The door runs what it ran before a failed update; after a good one it runs that, until it is rolled back."""
    derived = import_module("provision_doors").derived
    key, good = own_door.cache.folder / "release.key", own_door.cache.folder / "bundles"
    first = own_door.release()
    signers = (good / "release-signers").read_bytes()
    code, said = technician(own_door.cache, own_door.city, own_door.machine, "trust")
    assert code == 0, said  # this box answers on another port than the one that was installed
    for tag, edits, status, runs in (
        ("hanging", [("kiosk/daemon.py", READY, 'notifier.say("STATUS=waiting")')], Status.ROLLED_BACK, first),
        ("second", [], Status.CHANGED, f"{first}-second"),
    ):
        release = derived(good, tmp_path, tag, key, *edits)
        (release / "release-signers").write_bytes(signers)
        code, said = technician(own_door.cache, own_door.city, own_door.machine, "apply", release)
        assert status in said
        assert (code == 0, own_door.release()) == (status.good, runs), said
        own_door.wait_ready()
    assert technician(own_door.cache, own_door.city, own_door.machine, "rollback")[0] == 0
    assert own_door.release() == first
