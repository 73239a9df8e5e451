"""Notices: what one instance announces, the others hear, or know that they may have missed something."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from liveman.database import Database, open_database
from liveman.database.notices import Subscription
from support.databases import is_sqlite
from support.postgres import Postgres


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


async def heard(subscription: Subscription, count: int = 1) -> list[str | None]:
    async with asyncio.timeout(5):
        return [await anext(subscription) for _ in range(count)]


async def test_who_subscribes_is_told_to_read_everything_first(database: Database) -> None:
    """What was before is not told."""
    await database.announce("a", "early")
    with database.subscribe("a") as subscription:
        assert await heard(subscription) == [None]


async def test_notices_come_in_their_order_to_all_who_listen_to_their_channel(database: Database) -> None:
    with database.subscribe("a") as one, database.subscribe("a") as two, database.subscribe("b") as other:
        for subscription in (one, two, other):
            await heard(subscription)
        for payload in ("1", "", "two words", "ü\n"):
            await database.announce("a", payload)
        await database.announce("b", "x")
        for subscription in (one, two):
            assert await heard(subscription, 4) == ["1", "", "two words", "ü\n"]
        assert await heard(other) == ["x"]
    await database.announce("a", "nobody hears it")


async def test_what_is_announced_within_a_transaction_is_told_when_it_is_committed(
    database: Database,
) -> None:
    with database.subscribe("a") as subscription:
        await heard(subscription)
        with pytest.raises(KeyError):
            async with database.transaction() as transaction:
                await transaction.announce("a", "undone")
                raise KeyError
        async with database.transaction() as transaction:
            await transaction.announce("a", "kept")
            waiting = asyncio.create_task(anext(subscription))  # type: ignore[arg-type]
            await transaction.fetch_one("SELECT 1 AS x")
            assert not waiting.done()
        assert await asyncio.wait_for(waiting, 5) == "kept"


async def test_who_is_too_far_behind_is_told_to_read_everything() -> None:
    """Nothing piles up without end."""
    subscription = Subscription()
    for number in range(5000):
        subscription.put(str(number))
    assert len(subscription._payloads) <= 1000
    assert (await heard(subscription))[0] is None


async def test_a_notice_that_is_too_long_is_a_mistake_of_the_caller(database: Database) -> None:
    with database.subscribe("a") as subscription:
        await heard(subscription)
        with pytest.raises(ValueError, match="at most 7900 bytes"):
            await database.announce("a", "x" * 7899)
        await database.announce("a", "x" * 7898)
        assert await heard(subscription) == ["x" * 7898]


async def test_other_instances_hear_it(postgres_url: str) -> None:
    async with open_database(postgres_url) as one, open_database(postgres_url) as two:
        with two.subscribe("a") as subscription:
            await heard(subscription)
            await one.announce("a", "x")
            assert await heard(subscription) == ["x"]


async def test_who_was_cut_off_is_told_and_hears_what_comes_later(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection is lost, more than once."""
    monkeypatch.setattr("liveman.database.standing.TRY_SECONDS", 0.05)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'liveman'"
    async with open_database(postgres_url) as one, open_database(postgres_url) as two:
        with two.subscribe("a") as subscription:
            await heard(subscription)
            for number in range(3):
                await asyncio.to_thread(postgres.sql, kill)
                assert await heard(subscription) == [None]
                await one.announce("a", str(number))
                assert await heard(subscription) == [str(number)]


async def test_with_sqlite_only_this_process_hears_it(database_url: str) -> None:
    if is_sqlite(database_url):
        async with open_database(database_url) as one, open_database(database_url) as two:
            with two.subscribe("a") as subscription:
                await heard(subscription)
                await one.announce("a", "x")
                await two.announce("a", "y")
                assert await heard(subscription) == ["y"]
