"""HTTP through mosquitto, with our agent at one side and our local at the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from liveman.net4mqtt import agent as agent_module
from support.mosquitto import Mosquitto, holds, mosquitto
from support.net4mqtt import agent, bare, http_target, local, pattern, session


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


async def test_requests_go_through_with_bodies_of_any_size(broker: Mosquitto) -> None:
    async with http_target() as target, agent(broker.url, target), local(broker.url) as side:
        async with session(side) as client:
            for size in (0, 1, 4095, 4096, 4097, 10_241, 1_000_000):
                body = pattern(0, size)
                async with client.post("/echo", data=body) as answer:
                    assert await answer.read() == body


async def test_many_at_once_do_not_mix(broker: Mosquitto) -> None:
    async with http_target() as target, agent(broker.url, target), local(broker.url) as side:
        async with session(side) as client:

            async def one(number: int) -> None:
                body = b"%d " % number * (number * 97 % 9001 + 1)
                async with client.post("/echo", data=body) as answer:
                    assert await answer.read() == body

            await asyncio.gather(*map(one, range(200)))


async def test_twenty_megabytes_arrive_without_a_hole(broker: Mosquitto) -> None:
    size = 20 * 1024 * 1024
    async with http_target() as target, agent(broker.url, target), local(broker.url) as side:
        async with session(side) as client, client.get(f"/bytes/{size}") as answer:
            assert await answer.read() == pattern(0, size)


async def test_connections_are_kept_and_closed_on_both_sides(broker: Mosquitto) -> None:
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with session(side) as client:
            for _ in range(3):
                async with client.post("/echo", data=b"x") as answer:
                    await answer.read()
            assert len(side._carrier) == len(far._carrier) == 1
        await holds(lambda: len(side._carrier) == len(far._carrier) == 0)
        assert side._carrier.count("node") == 0


async def test_agents_come_and_go(broker: Mosquitto) -> None:
    """Those that were there before us are found; a farewell, and a death, are noticed."""
    async with agent(broker.url, 1, "early"), local(broker.url) as side:
        await holds(lambda: side.events == [("appear", "early")])
        async with agent(broker.url, 1, "polite"):
            await holds(lambda: side.agents == {"early", "polite"})
        await holds(lambda: side.agents == {"early"})
        async with agent(broker.url, 1, "doomed") as doomed:
            await holds(lambda: side.agents == {"early", "doomed"})
            doomed.broker._link._client._connection._transport.abort()  # type: ignore[union-attr]
            await holds(lambda: ("vanish", "doomed") in side.events)
            await holds(lambda: side.agents == {"early", "doomed"})


async def test_an_agent_that_begins_anew_has_forgotten_its_connections(broker: Mosquitto) -> None:
    """Also when its end was not noticed. Its first announcement takes nothing away."""
    async with local(broker.url) as side, bare(broker.url) as node, session(side) as client:
        request = asyncio.create_task(client.post("/echo", data=b"x"))
        await holds(lambda: len(side._carrier) == 1)
        node.broker.publish("test/node/-/v/-", b'{"online":true}')
        await holds(lambda: "node" in side.agents)
        assert len(side._carrier) == 1
        node.broker.publish("test/node/-/v/-", b'{"online":true}')
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(request, 5)
        assert side.events == [("appear", "node")] * 2


async def test_a_snapshot_is_reported(broker: Mosquitto) -> None:
    async with local(broker.url) as side, bare(broker.url) as node:
        snapshot = b"[" + b" " * 3_000_000 + b"]"
        node.broker.publish("test/node/-/x/streams", snapshot)
        await holds(lambda: side.snapshots == {"node": snapshot})


async def test_an_agent_that_vanishes_in_mid_body_is_an_error_at_once(broker: Mosquitto) -> None:
    """And never the end of a body as if it were whole."""
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with session(side) as client, client.get("/stuck") as answer:
            assert await answer.content.readany() == b"half"
            far.broker._link._client._connection._transport.abort()  # type: ignore[union-attr]
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(answer.read(), 5)


async def test_a_restart_of_the_broker_fails_what_is_open_and_service_comes_back(broker: Mosquitto) -> None:
    """Within 5 s, each time; nothing hangs, and nothing of the old connections is left."""
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with session(side) as client:
            for _ in range(3):
                await holds(lambda: "node" in side.agents)
                async with client.get("/stuck") as answer:
                    assert await answer.content.readany() == b"half"
                    await broker.stop()
                    with pytest.raises(aiohttp.ClientError):
                        await asyncio.wait_for(answer.read(), 5)
                assert side.agents == frozenset()
                with pytest.raises(aiohttp.ClientConnectorError, match="not connected"):
                    await client.post("/echo", data=b"x")
                await holds(lambda: len(far._carrier) == 0)
                await broker.start()
                async with asyncio.timeout(5):
                    await holds(lambda: "node" in side.agents)
                    async with client.post("/echo", data=b"again") as answer:
                        assert await answer.read() == b"again"
            assert (len(side._carrier), len(far._carrier)) == (1, 1)


async def test_a_target_that_is_down_is_an_error_at_once(broker: Mosquitto) -> None:
    async with agent(broker.url, 1), local(broker.url) as side, session(side) as client:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.post("/echo", data=b"x")


async def test_only_the_target_can_be_reached(broker: Mosquitto) -> None:
    """Whoever names another destination or protocol is refused at once, and nothing is dialled."""
    async with http_target() as target, agent(broker.url, target) as far:
        async with bare(broker.url, "test/node/+/o/#") as other:
            for rest in ("tcp/127.0.0.1:5/127.0.0.1:22", "udp/127.0.0.1:5/-", "kcp/127.0.0.1:5/-"):
                other.broker.publish(f"test/node/me/i/{rest}", b"GET / HTTP/1.1\r\n\r\n")
                await holds(lambda rest=rest: other.messages == [(f"test/node/me/o/{rest}", b"")])
                other.messages.clear()
            assert len(far._carrier) == 0


async def test_strange_messages_do_no_harm(broker: Mosquitto) -> None:
    """Closes before an open, payloads over what is permitted, topics of any shape, retained traffic."""
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with bare(broker.url, "test/node/+/o/#") as other:
            for topic in (
                "node/me/i/tcp/s/-",
                "node/me/i/tcp",
                "node/me/i/-/-/-/-/-",
                "node/manager/o/tcp/s/-",
                "-/-/v/-",
            ):
                other.broker.publish(f"test/{topic}", b"")
                other.broker.publish(
                    f"test/{topic}", b'{"online":true}' if "/v/" in topic else b"", retain=True
                )
            body = pattern(0, 50_000)
            request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + body
            other.broker.publish("test/node/me/i/tcp/s/-", request)
            await holds(lambda: b"".join(data for _, data in other.messages).endswith(body))
            assert all(len(data) <= 4096 for _, data in other.messages)
            assert len(far._carrier) == 1
            assert side.agents == {"node"}


async def test_late_bytes_of_a_closed_connection_do_not_open_it_again(broker: Mosquitto) -> None:
    async with agent(broker.url, 1) as far, bare(broker.url, "test/node/+/o/#") as other:
        other.broker.publish("test/node/me/i/tcp/s/-", b"first")
        await holds(lambda: len(other.messages) == 1)
        other.broker.publish("test/node/me/i/tcp/s/-", b"late")
        other.broker.publish("test/node/me/i/tcp/new/-", b"first")
        await holds(lambda: len(other.messages) == 2)
        assert [topic for topic, _ in other.messages] == [
            "test/node/me/o/tcp/s/-",
            "test/node/me/o/tcp/new/-",
        ]
        assert len(far._carrier) == 0
        other.broker.publish("test/node/me/i/tcp/s/-", b"")
        other.broker.publish("test/node/me/i/tcp/s/-", b"first of another from the same source")
        await holds(lambda: len(other.messages) == 3)


async def test_a_source_may_be_used_again_at_once(broker: Mosquitto) -> None:
    """By who has closed the connection, such as a local that was started anew."""
    async with http_target() as target, agent(broker.url, target):
        async with bare(broker.url, "test/node/+/o/#") as other:
            for _ in range(3):
                other.messages.clear()
                other.broker.publish("test/node/me/i/tcp/s/-", b"GET /bytes/1 HTTP/1.1\r\nHost: n\r\n\r\n")
                await holds(lambda: any(b"200 OK" in said for _, said in other.messages))
                other.broker.publish("test/node/me/i/tcp/s/-", b"")


async def test_another_liveman_of_the_same_alias_is_told_of(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        http_target() as target,
        agent(broker.url, target),
        local(broker.url),
        local(broker.url) as second,
    ):
        async with session(second) as client, client.post("/echo", data=b"x") as answer:
            assert await answer.read() == b"x"
        await holds(lambda: "another Liveman with the same alias" in caplog.text)


async def test_those_of_the_same_alias_do_not_disturb_one_another(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told how many messages it has sent and got, not how many both."""
    async with (
        http_target() as target,
        agent(broker.url, target),
        local(broker.url) as one,
        local(broker.url) as two,
        session(one) as first,
        session(two) as second,
    ):
        until = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < until:
            for client in (first, second, second):
                async with client.post("/echo", data=b"x" * 20_000) as answer:
                    assert len(await answer.read()) == 20_000
    assert "messages were lost" not in caplog.text


