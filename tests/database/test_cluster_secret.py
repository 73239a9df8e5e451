"""The cluster's secret: made once, the same for everyone, there after a restart."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from liveman.database import Database, Row, cluster_secret, open_database
from liveman.errors import DatabaseError
from support.databases import is_sqlite


def numbered() -> Callable[[int], bytes]:
    """A random that gives something else each time."""
    counter = itertools.count()
    return lambda size: next(counter).to_bytes(size, "big")


async def test_it_is_made_once_and_survives_a_restart(database_url: str) -> None:
    random = numbered()
    async with open_database(database_url) as database:
        first = await cluster_secret(database, random)
        assert len(first) == 32
        assert await cluster_secret(database, random) == first
    async with open_database(database_url) as database:
        assert await cluster_secret(database, random) == first
    if is_sqlite(database_url):
        async with open_database(f"{database_url}?mode=ro") as database:
            assert await cluster_secret(database, random) == first


async def test_two_databases_have_two_secrets() -> None:
    async with open_database("sqlite::memory:") as one, open_database("sqlite::memory:") as two:
        assert await cluster_secret(one, secrets.token_bytes) != await cluster_secret(
            two, secrets.token_bytes
        )


async def test_instances_that_race_get_the_same(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks, finds nothing and makes one; the first one that is kept is everyone's."""
    random = numbered()
    all_have_looked = asyncio.Barrier(10)

    def look_together(database: Database) -> None:
        look = database.fetch_one

        async def fetch_one(sql: str) -> Row | None:
            row = await look(sql)
            if row is None:
                await all_have_looked.wait()
            return row

        monkeypatch.setattr(database, "fetch_one", fetch_one)

    async with open_database(database_url) as one, open_database(database_url) as two:
        look_together(one)
        look_together(two)
        made = await asyncio.gather(*(cluster_secret(db, random) for db in (one, two) * 5))
    assert len(set(made)) == 1
    assert random(32) == (10).to_bytes(32, "big")


async def test_a_read_only_database_without_one_is_told(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/liveman.db"
    async with open_database(url):
        pass
    async with open_database(f"{url}?mode=ro") as database:
        with pytest.raises(DatabaseError, match="mode=ro"):
            await cluster_secret(database, secrets.token_bytes)


@pytest.mark.parametrize("value", [b"", b"short", b"a text of some length, of 34 bytes"])
async def test_a_damaged_one_is_refused_without_showing_it(value: object, database_url: str) -> None:
    async with open_database(database_url) as database:
        await cluster_secret(database, secrets.token_bytes)
        await database.execute("UPDATE cluster_secrets SET value = $1", [value])
        with pytest.raises(DatabaseError, match="delete the row") as caught:
            await cluster_secret(database, secrets.token_bytes)
        assert "text of some length" not in str(caught.value)
