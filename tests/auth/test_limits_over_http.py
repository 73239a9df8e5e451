"""Rate limits and quotas, over HTTP: exact at one moment, and given back when they are not used any more."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from auth.asking import (
    PUBLISH,
    SUBSCRIBE,
    Said,
    ask,
    bearer,
    client_of,
    guarded,
    keeper,
    made,
    post,
)
from auth.issuing import Issuer, compact
from liveman.auth.live import Live
from liveman.config import Auth, Http
from liveman.config_auth import Quotas, RateLimits
from support.liveman import OFFER, liveman
from support.mortal_node import mortal_nodes
from support.nodes import until
from support.raw_node import Received, answer, raw_node


def statuses(answers: Sequence[Said]) -> dict[int, int]:
    return dict(Counter(each.status for each in answers))


# How often.


async def test_posts_of_one_address_are_limited_whoever_asks() -> None:
    limits = RateLimits(address_per_minute=5)
    async with raw_node() as node, guarded(node, auth={"rate_limits": limits}) as client:
        answers = [await post(client, "/whip/cam", bearer(sub=f"s{i}")) for i in range(7)]
        assert statuses(answers) == {201: 5, 429: 2}
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 12
        assert answers[-1].headers["Content-Type"] == "application/problem+json"
        assert len(node.received) == 5
        # Nothing but POSTs.
        for _ in range(20):
            assert (await ask(client, "GET", "/api/nodes/", headers=bearer())).status == 200


async def test_bogus_tokens_use_the_addresss_posts_up() -> None:
    limits = RateLimits(address_per_minute=5)
    async with guarded(auth={"rate_limits": limits}) as client:
        answers = [await post(client, "/whip/cam", {"Authorization": f"Bearer bogus-{i}"}) for i in range(9)]
        assert statuses(answers) == {401: 5, 429: 4}


async def test_forgers_of_signatures_are_told_to_wait() -> None:
    """Who has shown a good token before goes on, from the same address."""
    issuer = Issuer("ES256")
    mine = bearer()
    async with guarded(auth={"jwt_public_keys": (issuer.pem,)}) as client:
        assert (await ask(client, "GET", "/api/nodes/", headers=mine)).status == 200
        for number in range(5000):
            forged = compact({"alg": "ES256"}, {"n": number}, lambda _: b"\0" * 64)
            answer = await ask(client, "GET", "/api/nodes/", headers={"Authorization": f"Bearer {forged}"})
            if answer.status != 401:
                break
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await ask(client, "GET", "/api/nodes/", headers=mine)).status == 200


async def test_behind_a_trusted_proxy_each_client_is_counted_for_itself() -> None:
    """An IPv6 client by its network; what the client itself wrote before the proxy is not looked at."""
    http = Http(trusted_proxies=("127.0.0.1",))
    limits = RateLimits(address_per_minute=2)
    async with raw_node() as node, guarded(node, auth={"rate_limits": limits}, http=http) as client:

        async def from_(*addresses: str) -> list[int]:
            headers = ({**bearer(), "X-Forwarded-For": address} for address in addresses)
            return [(await post(client, "/whip/cam", each)).status for each in headers]

        assert await from_("192.0.2.1", "192.0.2.1", "192.0.2.1") == [201, 201, 429]
        assert await from_("192.0.2.2", "203.0.113.1, 192.0.2.2", "203.0.113.2, 192.0.2.2") == [201, 201, 429]
        assert await from_("2001:db8::1", "2001:db8::2", "2001:db8::3") == [201, 201, 429]
        assert await from_("2001:db8:0:1::1") == [201]


async def test_without_a_trusted_proxy_nobody_gets_another_address_by_saying_so() -> None:
    limits = RateLimits(address_per_minute=2)
    async with raw_node() as node, guarded(node, auth={"rate_limits": limits}) as client:
        said = [
            await post(client, "/whip/a", {**bearer(), "X-Forwarded-For": f"192.0.2.{i}"}) for i in range(4)
        ]
        assert statuses(said) == {201: 2, 429: 2}


async def test_posts_of_one_subject_are_limited_wherever_it_asks_from() -> None:
    """Another one is not slowed down."""
    limits = RateLimits(subject_per_minute=3)
    http = Http(trusted_proxies=("127.0.0.1",))
    async with raw_node() as node, guarded(node, auth={"rate_limits": limits}, http=http) as client:
        for i in range(5):
            headers = {**bearer(sub="ann"), "X-Forwarded-For": f"192.0.2.{i}"}
            assert (await post(client, "/whip/cam", headers)).status == (201 if i < 3 else 429)
        assert (await post(client, "/whip/cam", bearer(sub="bob"))).status == 201


async def test_without_authentication_addresses_are_counted_too() -> None:
    auth = Auth(rate_limits=RateLimits(address_per_minute=3))
    async with raw_node() as node, liveman(node, auth=auth) as url, client_of(url) as client:
        assert statuses([await post(client, "/whip/a") for _ in range(5)]) == {201: 3, 429: 2}


async def test_what_is_shown_with_expect_counts_once() -> None:
    limits = RateLimits(address_per_minute=2)
    async with raw_node() as node, guarded(node, auth={"rate_limits": limits}) as client:
        headers = {**bearer(), "Content-Type": "application/sdp"}
        for status in (201, 201, 429):
            async with client.post("/whip/a", data=OFFER, headers=headers, expect100=status == 201) as got:
                assert got.status == status


# How many.


async def test_a_streams_subscribers_are_limited_to_the_last_one() -> None:
    """However many come at once; and each that leaves makes room for one."""
    quotas = Quotas(subscribers_per_stream=5)
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        await made(client, "/whip/cam", bearer())
        answers = await asyncio.gather(*(post(client, "/whep/cam", bearer(sub=f"s{i}")) for i in range(40)))
        assert statuses(answers) == {201: 5, 403: 35}
        assert "5 subscribers" in next(each for each in answers if each.status == 403).json["detail"]
        assert len(kept.of("cam", "subscribe")) == 5
        mine = [each.headers["Location"] for each in answers if each.status == 201]
        for path in mine[:2]:
            assert (await ask(client, "DELETE", path, headers=bearer())).status == 204
        answers = await asyncio.gather(*(post(client, "/whep/cam", bearer()) for _ in range(10)))
        assert statuses(answers) == {201: 2, 403: 8}


async def test_the_quota_of_a_stream_is_no_other_streams() -> None:
    quotas = Quotas(subscribers_per_stream=1)
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        for stream in ("a", "b"):
            await made(client, f"/whip/{stream}", bearer())
            assert (await post(client, f"/whep/{stream}", bearer())).status == 201
            assert (await post(client, f"/whep/{stream}", bearer())).status == 403


@pytest.mark.parametrize(
    ("endpoint", "mode", "quotas", "words"),
    [
        ("whip", PUBLISH, Quotas(publishers_per_subject=3), "published streams"),
        ("whep", SUBSCRIBE, Quotas(subscribers_per_subject=3), "subscriptions"),
    ],
)
async def test_a_subjects_sessions_are_limited_over_all_streams(
    endpoint: str, mode: int, quotas: Quotas, words: str
) -> None:
    """The other kind of session is not counted, nor another subject's."""
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        for i in range(12):
            await made(
                client, f"/whip/s{i}" if endpoint == "whep" else f"/whip/other{i}", bearer(sub=f"p{i}")
            )
        mine = bearer("*", PUBLISH | SUBSCRIBE, sub="ann")
        answers = await asyncio.gather(*(post(client, f"/{endpoint}/s{i}", mine) for i in range(12)))
        assert statuses(answers) == {201: 3, 429: 9}
        refused = next(each for each in answers if each.status == 429)
        assert words in refused.json["detail"] and "Retry-After" not in refused.headers
        free = next(f"s{i}" for i, each in enumerate(answers) if each.status == 429)
        assert (await post(client, f"/{endpoint}/{free}", bearer("*", mode, sub="bob"))).status == 201
        ended = next(each.headers["Location"] for each in answers if each.status == 201)
        assert (await ask(client, "DELETE", ended, headers=mine)).status == 204
        again = "/whip/t" if endpoint == "whip" else "/whep/s"
        answers = await asyncio.gather(*(post(client, f"{again}{i}", mine) for i in range(4)))
        assert statuses(answers) == {201: 1, 429: 3}


