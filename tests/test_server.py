"""The listening process: addresses, connections that never ask, the end."""

import asyncio
import logging
import socket

import pytest
from aiohttp import ClientSession

from liveman import create_app
from liveman.errors import ConfigError, LivemanError
from liveman.server import serving
from support.liveman import OFFER, config_for, exchange, liveman, request_bytes
from support.raw_node import Received, answer, raw_node

CLOSE = "Connection: close"
POST = request_bytes("POST", "/whip/cam", "Content-Type: application/sdp", CLOSE, body=OFFER)


@pytest.mark.parametrize(
    ("listen", "hosts"),
    [
        ("127.0.0.1:0", ["127.0.0.1"]),
        ("0.0.0.0:0", ["127.0.0.1"]),
        ("[::]:0", ["127.0.0.1", "::1"]),
        ("[::1]:0", ["::1"]),
        ("localhost:0", ["localhost"]),
    ],
)
async def test_it_listens_where_it_is_told(listen: str, hosts: list[str]) -> None:
    """[::] takes both kinds of addresses."""
    async with serving(create_app(config_for()), listen) as url:
        port = int(url.rpartition(":")[2])
        for host in hosts:
            _, writer = await asyncio.open_connection(host, port)
            writer.close()


async def test_an_address_in_use_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"http\.listen: cannot listen on 127\.0\.0\.1"):
            async with serving(create_app(config_for()), f"127.0.0.1:{port}"):
                pass
        async with serving(create_app(config_for()), f"127.0.0.1:{port}", else_any_port=True) as url:
            assert not url.endswith(f":{port}")


@pytest.mark.parametrize("said", [b"", b"POST /whip/cam HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_never_finishes_a_head_is_closed(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """And one that works is left alone."""
    monkeypatch.setattr("liveman.server.HEAD_SECONDS", 0.3)
    async with raw_node() as node, liveman(node) as url, ClientSession(url) as client:
        async with client.get("/healthz") as response:
            assert response.status == 200
        assert await exchange(url, said, timeout=5) == b""
        async with client.get("/healthz") as response:
            assert response.status == 200


async def test_event_streams_end_at_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody who listens keeps Liveman from ending."""

    async def events(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            writer.write(answer("201 Created", "Location: /session/cam/1", body=b"v=0"))
        else:
            writer.write(answer("200 OK", "Content-Type: text/event-stream", length=False) + b"data: 1\n\n")

    async with raw_node(events) as node:
        async with liveman(node) as url:
            path = (await exchange(url, POST)).partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request_bytes("GET", path + "/events"))
            async with asyncio.timeout(5):
                await reader.readuntil(b"data: 1\n\n")
        async with asyncio.timeout(5):
            try:
                rest = await reader.read()
            except ConnectionResetError:
                rest = b""
        assert rest in (b"", b"\r\n"), "the stream was cut, and not ended as if whole"
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


async def test_the_port_is_closed_as_soon_as_the_end_begins() -> None:
    """Nobody is let in who could not be served any more, however it came to the end."""
    async with raw_node() as node:
        ending = asyncio.Event()
        app = create_app(config_for(node))

        async def linger(_app: object) -> None:
            ending.set()
            await asyncio.Event().wait()

        app.on_shutdown.append(linger)
        ports: list[int] = []

        async def serve() -> None:
            async with serving(app, "127.0.0.1:0") as url:
                ports.append(int(url.rpartition(":")[2]))
                await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        async with asyncio.timeout(5):
            while not ports:
                await asyncio.sleep(0.01)
            task.cancel()
            await ending.wait()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", ports[0])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_client_that_leaves_is_in_the_log_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asked = asyncio.Event()

    async def never(_received: Received, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with raw_node(never) as node, liveman(node) as url:
        host, port = url.removeprefix("http://").split(":")
        for twice in ((), ("X: 1\r\n", "X: 1\r\n")):
            caplog.clear()
            asked.clear()
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(POST.replace(b"Host", "".join(twice).encode() + b"Host"))
            async with asyncio.timeout(5):
                await asked.wait()
                writer.transport.abort()
                while "POST path=/whip/cam status=499" not in caplog.text:
                    await asyncio.sleep(0.01)


async def test_a_log_holds_no_token_and_no_session_s_proof(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with raw_node() as node, liveman(node) as url:
        made = await exchange(url, POST.replace(b"/whip/cam", b"/whip/cam?token=very-secret"))
        path = made.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
        await exchange(url, request_bytes("DELETE", path, CLOSE, "Authorization: Bearer very-secret"))
        node.reply = answer("307 Temporary Redirect", "Location: /x")
        await exchange(url, request_bytes("DELETE", path, CLOSE))
    assert "POST path=/whip/cam" in caplog.text
    assert "very-secret" not in caplog.text
    assert path.rpartition(".")[2] not in caplog.text


async def test_a_client_s_fault_causes_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with raw_node() as node, liveman(node) as url:
        for data in (
            b"\x16\x03\x01",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /whip/a HTTP/1.1\r\nHost: a b\r\n\r\n",
        ):
            await exchange(url, data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"\r\n\r\n")
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("liveman")]


def test_it_refuses_to_start_on_the_parser_that_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import http_parser

    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(LivemanError, match="AIOHTTP_NO_EXTENSIONS"):
        create_app(config_for())
