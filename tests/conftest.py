"""Parts that several suites need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mosquitto import PROGRAM, Mosquitto


@pytest.fixture
def stopped_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto that has not been started yet."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def broker(stopped_broker: Mosquitto) -> Mosquitto:
    """A real mosquitto that takes connections."""
    return stopped_broker.start()
