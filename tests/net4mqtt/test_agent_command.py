"""``liveman agent``, as its user runs it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from liveman.config import Net4mqtt, Secret
from support.liveman import OFFER, liveman
from support.mosquitto import holds, mosquitto
from support.net4mqtt import http_target, local, session
from support.nodes import get_json, until
from support.raw_node import raw_node

SDP_TYPE = {"Content-Type": "application/sdp"}


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


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_node_is_reached_by_tls_with_certificates_user_and_password(
    tmp_path: Path, authority: Path, passwords: Path, scheme: str
) -> None:
    """On both sides of the broker; without its certificate no agent gets in."""
    lines = [f"cafile {authority}/ca.pem", f"certfile {authority}/server.pem"]
    lines += [f"keyfile {authority}/server.key", "require_certificate true"]
    lines += ["allow_anonymous false", f"password_file {passwords}"]
    if scheme == "wss":
        lines.append("protocol websockets")
    names = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    files = {option: f"{authority}/{name}" for option, name in names.items()}
    async with mosquitto(tmp_path, *lines) as broker, raw_node() as node:
        url = broker.url.replace("mqtt://", f"{scheme}://u%20ser:right%2Fone@") + "/test"
        section = Net4mqtt(mqtt_url=Secret(url), listen="", **files)
        command = ("--target", node.url, "--alias")
        full = (f"--{option}={path}" for option, path in files.items())
        agent = await start(*command, "edge", *full, LIVEMAN_AGENT_URL=url)
        nobody = await start(*command, "nobody", f"--ca={files['ca']}", LIVEMAN_AGENT_URL=url)
        try:
            async with liveman(net4mqtt=section) as here, ClientSession(here) as client:
                rows = await until(lambda: running(here), 30)
                assert [(row["alias"], row["net4mqtt"]["broker"]) for row in rows] == [("edge", "connected")]
                async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as answer:
                    assert answer.status == 201
                async with client.delete(urlsplit(answer.headers["Location"]).path) as answer:
                    assert answer.status == 204
                assert [request.method for request in node.received] == ["POST", "DELETE"]
            assert nobody.stderr
            while b"the broker cannot be used" not in (line := await nobody.stderr.readline()):
                assert line
        finally:
            for process in (agent, nobody):
                process.terminate()
                _, said = await ended(process)
                assert "right" not in said


async def running(url: str) -> list[Any]:
    """The nodes that are listed as running."""
    return [row for row in await get_json(f"{url}/api/nodes/") if row["health"] == "up"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--url", "http://u:hidden@broker", "--alias", "a"), "--url must begin with mqtt://"),
        (("--url", "mqtt://broker", "--alias", "a/b"), "--alias must be the first part of a host's name"),
        (("--url", "mqtt://broker", "--alias", "edge.7"), "--alias must be the first part of a host's name"),
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
