"""``liveman agent``, as its user runs it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support.mosquitto import holds, mosquitto
from support.net4mqtt import http_target, local, session


async def start(*arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "liveman",
        "agent",
        *arguments,
        env=os.environ | environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """The exit code, and what was said."""
    _, said = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()


async def test_a_node_joins_by_it_and_leaves_with_a_farewell(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker, local(broker.url) as side, http_target() as target:
        url = broker.url.replace("//", "//user:hidden@")
        options = ("--target", f"http://127.0.0.1:{target}", "--alias", "node")
        process = await start(*options, LIVEMAN_AGENT_URL=f"{url}/test")
        try:
            await holds(lambda: side.agents == {"node"}, 30)
            async with session(side) as client, client.post("/echo", data=b"x") as answer:
                assert await answer.read() == b"x"
            process.terminate()
            code, said = await ended(process)
            assert code == 0
            assert "hidden" not in said
            await holds(lambda: side.agents == frozenset())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--url", "http://u:hidden@broker", "--alias", "a"), "--url must begin with mqtt://"),
        (("--url", "mqtt://broker", "--alias", "a/b"), "--alias stands in MQTT topics"),
        (("--url", "mqtt://broker", "--alias", ""), "--alias must not be empty"),
        (
            ("--url", "mqtt://broker", "--alias", "a", "--target", "https://x"),
            "--target must be http://host:port",
        ),
        (("--url", "mqtt://broker", "--alias", "a", "--target", "x:1"), "--target"),
        (("--url", "mqtt://broker", "--alias", "a", "--ca", "/dev/null"), "--ca"),
        (("--alias", "a"), "--url"),
    ],
)
async def test_a_mistake_is_told(options: tuple[str, ...], problem: str) -> None:
    code, said = await ended(await start(*options))
    assert code in (1, 2)
    assert problem in said
    assert "hidden" not in said
    assert "Traceback" not in said