async def test_ids_that_differ_in_case_alone_are_different_agents(broker: Mosquitto) -> None:
    """Each comes and goes, and is reached, by itself; who writes the name otherwise means the first."""
    async with http_target() as target, agent(broker.url, target, "Edge"), local(broker.url) as side:
        await holds(lambda: side.agents == {"Edge"})
        async with agent(broker.url, target, "edge"):
            await holds(lambda: side.agents == {"Edge", "edge"})
            named = {
                host: side.agent_of(f"http://{host}.net4mqtt.local") for host in ("Edge", "edge", "EDGE")
            }
            assert named == {"Edge": "Edge", "edge": "edge", "EDGE": "Edge"}
        await holds(lambda: side.agents == {"Edge"})
        assert side.events == [("appear", "Edge"), ("appear", "edge"), ("vanish", "edge")]
        assert side.agent_of("http://edge.net4mqtt.local") == "Edge"


async def test_the_will_of_an_earlier_run_does_not_stand(broker: Mosquitto) -> None:
    """A broker may notice an end late. But who leaves has left."""
    async with local(broker.url) as side, bare(broker.url, "test/node/-/v/-") as other:
        async with agent(broker.url, 1):
            await holds(lambda: side.agents)
            other.broker.publish("test/node/-/v/-", b"{}", retain=True)
            await holds(lambda: side.events[-2:] == [("vanish", "node"), ("appear", "node")])
        await holds(lambda: not side.agents)
        other.broker.publish("test/node/-/v/-", b"the last")
        await holds(lambda: other.messages[-1][1] == b"the last")
        assert other.messages[-2][1] == b"{}"


