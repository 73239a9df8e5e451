"""The access service: what it is asked, what its answers do, and what becomes of clients when it does not answer."""

import asyncio
import hashlib
import hmac
import importlib.util
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import ClientSession

from auth.access_service import AccessService, access_service, http
from liveman import config
from liveman.auth import webhook as module
from liveman.auth.webhook import Webhook, sign
from liveman.config import Auth, Secret
from liveman.errors import ConfigError, LivemanError, NotAllowed, Unavailable
from liveman.server import serving

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook" / "receiver.py"
SECRET = "the key"
#: Milliseconds: a budget that ends no test, and one that is soon over.
AMPLE, SHORT = 20_000, 100


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def service() -> AsyncIterator[AccessService]:
    async with access_service() as service:
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def webhook(service: AccessService, clock: Clock) -> AsyncIterator[Webhook]:
    async with asking(service, clock=clock) as webhook:
        yield webhook


def asking(service: AccessService, *, clock: Callable[[], float] | None = None, **more: Any) -> Webhook:
    settings = {"url": service.url, "secret": Secret(SECRET), "timeout_ms": AMPLE, **more}
    return Webhook(config.Webhook(**settings), clock=clock or time.monotonic)


async def outcome(webhook: Webhook, token: str = "t", stream: str = "cam", **more: str) -> str:
    """What becomes of one client: "allowed", or the status and the detail of the refusal."""
    question = {"subject": "ann", "action": "publish", "address": "192.0.2.7", **more}
    try:
        await webhook.admit(question["subject"], token, question["action"], stream, question["address"])
    except LivemanError as error:
        return f"{error.status} {error.detail}"
    return "allowed"


DOWN = "503 The service that decides about access does not answer; try again later."
DENIED = "403 The access service denies this."


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


# What it is asked


async def test_the_service_is_told_who_wants_what(webhook: Webhook, service: AccessService) -> None:
    await webhook.admit("ann", "the token ñ", "subscribe", "ca m/\u2028", "2001:db8::1")
    (asked,) = service.asked
    assert asked.target == "/access/"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == "liveman"
    question = asked.question
    assert re.fullmatch("[0-9a-f]{32}", question.pop("id"))
    assert question == {
        "action": "subscribe",
        "stream": "ca m/\u2028",
        "subject": "ann",
        "token": "the token ñ",
        "address": "2001:db8::1",
    }


async def test_the_url_is_used_as_it_is_written(service: AccessService) -> None:
    async with asking(service, url=f"{service.url}%7e%2F?tenant=a%20b+%41") as webhook:
        assert await outcome(webhook) == "allowed"
    assert service.asked[0].target == "/access/%7e%2F?tenant=a%20b+%41"


async def test_the_service_can_check_that_liveman_asks_and_asks_now(
    webhook: Webhook, service: AccessService
) -> None:
    """Told here with the standard library alone, as a receiver would."""
    await outcome(webhook)
    (asked,) = service.asked
    timestamp = asked.headers["liveman-timestamp"]
    assert abs(int(timestamp) - time.time()) < 60
    mac = hmac.new(SECRET.encode(), timestamp.encode() + b"." + asked.body, hashlib.sha256)
    assert asked.headers["liveman-signature"] == f"sha256={mac.hexdigest()}"


def test_a_signature_known_from_elsewhere() -> None:
    """Computed by OpenSSL: `printf '1800000000.{}' | openssl dgst -sha256 -hmac 'the key'`."""
    assert sign(SECRET, 1_800_000_000, b"{}") == f"sha256={KNOWN}"
    assert sign(SECRET, 1_800_000_001, b"{}") != f"sha256={KNOWN}"


KNOWN = "7b4d938248323e4d599fd1fbd63e405063bebfb45b4c0777e2e0cfd42b33ef5c"


async def test_each_question_has_its_own_id(webhook: Webhook, service: AccessService) -> None:
    for _ in range(20):
        await outcome(webhook)
    assert len({asked.question["id"] for asked in service.asked}) == 20


