"""Nodes behind NAT in the cluster: an agent, mosquitto, and Liveman, which reaches them by no other way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientError, ClientSession
from aiohttp_socks import ProxyConnector

from liveman import discovery
from liveman.config import Cascade, Cluster, Net4mqtt, NodeConfig, Secret
from liveman.demo.client import SignallingFailed, publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture
from liveman.errors import ConfigError
from support.liveman import OFFER, liveman
from support.mosquitto import Mosquitto, free_port, mosquitto
from support.net4mqtt import agent, bare
from support.nodes import get_json, until
from support.raw_node import SDP, RawNode, answer, raw_node

CREATED = answer("201 Created", "Location: /session/cam/abc", "Content-Type: application/sdp", body=SDP)
SDP_TYPE = {"Content-Type": "application/sdp"}
TRICKLE = {"Content-Type": "application/trickle-ice-sdpfrag"}


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


def over(broker: Mosquitto, **options: Any) -> Net4mqtt:
    """The section `[net4mqtt]`, for the prefix that the agents of the tests have."""
    options.setdefault("listen", "")
    return Net4mqtt(mqtt_url=Secret(f"{broker.url}/test"), **options)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


@asynccontextmanager
async def edge(broker: Mosquitto, **sections: Any) -> AsyncIterator[tuple[str, RawNode, Any]]:
    """Liveman's URL, a scripted node that it reaches by its agent alone, and the agent."""
    async with raw_node() as node, agent(broker.url, port_of(node.url), "edge-7") as side:
        async with liveman(net4mqtt=over(broker), **sections) as url:
            await until(lambda: is_up(url))
            yield url, node, side


async def rows(url: str) -> dict[str, dict[str, Any]]:
    return {row["alias"]: row for row in await get_json(f"{url}/api/nodes/")}


async def is_up(url: str, alias: str = "edge-7") -> bool:
    row = (await rows(url)).get(alias)
    return row is not None and row["health"] == "up"


async def post(url: str, path: str) -> tuple[int, str]:
    async with ClientSession() as client, client.post(url + path, data=OFFER, headers=SDP_TYPE) as response:
        return response.status, await response.text()


async def test_a_stream_crosses_a_node_that_only_the_broker_reaches(
    broker: Mosquitto,
) -> None:
    """Published, watched, trickled to and ended, with real media; its limits are known too."""
    async with (
        buildin_nodes(1, sub_max=2) as nodes,
        agent(broker.url, port_of(nodes[0].url), "edge-7"),
        liveman(net4mqtt=over(broker), cluster=Cluster(poll_interval_ms=200)) as url,
    ):
        await until(lambda: is_up(url))
        async with await publish(f"{url}/whip/by-mqtt", [MovingPicture()]) as publisher:
            async with await subscribe(f"{url}/whep/by-mqtt") as viewer:
                await viewer.wait_for_frames(10, 20)
                assert await viewer.trickle() == 204
            assert await publisher.trickle() == 204
            row = (await rows(url))["edge-7"]
        assert row["kind"] == "net4mqtt"
        assert row["url"] == "http://edge-7.net4mqtt.local"
        assert row["strategy"]["each_stream_max_sub"] == 2
        way = {"agent": "edge-7", "presence": "online", "broker": "connected", "reported_at": None}
        assert row["net4mqtt"] == way

        async def empty() -> bool:
            return await get_json(f"{url}/api/streams/by-mqtt") == {}

        await until(empty)