async def test_a_managers_sessions_straight_at_a_node_count_too() -> None:
    quotas = Quotas(publishers_per_subject=1)
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        assert (await post(client, "/api/whip/n0/a", bearer(sub="ann"))).status == 201
        for path in ("/api/whip/n0/b", "/whip/b"):
            assert (await post(client, path, bearer(sub="ann"))).status == 429


async def test_a_session_that_the_node_ends_by_itself_is_counted_no_more() -> None:
    quotas = Quotas(publishers_per_subject=1)
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        mine = bearer(sub="ann")
        await made(client, "/whip/a", mine)

        async def listed() -> bool:
            return "whip-1" in (await ask(client, "GET", "/api/streams/a", headers=mine)).text

        await until(listed)
        kept.sessions.clear()
        kept.list()

        async def free() -> bool:
            return (await post(client, "/whip/b", mine)).status == 201

        await until(free)


async def test_an_offer_that_fails_leaves_its_place_free() -> None:
    """Refused by the node, or broken off by it."""
    quotas = Quotas(publishers_per_subject=1, subscribers_per_subject=1)
    async with keeper() as kept, guarded(kept.node, auth={"quotas": quotas}) as client:
        mine = bearer(sub="ann")
        for reply, status in (
            (answer("409 Conflict"), 409),
            (answer("503 Service Unavailable"), 503),
            (b"nonsense\r\n\r\n", 502),
        ):
            kept.reply = reply
            assert (await post(client, "/whip/a", mine)).status == status
            assert (await post(client, "/whep/nobody-has-it", mine)).status == 404
        kept.reply = None

        async def free() -> bool:
            return (await post(client, "/whip/a", mine)).status == 201

        await until(free)  # As soon as the node is no longer avoided.
        assert (await post(client, "/whip/b", mine)).status == 429


