"""Liveman as a part of someone else's application."""

import importlib.util
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from liveman import create_app
from liveman.server import serving
from support.liveman import OFFER, config_for
from support.raw_node import answer, raw_node

EXAMPLE = Path(__file__).parent.parent / "examples" / "embed.py"
SDP_TYPE = {"Content-Type": "application/sdp"}


def example():
    spec = importlib.util.spec_from_file_location("embed", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def hosted(app: web.Application):
    async with serving(app, "127.0.0.1:0") as url, ClientSession(url) as client:
        yield client


async def test_the_example_serves_its_own_pages_and_liveman_below_its_prefix() -> None:
    """A whole session: Location and links carry the prefix, and later requests find the node."""
    reply = answer(
        "201 Created",
        "Location: /session/cam/d6b4",
        "Link: </session/cam/d6b4/layer>; rel=layer",
        body=b"v=0",
    )
    async with raw_node(reply) as node, hosted(example().application(config_for(node))) as client:
        async with client.get("/") as response:
            assert "own page" in await response.text()
        async with client.post("/live/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 201
            location = response.headers["Location"]
            assert re.fullmatch(r"/live/session/cam/d6b4\.\w+", location)
            assert response.headers["Link"] == f'<{location}/layer>; rel="layer"'
        node.reply = None
        async with client.delete(location) as response:
            assert response.status == 204
        assert node.received[-1].target == "/session/cam/d6b4"
        async with client.get("/live/api/nodes/") as response:
            assert [row["alias"] for row in await response.json()] == ["n0"]
        async with client.get("/whip/cam") as response:
            assert response.status == 404


async def test_a_prefix_may_be_of_several_parts_and_nested() -> None:
    async with raw_node() as node:
        middle, host = web.Application(), web.Application()
        middle.add_subapp("/b/c", create_app(config_for(node)))
        host.add_subapp("/a", middle)
        async with hosted(host) as client:
            async with client.post("/a/b/c/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                location = response.headers["Location"]
                assert location.startswith("/a/b/c/session/cam/")
            async with client.patch(location + "/x/y", data=b"x") as response:
                assert response.status == 204
            assert node.received[-1].target == "/session/cam/session-0/x/y"


async def test_two_of_them_live_side_by_side() -> None:
    """Nothing is global: each has nodes and a secret of its own."""
    async with raw_node() as one, raw_node() as two:
        host = web.Application()
        host.add_subapp("/one", create_app(config_for(one)))
        host.add_subapp("/two", create_app(config_for(two)))
        async with hosted(host) as client:
            for name in ("one", "two"):
                async with client.post(f"/{name}/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                    assert response.headers["Location"].startswith(f"/{name}/session/")
        assert [len(node.received) for node in (one, two)] == [1, 1]


async def test_the_hosts_middlewares_see_liveman_s_requests() -> None:
    seen = []

    @web.middleware
    async def watch(request: web.Request, handler):
        response = await handler(request)
        seen.append((request.path, response.status))
        return response

    async with raw_node() as node:
        host = web.Application(middlewares=[watch])
        host.add_subapp("/live", create_app(config_for(node)))
        async with hosted(host) as client:
            async with client.get("/live/nowhere") as response:
                assert response.content_type == "application/problem+json"
            async with client.post("/live/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                assert response.status == 201
        assert seen == [("/live/nowhere", 404), ("/live/whip/cam", 201)]


async def test_its_tasks_end_with_the_application() -> None:
    import asyncio

    before = asyncio.all_tasks()
    async with raw_node() as node, hosted(example().application(config_for(node))):
        assert any(task.get_name() == "watch n0" for task in asyncio.all_tasks() - before)
    left = [task.get_name() for task in asyncio.all_tasks() - before if not task.done()]
    assert not [name for name in left if name.startswith("watch")]


def test_importing_liveman_has_no_effects() -> None:
    """No entry point is loaded, no log level set, no environment read, no heavy library imported."""
    import subprocess
    import sys

    code = (
        "import logging, sys; import liveman; "
        "assert not logging.getLogger().handlers; "
        "print([name for name in ('aiohttp', 'aiortc', 'aiosqlite') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_all_there() -> None:
    import liveman

    for name in liveman.__all__:
        assert getattr(liveman, name) is not None
    assert list(liveman.__all__) == sorted(liveman.__all__, key=lambda name: (not name.isupper(), name))
    with pytest.raises(AttributeError):
        _ = liveman.nothing
