"""A provider on trial: its coroutines are run so that whatever they do becomes a value or a problem."""

import asyncio
import gc
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest import mock

from attrs import define, field, frozen

from liveman.errors import ProviderError
from liveman.ice.provider import IceLease, IceProvider
from liveman.ice.server import is_turn
from liveman.ice.testing.options import secrets_of

__all__ = ["Clock", "Outcome", "Trial"]

#: How long anything may take before it counts as stuck, seconds.
LIMIT = 15.0
#: How long what is cancelled or closed may take to end, seconds.
GRACE = 1.0
#: No credentials are good for longer, seconds; who counts in milliseconds is beyond it.
_LONGEST = 2 * 366 * 86_400


@define
class Clock:
    """A clock that stands still until it is set forward."""

    now: float

    def __call__(self) -> float:
        return self.now


@frozen
class Outcome:
    """What a coroutine came to."""

    value: Any = None
    error: BaseException | None = None
    stuck: bool = False


#: A coroutine, or the task of `Trial.begin`.
Work = Coroutine[Any, Any, Any] | asyncio.Task[Outcome]


@define
class Trial:
    """One check of one provider; what is wrong gathers in ``problems``, each thing once."""

    cls: type[IceProvider]
    options: Any
    clock: Clock
    secrets: set[str] = field(init=False)
    problems: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.secrets = secrets_of(self.options)

    def wrong(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def make(self) -> IceProvider:
        if "clock" in inspect.signature(self.cls).parameters:
            return self.cls(self.options, clock=self.clock)  # type: ignore[call-arg]
        return self.cls(self.options)

    @asynccontextmanager
    async def started(self, what: str) -> AsyncIterator[IceProvider]:
        """A provider between start and close."""
        provider = self.make()
        try:
            await self.fine(f"start, {what}", step(provider, "start"))
            yield provider
        finally:
            await self.fine(f"close, {what}", step(provider, "close"))

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Outcome]:
        """A task for `run` and `cancel`. Not even SystemExit gets out of it."""
        task = asyncio.get_running_loop().create_task(_caught(coroutine))
        # One that is cancelled before its first step has not begun the coroutine.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def run(self, what: str, work: Work, *, must: bool = False) -> Outcome:
        """What it comes to. Whatever may not happen is a problem, with ``must`` every error."""
        task = work if isinstance(work, asyncio.Task) else self.begin(work)
        await asyncio.wait([task], timeout=LIMIT)
        if not task.done():
            self.wrong(f"{what}: does not end within {LIMIT:g} s")
            task.cancel()
            await asyncio.wait([task], timeout=GRACE)
            return Outcome(stuck=True)
        if task.cancelled():
            self.wrong(f"{what}: cancels itself; only those who call it may")
            return Outcome(error=asyncio.CancelledError())
        outcome: Outcome = task.result()
        self._judge_error(what, outcome.error)
        if must and isinstance(outcome.error, Exception):
            self.wrong(f"{what}: raises {self._shown(outcome.error)}")
        return outcome

    async def fine(self, what: str, work: Work) -> None:
        """It must come to its end without an error."""
        await self.run(what, work, must=True)

    async def cancel(self, what: str, task: asyncio.Task[Outcome]) -> None:
        """Cancel a task of ours in the middle: it must end, and as cancelled."""
        if not task.cancel():
            return
        await asyncio.wait([task], timeout=GRACE)
        if not task.done():
            self.wrong(f"{what}: goes on for {GRACE:g} s after it was cancelled")
        elif not task.cancelled():
            self.wrong(f"{what}: swallows its cancellation; let CancelledError pass")

    def judge_lease(self, what: str, lease: object) -> None:
        if not isinstance(lease, IceLease):
            self.wrong(f"{what}: gives no IceLease but {type(lease).__name__}")
            return
        if not lease.servers:
            self.wrong(f"{what}: the lease holds no server; raise ProviderError instead")
        if lease.expires_at is not None and not 0 < lease.expires_at - self.clock() < _LONGEST:
            self.wrong(
                f"{what}: the lease has expired already, or at a time that cannot be; "
                "the time is seconds, as time.time() says, or the keyword `clock` of __init__"
            )
        shown = " ".join(f"{server.username} {' '.join(server.urls)}" for server in lease.servers)
        if any(secret in shown for secret in secrets_of(self.options)):
            self.wrong(f"{what}: a username or url shows a secret of the options, and clients get it")

    def keep_secret(self, lease: object) -> None:
        """From now on the credentials of this lease must not be shown either."""
        if isinstance(lease, IceLease):
            credentials = {s.credential.reveal() for s in lease.servers if any(map(is_turn, s.urls))}
            self.secrets |= {text for text in credentials if len(text) >= 6}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Nothing is left behind, no log shows a secret, and time is the trial's own."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: self.wrong(f"left behind: {context.get('message', 'an error in a task')}")
        )
        with mock.patch("time.time", self.clock), _logs() as lines:
            yield
            gc.collect()
        if any(secret in line for secret in self.secrets for line in lines):
            self.wrong("a secret was logged")

    async def settled(self) -> None:
        """No task is left once providers are closed."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, left = await asyncio.wait(others, timeout=GRACE)
            for task in left:
                self.wrong(f"left behind: the task {task.get_name()}")
                task.cancel()

    def _judge_error(self, what: str, error: BaseException | None) -> None:
        if error is None:
            return
        if not isinstance(error, Exception):
            self.wrong(f"{what}: raises {type(error).__name__}, which is no Exception")
        text = f"{error} {error!r}" if isinstance(error, ProviderError) else ""
        if any(secret in text for secret in self.secrets):
            self.wrong(f"{what}: its ProviderError holds a secret, and is logged")

    def _shown(self, error: BaseException) -> str:
        """An error for the author of the provider, unless it holds a secret."""
        text = f"{type(error).__name__}: {error}"
        return text if not any(secret in text for secret in self.secrets) else type(error).__name__


async def step(provider: IceProvider, name: str, *arguments: object) -> None:
    """One of the steps that a provider need not have."""
    run: Callable[..., Awaitable[None]] | None = getattr(provider, name, None)
    if run is not None:
        await run(*arguments)


async def _caught(coroutine: Coroutine[Any, Any, Any]) -> Outcome:
    try:
        return Outcome(value=await coroutine)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  SystemExit in a task would end the loop.
        return Outcome(error=error)


@contextmanager
def _logs() -> Iterator[list[str]]:
    """All lines that are logged, at every level."""
    lines: list[str] = []
    formatter = logging.Formatter()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    root, keep = logging.getLogger(), Keep()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(keep)