async def test_one_connection_carries_one_question_after_another(
    webhook: Webhook, service: AccessService
) -> None:
    for _ in range(5):
        await outcome(webhook)
    assert {asked.connection for asked in service.asked} == {0}


@pytest.mark.parametrize("secret", [Secret(""), Secret()])
def test_nobody_is_asked_without_a_secret(secret: Secret) -> None:
    with pytest.raises(ConfigError) as caught:
        Webhook(config.Webhook(url="http://127.0.0.1:1", secret=secret))
    assert caught.value.faults[0].path == "auth.webhook.secret"


def test_a_webhook_alone_switches_authentication_on() -> None:
    assert Auth(webhook=config.Webhook(url="http://access", secret=Secret("s"))).required
    assert not Auth().required


# What its answers do


async def test_it_allows(webhook: Webhook, service: AccessService) -> None:
    for answer in ({"allow": True}, None):
        service.says(answer)
        assert await outcome(webhook) == "allowed"
    service.says(None, 204)
    assert await outcome(webhook) == "allowed"


async def test_it_denies_and_its_reason_reaches_the_client(
    webhook: Webhook, service: AccessService, clock: Clock
) -> None:
    service.says({"allow": False, "reason": "the subscription has ended"})
    assert await outcome(webhook) == "403 the subscription has ended"
    clock.now += 10
    service.says({"reason": "blocked"}, 403)
    assert await outcome(webhook) == "403 blocked"
    clock.now += 10
    service.says(None, 401)
    assert await outcome(webhook) == DENIED


async def test_a_status_of_4xx_denies_and_the_log_tells_of_those_that_may_mean_a_wrong_url(
    webhook: Webhook, service: AccessService, caplog: pytest.LogCaptureFixture
) -> None:
    service.says(None, 403)
    assert await outcome(webhook, "a") == DENIED
    assert caplog.text == ""
    service.says(None, 404)
    assert await outcome(webhook, "b") == DENIED
    assert "status 404, which counts as a denial" in caplog.text


async def test_an_answer_counts_for_its_time_and_no_longer(
    webhook: Webhook, service: AccessService, clock: Clock
) -> None:
    service.says({"allow": True, "ttl": 10})
    for _ in range(3):
        assert await outcome(webhook) == "allowed"
    assert len(service.asked) == 1
    clock.now += 9.9
    service.says({"allow": False})
    assert await outcome(webhook) == "allowed"
    clock.now += 0.1
    assert await outcome(webhook) == DENIED
    assert len(service.asked) == 2


async def test_an_allowance_without_a_time_is_asked_for_each_time(
    webhook: Webhook, service: AccessService
) -> None:
    for _ in range(3):
        await outcome(webhook)
    assert len(service.asked) == 3


async def test_a_client_that_is_denied_and_tries_on_is_not_passed_on_each_time(
    webhook: Webhook, service: AccessService, clock: Clock
) -> None:
    """For two seconds; then an account that was just paid for is let in."""
    service.says({"allow": False})
    for _ in range(5):
        assert await outcome(webhook) == DENIED
    assert len(service.asked) == 1
    service.says({"allow": True})
    clock.now += 2
    assert await outcome(webhook) == "allowed"


async def test_an_answer_is_for_one_token_stream_and_action(webhook: Webhook, service: AccessService) -> None:
    service.says({"allow": True, "ttl": 60})
    assert await outcome(webhook, "t", "cam", action="publish") == "allowed"
    service.says({"allow": False})
    assert await outcome(webhook, "u", "cam", action="publish") == DENIED
    assert await outcome(webhook, "t", "cam2", action="publish") == DENIED
    assert await outcome(webhook, "t", "cam", action="subscribe") == DENIED
    assert await outcome(webhook, "t", "cam", action="publish") == "allowed"
    assert await outcome(webhook, "t", "cam", action="publish", address="192.0.2.8") == "allowed"


