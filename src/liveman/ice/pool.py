"""The leases that wait for sessions: how many, which goes out next, which is too old. A pure state machine.

Events come in by methods, with the time; `plan` then says what is to be done, and takes it as done. Two
clocks are told: ``now`` is monotonic, seconds; ``wall`` is Unix time. A lease is good while both say so: the
first does not jump, the second knows of a machine that slept.
"""

import math
from collections import deque
from heapq import heappop, heappush
from typing import Generic, TypeVar

from attrs import Factory, define, field, frozen

from liveman.breaker import Breaker

__all__ = ["LONGEST_LIFE", "Counts", "Plan", "Pool"]

L = TypeVar("L")
W = TypeVar("W")

#: Held beyond what the rate asks for, so that sessions which begin together find one each.
_SPARE = 4
#: The most leases held.
_MOST_HELD = 1000
#: The most questions at once: 200 sessions a second at a vendor that takes 2 s, and half as many to fill up.
_MOST_FETCHES = 600
#: How far back the rate looks, seconds.
_RATE_SPAN = 10.0
#: How much a single fetch counts in the mean of their times.
_FETCH_WEIGHT = 0.2
#: The longest life that is believed, seconds.
LONGEST_LIFE = 86_400.0
#: How long a lease of an hour can wait: what is assumed before the first has come, seconds.
_FIRST_WAIT = 2400.0
#: So many requests that waited for nothing, while no lease came, end the waiting until one comes.
_IN_VAIN = 3


@define
class Counts:
    """What became of leases and requests, since the start."""

    fetched: int = 0
    """Leases that the vendor gave."""
    failed: int = 0
    """Questions that brought none."""
    given: int = 0
    """Leases that sessions got."""
    missed: int = 0
    """Requests that went on without one."""
    outgrown: int = 0
    """Leases that became too old before anyone wanted them."""


@frozen
class Plan(Generic[L, W]):
    """What is to be done now."""

    give: tuple[tuple[W, L], ...] = ()
    """These who waited get these leases, in the order in which they came."""
    fetch: tuple[int, ...] = ()
    """So many leases are to be asked for, one ticket for each."""
    wake_at: float | None = None
    """When to plan again though nothing happened, on the monotonic clock."""


@define
class Pool(Generic[L, W]):
    """One vendor's leases ``L``, and those who wait for one, ``W``, first come first served."""

    min_life: float
    """A lease good for less is never handed out, seconds; nor one with less than a third of its life."""
    counts: Counts = Factory(Counts)
    breaker: Breaker = Factory(Breaker)
    _heap: list[tuple[float, int, float, L]] = field(factory=list, init=False)
    """Good until on the monotonic clock, a number that is no other's, good until by the wall's, the lease."""
    _line: deque[W] = field(factory=deque, init=False)
    _rate: "_Tally" = field(init=False, factory=lambda: _Tally(_RATE_SPAN, 0.0))
    _recent: "_Tally" = field(init=False, factory=lambda: _Tally(_FIRST_WAIT, float(_SPARE)))
    """Requests in about the time that a lease can wait; so many leases are used in time."""
    _fetch_seconds: float = field(default=1.0, init=False)
    _in_vain: int = field(default=0, init=False)
    _number: int = field(default=0, init=False)

    @property
    def held(self) -> int:
        """How many leases wait."""
        return len(self._heap)

    # What happens.

    def take(self, now: float, wall: float) -> L | None:
        """A request comes: the lease that would become too old first, None when there is none."""
        self._rate.add(now)
        self._recent.add(now)
        return self._next(now, wall)

    def worth_waiting(self, now: float, seconds: float) -> bool:
        """Whether a lease may come in so many seconds for a request that found none."""
        retry_at = self.breaker.retry_at
        if retry_at is not None and retry_at > now + seconds:
            return False
        return self._in_vain < _IN_VAIN

    def wait(self, waiter: W) -> None:
        """A request that found no lease stands in line."""
        self._line.append(waiter)

    def leave(self, waiter: W, *, in_vain: bool) -> None:
        """One who waits goes; ``in_vain``: because the time was up."""
        if waiter in self._line:
            self._line.remove(waiter)
        self._in_vain += in_vain

    def fetched(
        self, ticket: int, lease: L, expires_at: float | None, now: float, wall: float, *, seconds: float
    ) -> bool:
        """A lease came, after so many seconds; whether it is believed to be good for as long as it says.

        Raises ValueError, with the reason, when it is of no use; then the question failed.
        """
        told = LONGEST_LIFE if expires_at is None else expires_at - wall
        life = min(told, LONGEST_LIFE)
        floor = max(self.min_life, life / 3)
        if not life > floor:
            raise ValueError(
                f"it gave a lease for {life:.0f} s, and none with less than extra_ice.min_life "
                f"({self.min_life:g} s) is handed out: raise its ttl, or lower min_life"
            )
        self.breaker.worked(ticket)
        self.counts.fetched += 1
        self._in_vain = 0
        self._fetch_seconds += _FETCH_WEIGHT * (seconds - self._fetch_seconds)
        wait = self._recent.span = life - floor
        self._number += 1
        heappush(self._heap, (now + wait, self._number, wall + wait, lease))
        return life == told

    # What is to be done.

    def plan(self, now: float, wall: float, *, most: int = _MOST_FETCHES) -> Plan[L, W]:
        """``most``: questions that may be under way at once."""
        give = []
        while self._line and (lease := self._next(now, wall)) is not None:
            give.append((self._line.popleft(), lease))
        self._drop_old(now, wall)
        lacking = self.wanted(now) + len(self._line) - len(self._heap) - self.breaker.under_way
        room = self.breaker.room(now, min(most, _MOST_FETCHES))
        fetch = tuple(self.breaker.begin() for _ in range(min(lacking, room)))
        wakes = [self._heap[0][0]] if self._heap else []
        retry_at = self.breaker.retry_at
        if retry_at is not None and now < retry_at:
            wakes.append(retry_at)
        return Plan(tuple(give), fetch, min(wakes, default=None))

    def wanted(self, now: float) -> int:
        """How many leases should wait: enough for the sessions that come while one is fetched, but no more
        than are used before they are too old. An idle pool keeps one."""
        soon = self._rate.per_second(now) * (2 * self._fetch_seconds + 1)
        return max(1, min(_MOST_HELD, _SPARE + math.ceil(soon), int(self._recent.count(now))))

    def empty(self) -> list[L]:
        """Takes all leases out: the end."""
        left = [lease for *_, lease in self._heap]
        self._heap.clear()
        return left

    def _next(self, now: float, wall: float) -> L | None:
        self._drop_old(now, wall)
        return heappop(self._heap)[-1] if self._heap else None

    def _drop_old(self, now: float, wall: float) -> None:
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2] <= wall):
            heappop(self._heap)
            self.counts.outgrown += 1


@define
class _Tally:
    """How many events there were lately: those a ``span`` of seconds ago count for 1/e."""

    span: float
    _count: float
    _at: float = -math.inf

    def count(self, now: float) -> float:
        if self._at == -math.inf:
            # What it began with fades from the first look on.
            self._at = now
        self._count *= math.exp((self._at - now) / self.span)
        self._at = now
        return self._count

    def add(self, now: float) -> None:
        self._count = self.count(now) + 1

    def per_second(self, now: float) -> float:
        return self.count(now) / self.span
