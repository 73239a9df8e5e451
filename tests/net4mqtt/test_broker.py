"""The connection to the broker, against mosquitto."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from liveman.forms import Secret
from liveman.net4mqtt.address import parse_broker_url
from liveman.net4mqtt.broker import Broker, tls_context
from liveman.net4mqtt.link import Session
from support.mosquitto import Mosquitto, holds, mosquitto


class Log:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.messages: list[tuple[str, bytes, bool]] = []
        self.resumes = 0
        self.arrived: Callable[[], object] = lambda: None

    def connected(self) -> None:
        self.events.append("connected")

    def disconnected(self) -> None:
        self.events.append("disconnected")

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        if payload == b"bomb":
            raise LookupError("a handler may fail")
        self.messages.append((topic, payload, retained))
        self.arrived()

    def resumed(self) -> None:
        self.resumes += 1


@asynccontextmanager
async def client(
    url: str,
    *topics: str,
    will: tuple[str, bytes] | None = None,
    tls: ssl.SSLContext | None = None,
    id: str = "",
) -> AsyncIterator[tuple[Broker, Log]]:
    handler = Log()
    address = parse_broker_url(Secret(url), client_id=id or f"client{client_ids.__next__()}")
    async with Broker(address, Session(topics or ("nothing",), will), handler, tls) as broker:
        yield broker, handler


client_ids = iter(range(10**6))


@pytest.fixture(params=["mqtt", "ws"])
async def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Mosquitto, str]]:
    """A broker, and its URL by either of both ways."""
    options = ("protocol websockets",) if request.param == "ws" else ()
    async with mosquitto(tmp_path, *options) as broker:
        yield broker, broker.url.replace("mqtt:", f"{request.param}:")


async def test_messages_arrive_whole_and_in_order(broker_url: tuple[Mosquitto, str]) -> None:
    """Empty ones included."""
    _, url = broker_url
    payloads = [*(b"%d" % n for n in range(300)), b"", bytes(4096), bytes(9000), b"end"]
    async with client(url, "a/+/c") as (reader, got), client(url) as (writer, _):
        await holds(lambda: reader.connected and writer.connected)
        for payload in payloads:
            writer.publish("a/b/c", payload)
            await holds(lambda: writer.writable)
        await holds(lambda: len(got.messages) == len(payloads))
    assert got.messages == [("a/b/c", payload, False) for payload in payloads]


async def test_what_comes_is_acknowledged_at_once(tmp_path: Path) -> None:
    """Else each message but the first of an answer in pieces waits 40 ms for the one before: mosquitto sends
    nothing small meanwhile. By itself Linux does so as long as nothing is sent."""
    acknowledging: list[int] = []
    async with mosquitto(tmp_path) as broker, client(broker.url, "a") as (only, got):
        await holds(lambda: only.connected)
        sock = only._link._client._connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        got.arrived = lambda: acknowledging.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))
        for number in range(5):
            only.publish("a", b"x")
            await holds(lambda number=number: len(got.messages) == number + 1)
    assert acknowledging == [1] * 5


async def test_a_snapshot_of_16_mib_arrives(tmp_path: Path) -> None:
    """By MQTT alone, as this mosquitto gives 40 KB/s by WebSocket."""
    async with mosquitto(tmp_path) as broker, client(broker.url, "a") as (only, got):
        await holds(lambda: only.connected)
        only.publish("a", bytes(16 * 1024 * 1024))
        await holds(lambda: [len(payload) for _, payload, _ in got.messages] == [16 * 1024 * 1024])


async def test_what_was_retained_comes_as_such_and_a_will_when_the_link_is_lost(
    broker_url: tuple[Mosquitto, str],
) -> None:
    _, url = broker_url
    async with client(url, "presence") as (reader, live):
        await holds(lambda: reader.connected)
        async with client(url, will=("presence", b"gone")) as (writer, _):
            await holds(lambda: writer.connected)
            writer.publish("presence", b"here", retain=True)
            await holds(lambda: live.messages == [("presence", b"here", False)])
            async with client(url, "presence") as (_, late):
                await holds(lambda: late.messages == [("presence", b"here", True)])
            sever(writer)
            await holds(lambda: live.messages[1:] == [("presence", b"gone", False)])


def sever(broker: Broker) -> None:
    """Cut its connection without a farewell."""
    inner = broker._link._client  # type: ignore[union-attr]
    if hasattr(inner, "_connection"):
        inner._connection._transport.abort()
    else:
        inner._client._sock_close()


async def test_it_comes_back_after_a_restart_with_its_subscriptions(
    broker_url: tuple[Mosquitto, str],
) -> None:
    """In less than 5 s, as often as it happens; and says when it is lost."""
    broker, url = broker_url
    async with client(url, "a") as (reader, got):
        await holds(lambda: reader.connected)
        for _ in range(2):
            await broker.stop()
            await holds(lambda: got.events[-1] == "disconnected")
            assert not reader.connected and not reader.writable
            reader.publish("a", b"for nobody")
            await broker.start()
            async with asyncio.timeout(5):
                await holds(lambda: reader.connected)
            ours = [task.get_coro() for task in asyncio.all_tasks()]
            assert not [each for each in ours if "reconnect" in each.__qualname__], "the library does it too"
            got.messages.clear()
            reader.publish("a", b"again")
            await holds(lambda: [payload for _, payload, _ in got.messages] == [b"again"])
    assert got.events == ["connected", "disconnected", "connected", "disconnected", "connected"]


async def test_a_broker_that_takes_nothing_is_not_written_to_without_bound(
    broker_url: tuple[Mosquitto, str],
) -> None:
    broker, url = broker_url
    async with client(url) as (writer, got):
        await holds(lambda: writer.connected)
        broker.freeze()
        sent = 0
        while writer.writable:
            writer.publish("a", bytes(4096))
            sent += 4096
            await asyncio.sleep(0)
            assert sent < 64 * 1024 * 1024
        assert got.resumes == 0
        broker.thaw()
        await holds(lambda: writer.writable)
        assert got.resumes == 1


async def test_a_handler_that_fails_is_told_of_and_the_next_message_comes(
    broker_url: tuple[Mosquitto, str], caplog: pytest.LogCaptureFixture
) -> None:
    _, url = broker_url
    async with client(url, "a") as (broker, got):
        await holds(lambda: broker.connected)
        broker.publish("a", b"bomb")
        broker.publish("a", b"fine")
        await holds(lambda: bool(got.messages))
    assert "could not be handled" in caplog.text
    assert "a handler may fail" in caplog.text


async def test_a_broker_that_is_not_there_yet_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is said once, without the password."""
    broker = Mosquitto(tmp_path)
    url = f"mqtt://user:hidden@127.0.0.1:{broker.port}"
    async with client(url) as (connection, _):
        await holds(lambda: connection.problem != "it has not been reached yet")
        assert not connection.connected
        await asyncio.sleep(0.5)
        await broker.start()
        await holds(lambda: connection.connected)
        assert connection.problem is None
    await broker.stop()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "hidden" not in caplog.text