async def test_strangers_without_a_token_are_told_apart_by_their_address(
    webhook: Webhook, service: AccessService
) -> None:
    """Else who may publish from the office would open the door for everyone, or be kept out by anyone."""
    service.says({"allow": True, "ttl": 60})
    assert await outcome(webhook, "", address="10.0.0.1") == "allowed"
    service.says({"allow": False, "ttl": 10})
    assert await outcome(webhook, "", address="192.0.2.1") == DENIED
    assert await outcome(webhook, "", address="10.0.0.1") == "allowed"
    assert await outcome(webhook, "10.0.0.1", address="192.0.2.2") == DENIED


# One flight


async def test_many_who_ask_the_same_at_once_are_one_question(
    webhook: Webhook, service: AccessService
) -> None:
    service.gate.clear()
    waiting = [asyncio.ensure_future(outcome(webhook)) for _ in range(200)]
    await until(lambda: service.asked)
    service.gate.set()
    assert await asyncio.gather(*waiting) == ["allowed"] * 200
    assert len(service.asked) == 1


async def test_one_who_leaves_takes_nobody_s_answer_along(webhook: Webhook, service: AccessService) -> None:
    """Not even the first, for whom the question was begun."""
    service.gate.clear()
    first, second = (asyncio.ensure_future(outcome(webhook)) for _ in range(2))
    await until(lambda: service.asked)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    service.gate.set()
    assert await second == "allowed"
    assert len(service.asked) == 1


