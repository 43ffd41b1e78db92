"""Tests of the whole firmware in the box. `scripts/pibox test` runs them; any other run passes them over."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pibox.door import Door
from pibox.door import opened as opened_door

FOLDER = Path(__file__).parent
LONGEST_S = 7200
"""Of one test, on a machine that has other things to do as well."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands here, and skip it unless the box asked for it."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(LONGEST_S))
            if "PIBOX_DISK" not in os.environ:
                item.add_marker(pytest.mark.skip(reason="runs in the box: scripts/pibox test"))


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A door that was installed by kiosk-fleet, powered on and READY. Its box stays until the last test."""
    with opened_door(tmp_path_factory.mktemp("door")) as made:
        yield made