@pytest.mark.parametrize("mode", ["push", "pull"])
async def test_a_stream_of_such_a_node_is_relayed_to_another(broker: Mosquitto, mode: Any) -> None:
    """Whoever cannot reach it gets the stream through Liveman."""
    async with buildin_nodes(2, sub_max=1) as (hidden, plain):
        async with (
            agent(broker.url, port_of(hidden.url), "edge-7"),
            liveman(
                NodeConfig("plain", plain.url, pub_max=0),
                net4mqtt=over(broker),
                cascade=Cascade(mode=mode),
                cluster=Cluster(poll_interval_ms=200),
            ) as url,
        ):
            await until(lambda: is_up(url))
            async with await publish(f"{url}/whip/cam", [MovingPicture()]):
                viewers = [await subscribe(f"{url}/whep/cam") for _ in range(2)]
                for viewer in viewers:
                    await viewer.wait_for_frames(5, 20)
                assert sorted(await get_json(f"{url}/api/streams/cam")) == ["edge-7", "plain"]
                for viewer in viewers:
                    await viewer.close()


async def test_a_node_of_the_configuration_needs_no_presence(broker: Mosquitto) -> None:
    """Its URL's first label is the agent, whatever its alias and port; who announces himself too is one."""
    declared = NodeConfig("roof", "http://edge-7.net4mqtt.local:7777", mode="poll")
    async with raw_node() as node, agent(broker.url, port_of(node.url), "edge-7") as side:
        side._announced = lambda online: None  # type: ignore[method-assign]
        side.broker.publish("test/edge-7/-/v/-", b"", retain=True)
        async with liveman(declared, net4mqtt=over(broker)) as url:
            await until(lambda: is_up(url, "roof"))
            assert (await post(url, "/whip/cam"))[0] == 201
            assert (await rows(url))["roof"]["net4mqtt"]["presence"] == "unknown"
            assert [each.values("host") for each in node.received] == [["edge-7.net4mqtt.local:7777"]]
            side.broker.publish("test/edge-7/-/v/-", b'{"online":true}', retain=True)

            async def known() -> bool:
                return (await rows(url))["roof"]["net4mqtt"]["presence"] == "online"

            await until(known)
            assert list(await rows(url)) == ["roof"]
            await side.__aexit__(None, None, None)

            async def left() -> bool:
                return (await rows(url))["roof"]["net4mqtt"]["presence"] == "offline"

            await until(left)


