"""Revoked tokens are refused at every instance, and stay so."""

import asyncio
from collections.abc import Callable

from liveman.auth.revocation import LONGEST_SECONDS, Revocations
from liveman.database import open_database
from support.databases import is_sqlite


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_revoked_token_stays_so_after_a_restart(database_url: str) -> None:
    async with open_database(database_url) as database:
        told: list[str] = []
        revocations = Revocations(told.append)
        async with revocations.kept_in(database):
            await revocations.revoke("stolen")
            await revocations.revoke("stolen")
            assert "stolen" in revocations
            assert "other" not in revocations
        assert told == ["stolen"]
        again = Revocations(told.append)
        async with again.kept_in(database):
            assert "stolen" in again


async def test_what_would_have_expired_is_forgotten(database_url: str) -> None:
    now = 1_800_000_000.0
    async with open_database(database_url) as database:
        revocations = Revocations(lambda _: None, lambda: now)
        async with revocations.kept_in(database):
            await revocations.revoke("old")
            now += LONGEST_SECONDS + 121
            await revocations.revoke("new")
        rows = await database.fetch_all("SELECT token_id FROM revoked_tokens")
        assert [row["token_id"] for row in rows] == ["new"]


async def test_other_instances_hear_of_it(database_url: str) -> None:
    """And end the sessions that they made with it."""
    async with open_database(database_url) as here, open_database(database_url) as elsewhere:
        told: list[str] = []
        mine, theirs = Revocations(lambda _: None), Revocations(told.append)
        # Instances that share a file of SQLite read it when they start; PostgreSQL tells them.
        other = here if is_sqlite(database_url) else elsewhere
        async with mine.kept_in(here), theirs.kept_in(other):
            await mine.revoke("stolen")
            await until(lambda: told == ["stolen"])
            assert "stolen" in theirs
