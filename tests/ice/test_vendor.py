"""What a vendor's API answers becomes plain data or an error that can be logged."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import ClientTimeout

from liveman.errors import ProviderError
from liveman.ice import vendor as vendor_module
from liveman.ice.testing import Answer, FakeVendor
from liveman.ice.vendor import VendorApi

NOW = 1_800_000_000.0


@pytest.fixture
async def vendor() -> AsyncIterator[FakeVendor]:
    with FakeVendor(Answer()) as vendor:
        yield vendor


@pytest.fixture
async def api(vendor: FakeVendor) -> AsyncIterator[VendorApi]:
    api = VendorApi("Acme", f"{vendor.url}/base", check="key", clock=lambda: NOW)
    await api.start()
    yield api
    await api.close()


async def ask(api: VendorApi, **more: Any) -> Any:
    return await api.ask("POST", "/credentials", **more)


async def test_it_asks_what_it_is_told_to(api: VendorApi, vendor: FakeVendor) -> None:
    """Query and form are encoded; nothing is asked to be compressed."""
    await ask(api, query={"key": "a b&c=d/ü"}, form={"Ttl": "5"}, headers={"Authorization": "Bearer x"})
    (asked,) = vendor.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/base/credentials", {"key": "a b&c=d/ü"})
    assert asked.body == b"Ttl=5"
    assert asked.headers["authorization"] == "Bearer x"
    assert asked.headers["accept-encoding"] == "identity"


ANSWERS: list[tuple[Answer, Any]] = [
    (Answer(json={"a": [1, None, "ü"]}), {"a": [1, None, "ü"]}),
    (Answer(201, json=[]), []),
    (Answer(204, body=b""), None),
    (Answer(body=b'{"a": 1}', headers={"Content-Type": "text/plain"}), {"a": 1}),
    (Answer(body=b'"' + b"x" * 65_534 + b'"'), "x" * 65_534),
]


@pytest.mark.parametrize(("answer", "found"), ANSWERS)
async def test_a_good_answer_is_its_json(
    api: VendorApi, vendor: FakeVendor, answer: Answer, found: Any
) -> None:
    vendor.script = answer
    assert await ask(api) == found


HTML = b"<html>Sign in</html>"
#: The answer; what the error says, whether it is permanent, and for how long it asks not to be asked.
REFUSALS: list[tuple[Answer, str, bool, float | None]] = [
    (Answer(401), "Acme refuses the credentials (401); check key", True, None),
    (Answer(403, body=HTML), "Acme refuses the credentials (403); check key", True, None),
    (Answer(404), "Acme answered with status 404; check key", False, None),
    (Answer(400), "Acme answered with status 400", False, None),
    (Answer(302, headers={"Location": "/elsewhere"}), "Acme answered with status 302", False, None),
    (Answer(202), "Acme answered with status 202", False, None),
    (Answer(429), "Acme was asked too often (429)", False, None),
    (Answer(429, headers={"Retry-After": "7"}), "Acme was asked too often (429)", False, 7),
    (Answer(429, headers={"Retry-After": "999999999"}), "Acme was asked too often (429)", False, 3600),
    (Answer(429, headers={"Retry-After": "-7"}), "Acme was asked too often (429)", False, None),
    (Answer(429, headers={"Retry-After": "1.5"}), "Acme was asked too often (429)", False, None),
    (Answer(429, headers={"Retry-After": "soon"}), "Acme was asked too often (429)", False, None),
    (
        Answer(429, headers={"Retry-After": formatdate(NOW + 90, usegmt=True)}),
        "Acme was asked too often (429)",
        False,
        90,
    ),
    (
        Answer(429, headers={"Retry-After": formatdate(NOW - 90, usegmt=True)}),
        "Acme was asked too often (429)",
        False,
        0,
    ),
    (
        Answer(503, body=HTML, headers={"Retry-After": "30"}),
        "Acme answered with status 503",
        False,
        30,
    ),
    (Answer(body=HTML), "Acme's answer is no JSON; another may have answered in its place", False, None),
    (Answer(body=b""), "Acme's answer is no JSON; another may have answered in its place", False, None),
    (Answer(body=b"NaN"), "Acme's answer is no JSON; another may have answered in its place", False, None),
    (
        Answer(body=b"[" * 50_000),
        "Acme's answer is no JSON; another may have answered in its place",
        False,
        None,
    ),
    (
        Answer(body=b'"\xff"'),
        "Acme's answer is no JSON; another may have answered in its place",
        False,
        None,
    ),
    (
        Answer(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
        "Acme's answer is no JSON; another may have answered in its place",
        False,
        None,
    ),
    (Answer(body=b" " * 65_537), "Acme's answer is longer than 65536 bytes", False, None),
    (Answer(fault="garbage"), "Acme cannot be reached: ClientResponseError", False, None),
    (Answer(json="x" * 99, fault="break off"), "Acme cannot be reached: ClientPayloadError", False, None),
]


@pytest.mark.parametrize(("answer", "text", "permanent", "wait"), REFUSALS)
async def test_everything_else_is_an_error_without_a_secret(
    api: VendorApi, vendor: FakeVendor, answer: Answer, text: str, permanent: bool, wait: float | None
) -> None:
    """Its text is all our own, whatever the url, the headers and the answer hold; no redirect is followed."""
    vendor.script = answer
    with pytest.raises(ProviderError) as raised:
        await ask(api, query={"key": "s3cret"}, headers={"Authorization": "Bearer s3cret"})
    error = raised.value
    assert (str(error), error.permanent, error.retry_after) == (text, permanent, wait)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert len(vendor.asked) == 1


async def test_a_vendor_that_is_not_there_is_an_error(unused_tcp_port: int) -> None:
    api = VendorApi("Acme", f"http://127.0.0.1:{unused_tcp_port}", check="key")
    await api.start()
    with pytest.raises(ProviderError, match="Acme cannot be reached: ClientConnectorError"):
        await ask(api)
    await api.close()


async def test_a_header_that_cannot_be_sent_is_an_error_without_it(api: VendorApi) -> None:
    with pytest.raises(ProviderError, match=r"cannot be reached: ValueError$"):
        await ask(api, headers={"Authorization": "s3cret\r\nX: y"})


async def test_it_is_asked_between_start_and_close_alone(api: VendorApi) -> None:
    """Both may come twice, and start again after close."""
    await api.start()
    await api.close()
    await api.close()
    with pytest.raises(ProviderError, match="between start and close"):
        await ask(api)
    await api.start()
    assert await ask(api) is None


async def test_close_ends_a_request_under_way(api: VendorApi, vendor: FakeVendor) -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def silent(_: Any) -> Answer:
        loop.call_soon_threadsafe(reached.set)
        return Answer(fault="hang")

    vendor.script = silent
    task = asyncio.ensure_future(ask(api))
    await reached.wait()
    await api.close()
    with pytest.raises(ProviderError, match="cannot be reached"):
        await task


async def test_clocks_that_differ_are_told_once(
    api: VendorApi, vendor: FakeVendor, caplog: pytest.LogCaptureFixture
) -> None:
    """By the answer's Date (RFC 9110, section 6.6.1), until they agree again."""

    async def ask_at(ahead: float) -> int:
        caplog.clear()
        vendor.script = Answer(json=1, headers={"Date": formatdate(NOW - ahead, usegmt=True)})
        await ask(api)
        return caplog.text.count("clock and a vendor's differ vendor=Acme seconds_ahead=")

    caplog.set_level(logging.DEBUG)
    assert [await ask_at(ahead) for ahead in (0, 59, 61, 3600, -3600, 5, -3600)] == [0, 0, 1, 0, 0, 0, 1]
    vendor.script = Answer(json=1, headers={"Date": "yesterday"})
    assert await ask(api) == 1


