"""Parts that several suites need."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres as pg
from tests.mosquitto import PROGRAM, Mosquitto

# The everyday run says the same each time; exploring is a run of its own, and what it finds becomes a case:
# `pytest tests/properties --hypothesis-profile=explore`.
settings.register_profile("explore", derandomize=False, print_blob=True)
# A busy machine makes slow inputs, and that is no fact about the product.
settings.register_profile(
    "everyday", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("everyday")


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[pg.Postgres]:
    """A real PostgreSQL; a test takes a database of its own from it, and leaves it running."""
    with closing(_postgres()) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[pg.Postgres]:
    """A real PostgreSQL that the test may kill."""
    with closing(_postgres()) as server:
        yield server


def _postgres() -> pg.Postgres:
    if pg.PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return pg.Postgres().start()