async def test_what_is_retained_of_snapshots_is_old(broker: Mosquitto) -> None:
    async with bare(broker.url) as other:
        other.broker.publish("test/node/-/x/streams", b'[{"id":"old"}]', retain=True)
        other.broker.publish("test/manager/-/v/-", b"the last", retain=True)
        async with local(broker.url) as side:
            await holds(lambda: side.agents)
            assert side.snapshots == {}


async def test_connections_that_cannot_end_make_room_too(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are never more than the limit, whoever keeps opening them and takes nothing."""
    monkeypatch.setattr(agent_module, "MOST_CONNECTIONS", 4)
    async with http_target() as target, agent(broker.url, target) as far:
        async with bare(broker.url) as other:
            monkeypatch.setattr(far._carrier, "_writable", lambda: False)
            for i in range(20):
                topic = f"test/node/me/i/tcp/s:{i}/-"
                other.broker.publish(topic, b"GET /bytes/500000 HTTP/1.1\r\nHost: x\r\n\r\n")
            await holds(lambda: far._carrier.has("test/node/me/i/tcp/s:19/-"))
            assert len(far._carrier) <= 4


async def test_idle_connections_are_closed(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "IDLE_SECONDS", 0.3)
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with session(side) as client, client.post("/echo", data=b"x") as answer:
            await answer.read()
            await holds(lambda: len(far._carrier) == len(side._carrier) == 0)


async def test_the_least_used_connection_makes_room(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "MOST_CONNECTIONS", 2)
    async with http_target() as target, agent(broker.url, target) as far:
        async with bare(broker.url, "test/node/+/o/#") as other:
            for source in "abac":
                other.broker.publish(f"test/node/me/i/tcp/{source}/-", b"\r\n")
            await holds(lambda: other.messages == [("test/node/me/o/tcp/b/-", b"")])
            assert {transport.arriving[-3] for transport in far._carrier} == {"a", "c"}


async def test_who_wants_one_connection_too_many_waits_for_another_to_end(broker: Mosquitto) -> None:
    """In turn, and those who give up take nothing with them. Other agents' are not concerned."""
    async with local(broker.url) as side:
        transports = [(await side.create_connection(asyncio.Protocol, "a"))[0] for _ in range(64)]
        assert not transports[0].get_extra_info("wanted")
        late = [asyncio.create_task(side.create_connection(asyncio.Protocol, "a")) for _ in range(3)]
        await holds(lambda: transports[0].get_extra_info("wanted"))
        await side.create_connection(asyncio.Protocol, "b")
        late[0].cancel()
        transports[0].close()
        await late[1]
        assert not late[2].done()
        await broker.stop()
        with pytest.raises(OSError, match="not connected"):
            await late[2]
        assert not side._slots._agents


async def test_a_crowd_gets_its_answers_through_few_connections(broker: Mosquitto) -> None:
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        most = 0

        async def one() -> None:
            nonlocal most
            async with session(side) as client, client.post("/echo", data=b"x") as answer:
                most = max(most, len(far._carrier))
                assert await answer.read() == b"x"

        await asyncio.gather(*(one() for _ in range(300)))
        assert most <= 64


async def test_urls_in_the_domain_mean_agents(broker: Mosquitto) -> None:
    async with local(broker.url) as side, agent(broker.url, 1, "Node-7"):
        await holds(lambda: bool(side.agents))
        assert side.agent_of("http://node-7.net4mqtt.local:7777") == "Node-7"
        assert side.agent_of("http://Other.NET4MQTT.local") == "Other"
        assert side.agent_of("http://127.0.0.1:7777") is None
        with pytest.raises(OSError, match="no agent"):
            await side.create_connection(asyncio.Protocol, "a+b")


async def test_https_is_refused_in_words(broker: Mosquitto) -> None:
    async with local(broker.url) as side, session(side) as client:
        with pytest.raises(aiohttp.ClientConnectorError, match="http://"):
            await client.get("https://node.net4mqtt.local/")


async def test_what_a_local_lost_with_its_link_is_closed_at_the_agent(broker: Mosquitto) -> None:
    """Which has not noticed anything."""
    async with http_target() as target, agent(broker.url, target) as far, local(broker.url) as side:
        async with session(side) as client, client.get("/stuck") as answer:
            assert await answer.content.readany() == b"half"
            side.broker._link._client._connection._transport.abort()  # type: ignore[union-attr]
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(answer.read(), 5)
            await holds(lambda: side.broker.connected and len(far._carrier) == 0)


async def test_what_an_agent_lost_with_its_link_is_closed_at_its_others(broker: Mosquitto) -> None:
    """Also at those who do not look at its presence."""
    async with http_target() as target, agent(broker.url, target) as far:
        async with bare(broker.url, "test/node/+/o/#") as other:
            other.broker.publish("test/node/me/i/tcp/s/-", b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
            await holds(lambda: len(other.messages) > 0)
            other.messages.clear()
            far.broker._link._client._connection._transport.abort()  # type: ignore[union-attr]
            await holds(lambda: other.messages == [("test/node/me/o/tcp/s/-", b"")])


async def test_a_target_that_does_not_read_is_not_written_to_without_bound(broker: Mosquitto) -> None:
    """And gets all of it when it goes on."""
    go_on, got = asyncio.Event(), bytearray()

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        while data := await reader.read(65536):
            got.extend(data)
        writer.close()

    size = 8 * 1024 * 1024
    async with await asyncio.start_server(target, "127.0.0.1", 0, limit=1024) as server:
        port = server.sockets[0].getsockname()[1]
        async with agent(broker.url, port) as far, local(broker.url) as side:
            transport, _ = await side.create_connection(asyncio.Protocol, "node")
            transport.write(pattern(0, size))
            await holds(
                lambda: any(not each.is_reading() for each in far._carrier) and far._carrier._tunnels.held
            )
            await holds(lambda: transport.get_write_buffer_size() == 0)
            assert not any(each.is_reading() for each in far._carrier)
            go_on.set()
            await holds(lambda: len(got) == size)
            assert got == pattern(0, size)
            assert far._carrier._tunnels.held == 0
            transport.close()