async def test_a_port_that_never_answers_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveman.net4mqtt.broker._CONNECT_SECONDS", 0.2)
    server = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"mqtt://127.0.0.1:{port}") as (connection, _):
            await holds(lambda: connection.problem == "it does not answer in time")


@pytest.mark.parametrize(
    ("granted", "enough"), [(b"\0\0\0", True), (b"\0\0\x80", True), (b"\0\x80\0", False)]
)
async def test_all_subscriptions_but_the_last_must_be_granted(granted: bytes, enough: bool) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x02\0\0")
        asked = await reader.read(1000)
        writer.write(b"\x90\x05" + asked[2:4] + granted)
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"mqtt://127.0.0.1:{port}", "a", "b", "c") as (connection, _):
            if enough:
                await holds(lambda: connection.connected)
                assert connection.wish is (granted[-1] == 0)
            else:
                await holds(lambda: connection.problem == "it does not grant the subscriptions")


@pytest.mark.parametrize(
    ("url", "granted"),
    [("mqtt://no..host", b""), ("ws://no..host", b""), ("mqtt://127.0.0.1:{}", b"\x90\x02\0\1")],
)
async def test_whatever_goes_wrong_it_is_tried_again(url: str, granted: bytes) -> None:
    """Names that no host can have, and a broker that grants nothing at all."""
    tries = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(await reader.read(1000))
        writer.write(b"\x20\x02\0\0" + granted)
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(url.format(port)) as (connection, _):
            await holds(lambda: connection.problem != "it has not been reached yet")
            assert len(connection._tasks) == 1
            await holds(lambda: not granted or len(tries) > 1)


