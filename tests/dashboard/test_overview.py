"""The first page, as it is without scripts."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import ClientSession

from auth.asking import bearer
from cluster.fake import body, fake_node, stream
from dashboard.browsing import CLOSED, browsing, get
from liveman import create_app
from liveman.config import Net4mqtt, NodeConfig, Secret
from liveman.dashboard import dashboard as dashboard_module
from liveman.database import pulse as pulse_module
from liveman.database.sqlite import SqliteDatabase
from liveman.errors import DatabaseError, ProviderError
from liveman.ice import IceLease, IceRequest
from liveman.server import serving
from support.liveman import OFFER, config_for
from support.raw_node import raw_node

STATS = {"publish": {"bitrate": 1_200_000}, "subscribe": {"bitrate": 3_000_000}}


async def shown(client: ClientSession, wanted: str) -> str:
    """The page, as soon as it says this."""
    async with asyncio.timeout(5):
        while wanted not in (page := (await get(client, "", bearer())).text):
            await asyncio.sleep(0.02)
    return page


def figures(page: str) -> dict[str, str]:
    found = re.findall(r"<dt>(?:<a [^>]*>)?([^<]+)(?:</a>)?</dt><dd[^>]*>([^<]+)</dd>", page)
    return {name: value.replace("\N{NARROW NO-BREAK SPACE}", " ") for name, value in found}


async def test_it_shows_how_the_cluster_is() -> None:
    pushed = {"id": "out", "state": "connected", "leaveAt": 0, "cascade": {"targetUrl": "http://b/whip/x"}}
    streams = body(stream("x", ["p"], ["v1", "v2", pushed], stats=STATS), stream("y", ["q"], stats=STATS))
    async with fake_node(streams=streams) as node, browsing(node.url) as client:
        page = await shown(client, ">2.4 Mbit/s</dd>")
        assert figures(page) == {
            "Publishers": "2",
            "Viewers": "2",
            "Received by nodes": "2.4 Mbit/s",
            "Sent by nodes": "6.0 Mbit/s",
            "Nodes": "1",
            "Streams": "2",
            "Relays": "1",
            "Recording now": "0",
        }
        assert "1 up" in page
        assert "All is well" in page


async def test_problems_come_first_and_lead_to_what_they_are_about() -> None:
    async with fake_node() as node:
        nodes = NodeConfig("up", node.url), NodeConfig("away", "http://127.0.0.1:9")
        async with browsing(*nodes) as client:
            page = await shown(client, "Node away is down")
            assert page.index("Node away is down") < page.index("Publishers")
            assert 'href="./nodes/away"' in page
            assert "<title>(1) Overview" in page
            assert "1 down" in page
            assert "All is well" not in page


async def test_a_database_that_is_away_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = asyncio.Event()

    async def fails(*_: Any) -> None:
        raise DatabaseError("connection refused")

    async def hangs(*_: Any) -> None:
        await answers.wait()

    async with browsing() as client:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteDatabase, "fetch_one", fails)
            assert "The database does not answer: connection refused" in (await get(client, "")).text
            patch.setattr(SqliteDatabase, "fetch_one", hangs)
            patch.setattr(pulse_module, "PATIENCE_SECONDS", 0.05)
            assert "The database does not answer" in (await get(client, "")).text
        answers.set()
        async with asyncio.timeout(5):
            while "The database does not answer" in (await get(client, "")).text:
                pass


async def test_an_mqtt_broker_that_was_never_reached_is_a_problem_though_no_node_is_behind_it() -> None:
    async with fake_node() as node:
        section = Net4mqtt(mqtt_url=Secret("mqtt://127.0.0.1:9/cluster"), listen="")
        async with browsing(node.url, net4mqtt=section) as client:
            assert "The MQTT broker is not connected" in (await get(client, "")).text


class Acme:
    """An ICE provider whose vendor refuses."""

    async def lease(self, _request: IceRequest) -> IceLease:
        raise ProviderError("<b>refused</b>")


async def test_an_ice_provider_that_fails_is_a_problem() -> None:
    async with raw_node() as node:
        app = create_app(config_for(node, auth=CLOSED), ice_providers=[Acme()])
        async with serving(app, "127.0.0.1:0") as url, ClientSession(url + "/") as client:
            headers = {"Content-Type": "application/sdp", **bearer()}
            async with client.post("/whip/cam", data=OFFER, headers=headers):
                pass
            headers = {"Accept": "text/html"}
            page = (await get(client, "", {**headers, **bearer()})).text
            assert "The ICE provider Acme fails: &lt;b&gt;refused&lt;/b&gt;" in page
            assert ">To the ICE page</a>" in page
            reader = (await get(client, "", {**headers, **bearer(mode=4)})).text
            assert "The ICE provider Acme fails" in reader
            assert ">To the ICE page</a>" not in reader, "who may not manage may not see it"


async def test_the_last_15_minutes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_module, "SECONDS", 0.01)
    async with fake_node(streams=body(stream("x", ["p"]))) as node, browsing(node.url) as client:
        await shown(client, "h3l1 0l1 0")
        page = await shown(client, '<svg x="0" width="180"')
        assert page.count('class="spark"') == 4
        assert max(len(path) for path in re.findall(r'<path d="([^"]*)"', page)) < 1200
