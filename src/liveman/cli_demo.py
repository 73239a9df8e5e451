"""``liveman demo``: a cluster on this machine, tried from end to end."""

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import click
from attrs import evolve

from liveman import logs
from liveman.app import create_app
from liveman.config import (
    Config,
    Database,
    ExtraIce,
    FsStorage,
    Liveion,
    Net4mqtt,
    Recorder,
    RecordSync,
    Secret,
)
from liveman.errors import LivemanError
from liveman.server import forever, run, serving

__all__ = ["demo"]

NODES = 3
_SUB_MAX = 1
_PR_SET_PDEATHSIG = 1


@click.command()
@click.option("--once", is_flag=True, help="End after the check: 0 if frames were decoded.")
@click.option(
    "--net4mqtt", is_flag=True, help="Reach the nodes over an MQTT broker alone; it needs mosquitto."
)
def demo(once: bool, net4mqtt: bool) -> None:
    """A cluster on this machine: three built-in nodes, a test picture, and a viewer."""
    logs.configure("warn")
    with TemporaryDirectory(prefix="liveman-demo-") as folder:
        sys.exit(run(_demo(Path(folder), once, net4mqtt)))


async def _demo(folder: Path, once: bool, net4mqtt: bool) -> int:
    """Serve a cluster of built-in nodes, and walk a publisher and a viewer through it."""
    from liveman.demo.nodes import need_aiortc

    need_aiortc()
    from liveman.demo.tour import tour

    config = Config(
        database=Database(url=Secret(f"sqlite://{folder}/liveman.db?mode=rwc")),
        extra_ice=ExtraIce(ice_servers=({"urls": ["stun:stun.l.google.com:19302"]},)),
        liveion=Liveion(count=NODES, sub_max=_SUB_MAX),
        recorder=Recorder(storage=FsStorage(root=str(folder / "recordings"))),
        record_sync=RecordSync(enabled=True, tick_ms=1000),
    )
    async with AsyncExitStack() as stack:
        if net4mqtt:
            broker = await stack.enter_async_context(_mosquitto(folder))
            await stack.enter_async_context(_behind_nat(broker, folder / "recordings"))
            section = Net4mqtt(mqtt_url=Secret(broker), alias="liveman", listen="")
            config = evolve(config, liveion=Liveion(), net4mqtt=section)
            click.echo(f"An MQTT broker is at {broker}; the nodes are reached through it alone")
        app = create_app(config)
        url = await stack.enter_async_context(serving(app, "127.0.0.1:8888", else_any_port=True))
        return await tour(url, nodes=NODES, say=click.echo, stay=None if once else forever)


@asynccontextmanager
async def _behind_nat(broker: str, recordings: Path) -> AsyncIterator[None]:
    """Built-in nodes, each with its agent."""
    from liveman.demo.nodes import buildin_nodes
    from liveman.net4mqtt.address import parse_broker_url
    from liveman.net4mqtt.agent import Agent

    async with AsyncExitStack() as stack:
        starting = buildin_nodes(NODES, sub_max=_SUB_MAX, recordings=str(recordings))
        for i, node in enumerate(await stack.enter_async_context(starting)):
            target = urlsplit(node.url)
            address = parse_broker_url(Secret(broker), client_id=secrets.token_hex(4))
            where = target.hostname or "", target.port or 80
            await stack.enter_async_context(Agent(address, alias=f"edge-{i}", target=where))
        yield


@asynccontextmanager
async def _mosquitto(folder: Path) -> AsyncIterator[str]:
    """A broker of its own on the loopback; its URL. Raises LivemanError."""
    command = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if command is None:
        raise LivemanError("mosquitto is not installed: apt install mosquitto.")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    settings = folder / "mosquitto.conf"
    # It would leave root for a user who may not read here.
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    process = await asyncio.create_subprocess_exec(
        *(command, "-c", str(settings)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Its parent ends it, not the terminal's Ctrl-C.
        preexec_fn=_end_with_parent,
    )
    try:
        yield f"mqtt://127.0.0.1:{port}/demo"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _end_with_parent() -> None:
    """So that a demo which is killed leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
