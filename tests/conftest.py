"""What holds for all tests: the databases, and which examples those of properties try."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.postgres import Postgres

# The same examples in each run, so that a change is red by its own fault; `make test-long` tries others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this run."""
    with Postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of this test's own on PostgreSQL."""
    with postgres.schema() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of this test's own, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/liveman.db"
    url: str = request.getfixturevalue("postgres_url")
    return url
