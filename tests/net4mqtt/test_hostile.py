"""Whoever may publish on the broker may publish anything: neither role is upset by it, or grows."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveman.net4mqtt.agent import Agent
from liveman.net4mqtt.local import Local, Reports
from support.mosquitto import Mosquitto, holds, mosquitto
from support.net4mqtt import address, agent, bare, http_target, local, pattern, session

NOWHERE = "mqtt://127.0.0.1:1"

levels = st.sampled_from(
    ["node", "manager", "-", "", "i", "o", "v", "x", "iw", "ow", "tcp", "udp", "mark", "echo"]
)
sources = st.sampled_from(["127.1.2.3:1", "127.1.2.3:99999", "s", "-", ""])
topics = st.one_of(
    st.lists(levels | sources | st.text(max_size=3), max_size=8).map(
        lambda parts: "/".join(("test", *parts))
    ),
    st.tuples(
        st.sampled_from(["node", "x", "-"]),
        st.sampled_from(["manager", "y", "-"]),
        st.sampled_from(["i/tcp", "o/tcp", "i/udp"]),
        sources,
        st.sampled_from(["-", "127.0.0.1:22"]),
    ).map(lambda parts: "/".join(("test", *parts))),
    st.sampled_from(["iw/mark", "iw/echo", "ow/mark", "ow/echo", "v/-", "x/streams"]).map(
        lambda end: f"test/node/manager/{end}"
    ),
    st.text(max_size=10),
)
payloads = st.one_of(
    st.sampled_from(
        [b"", b"{}", b'{"online":true}', b"0", b"5", b"32", b"9" * 18, b"9" * 4000, b"\xff" * 20_000]
    ),
    st.binary(max_size=10),
)
messages = st.lists(st.tuples(topics, payloads, st.booleans()), max_size=60)


@given(messages)
@settings(max_examples=150)
def test_no_message_upsets_either_role(said: list[tuple[str, bytes, bool]]) -> None:
    """Also while a connection of its own is open. Its bytes are its own."""

    async def play() -> None:
        nothing = Reports(lambda _: None, lambda _: None, lambda *_: None, lambda: None)
        reader = asyncio.StreamReader()
        near = Local(
            address(NOWHERE), alias="manager", domain="d.local", reports=nothing, token=b"\x01\x02\x03"
        )
        far = Agent(address(NOWHERE), alias="node", target=("127.0.0.1", 1))
        async with near, far:
            await near._slots.take("node")
            near._carrier.open(
                "node", "test/node/manager/o/tcp/own/-", "out", asyncio.StreamReaderProtocol(reader)
            )
            for message in said:
                near.received(*message)
                far.received(*message)
            await asyncio.sleep(0)
            near.received("test/node/manager/o/tcp/own/-", b"mine", False)
            ends = re.compile(r"test/node/[^/]+/(v|ow)/")
            lost = any(ends.match(topic) for topic, _, _ in said)
            assert lost or await reader.read(100) == b"mine"
            assert len(near._carrier) <= 1
            assert len(far._carrier) <= 128

    asyncio.run(play())


@pytest.mark.parametrize(
    "topic",
    [
        "test/node/manager/o/tcp/127.1.2.3:1/-",
        "test/node/manager/ow/tcp/127.1.2.3:1/-",
        "test/node/manager/x/tcp/127.1.2.3:1/-",
        "test/other/manager/i/tcp/127.1.2.3:1/-",
    ],
)
async def test_what_is_not_for_an_agent_opens_nothing_there(topic: str) -> None:
    """Nor is it upset when a connection has the same ends."""
    async with Agent(address(NOWHERE), alias="node", target=("127.0.0.1", 1)) as far:
        far.received("test/node/manager/i/tcp/127.1.2.3:1/-", b"GET", False)
        assert len(far._carrier) == 1
        far.received(topic, b"GET", False)
        assert len(far._carrier) == 1


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


async def test_a_message_over_all_limits_of_today_is_taken(broker: Mosquitto) -> None:
    """By a local, from an agent that sends its whole answer at once."""
    body = pattern(0, 30_000)
    async with (
        local(broker.url) as side,
        bare(broker.url, "test/node/+/i/#") as node,
        session(side) as client,
    ):
        request = asyncio.create_task(client.get("/"))
        await holds(lambda: node.messages)
        topic = node.messages[0][0].replace("/i/", "/o/")
        node.broker.publish(topic, b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + body)
        async with await asyncio.wait_for(request, 10) as answer:
            assert await answer.read() == body


async def test_two_agents_of_one_alias_are_told_of(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """One that leaves and comes back is not, nor one whose presence the broker has kept."""
    async with bare(broker.url, "test/node/-/v/-") as other:
        other.broker.publish("test/node/-/v/-", b'{"online":true}', retain=True)
        await holds(lambda: other.messages)
    async with local(broker.url) as side:
        await holds(lambda: side.events == [("appear", "node")])
        async with agent(broker.url, 1):
            await holds(lambda: side.events == [("appear", "node")] * 2)
        await holds(lambda: not side.agents)
        for _ in range(2):
            async with agent(broker.url, 1):
                await holds(lambda: side.agents == {"node"})
            await holds(lambda: not side.agents)
        assert "two of one alias" not in caplog.text
        async with agent(broker.url, 1), agent(broker.url, 1):
            await holds(lambda: "two of one alias" in caplog.text)


async def test_bytes_that_nobody_asked_for_are_told_of_and_dropped(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_target() as target, agent(broker.url, target), local(broker.url) as side:
        async with bare(broker.url) as other, session(side) as client:
            for _ in range(50):
                other.broker.publish("test/node/manager/o/tcp/127.0.0.1:1/-", b"HTTP/1.1 200 OK\r\n\r\n")
            async with client.post("/echo", data=b"x") as answer:
                assert await answer.read() == b"x"
            await holds(lambda: "another Liveman with the same alias" in caplog.text)
    assert caplog.text.count("another Liveman with the same alias") == 1
