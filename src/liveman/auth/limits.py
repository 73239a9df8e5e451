"""How often and how many: token buckets of bounded memory, and quotas.

A bucket holds ``burst`` tokens, gets ``rate`` of them a second, and is kept as one number: the moment at
which it will be full. What is full needs no keeping. Used for POSTs by address (`client_network`) and by
subject, for failed logins by address and name (`login_failures`), and for forged tokens (`forgeries`).
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable

from liveman.access import Action
from liveman.config import Quotas
from liveman.errors import NotAllowed, TooMany

__all__ = ["Buckets", "check_quotas", "client_network", "forgeries", "login_failures"]

#: Buckets that are shared by those for whom no bucket of their own is left.
_SHARED = 1024
#: What float arithmetic may be off by, seconds: who comes back after the wait that was named gets in.
_TOLERANCE = 1e-6
#: Full buckets that one call forgets at the most. Each call makes one at the most, so they cannot pile up.
_FORGOTTEN = 2


class Buckets:
    """A token bucket for each key; ``now`` is monotonic, in seconds.

    When ``most_keys`` buckets are in use, no bucket is given up for a newcomer: an attacker with many
    addresses would get his first ones back full. Newcomers then share `_SHARED` buckets, by their hash. So
    under such an attack strangers slow each other down, while everyone who was there before keeps a bucket of
    his own; and who gets one of his own later takes the level of the shared one along, so that nothing is won
    by waiting for it.

    Keys are kept by their hash, which Python seeds anew in each process, so a long name costs no more than a
    short one; the few bytes that are kept for a key are all there is.
    """

    def __init__(self, rate: float, burst: float, most_keys: int) -> None:
        """``rate``: tokens a second; ``burst``: how many there are at once, at least 1."""
        self._interval = 1 / rate
        self._depth = burst / rate
        self._most_keys = most_keys
        # By the last use: what has been in front for `_depth` seconds is full.
        self._full_at: OrderedDict[int, float] = OrderedDict()
        self._shared = [float("-inf")] * _SHARED

    def __len__(self) -> int:
        """How many keys have a bucket of their own."""
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """0.0 when a token was taken, else the seconds until there is one: Retry-After."""
        self._forget(now)
        mark = hash(key)
        full_at = max(self._full_at.get(mark, self._shared[mark % _SHARED]), now) + self._interval
        wait = full_at - self._depth - now
        if wait > _TOLERANCE:
            return wait
        if mark in self._full_at or len(self._full_at) < self._most_keys:
            self._full_at[mark] = full_at
            self._full_at.move_to_end(mark)
        else:
            self._shared[mark % _SHARED] = full_at
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """A token that was taken turns out not to be needed."""
        mark = hash(key)
        if mark in self._full_at:
            self._full_at[mark] -= self._interval
        else:
            self._shared[mark % _SHARED] -= self._interval

    def _forget(self, now: float) -> None:
        for _ in range(_FORGOTTEN):
            oldest = next(iter(self._full_at), None)
            if oldest is None or self._full_at[oldest] > now:
                return
            del self._full_at[oldest]


def login_failures() -> Buckets:
    """Failed logins by (`client_network`, name): ten at once, then one in 30 s.

    `take` before any hash is computed, and `give_back` when the password was right: so a success uses nothing
    up, and guesses that are made at the same moment count before the first of them is known to be wrong. Ten,
    as browsers send up to six requests at once.
    """
    return Buckets(rate=1 / 30, burst=10, most_keys=50_000)


def forgeries() -> Buckets:
    """Tokens that no public key verifies, by `client_network`: 100 at once, then 50 a second.

    Each takes some 80 us, so one forger takes less than a hundredth of a core.
    """
    return Buckets(rate=50, burst=100, most_keys=50_000)


def client_network(address: str) -> str:
    """What a client is counted by: its IPv4 address, or the /64 of its IPv6 address.

    A /64 is the least that one customer gets (RFC 6177, section 2), so each single address of it counts for
    nothing. What is no address, as of a Unix socket, stays as it is.
    """
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


def check_quotas(quotas: Quotas, action: Action, *, of_stream: int, of_subject: int) -> None:
    """One more session may begin. The counts are those of this action's sessions that there are already.

    Raises TooMany (429) for the subject's quota: that one has too many, and can end some. Raises NotAllowed
    (403) for the stream's: it is full, whoever asks. Neither names a Retry-After, since time alone changes
    nothing.
    """
    most = quotas.of_subject(action)
    if action == "publish":
        what, most_of_stream = "published streams", 0
    else:
        what, most_of_stream = "subscriptions", quotas.subscribers_per_stream
    if most and of_subject >= most:
        raise TooMany(f"You have {of_subject} {what} of the {most} that you may have at once; end one first.")
    if most_of_stream and of_stream >= most_of_stream:
        raise NotAllowed(f"The stream has all the {most_of_stream} subscribers that it may have.")
