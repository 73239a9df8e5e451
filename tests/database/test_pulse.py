"""Whether the database answers: whoever asks soon knows, also of one that has stopped in the middle."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cluster.fake import until
from liveman.database import open_database
from liveman.database import pulse as pulse_module
from liveman.database.pulse import Pulse
from liveman.tasks import TaskOwner
from support.postgres import Postgres


async def test_a_frozen_server_is_told_of_and_so_is_its_return(postgres: Postgres) -> None:
    with postgres.database() as name:
        async with open_database(postgres.url(name)) as database, TaskOwner() as tasks:
            pulse = Pulse(lambda: database, tasks.start)
            assert await pulse.problem() == ""
            ours = postgres.sql(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'")
            assert ours
            for (pid,) in ours:
                os.kill(int(pid), signal.SIGSTOP)
            try:
                assert "says nothing" in await pulse.problem()
            finally:
                for (pid,) in ours:
                    os.kill(int(pid), signal.SIGCONT)
            async with asyncio.timeout(15):
                while await pulse.problem():
                    pass


async def test_a_thousand_askers_are_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_module, "PATIENCE_SECONDS", 0.05)
    answers = asyncio.Event()
    asked = []
    async with open_database(f"sqlite://{tmp_path}/a.db") as database, TaskOwner() as tasks:

        async def slow(*question: Any) -> None:
            asked.append(question)
            await answers.wait()

        monkeypatch.setattr(database, "fetch_one", slow)
        pulse = Pulse(lambda: database, tasks.start)
        for _ in range(3):
            told = await asyncio.gather(*(pulse.problem() for _ in range(300)))
            assert all("says nothing" in each for each in told)
        assert len(asked) == 1
        answers.set()
        await until(lambda: not tasks)
        assert await pulse.problem() == ""
        assert len(asked) == 2