API = VendorApi("Acme", "http://127.0.0.1", check="key")

LIVES: list[tuple[Any, int]] = [
    ({"ttl": 60}, 60),
    ({"ttl": "60"}, 60),
    ({"ttl": 60.9}, 60),
    ({"ttl": 604_800}, 600),
    ({"ttl": 10**400}, 600),
    ({"ttl": "604800"}, 600),
    ({}, 600),
]


@pytest.mark.parametrize(("answer", "life"), LIVES)
def test_a_life_is_never_longer_than_asked(answer: Any, life: int) -> None:
    assert API.seconds(answer, "ttl", asked=600) == life


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.5, True, None, "", "0", "-1", "1.5", " 60", "٦٠", "9" * 99, [], {}, float("nan")]
)
def test_a_life_that_is_none_is_an_error(ttl: Any) -> None:
    with pytest.raises(ProviderError, match="Acme's answer has no ttl that is a number of seconds"):
        API.seconds({"ttl": ttl}, "ttl", asked=600)


@pytest.mark.parametrize("answer", [None, 5, "x", [], [{}]])
def test_what_is_no_object_is_an_error(answer: Any) -> None:
    for read in (API.members, lambda it: API.text(it, "a"), lambda it: API.seconds(it, "a", asked=1)):
        with pytest.raises(ProviderError, match="Acme's answer is no JSON object"):
            read(answer)


