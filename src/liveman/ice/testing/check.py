"""`check_provider`: the whole contract of an ICE provider, run against one."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from liveman.errors import ProviderError
from liveman.ice.provider import IceLease, IceProvider, IceRequest
from liveman.ice.testing.oddities import ELSEWHERE, Oddity, oddities
from liveman.ice.testing.options import option_problems, read_options
from liveman.ice.testing.trial import GRACE, LIMIT, Clock, Trial, step
from liveman.ice.testing.vendor import Answer, Asked, FakeVendor, Script

__all__ = ["ContractBroken", "check_provider"]

REQUEST = IceRequest("publish", "cam")
#: Whoever asks, and whatever for: a healthy provider has a lease.
REQUESTS = (
    REQUEST,
    IceRequest("subscribe", "cam", subject="viewer", client="192.0.2.1"),
    IceRequest("options", 'a "b"; c, ü' + "x" * 200, subject='a:b, "c"; ü', client="2001:db8::1"),
    IceRequest("subscribe", "cam", ttl=1),
    IceRequest("subscribe", "cam", ttl=365 * 86_400),
    IceRequest("publish", "cam", transports=("udp",)),
    IceRequest.ahead(),
)
_SIDE_BY_SIDE = 20
#: At how many of its steps a lease is cancelled.
_STEPS = 25


class ContractBroken(AssertionError):
    """The provider does not do what `liveman.ice.IceProvider` says; one line for each thing."""


def check_provider(
    cls: type[IceProvider],
    options: Mapping[str, Any] | Callable[[str], Mapping[str, Any]],
    *,
    vendor: Script | None = None,
) -> None:
    """Run the whole contract against a provider. Raises ContractBroken with everything that is wrong.

    ``options``: a table that is right, as TOML would give it. Its secrets should be unmistakable (six
    characters or more), since they are looked for in every repr, error and log line.
    ``vendor``: the good answer to every request that the provider makes, or ``script(asked) -> Answer`` where
    there are several kinds of them. ``options`` is then called with the url of a `FakeVendor` that does so.

    Checked is: that every key's mistakes are faults and never another error; that secrets are `Secret` and in
    no repr, error, log line, username or url; start, close and both of them twice, close without start;
    leases for all kinds of requests, many at once, cancelled at every step, interrupted by close, and before
    and after their time has passed; that nothing raises what is no Exception, waits although it is
    ``immediate``, or is left behind. With a vendor also that the event loop is not blocked while it is asked,
    and what becomes of a lease when any one of its requests is answered with refusals, rubbish, breaking
    connections, redirects or silence, or with the good answer in which one value is replaced: an error or a
    sound lease. 401 must become a ProviderError that is ``permanent``; statuses that pass must not.

    It has an event loop and a thread of its own, so it serves any test, and sees `time.time` replaced
    meanwhile: a provider takes the time from there, or from a keyword ``clock`` of its ``__init__``.
    """
    with ThreadPoolExecutor(1) as thread:
        problems = thread.submit(_check, cls, options, vendor).result()
    if problems:
        raise ContractBroken(f"{cls.__name__} breaks the contract:\n- " + "\n- ".join(problems))


def _check(cls: type[IceProvider], options: Any, script: Script | None) -> list[str]:
    with ExitStack() as stack:
        vendor = None if script is None else stack.enter_context(FakeVendor(script))
        table = options if vendor is None else options(vendor.url)
        read, problems = read_options(cls, table)
        problems += _shape(cls)
        if problems:
            return problems
        trial = Trial(cls, read, Clock(float(int(time.time()))))
        trial.problems += option_problems(cls, table, read)
        if any(secret in repr(trial.make()) for secret in trial.secrets):
            trial.wrong("the repr of the provider shows a secret")
        # asyncio.run would wait for tasks that ignore their cancellation.
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_try(trial, vendor))
        loop.close()
    return trial.problems


def _shape(cls: type[IceProvider]) -> list[str]:
    problems = []
    for name in ("lease", "start", "close", "revoke"):
        method = getattr(cls, name, None)
        if not inspect.iscoroutinefunction(method) and (name == "lease" or method is not None):
            problems.append(f"{name} must be `async def`")
    for name in ("immediate", "pooled"):
        if not isinstance(getattr(cls, name, False), bool):
            problems.append(f"{name} must be True or False")
    if getattr(cls, "immediate", False) and getattr(cls, "pooled", False):
        problems.append("immediate and pooled exclude each other: what only computes needs no pool")
    return problems


async def _try(trial: Trial, vendor: FakeVendor | None) -> None:
    with trial.watched():
        # Of one that is ill from the beginning all else would only repeat it.
        healthy = await _leases(trial) and await _at_once(trial)
        if healthy and vendor is not None:
            healthy = await _lets_the_loop_turn(trial, vendor)
        if healthy:
            for attempt in (_lifecycle, _side_by_side, _cancelled, _closed_in_between, _expired):
                await attempt(trial)
            if vendor is not None:
                await _vendor_odd(trial, vendor)
        await trial.settled()


async def _leases(trial: Trial) -> bool:
    known = len(trial.problems)
    async with trial.started("the first time") as provider:
        for request in REQUESTS:
            await _lease(trial, f"lease for {request}", provider, request, revoke=True)
    return len(trial.problems) == known


async def _lease(
    trial: Trial, what: str, provider: IceProvider, request: IceRequest = REQUEST, *, revoke: bool = False
) -> IceLease | None:
    """A lease that must come and be sound."""
    outcome = await trial.run(what, provider.lease(request), must=True)
    if outcome.error is not None or outcome.stuck:
        return None
    lease: IceLease = outcome.value
    trial.judge_lease(what, lease)
    trial.keep_secret(lease)
    if revoke:
        await trial.fine(f"revoke, {what}", step(provider, "revoke", lease))
    return lease


async def _at_once(trial: Trial) -> bool:
    if not getattr(trial.cls, "immediate", False):
        return True
    async with trial.started("to compute") as provider:
        lease = provider.lease(REQUEST)
        try:
            lease.send(None)
        except StopIteration:
            return True
        lease.close()
    trial.wrong("lease waits, although the provider is marked as immediate")
    return False


async def _lets_the_loop_turn(trial: Trial, vendor: FakeVendor) -> bool:
    """A vendor that answers only once the event loop has turned."""
    loop, good, blocked = asyncio.get_running_loop(), vendor.script, False

    def patient(asked: Asked) -> Answer:
        nonlocal blocked
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        blocked = blocked or not turned.wait(GRACE)
        return good(asked) if callable(good) else good

    vendor.script = patient
    async with trial.started("without blocking") as provider:
        await _lease(trial, "lease", provider)
    vendor.script = good
    if blocked:
        trial.wrong("the event loop is blocked while the vendor is asked; all of Liveman would stop")
    return not blocked


async def _lifecycle(trial: Trial) -> None:
    unstarted = trial.make()
    await trial.run("lease without start", unstarted.lease(REQUEST))
    await trial.fine("close without start", step(unstarted, "close"))
    async with trial.started("twice") as provider:
        await trial.fine("start after start", step(provider, "start"))
        await _lease(trial, "lease after starting twice", provider)
    await trial.fine("close after close", step(provider, "close"))
    await trial.run("lease after close", provider.lease(REQUEST))
    await trial.fine("start after close", step(provider, "start"))
    await _lease(trial, "lease after starting again", provider)
    await trial.fine("close after starting again", step(provider, "close"))


async def _side_by_side(trial: Trial) -> None:
    """Every other one is cancelled; the rest must not notice."""
    async with trial.started("for many leases") as provider:
        tasks = [trial.begin(provider.lease(REQUEST)) for _ in range(_SIDE_BY_SIDE)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            await trial.cancel("lease among others", task)
        for task in tasks[1::2]:
            if (await trial.run("lease beside cancelled ones", task, must=True)).stuck:
                break
        for task in tasks:
            task.cancel()


async def _cancelled(trial: Trial) -> None:
    async with trial.started("for cancelled leases") as provider:
        for steps in range(_STEPS):
            task = trial.begin(provider.lease(REQUEST))
            for _ in range(steps):
                await asyncio.sleep(0)
            await trial.cancel("lease, cancelled in the middle", task)
        await _lease(trial, "lease after cancelled ones", provider)


async def _closed_in_between(trial: Trial) -> None:
    async with trial.started("to be closed early") as provider:
        task = trial.begin(provider.lease(REQUEST))
        await asyncio.sleep(0)
    await trial.run("lease that close interrupts", task)


async def _expired(trial: Trial) -> None:
    """What has expired is never handed out."""
    async with trial.started("for a time") as provider:
        lease = await _lease(trial, "lease", provider)
        if isinstance(lease, IceLease) and lease.expires_at is not None:
            trial.clock.now = lease.expires_at + 1
            await _lease(trial, "lease after the first has expired", provider)


async def _vendor_odd(trial: Trial, vendor: FakeVendor) -> None:
    """Each request of a lease in turn is answered oddly, the others well."""
    good, said = vendor.script, list[Answer]()

    def well(asked: Asked) -> Answer:
        said.append(good(asked) if callable(good) else good)
        return said[-1]

    vendor.script = well
    async with trial.started("to see what it asks") as provider:
        await _lease(trial, "lease", provider)
    for index, answer in enumerate(tuple(said)):
        for oddity in oddities(answer):
            vendor.script = _instead(good, index, oddity.answer)
            await _odd_lease(trial, f"request {index + 1} answered with {oddity.name}", oddity)
        vendor.script = _instead(good, index, Answer(fault="hang"))
        await _silent(trial, vendor, index)
    vendor.script = good
    if any(asked.path == ELSEWHERE for asked in vendor.asked):
        trial.wrong("a redirect is followed: secrets go where the vendor's answer says")


def _instead(good: Script, index: int, odd: Answer) -> Script:
    count = -1

    def script(asked: Asked) -> Answer:
        nonlocal count
        count += 1
        if count == index:
            return odd
        return good(asked) if callable(good) else good

    return script


async def _odd_lease(trial: Trial, what: str, oddity: Oddity) -> None:
    provider = trial.make()
    outcome = await trial.run(f"start and lease, {what}", _whole(provider))
    await trial.fine(f"close, {what}", step(provider, "close"))
    if outcome.stuck:
        return
    permanent = isinstance(outcome.error, ProviderError) and outcome.error.permanent
    if outcome.error is None and oddity.outcome != "either":
        trial.wrong(f"{what}: gives a lease; raise ProviderError")
    elif outcome.error is None:
        trial.judge_lease(what, outcome.value)
    elif oddity.outcome == "permanent" and not permanent:
        trial.wrong(f"{what}: raise ProviderError(…, permanent=True), so that it is not asked again in vain")
    elif oddity.outcome == "error" and permanent:
        trial.wrong(f"{what}: is no permanent error; it may pass")


async def _silent(trial: Trial, vendor: FakeVendor, index: int) -> None:
    what = f"request {index + 1} never answered"
    provider, before = trial.make(), len(vendor.asked)
    task = trial.begin(_whole(provider))
    deadline = asyncio.get_running_loop().time() + LIMIT
    while len(vendor.asked) <= before + index and not task.done():
        if asyncio.get_running_loop().time() > deadline:
            trial.wrong(f"{what}: it is not even asked within {LIMIT:g} s")
            break
        await asyncio.sleep(0.005)
    await trial.cancel(f"lease, {what}", task)
    await trial.fine(f"close, {what}", step(provider, "close"))


async def _whole(provider: IceProvider) -> IceLease:
    await step(provider, "start")
    return await provider.lease(REQUEST)
