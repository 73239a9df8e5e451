"""Built-in nodes are processes that never outlive their owner."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from liveman.demo.nodes import buildin_nodes
from support.nodes import until

OWNER = """
import asyncio, json, signal
from liveman.demo.nodes import buildin_nodes

# A suite that runs in the background inherits that it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with buildin_nodes(2) as nodes:
        print(json.dumps([node.pid for node in nodes]), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def has_ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only waits for init to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nodes_end_when_their_owner_dies(number: signal.Signals) -> None:
    """However it dies: they notice that nobody holds their standard input any more."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert owner.stdout
    pids = json.loads(await owner.stdout.readline())
    assert len(pids) == 2
    owner.send_signal(number)
    await owner.wait()
    for pid in pids:
        await until(lambda pid=pid: has_ended(pid))


async def test_a_node_that_does_not_listen_to_reason_is_killed() -> None:
    """A stopped process takes no SIGTERM; its owner does not wait for it for ever."""
    async with buildin_nodes(1) as nodes:
        os.kill(nodes[0].pid, signal.SIGSTOP)
    assert await has_ended(nodes[0].pid)


async def test_a_node_that_dies_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """By its alias, while its owner goes on."""
    with caplog.at_level(logging.WARNING):
        async with buildin_nodes(1) as nodes:
            os.kill(nodes[0].pid, signal.SIGKILL)

            async def reported() -> bool:
                return "a built-in node ended node=buildin-0 status=-9" in caplog.text

            await until(reported)


async def test_the_token_is_not_on_the_command_line() -> None:
    """Anyone on the host can read the arguments of a process."""
    from liveman.config import Secret

    async with buildin_nodes(1, token=Secret("do-not-show")) as nodes:
        assert "do-not-show" not in Path(f"/proc/{nodes[0].pid}/cmdline").read_text()
