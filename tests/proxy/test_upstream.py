"""Liveman's connections to nodes: how they are made, kept, and given up."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from liveman import connection
from liveman.errors import NodeError, NodeTimeout, NodeUnreachable
from liveman.proxy import upstream as module
from liveman.proxy.exchange import BUFFERED, Exchange
from liveman.proxy.upstream import Request, Upstream, dial_tcp
from support.raw_node import Received, answer, raw_node

GET = Request("GET", "/session/a/b", ())
POST = Request("POST", "/whip/a", (), b"v=0")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(dial_tcp) as made:
        yield made


async def status(upstream: Upstream, url: str, request: Request = GET) -> int:
    exchange = await upstream.send(url, request)
    await exchange.head(5)
    while not exchange.answer.done:
        await exchange.more(5)
    return exchange.answer.status


@asynccontextmanager
async def tls_node(folder: Path) -> AsyncIterator[str]:
    """A node behind TLS for 127.0.0.1; its certificate stands in folder/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer("204 No Content"))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_certificate_is_verified(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an unknown issuer is refused, with nothing sent; a known one is accepted."""
    async with tls_node(tmp_path) as url:
        with pytest.raises(NodeUnreachable, match="certificate is not accepted"):
            await upstream.send(url, GET)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert await status(upstream, url) == 204


async def test_a_node_may_have_an_ipv6_address(upstream: Upstream) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        port = server.sockets[0].getsockname()[1]
        writer.write(answer("204 No Content" if f"Host: [::1]:{port}\r\n".encode() in head else "400 Bad"))
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    async with server:
        assert await status(upstream, f"http://[::1]:{server.sockets[0].getsockname()[1]}") == 204


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://does-not-exist.invalid", "name is not known"),
        ("https://127.0.0.1:PORT", "does not speak TLS"),
    ],
)
async def test_why_a_node_cannot_be_reached_is_said_in_words(upstream: Upstream, url: str, said: str) -> None:

    async def grumble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what?\r\n")
        writer.close()

    server = await asyncio.start_server(grumble, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NodeUnreachable, match=said):
            await upstream.send(url.replace("PORT", str(server.sockets[0].getsockname()[1])), GET)


async def test_a_connection_that_is_not_accepted_in_time_is_given_up(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.1)
    with socket.socket() as full:
        # Nobody accepts, and the queue of those who wait is full.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        with pytest.raises(NodeUnreachable, match="within"):
            await upstream.send(f"http://127.0.0.1:{full.getsockname()[1]}", GET)
        for each in waiting:
            each.close()


async def test_one_connection_carries_one_request_after_another(upstream: Upstream) -> None:
    async with raw_node() as node:
        for _ in range(3):
            assert await status(upstream, node.url, POST) == 201
        assert {received.connection for received in node.received} == {node.received[0].connection}


async def test_a_post_goes_on_a_fresh_connection_when_the_kept_one_is_old(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", -1.0)
    async with raw_node() as node:
        for request in (POST, POST, GET, GET):
            await status(upstream, node.url, request)
        used = [received.connection for received in node.received]
        assert used[0] != used[1]
        assert used[2] == used[3]


async def test_an_idle_connection_is_closed_in_time(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    async with raw_node() as node:
        await status(upstream, node.url)
        async with asyncio.timeout(5):
            while upstream._open:
                await asyncio.sleep(0.02)


async def test_a_connection_that_the_node_closed_is_not_used_again(upstream: Upstream) -> None:
    async def once(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("204 No Content"))
        writer.close()

    async with raw_node(once) as node:
        for _ in range(5):
            assert await status(upstream, node.url, POST) == 204
            async with asyncio.timeout(5):
                while upstream._open:
                    await asyncio.sleep(0)
        assert len(node.received) == 5


async def test_an_answer_that_comes_before_the_body_was_read_is_passed_on_and_the_connection_given_up(
    upstream: Upstream,
) -> None:
    asked = asyncio.Event()

    async def endless():
        yield b"x" * 1000
        await asked.wait()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("413 Too Large", body=b"no"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await status(upstream, url, Request("POST", "/whip/a", (), endless())) == 413
        async with asyncio.timeout(5):
            while upstream._open:
                await asyncio.sleep(0.01)


async def test_a_node_that_sends_faster_than_is_read_is_held_back(upstream: Upstream) -> None:
    """At most a bounded part of a long body is in memory."""
    size = 64 * 1024 * 1024

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", f"Content-Length: {size}", length=False))
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()

    async with raw_node(flood) as node:
        exchange = await upstream.send(node.url, GET)
        await exchange.head(5)
        async with asyncio.timeout(5):
            while exchange._connection is not None and exchange._connection._reading:
                await asyncio.sleep(0.01)
        held = len(exchange.take())
        assert held <= BUFFERED + 512 * 1024
        got = held
        while piece := await exchange.more(5):
            got += len(piece)
        assert got == size


async def test_a_node_that_does_not_take_a_body_is_given_up(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And meanwhile no more of the body is read than fits between the two."""
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.2)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b"x" * 65536

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        exchange = await upstream.send(url, Request("POST", "/whip/a", (), endless()))
        async with asyncio.timeout(10):
            with pytest.raises(NodeTimeout, match="does not take"):
                await exchange.head(0.05)
        # What the system's own buffers hold is not Liveman's.
        assert read < 32 * 1024 * 1024


async def test_a_silent_node_can_be_waited_for_again(upstream: Upstream) -> None:
    """Running out of time does not end an exchange; giving it up does."""
    go_on = asyncio.Event()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(answer("204 No Content"))

    async with raw_node(slow) as node:
        exchange: Exchange = await upstream.send(node.url, POST)
        with pytest.raises(NodeTimeout):
            await exchange.head(0.05)
        go_on.set()
        await exchange.head(5)
        assert exchange.answer.status == 204
        other = await upstream.send(node.url, POST)
        go_on.clear()
        other.close()
        with pytest.raises(NodeError, match="given up"):
            await other.head(5)


async def test_leaving_the_context_ends_what_is_under_way() -> None:
    async def silent(_: Received, _writer: asyncio.StreamWriter) -> None:
        return

    async with raw_node(silent) as node:
        async with Upstream(dial_tcp) as upstream:
            exchange = await upstream.send(node.url, GET)
        with pytest.raises(NodeError):
            await exchange.head(5)