async def test_an_agent_that_leaves_takes_its_node_out_of_service_and_then_away(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge(broker) as (url, node, side):
        await side.__aexit__(None, None, None)

        async def stopped() -> bool:
            row = (await rows(url))["edge-7"]
            return (row["status"], row["net4mqtt"]["presence"]) == ("stopped", "offline")

        await until(stopped)
        assert (await post(url, "/whip/cam"))[0] == 503
        async with agent(broker.url, port_of(node.url), "edge-7"):
            await until(lambda: is_up(url))
        monkeypatch.setattr(discovery, "FORGET_SECONDS", 0.1)

        async def removed() -> bool:
            return await rows(url) == {}

        await until(removed)
        async with agent(broker.url, port_of(node.url), "edge-7"):
            await until(lambda: is_up(url))


async def test_a_drain_waits_for_a_node_that_comes_back(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "FORGET_SECONDS", 0.1)
    async with edge(broker) as (url, node, side), ClientSession(url) as client:
        async with client.put("/api/nodes/edge-7/drain", json={}) as response:
            assert response.status == 200
        await side.__aexit__(None, None, None)

        async def removed() -> bool:
            return await rows(url) == {}

        await until(removed)
        async with agent(broker.url, port_of(node.url), "edge-7"):
            await until(lambda: is_up(url))
            assert (await rows(url))["edge-7"]["draining"]


async def test_a_lost_broker_is_told_and_service_is_back_with_it(broker: Mosquitto) -> None:
    """Requests meanwhile fail at once and in words; sessions made before go on afterwards."""
    async with edge(broker, cluster=Cluster(poll_interval_ms=60_000)) as (url, node, _):
        node.reply = CREATED
        async with ClientSession() as client:
            async with client.post(f"{url}/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                assert response.status == 201
                session = url + urlsplit(response.headers["Location"]).path
            await broker.stop()

            async def told() -> bool:
                row = (await rows(url))["edge-7"]
                return row["net4mqtt"]["broker"] != "connected" and row["status"] == "stopped"

            await until(told)
            async with client.delete(session) as response:
                assert response.status == 502
            assert (await post(url, "/whip/cam"))[0] == 503
            await broker.start()
            await until(lambda: is_up(url))
            node.reply = None
            async with client.delete(session) as response:
                assert response.status == 204
            assert node.received[-1].target == "/session/cam/abc"


async def test_the_presence_of_a_dead_agent_brings_no_request_to_it(broker: Mosquitto) -> None:
    """It is listed as stopped until it answers, and no publisher is sent there."""
    async with bare(broker.url) as other, raw_node() as node:
        other.broker.publish("test/ghost/-/v/-", b'{"online":true}', retain=True)
        declared = NodeConfig("n0", node.url, pub_max=1)
        async with liveman(declared, net4mqtt=over(broker)) as url:

            async def listed() -> bool:
                return "ghost" in await rows(url)

            await until(listed)
            ghost = (await rows(url))["ghost"]
            assert (ghost["status"], ghost["net4mqtt"]["presence"]) == ("stopped", "online")
            assert (await post(url, "/whip/cam"))[0] == 201
            assert len(node.received) == 1
            assert (await post(url, "/whip/dog"))[0] == 503


async def test_what_an_agent_tells_of_its_streams_counts_at_once(broker: Mosquitto) -> None:
    """What is no list of streams changes nothing."""
    listed = b'[{"id":"cam","createdAt":1,"publish":{"leaveAt":0,"sessions":[{"id":"p","createdAt":1,' + (
        b'"leaveAt":0,"state":"connected"}]},"subscribe":{"leaveAt":0,"sessions":[]}}]'
    )
    async with edge(broker, cluster=Cluster(poll_interval_ms=60_000)) as (url, _, side):

        async def streams() -> list[str]:
            return [each["id"] for each in await get_json(f"{url}/api/streams/")]

        async def seen() -> bool:
            return await streams() == ["cam"]

        assert await streams() == []
        side.broker.publish("test/edge-7/-/x/streams", listed)
        await until(seen)
        assert (await rows(url))["edge-7"]["publishers"] == 1

        async def told() -> bool:
            return ((await rows(url))["edge-7"]["net4mqtt"]["reported_at"] or 0) > 1_700_000_000

        await until(told)
        for garbage in (b"", b"[", b'{"id":1}', b"\xff" * 20_000, b"[" + b" " * 2**24 + b"]"):
            side.broker.publish("test/edge-7/-/x/streams", garbage)
        side.broker.publish("test/edge-7/-/x/streams", b"[]")

        async def gone() -> bool:
            return await streams() == []

        await until(gone)
        assert await is_up(url)


async def test_an_agent_that_vanishes_in_mid_answer_breaks_it_off(broker: Mosquitto) -> None:
    """A head that was not whole is 502; a body that was not whole never ends as if it were."""
    stuck = asyncio.Event()

    async def half_a_head(_received: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        stuck.set()

    async def half_a_body(_received: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n%b\r\n" % bytes(0x40000))

    async with raw_node() as node, liveman(net4mqtt=over(broker)) as url, ClientSession() as client:
        node.reply = CREATED
        async with agent(broker.url, port_of(node.url), "edge-7") as side:
            await until(lambda: is_up(url))
            async with client.post(f"{url}/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                session = url + urlsplit(response.headers["Location"]).path
            node.reply = half_a_head
            asking = asyncio.create_task(client.patch(session, data=b"x", headers=TRICKLE))
            await stuck.wait()
            await cut_off(side)
            async with await asyncio.wait_for(asking, 10) as response:
                assert response.status == 502
        async with agent(broker.url, port_of(node.url), "edge-7") as side:
            await until(lambda: is_up(url))
            node.reply = half_a_body
            async with client.get(session) as response:
                assert await response.content.readexactly(0x20000) == bytes(0x20000)
                await cut_off(side)
                with pytest.raises(ClientError):
                    await asyncio.wait_for(response.content.read(), 10)


async def cut_off(side: Any) -> None:
    """The agent is gone without a word."""
    side.broker._link._client._connection._transport.abort()


async def test_what_no_node_can_be_is_left_out(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """Ids that no host can have, and names of nodes that are declared already."""
    async with bare(broker.url) as other, raw_node() as node:
        for id in ("a b", "ä", "a.b", "x" * 64, "n0", "-"):
            other.broker.publish(f"test/{id}/-/v/-", b'{"online":true}', retain=True)
        async with liveman(node, net4mqtt=over(broker)) as url, agent(broker.url, 1, "fine"):

            async def listed() -> bool:
                return "fine" in await rows(url)

            await until(listed)
            assert list(await rows(url)) == ["fine", "n0"]
    told = [record.getMessage() for record in caplog.records if "agent" in record.getMessage()]
    assert len([each for each in told if "no host can have" in each]) == 4
    assert len([each for each in told if "gives way" in each]) == 1


async def test_several_nodes_may_be_declared_for_one_agent(broker: Mosquitto) -> None:
    """Each shows how it stands with the agent, and is in doubt at once when that leaves."""
    async with raw_node() as node, agent(broker.url, port_of(node.url), "edge-7") as side:
        nodes = [NodeConfig(alias, "http://edge-7.net4mqtt.local") for alias in ("a", "b")]
        async with liveman(*nodes, net4mqtt=over(broker)) as url:

            async def both(presence: str, up: bool) -> bool:
                found = (await rows(url)).values()
                said = [(row["net4mqtt"]["presence"], row["health"] == "up") for row in found]
                return said == [(presence, up)] * 2

            await until(lambda: both("online", True))
            await side.__aexit__(None, None, None)
            await until(lambda: both("offline", False))


async def test_other_programs_reach_the_node_by_socks_and_nothing_else(broker: Mosquitto) -> None:
    """They are told when its agent has left."""
    port = free_port()
    async with raw_node() as node, agent(broker.url, port_of(node.url), "edge-7") as side:
        node.streams = b'[{"id":"seen"}]'
        async with liveman(net4mqtt=over(broker, listen=f"127.0.0.1:{port}")) as url:
            await until(lambda: is_up(url))
            proxy = ProxyConnector.from_url(f"socks5://127.0.0.1:{port}", rdns=True)
            async with ClientSession(connector=proxy) as client:
                async with client.get("http://edge-7.net4mqtt.local:9/api/streams/") as response:
                    assert await response.read() == node.streams
                with pytest.raises(Exception, match="ruleset"):
                    await client.get(node.url)
                await side.__aexit__(None, None, None)

                async def left() -> bool:
                    return (await rows(url))["edge-7"]["net4mqtt"]["presence"] == "offline"

                await until(left)
                with pytest.raises(Exception, match="unreachable"):
                    await asyncio.wait_for(client.get("http://edge-7.net4mqtt.local/api/streams/"), 10)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (lambda taken: {"listen": f"127.0.0.1:{taken}"}, "net4mqtt.listen"),
        (lambda _: {"mqtt_url": Secret("mqtt://h/a//b")}, "net4mqtt.mqtt_url"),
        (lambda _: {"mqtt_url": Secret("mqtts://h"), "ca": "no such file"}, "net4mqtt"),
    ],
)
async def test_what_cannot_be_is_said_at_the_start(
    broker: Mosquitto, options: Callable[[int], dict[str, Any]], path: str
) -> None:
    section = {"listen": "", "mqtt_url": Secret(broker.url), **options(broker.port)}
    with pytest.raises(ConfigError) as raised:
        async with liveman(net4mqtt=Net4mqtt(**section)):
            pass
    assert [fault.path for fault in raised.value.faults] == [path]


async def test_a_session_of_a_node_that_is_gone_fails_in_words(broker: Mosquitto) -> None:
    async with edge(broker) as (url, _, side):
        await side.__aexit__(None, None, None)
        with pytest.raises(SignallingFailed):
            await subscribe(f"{url}/whep/nothing")
