"""The kit for authors finds what is wrong with a provider, and nothing in one that is right."""

import asyncio
import inspect
import json
import logging
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from attrs import define, evolve, frozen

from liveman.ice import (
    IceLease,
    IceProvider,
    IceRequest,
    IceServer,
    ProviderError,
    Secret,
    VendorApi,
    public_url,
    token,
)
from liveman.ice.cloudflare import Cloudflare
from liveman.ice.coturn import Coturn
from liveman.ice.static import Static
from liveman.ice.testing import Answer, Asked, ContractBroken, FakeVendor, check_provider
from liveman.ice.testing.oddities import mutants

KEY = "s3cret-key"
GOOD = {"servers": [{"urls": "turn:a", "username": "u", "credential": "s3cret-credential"}], "ttl": 600}
ANSWER = Answer(json=GOOD)


class Acme:
    """Right in everything; each provider below does one thing wrong."""

    pooled = True

    @frozen
    class Options:
        key: Annotated[Secret, token]
        api_base: Annotated[str, public_url]

    def __init__(self, options: Options) -> None:
        self.key = options.key
        self.api = VendorApi("Acme", options.api_base, check="key")

    async def start(self) -> None:
        await self.api.start()

    async def close(self) -> None:
        await self.api.close()

    async def revoke(self, lease: IceLease) -> None:
        await self.ask()

    async def ask(self) -> Any:
        return await self.api.ask("POST", "/", query={"key": self.key.reveal()}, json={})

    async def lease(self, request: IceRequest) -> IceLease:
        now = time.time()
        answer = await self.ask()
        servers = self.api.turn_servers(self.api.members(answer).get("servers"))
        return IceLease(servers, now + self.api.seconds(answer, "ttl", asked=3600))


def options(url: str) -> Mapping[str, Any]:
    return {"key": KEY, "api_base": url}


class Looser(Acme):
    """Options that are kept as they come."""

    @define
    class Options:
        key: Secret
        api_base: Annotated[str, public_url]


class Bare(Acme):
    class Options:
        key = ""


class Shown(Acme):
    @frozen
    class Options:
        key: Annotated[Secret, token]
        api_token: str = ""
        api_base: Annotated[str, public_url] = ""


class Crashing(Acme):
    @frozen
    class Options:
        key: Annotated[Secret, token]
        api_base: Annotated[str, public_url]
        since: object() = None  # type: ignore[valid-type]


def echoing(text: str) -> str:
    if text != KEY:
        raise ValueError(f"{text!r} is wrong")
    return text


class Echoing(Acme):
    @frozen
    class Options:
        key: Annotated[Secret, echoing]
        api_base: Annotated[str, public_url]


class LateJudge(Acme):
    def __init__(self, options: Any) -> None:
        if options.key.reveal() != KEY:
            raise ValueError("bad key")
        super().__init__(options)


class Talkative(Acme):
    def __repr__(self) -> str:
        return f"Acme({self.key.reveal()})"


class TwoThings(Looser, Talkative):
    pass


class NotAsync(Acme):
    def close(self) -> None:  # type: ignore[override]
        pass


class Both(Acme):
    immediate = True


class Waiting(Acme):
    pooled = False
    immediate = True