@pytest.mark.parametrize(
    ("answers", "lines"),
    [
        ((b"", b"\x20\x02\0\x05"), ["cannot be used"] * 2),
        ((b"\x20\x02\0\0\x90\x03\0\1\0",), ["connected", "lost"] * 2 + ["connected"]),
    ],
)
async def test_the_log_stays_short_however_long_it_is_tried(
    answers: tuple[bytes, ...],
    lines: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each problem is told once, and seldom that it comes and goes; the last word is that it is there."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("liveman.net4mqtt.broker._LONGEST_PAUSE", 0.02)
    tries = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        await reader.read(1000)
        writer.write(answers[tries % len(answers)])
        tries += 1
        if len(answers) == 1:
            await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"mqtt://127.0.0.1:{port}"):
            await holds(lambda: tries > 8)
    said = [record.getMessage() for record in caplog.records if record.name == "liveman.net4mqtt"]
    assert [next(word for word in lines if word in line) for line in said] == lines


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
async def test_two_clients_with_one_id_are_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    options = ("protocol websockets",) if scheme == "ws" else ()
    async with mosquitto(tmp_path, *options) as broker:
        url = broker.url.replace("mqtt:", f"{scheme}:")
        async with client(url, id="same"), client(url, id="same"):
            await holds(lambda: "another client with the same client_id" in caplog.text)


@pytest.mark.parametrize("moment", ["subscribe", "__aexit__"])
async def test_it_ends_also_in_the_moment_of_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """By WebSocket, whose library then swallows the cancellation."""
    reached = asyncio.Event()
    ask = getattr(aiomqtt.Client, moment)

    async def asks_and_swallows(*arguments: Any, **options: Any) -> Any:
        answer = await ask(*arguments, **options)
        reached.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return answer

    monkeypatch.setattr(aiomqtt.Client, moment, asks_and_swallows)
    async with mosquitto(tmp_path, "protocol websockets") as broker, asyncio.timeout(10):
        async with client(broker.url.replace("mqtt:", "ws:")) as (side, _):
            if moment == "__aexit__":
                await holds(lambda: side.connected)
                await broker.stop()
            await reached.wait()


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
async def test_a_user_needs_the_password(
    tmp_path: Path, passwords: Path, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = ["allow_anonymous false", f"password_file {passwords}"]
    if scheme == "ws":
        options.append("protocol websockets")
    async with mosquitto(tmp_path, *options) as broker:
        url = broker.url.replace("mqtt://", f"{scheme}://u%20ser:PASSWORD@")
        async with client(url.replace("PASSWORD", "right%2Fone")) as (allowed, _):
            await holds(lambda: allowed.connected)
            allowed.publish("a", b"payload-secret")
        for wrong in (url.replace("PASSWORD", "wrong-one"), broker.url.replace("mqtt", scheme)):
            async with client(wrong) as (refused, _):
                await holds(
                    lambda: "efused" in (refused.problem or "") or "authori" in (refused.problem or "")
                )
    for secret in ("right/one", "right%2Fone", "wrong-one", "payload-secret"):
        assert secret not in caplog.text


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_tls_with_a_ca_and_a_client_certificate(tmp_path: Path, authority: Path, scheme: str) -> None:
    """Each is needed."""
    options = [
        f"cafile {authority}/ca.pem",
        f"certfile {authority}/server.pem",
        f"keyfile {authority}/server.key",
    ]
    options += ["require_certificate true", *(["protocol websockets"] if scheme == "wss" else [])]
    ca, certificate, key = (authority / name for name in ("ca.pem", "client.pem", "client.key"))
    async with mosquitto(tmp_path, *options) as broker:
        url = broker.url.replace("mqtt", scheme)
        async with client(url, "a", tls=tls_context(ca, certificate, key)) as (good, got):
            await holds(lambda: good.connected)
            good.publish("a", bytes(10_000))
            await holds(lambda: [len(payload) for _, payload, _ in got.messages] == [10_000])
        async with client(url) as (distrustful, _):
            await holds(lambda: "certificate" in (distrustful.problem or ""))
            assert not distrustful.connected
        async with client(url, tls=tls_context(ca)) as (nameless, _):
            await holds(lambda: nameless.problem not in (None, "it has not been reached yet"))
            assert not nameless.connected


def test_files_of_tls_that_cannot_be_used_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for wrong in (tmp_path / "no.pem", tmp_path / "missing.pem"):
        with pytest.raises(OSError):
            tls_context(wrong)
        with pytest.raises(OSError):
            tls_context(None, wrong)
    with pytest.raises(OSError, match="no certificate that it belongs to"):
        tls_context(None, None, tmp_path / "no.pem")


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
async def test_leaving_ends_it_also_while_it_connects(scheme: str) -> None:
    """Nothing of it is left."""
    accepted: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"{scheme}://127.0.0.1:{port}"):
            await holds(lambda: bool(accepted))
            if scheme == "ws":
                accepted[0].close()
        await holds(lambda: len(asyncio.all_tasks()) == 1)
