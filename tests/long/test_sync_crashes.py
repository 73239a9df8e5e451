"""Liveman is killed at any moment while it takes over recordings: none is lost or doubled, and none that is not
kept was acknowledged."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from liveman.database import open_database
from liveman.recording.index import Index
from recording.nodes import recording_node
from recording.test_sync import row

CRASHES = 100
CONFIG = """
[http]
listen = "127.0.0.1:{port}"
[log]
level = "error"
[database]
url = "{url}"
[record_sync]
enabled = true
tick_ms = 1
limit = 20
[[nodes]]
alias = "n0"
url = "{node}"
mode = "poll"
"""


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "liveman", "-c", str(config))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.long
async def test_no_recording_is_lost_or_doubled_by_a_crash(database_url: str, tmp_path: Path) -> None:
    """What the node has forgotten is in the database, whenever it was asked for."""
    chance = random.Random(7)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with recording_node() as node:
        config = tmp_path / "liveman.toml"
        config.write_text(CONFIG.format(port=port, url=database_url, node=node.url))
        made = 0
        for _ in range(CRASHES):
            fresh = range(made, made + chance.randrange(1, 120))
            node.sessions += [row(number) for number in fresh]
            made = fresh.stop
            heard = len(node.log)
            async with running(config) as process:
                async with asyncio.timeout(30):
                    while len(node.log) == heard:
                        await asyncio.sleep(0.002)
                await asyncio.sleep(chance.random() * 0.06)
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            async with open_database(database_url) as database:
                kept = {each.record for each in await Index(database).page("cam")}
            assert {each["record"] for each in node.acknowledged} <= kept
        async with running(config), asyncio.timeout(60):
            while len({each["record"] for each in node.acknowledged}) < made:
                await asyncio.sleep(0.01)
        async with open_database(database_url) as database:
            records = [each.record for each in await Index(database).page("cam")]
    assert sorted(records) == sorted(f"id-{number}" for number in range(made))