async def test_so_many_questions_at_once_and_no_more(
    webhook: Webhook, service: AccessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.gate.clear()
    waiting = [asyncio.ensure_future(outcome(webhook, f"{number}")) for number in range(200)]
    await until(lambda: len(service.asked) >= 64)
    await asyncio.sleep(0.05)
    assert len(service.asked) == 64
    service.gate.set()
    assert await asyncio.gather(*waiting) == ["allowed"] * 200
    assert service.most_at_once == 64


async def test_questions_do_not_pile_up_without_end(
    webhook: Webhook, service: AccessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_FLIGHTS", 10)
    service.gate.clear()
    waiting = [asyncio.ensure_future(outcome(webhook, f"{number}")) for number in range(10)]
    await until(lambda: len(service.asked) == 10)
    assert await outcome(webhook, "one more") == DOWN
    service.gate.set()
    assert await asyncio.gather(*waiting) == ["allowed"] * 10
    assert await outcome(webhook, "one more") == "allowed"


async def test_who_still_waits_at_the_end_is_told_so(service: AccessService) -> None:
    service.gate.clear()
    async with asking(service) as webhook:
        waiting = asyncio.ensure_future(outcome(webhook))
        await until(lambda: service.asked)
    assert await waiting == DOWN


# A service that does not answer


async def reset(writer: asyncio.StreamWriter) -> None:
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    for byte in http(200, b'{"allow": true}'):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    """Without end, and without a length."""
    writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"allow": true, "x": "')
    while not writer.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


async def never(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"allow": true}')
    await writer.drain()
    writer.close()


NO_ANSWER: dict[str, bytes | Callable[[asyncio.StreamWriter], Any]] = {
    "reset": reset,
    "dripping head": drip,
    "dripping body": drip_body,
    "endless body": flood,
    "silence": never,
    "cut body": cut,
    "no http": b"220 mail.example.org ESMTP\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "status 500": http(500, b'{"allow": true}'),
    "status 503": http(503, b"", "Retry-After: 100000"),
    "status 429": http(429, b""),
    "redirect": http(307, b"", "Location: /elsewhere"),
    "page": http(200, b"<html>It works!</html>"),
    "compressed": http(200, b"\x1f\x8b\x08\0\0\0\0\0\0\3", "Content-Encoding: gzip"),
    "text": http(200, b'{"allow": "true"}'),
    "no flag": http(200, b"{}"),
    "negative": http(200, b'{"allow": true, "ttl": -1}'),
    "huge body": http(200, b'{"allow": true, "x": "' + b"x" * 100_000 + b'"}'),
}


@pytest.mark.parametrize("reply", NO_ANSWER.values(), ids=NO_ANSWER)
@pytest.mark.parametrize(("on_failure", "expected"), [("deny", DOWN), ("stale", DOWN), ("allow", "allowed")])
async def test_without_an_answer_it_is_as_the_configuration_says(
    service: AccessService, reply: Any, on_failure: str, expected: str
) -> None:
    service.reply = reply
    async with asking(service, timeout_ms=SHORT, on_failure=on_failure) as webhook:
        assert await outcome(webhook) == expected
    assert all(asked.target == "/access/" for asked in service.asked)


async def test_a_refusal_without_an_answer_tells_when_to_come_back(service: AccessService) -> None:
    service.says(None, 500)
    async with asking(service) as webhook:
        with pytest.raises(Unavailable) as caught:
            await webhook.admit("ann", "t", "publish", "cam", "192.0.2.7")
    assert caught.value.headers == {"Retry-After": "1"}


async def test_an_endless_answer_is_not_read_to_its_end(service: AccessService) -> None:
    """Nor does it cost the whole budget."""
    service.reply = flood
    async with asyncio.timeout(10), asking(service) as webhook:
        assert await outcome(webhook) == DOWN


@pytest.mark.parametrize("reply", [never, drip_body], ids=["silence", "drip"])
async def test_a_slow_service_costs_the_budget_and_no_more(service: AccessService, reply: Any) -> None:
    """The test would hang for as long as the service does."""
    service.reply = reply
    async with asyncio.timeout(10), asking(service, timeout_ms=SHORT) as webhook:
        assert await outcome(webhook) == DOWN


async def test_waiting_for_a_turn_counts_into_the_budget(
    service: AccessService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MOST_CALLS", 1)
    service.reply = never
    async with asyncio.timeout(10), asking(service, timeout_ms=SHORT) as webhook:
        assert await asyncio.gather(*(outcome(webhook, f"{number}") for number in range(20))) == [DOWN] * 20
        assert len(service.asked) <= 2


async def test_a_dead_service_costs_the_budget_only_until_it_is_known_to_be_dead(
    service: AccessService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    service.reply = never
    async with asking(service, timeout_ms=3 * SHORT, clock=clock) as webhook:
        for _ in range(3):
            assert await outcome(webhook) == DOWN
        assert len(service.asked) == 3
        for number in range(100):
            assert await outcome(webhook, f"{number}") == DOWN
        assert len(service.asked) == 3
        assert "the access service is not asked for a while" in caplog.text

        # One tries for all; while it does, the others need not wait.
        clock.now += 0.5
        service.says({"allow": True})
        service.gate.clear()
        trial = asyncio.ensure_future(outcome(webhook, "trial"))
        await until(lambda: len(service.asked) == 4)
        assert await outcome(webhook, "other") == DOWN
        service.gate.set()
        assert await trial == "allowed"
        assert await outcome(webhook, "other") == "allowed"


async def test_nobody_waits_for_a_turn_at_a_dead_service(
    service: AccessService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither who waited when it died, nor who comes while one tries whether it is back."""
    monkeypatch.setattr(module, "_MOST_CALLS", 1)
    service.reply = cut
    async with asyncio.timeout(10), asking(service, clock=clock) as webhook:
        assert await asyncio.gather(*(outcome(webhook, f"{number}") for number in range(20))) == [DOWN] * 20
        assert len(service.asked) == 3
        clock.now += 0.5
        service.gate.clear()
        trial = asyncio.ensure_future(outcome(webhook, "trial"))
        await until(lambda: len(service.asked) == 4)
        assert await outcome(webhook, "other") == DOWN
        assert not trial.done()
        service.gate.set()
        await trial


async def test_one_who_waited_long_for_a_turn_says_nothing_of_the_service(
    service: AccessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had too little of its budget left for a fair answer."""
    monkeypatch.setattr(module, "_MOST_CALLS", 1)
    allowed = service.reply

    async def late_then_never(writer: asyncio.StreamWriter) -> None:
        service.reply = never
        await asyncio.sleep(0.9)
        writer.write(allowed)

    service.reply = late_then_never
    async with asking(service, timeout_ms=1500) as webhook:
        outcomes = await asyncio.gather(outcome(webhook, "first"), outcome(webhook, "second"))
        assert outcomes[1] == DOWN
        assert len(service.asked) == 2
        assert webhook._breaker._failures == 0


async def test_a_service_that_is_not_there_at_all_is_known_to_be_dead(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings = config.Webhook(f"http://127.0.0.1:{taken.getsockname()[1]}/", Secret(SECRET), AMPLE)
        async with Webhook(settings, clock=clock) as webhook:
            for _ in range(3):
                assert await outcome(webhook) == DOWN
            assert 0.25 <= webhook._breaker.wait(clock()) <= 0.5
            with pytest.raises(Unavailable) as caught:
                await webhook.admit("ann", "t", "publish", "cam", "192.0.2.7")
    assert caught.value.headers == {"Retry-After": "1"}


@pytest.mark.parametrize("reply", [http(500, b""), http(200, b"x"), http(429, b""), http(404, b"")])
async def test_answers_that_a_client_can_provoke_do_not_make_the_service_look_dead(
    webhook: Webhook, service: AccessService, reply: bytes
) -> None:
    """Else one could keep everyone out by names that the service stumbles over."""
    service.reply = reply
    for number in range(20):
        await outcome(webhook, f"{number}")
    service.says({"allow": True})
    assert await outcome(webhook) == "allowed"
    assert len(service.asked) == 21


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nobody_his_answer(
    webhook: Webhook, service: AccessService
) -> None:
    """The service ended it while it was idle, or just when it was used again."""
    assert await outcome(webhook) == "allowed"
    allowed = service.reply

    async def close_once(writer: asyncio.StreamWriter) -> None:
        service.reply = allowed
        writer.close()

    service.reply = close_once
    assert await outcome(webhook) == "allowed"
    first, second = service.asked[1:]
    assert first.connection != second.connection
    assert first.question["id"] != second.question["id"], "the receiver may refuse what it has seen"


# on_failure


async def test_stale_goes_on_with_the_last_answer_whatever_it_was(
    service: AccessService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(service, on_failure="stale", clock=clock) as webhook:
        service.says({"allow": True, "ttl": 5})
        assert await outcome(webhook, "good") == "allowed"
        service.says({"allow": True})
        assert await outcome(webhook, "without a time") == "allowed"
        assert await outcome(webhook, "revoked") == "allowed"
        service.says({"allow": False, "reason": "no"})
        assert await outcome(webhook, "revoked") == "403 no"
        clock.now += 100_000
        service.says(None, 500)
        caplog.clear()
        assert await outcome(webhook, "good") == "allowed"
        assert await outcome(webhook, "without a time") == "allowed"
        assert await outcome(webhook, "revoked") == "403 no"
        assert await outcome(webhook, "never seen") == DOWN
        assert await outcome(webhook, "good", "other stream") == DOWN
        assert caplog.text.count("decided by the access service's last answer") == 3


async def test_deny_forgets_what_is_over_its_time(
    webhook: Webhook, service: AccessService, clock: Clock
) -> None:
    service.says({"allow": True, "ttl": 5})
    assert await outcome(webhook) == "allowed"
    service.says(None, 500)
    assert await outcome(webhook) == "allowed"
    clock.now += 5
    assert await outcome(webhook) == DOWN


async def test_allow_writes_down_whom_it_lets_in(
    service: AccessService, caplog: pytest.LogCaptureFixture
) -> None:
    service.says(None, 500)
    async with asking(service, on_failure="allow") as webhook:
        assert await outcome(webhook, "top-secret-token") == "allowed"
        service.says({"allow": False})
        assert await outcome(webhook, "other") == DENIED
    line = next(line for line in caplog.messages if line.startswith("allowed without"))
    assert "action=publish stream=cam subject=ann address=192.0.2.7" in line


async def test_an_outage_does_not_fill_the_log(
    service: AccessService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What is missing is told at once, and then every half minute."""
    service.says(None, 500)
    async with asking(service, clock=clock) as webhook:
        for number in range(50):
            await outcome(webhook, f"{number}")
        assert len(caplog.messages) == 1
        assert "status 500" in caplog.messages[0]
        clock.now += 30
        await outcome(webhook)
    assert len(caplog.messages) == 2


# Secrets


@pytest.mark.parametrize("reply", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_neither_the_secret_nor_a_token_is_in_any_log_or_error(
    service: AccessService, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.reply = reply
    more = {"timeout_ms": SHORT, "secret": Secret("top-secret"), "url": f"{service.url}?key=top-secret"}
    async with asking(service, **more, on_failure="allow") as webhook:
        await outcome(webhook, "top-secret-token")
        shown = repr(webhook) + repr(webhook._verdicts) + caplog.text
    async with asking(service, **more) as webhook:
        with pytest.raises((NotAllowed, Unavailable)) as caught:
            await webhook.admit("ann", "top-secret-token", "publish", "cam", "192.0.2.7")
    assert "top-secret" not in shown + repr(caught.value) + str(caught.value.__cause__) + caplog.text


async def test_the_environment_s_proxy_and_the_service_s_cookies_are_not_used(
    service: AccessService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    # To an address aiohttp sends no cookies.
    url = service.url.replace("127.0.0.1", "localhost")
    async with asking(service, clock=clock, url=url) as webhook:
        service.says({"allow": True}, 200, "Set-Cookie: a=b")
        assert await outcome(webhook) == "allowed"
        assert await outcome(webhook) == "allowed"
    assert "cookie" not in service.asked[1].headers


# The example


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("ACCESS_SECRET", SECRET)
    spec = importlib.util.spec_from_file_location("receiver", EXAMPLE)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    async with serving(example.app, "127.0.0.1:0") as url:
        yield f"{url}/access"


async def test_the_example_decides_and_believes_liveman_alone(receiver: str) -> None:
    async with Webhook(config.Webhook(receiver, Secret(SECRET), AMPLE)) as webhook:
        assert await outcome(webhook, "the key of cam") == "allowed"
        assert await outcome(webhook, "another key") == "403 This is not the stream's key."
        assert await outcome(webhook, "ñ") == "403 This is not the stream's key."
        assert await outcome(webhook, "", "no such stream") == "403 This is not the stream's key."
        assert await outcome(webhook, "", action="subscribe") == "allowed"
    async with Webhook(config.Webhook(receiver, Secret("another secret"), AMPLE)) as webhook:
        assert await outcome(webhook, "the key of cam") == DENIED


@pytest.mark.parametrize(
    ("age", "forged", "status"),
    [(0, False, 200), (50, False, 200), (61, False, 400), (-61, False, 400), (0, True, 400)],
)
async def test_the_example_refuses_what_is_old_or_forged(
    receiver: str, age: int, forged: bool, status: int
) -> None:
    body = b'{"id": "1", "action": "subscribe", "stream": "cam", "subject": "", "token": "", "address": ""}'
    timestamp = int(time.time()) - age
    signature = "sha256=\xf1" if forged else sign(SECRET, timestamp, body)
    headers = {"Liveman-Timestamp": str(timestamp), "Liveman-Signature": signature}
    async with ClientSession() as client, client.post(receiver, data=body, headers=headers) as response:
        assert response.status == status


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 35
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) < 30


def test_the_documentation_shows_the_example_as_it_is() -> None:
    """And the answers that it names are what the code takes them for."""
    page = (EXAMPLE.parents[2] / "docs" / "access-webhook.md").read_text()
    assert f"```python\n{EXAMPLE.read_text()}```" in page
    for key in attrs.fields_dict(config.Webhook):
        assert f"`{key}`" in page or f"{key} = " in page