async def test_a_client_that_leaves_leaves_its_place_free() -> None:
    under_way = asyncio.Event()
    go_on = asyncio.Event()
    quotas = Quotas(publishers_per_subject=1)
    async with keeper() as kept:

        async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
            if received.method == "POST" and received.target == "/whip/slow":
                under_way.set()
                await go_on.wait()
            await kept.script(received, writer)

        kept.node.reply = slow
        async with guarded(kept.node, auth={"quotas": quotas}) as client:
            mine = bearer(sub="ann")
            leaving = asyncio.create_task(post(client, "/whip/slow", mine))
            await under_way.wait()
            assert (await post(client, "/whip/other", mine)).status == 429
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

            async def free() -> bool:
                return (await post(client, "/whip/other", mine)).status == 201

            await until(free)
            go_on.set()

            async def gone() -> bool:
                return kept.count == 2 and not kept.of("slow", "publish")

            await until(gone)


async def test_a_node_that_dies_takes_its_sessions_out_of_the_count() -> None:
    quotas = Quotas(publishers_per_subject=1)
    async with mortal_nodes(2) as nodes, guarded(*nodes, auth={"quotas": quotas}) as client:
        mine = bearer(sub="ann")
        await made(client, "/whip/a", mine)
        assert (await post(client, "/whip/b", mine)).status == 429
        has_it = next(each for each in nodes if each.received)
        has_it.stop("resets")
        has_it.doom = "resets"

        async def free() -> bool:
            return (await post(client, "/whip/b", mine)).status == 201

        await until(free)


async def test_without_quotas_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One subject may have tens of thousands of sessions."""

    def count(*_: object) -> int:
        raise AssertionError("counted")

    monkeypatch.setattr(Live, "count", count)
    quotas = Quotas(subscribers_per_stream=1, publishers_per_subject=1)
    async with raw_node() as node:
        async with guarded(node) as client:
            assert (await post(client, "/whip/a", bearer())).status == 201
        async with guarded(node, auth={"quotas": quotas}) as client:
            assert (await post(client, "/whip/a", bearer())).status == 500
            assert (await post(client, "/whep/a", bearer())).status == 404
