"""The databases: what holds for one holds for both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import Postgres


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