@pytest.mark.parametrize("answer", [{}, {"key": None}, {"key": ""}, {"key": 5}, {"key": ["x"]}])
def test_a_text_that_is_none_is_an_error(answer: Any) -> None:
    with pytest.raises(ProviderError, match="Acme's answer has no text key"):
        API.text(answer, "key")


async def test_what_the_environment_and_the_vendor_would_have_it_send_is_not_sent(
    vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy, and no cookie."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    vendor.script = Answer(json=1, headers={"Set-Cookie": "a=b; Path=/"})
    api = VendorApi("Acme", vendor.url.replace("127.0.0.1", "localhost"), check="key")
    await api.start()
    assert [await ask(api), await ask(api)] == [1, 1]
    await api.close()
    assert "cookie" not in vendor.asked[1].headers


async def test_a_compressed_answer_is_not_unpacked(api: VendorApi, vendor: FakeVendor) -> None:
    """It was not asked for, and could be a thousand times as long."""
    vendor.script = Answer(body=gzip.compress(b"1"), headers={"Content-Encoding": "gzip"})
    with pytest.raises(ProviderError, match="is no JSON"):
        await ask(api)


async def test_a_vendor_that_is_slow_does_not_hold_up_other_questions(
    api: VendorApi, vendor: FakeVendor
) -> None:
    """More of them than a client of aiohttp usually has connections."""
    vendor.script = Answer(fault="hang")
    tasks = [asyncio.ensure_future(ask(api)) for _ in range(120)]
    async with asyncio.timeout(20):
        while len(vendor.asked) < 120:
            await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_an_answer_that_drips_has_so_long_and_no_longer(
    api: VendorApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is for the whole of it, not for each piece."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while not reader.at_eof():
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    assert ClientTimeout(total=10) == vendor_module._TIMEOUT
    monkeypatch.setattr(vendor_module, "_TIMEOUT", ClientTimeout(total=0.1))
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        slow = VendorApi("Acme", f"http://127.0.0.1:{port}", check="key")
        await slow.start()
        with pytest.raises(ProviderError, match="cannot be reached: TimeoutError"):
            await asyncio.wait_for(ask(slow), 5)
        await slow.close()


async def test_a_server_that_cannot_be_trusted_is_an_error(vendor: FakeVendor) -> None:
    """As one that speaks no TLS at all."""
    api = VendorApi("Acme", vendor.url.replace("http:", "https:"), check="key")
    await api.start()
    with pytest.raises(ProviderError, match="cannot be reached: ClientConnectorSSLError"):
        await ask(api, query={"key": "s3cret-value"})
    await api.close()
    assert not vendor.asked
