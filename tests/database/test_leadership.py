"""Of all instances one leads, whatever becomes of it, and it knows when it leads no more."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cluster.fake import until
from liveman.database import Database, open_database
from liveman.database.leadership import Leadership
from liveman.errors import DatabaseError
from support.link import Link
from support.postgres import Postgres

# Work that only the leader does


async def test_work_is_done_where_it_leads_and_begun_anew_each_time() -> None:
    leadership = Leadership()
    events = []

    async def work() -> None:
        events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")

    task = asyncio.create_task(leadership.while_leading(work))
    await asyncio.sleep(0)
    assert events == []
    for _ in range(3):
        events.clear()
        leadership.lead()
        await until(lambda: events == ["begun"])
        leadership.lead()  # Once more, as the leader does each second.
        leadership.stand_back()
        await until(lambda: events == ["begun", "ended"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_ends_is_not_begun_anew() -> None:
    """Nor is it held back what it raises, a timeout of its own included."""
    leadership = Leadership()
    leadership.lead()
    await leadership.while_leading(_nothing)
    for error in (TimeoutError, ValueError):

        async def fail(error: type[Exception] = error) -> None:
            raise error

        with pytest.raises(error):
            await leadership.while_leading(fail)


async def _nothing() -> None:
    pass


async def test_a_cancel_from_outside_goes_through() -> None:
    leadership = Leadership()
    leadership.lead()
    task = asyncio.create_task(leadership.while_leading(asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    leadership.stand_back()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_leader_whose_time_is_over_does_not_lead() -> None:
    """Though nobody has told it yet, such as when its process was stopped; its next word counts again."""
    leadership = Leadership()
    leadership.lead(time.monotonic() - 1)
    assert not leadership.leads
    waiting = asyncio.create_task(leadership.until(True))
    await asyncio.sleep(0)
    leadership.lead(time.monotonic() + 60)
    assert leadership.leads
    await asyncio.wait_for(waiting, 5)


# On a database


@pytest.mark.parametrize("url", ["sqlite::memory:", None])
async def test_the_only_instance_leads_from_the_start(url: str | None, database_url: str) -> None:
    async with open_database(url or database_url) as database:
        assert database.leadership.leads
    assert not database.leadership.leads


async def test_one_that_only_reads_a_file_leads(tmp_path: Path) -> None:
    async with open_database(f"sqlite://{tmp_path}/liveman.db"):
        pass
    async with open_database(f"sqlite://{tmp_path}/liveman.db?mode=ro") as database:
        assert database.leadership.leads


async def test_of_several_one_leads_and_another_one_follows_it(database_url: str) -> None:
    async with AsyncExitStack() as others:
        async with open_database(database_url) as first:
            second = await others.enter_async_context(open_database(database_url))
            third = await others.enter_async_context(open_database(database_url))
            assert [db.leadership.leads for db in (first, second, third)] == [True, False, False]
        followed = [asyncio.create_task(db.leadership.until(True)) for db in (second, third)]
        done, _ = await asyncio.wait(followed, timeout=4, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        assert second.leadership.leads is not third.leadership.leads
        for task in followed:
            task.cancel()


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that leads, and says each time whether it does when it is asked."""
    code = (
        "import asyncio, sys\n"
        "from liveman.database import open_database\n"
        "async def main():\n"
        f"    async with open_database({url!r}) as database:\n"
        "        await database.leadership.until(True)\n"
        "        print('leads', flush=True)\n"
        "        await asyncio.to_thread(sys.stdin.readline)\n"
        "        print(database.leadership.leads, flush=True)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"leads\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_when_the_leader_is_killed_another_one_leads_within_seconds(database_url: str) -> None:
    async with another_process(database_url) as process, open_database(database_url) as database:
        assert not database.leadership.leads
        process.kill()
        await asyncio.wait_for(database.leadership.until(True), 4)


async def test_a_leader_that_was_stopped_knows_that_it_leads_no_more(postgres_url: str) -> None:
    """Its connection is in order as far as the machine can tell, so PostgreSQL itself ends the session."""
    async with another_process(postgres_url) as process, open_database(postgres_url) as database:
        assert process.stdin and process.stdout
        process.send_signal(signal.SIGSTOP)
        await asyncio.wait_for(database.leadership.until(True), 9)
        process.stdin.write(b"well?\n")
        process.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"False\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveman.database.standing.TRY_SECONDS", 0.1)
    monkeypatch.setattr("liveman.database.standing._ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("liveman.database.standing._LEASE_SECONDS", 0.4)
    monkeypatch.setattr("liveman.database.standing._SILENCE_SECONDS", 0.8)
    monkeypatch.setattr("liveman.database.standing._SETTINGS", {"idle_session_timeout": "800"})


async def test_a_leader_that_is_cut_off_in_silence_is_followed(
    postgres: Postgres, postgres_url: str, quick: None
) -> None:
    """Never do two lead at the same time, and the one that was cut off is back among the others."""
    async with Link.to(postgres.port) as link:
        through = postgres_url.replace(f":{postgres.port}/", f":{link.port}/")
        async with open_database(through) as first, open_database(postgres_url) as second:
            both = []

            async def watch() -> None:
                while True:
                    both.append(first.leadership.leads and second.leadership.leads)
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            assert first.leadership.leads and not second.leadership.leads
            link.silence()
            await asyncio.wait_for(second.leadership.until(True), 5)
            assert not first.leadership.leads
            link.restore()
            link.cut()
            with second.subscribe("x") as heard:
                await anext(heard)
                async with asyncio.timeout(5):
                    while not await _announces(first):
                        await asyncio.sleep(0.02)
                assert await asyncio.wait_for(anext(heard), 5) == "there"
            watching.cancel()
            assert not any(both)
            assert not first.leadership.leads


async def _announces(database: Database) -> bool:
    try:
        await database.announce("x", "there")
    except DatabaseError:
        return False
    return True


async def test_nobody_leads_while_the_database_is_away(
    postgres: Postgres, postgres_url: str, quick: None
) -> None:
    async with open_database(postgres_url) as database:
        await asyncio.to_thread(postgres.stop)
        try:
            await asyncio.wait_for(database.leadership.until(False), 5)
        finally:
            await asyncio.to_thread(postgres.start)
        await asyncio.wait_for(database.leadership.until(True), 5)