class NoLease(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        return (await super().lease(request)).servers  # type: ignore[return-value]


class Empty(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        return evolve(await super().lease(request), servers=())


class Dead(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        return IceLease((await super().lease(request)).servers, 5)


class Milliseconds(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        return IceLease((await super().lease(request)).servers, time.time() * 1000 + 3_600_000)


class Giving(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        lease = await super().lease(request)
        return evolve(lease, servers=[evolve(server, username=KEY) for server in lease.servers])


class Hoarder(Acme):
    kept: IceLease | None = None

    async def lease(self, request: IceRequest) -> IceLease:
        self.kept = self.kept or await super().lease(request)
        return self.kept


class Choosy(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        assert request.subject is not None
        return await super().lease(request)


class Exiting(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except ProviderError:
            sys.exit("no credentials")


class SelfCancelling(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        raise asyncio.CancelledError


class Swallowing(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except asyncio.CancelledError:
            raise ProviderError("cancelled") from None


class Telling(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except ProviderError as error:
            raise ProviderError(f"{error} at /?key={self.key.reveal()}", permanent=error.permanent) from None


class Logging(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        logging.getLogger("acme").debug("asking with %s", self.key.reveal())
        return await super().lease(request)


class LoggingCredentials(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        lease = await super().lease(request)
        logging.getLogger("acme").debug("got %s", lease.servers[0].credential.reveal())
        return lease


class Leaking(Acme):
    async def start(self) -> None:
        self.api = VendorApi("Acme", self.api._base, check="key")
        await self.api.start()


class Orphaning(Acme):
    async def start(self) -> None:
        await super().start()
        self.task = asyncio.ensure_future(asyncio.Event().wait())


class OnceOnly(Acme):
    async def close(self) -> None:
        await self.api.close()
        del self.api


class Persistent(Acme):
    """Takes every refusal for one that passes."""

    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except ProviderError as error:
            raise ProviderError(error.detail) from None


class Desperate(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except ProviderError as error:
            raise ProviderError(error.detail, permanent=True) from None


class Trusting(Acme):
    async def lease(self, request: IceRequest) -> IceLease:
        answer = await self.ask()
        servers = IceServer.from_json(answer["servers"])
        return IceLease(servers, time.time() + answer["ttl"])


class Covering(Acme):
    """Gives something also when the vendor does not."""

    async def lease(self, request: IceRequest) -> IceLease:
        try:
            return await super().lease(request)
        except ProviderError:
            return IceLease([IceServer(("stun:a",))])


class Blocking(Acme):
    async def ask(self) -> Any:
        with urllib.request.urlopen(f"{self.api._base}/", timeout=9) as response:  # noqa: ASYNC210
            return json.loads(response.read())


class Following(Acme):
    async def ask(self) -> Any:
        assert self.api._session is not None
        try:
            async with self.api._session.get(f"{self.api._base}/") as response:
                return await response.json()
        except Exception as error:
            raise ProviderError("away") from error


BROKEN: list[tuple[type[Any], str]] = [
    (Looser, "Options must be frozen"),
    (Bare, "Options must be an attrs class"),
    (Shown, "Options.api_token must be a Secret"),
    (Crashing, "Options raise"),
    (Echoing, "the fault for an odd key repeats a secret"),
    (LateJudge, "__init__ raises ValueError for an odd key; Options should refuse it"),
    (Talkative, "the repr of the provider shows a secret"),
    (NotAsync, "close must be `async def`"),
    (Both, "immediate and pooled exclude each other"),
    (Waiting, "waits, although the provider is marked as immediate"),
    (NoLease, "gives no IceLease but tuple"),
    (Empty, "the lease holds no server"),
    (Dead, "the lease has expired already"),
    (Milliseconds, "at a time that cannot be; the time is seconds"),
    (Giving, "a username or url shows a secret"),
    (Hoarder, "lease after the first has expired: the lease has expired already"),
    (Choosy, "raises AssertionError"),
    (Exiting, "raises SystemExit, which is no Exception"),
    (SelfCancelling, "cancels itself"),
    (Swallowing, "swallows its cancellation"),
    (Telling, "its ProviderError holds a secret"),
    (Logging, "a secret was logged"),
    (LoggingCredentials, "a secret was logged"),
    (Leaking, "left behind: Unclosed client session"),
    (Orphaning, "left behind: the task"),
    (OnceOnly, "close after close: raises AttributeError"),
    (Persistent, "answered with 401: raise ProviderError(…, permanent=True)"),
    (Desperate, "answered with 503 with HTML: is no permanent error"),
    (Trusting, "$.ttl = -1: the lease has expired already"),
    (Covering, "answered with 200 with a captive portal: gives a lease"),
    (Blocking, "the event loop is blocked"),
    (Following, "a redirect is followed"),
]


@pytest.mark.parametrize(("broken", "problem"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
def test_what_is_wrong_is_found(broken: type[Any], problem: str) -> None:
    table = (lambda url: {**options(url), "api_token": "s3cret-too"}) if broken is Shown else options
    with pytest.raises(ContractBroken) as raised:
        check_provider(broken, table, vendor=ANSWER)
    assert problem in str(raised.value)
    assert KEY not in str(raised.value)


RIGHT: list[tuple[type[IceProvider], Any, Any]] = [
    (
        Static,
        {"ice_servers": [{"urls": ["turn:a"], "username": "u", "credential": "s3cret-credential"}]},
        None,
    ),
    (Coturn, {"secret": "s3cret-secret", "urls": ["stun:a", "turn:a"]}, None),
    (
        Cloudflare,
        lambda url: {"key_id": "key", "api_token": "s3cret-token", "api_base": url},
        Answer(201, json={"iceServers": GOOD["servers"]}),
    ),
    (Acme, options, ANSWER),
    (Acme, options, lambda _: ANSWER),
]


@pytest.mark.parametrize(("right", "table", "vendor"), RIGHT, ids=[cls.__name__ for cls, _, _ in RIGHT])
def test_nothing_is_wrong_with_what_is_right(right: type[IceProvider], table: Any, vendor: Any) -> None:
    """What comes with Liveman keeps the contract that it asks of others."""
    check_provider(right, table, vendor=vendor)


async def test_it_runs_inside_of_a_running_loop_too() -> None:
    check_provider(Coturn, {"secret": "s3cret-secret", "urls": ["turn:a"]})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"secret": "s3cret-secret"}, "extra_ice.test.urls: is missing"),
        ({"secret": "s3cret-secret", "urls": ["turn:a"], "tll": 5}, 'did you mean "ttl"?'),
    ],
)
def test_a_table_that_is_refused_is_told_with_the_path(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractBroken, match="the options are refused") as raised:
        check_provider(Coturn, table)
    assert problem in str(raised.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ContractBroken) as raised:
        check_provider(TwoThings, options, vendor=ANSWER)
    assert "must be frozen" in str(raised.value)
    assert "the repr of the provider shows a secret" in str(raised.value)


def test_the_clock_and_the_logs_are_as_before() -> None:
    root, now = logging.getLogger(), time.time
    before = (root.level, list(root.handlers))
    check_provider(Coturn, {"secret": "s3cret-secret", "urls": ["turn:a"]})
    assert (root.level, root.handlers, time.time) == (*before, now)


async def ask(vendor: FakeVendor, path: str = "/", body: object = None) -> Any:
    api = VendorApi("Acme", vendor.url, check="key")
    await api.start()
    try:
        return await api.ask("POST", path, query={"a": "b c"}, headers={"X-Acme": "y"}, json=body)
    finally:
        await api.close()


async def test_a_fake_vendor_answers_as_told_and_keeps_what_it_was_asked() -> None:
    with FakeVendor(ANSWER) as vendor:
        assert await ask(vendor, "/x/y", {"ttl": 5}) == GOOD
        (asked,) = vendor.asked
        assert (asked.method, asked.path, asked.query, asked.json()) == (
            "POST",
            "/x/y",
            {"a": "b c"},
            {"ttl": 5},
        )
        assert asked.headers["x-acme"] == "y"
        vendor.script = Answer(503)
        with pytest.raises(ProviderError, match="status 503"):
            await ask(vendor)
        vendor.script = lambda asked: Answer(json=asked.path)
        assert await ask(vendor, "/z") == "/z"
        assert len(vendor.asked) == 3


async def test_a_fake_vendor_hangs_until_it_ends() -> None:
    """Also with a request under way it ends at once."""
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def silent(_: Asked) -> Answer:
        loop.call_soon_threadsafe(reached.set)
        return Answer(fault="hang")

    with FakeVendor(silent) as vendor:
        task = asyncio.ensure_future(ask(vendor))
        await reached.wait()
        assert not task.done()
    with pytest.raises(ProviderError, match="cannot be reached"):
        await task


def test_mutants_differ_in_one_place() -> None:
    """Every value of the answer is replaced and every member left out."""
    found = dict(mutants(GOOD))
    assert all(json.dumps(mutant) != json.dumps(GOOD) for mutant in found.values())
    for path in ("$", "$.ttl", "$.servers", "$.servers[0]", "$.servers[0].urls", "$.servers[0].credential"):
        assert f"{path} = null" in found
    assert found["$.servers[0].username left out"] == {
        "servers": [{"urls": "turn:a", "credential": "s3cret-credential"}],
        "ttl": 600,
    }
    assert found["$.ttl = -1"] == {**GOOD, "ttl": -1}


def test_the_kit_needs_no_test_framework() -> None:
    code = "import liveman.ice.testing, sys; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_kit_is_documented() -> None:
    import liveman.ice.testing as kit

    assert kit.__all__ == sorted(kit.__all__)
    assert all(inspect.getdoc(getattr(kit, name)) for name in kit.__all__ if name != "Script")
