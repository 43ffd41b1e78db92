import pytest
from bundle import PACKAGES

from fleet.hardware import KINDS
from pibox.build import GUEST
from pibox.systems import SYSTEMS, System


def test_the_box_knows_every_system_that_a_release_is_built_for() -> None:
    """And has on it the libraries that the release brings from Debian."""
    assert set(SYSTEMS) == set(PACKAGES)
    for suite, names in PACKAGES.items():
        assert set(names) <= set(SYSTEMS[suite].packages)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_a_system_is_made_of_what_there_is(system: System) -> None:
    """Its parts are files of the box, its kind of door one of kiosk-fleet's."""
    assert [name for name in system.parts if not (GUEST / name).is_file()] == []
    assert system.hardware in KINDS
