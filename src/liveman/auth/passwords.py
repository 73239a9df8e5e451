"""The passwords of `auth.accounts`: argon2id hashes (RFC 9106) or plain text.

A hash costs about 0.13 s of one core or more, and 64 MiB, so hashes are computed in two threads, with a short
queue; and who has shown the right password is known for a minute, since HTTP Basic repeats it with each
request.

Names cannot be found out by time: when any account has a hash, each wrong guess costs one hash, also for
names that do not exist and for accounts in plain text, with the parameters of some account's hash, always the
same for one name. When none has, nothing is hashed for anyone.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError

from liveman import forms
from liveman.config import Account
from liveman.errors import ConfigError, Fault, Unavailable
from liveman.tasks import TaskOwner

__all__ = ["Passwords", "hash_password"]

#: At once. Each takes as many threads as its hash's ``p`` says, and its memory.
_HASHERS = 2
#: Guesses that wait for a thread: about a second's work.
_MOST_WAITING = 16
#: How long a right password is known without its hash, seconds. Who reads the memory can guess quickly
#: against what is kept for it, which a hash is there to prevent: long enough to be cheap, and no longer.
_KNOWN_SECONDS = 60.0


class Passwords:
    """An async context. Of a plain password it keeps a digest alone, under a random key."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        """Raises ConfigError for what `forms.password` refuses, with each path."""
        self._key = secrets.token_bytes(32)
        self._nobody = secrets.token_bytes(32)
        self._hashes: dict[str, str] = {}
        #: Digests of the passwords that are known to be right, by name: those in plain text always.
        self._known: dict[str, bytes] = {}
        faults = []
        for index, account in enumerate(accounts):
            password = account.password.reveal()
            try:
                forms.password(password)
            except ValueError as error:
                faults.append(Fault(f"auth.accounts[{index}].password", str(error)))
            if password.startswith("$argon2id$"):
                self._hashes[account.username] = password
            else:
                self._known[account.username] = self._digest(account.username, _encoded(password))
        if faults:
            raise ConfigError(*faults)
        self._all_hashes = tuple(self._hashes.values())
        self._threads = ThreadPoolExecutor(_HASHERS, "liveman-password")
        self._owner = TaskOwner()
        self._flights: dict[bytes, asyncio.Task[bool]] = {}

    def has(self, username: str) -> bool:
        """Whether there is such an account. No stranger may learn it."""
        return username in self._hashes or username in self._known

    async def verify(self, username: str, password: str) -> bool:
        """Whether the account has this password. One longer than 1024 bytes is nobody's.

        Raises Unavailable (503) when too many wait already: 503 and not 429, as it is Liveman that has too
        much to do, whoever asks; how much one client may ask is for `limits` to say.
        """
        encoded = _encoded(password)
        if len(encoded) > forms.LONGEST_PASSWORD:
            return False
        digest = self._digest(username, encoded)
        if self._knows(username, digest):
            return True
        if not self._all_hashes:
            return False
        if (flight := self._flights.get(digest)) is None:
            if len(self._flights) >= _HASHERS + _MOST_WAITING:
                raise Unavailable("Too many passwords are being checked; try again in a moment.")
            flight = self._owner.start("password", self._check(username, encoded, digest))
            self._flights[digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(digest))
        # A client that leaves ends its own waiting alone.
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise Unavailable("Liveman is shutting down.")
        return flight.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._owner.__aexit__(kind, error, trace)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check(self, username: str, encoded: bytes, digest: bytes) -> bool:
        loop = asyncio.get_running_loop()
        own = self._hashes.get(username)
        spent = own or self._all_hashes[int.from_bytes(self._digest(username, b"")) % len(self._all_hashes)]
        matches = await loop.run_in_executor(self._threads, _matches, spent, encoded)
        if own is None or not matches:
            return False
        self._known[username] = digest
        loop.call_later(_KNOWN_SECONDS, self._known.pop, username, None)
        return True

    def _knows(self, username: str, digest: bytes) -> bool:
        return hmac.compare_digest(self._known.get(username, self._nobody), digest)

    def _digest(self, username: str, encoded: bytes) -> bytes:
        name = _encoded(username)
        # The length keeps ("a", "bc") and ("ab", "c") apart.
        return hashlib.blake2b(
            len(name).to_bytes(8, "big") + name + encoded, digest_size=32, key=self._key
        ).digest()


def hash_password(text: str) -> str:
    """The argon2id hash of a password, with RFC 9106's parameters for little memory. Takes its time.

    Raises ValueError for the empty password, and for one that is too long to log in with.
    """
    encoded = _encoded(forms.filled(text))
    if len(encoded) > forms.LONGEST_PASSWORD:
        raise ValueError(f"must have at most {forms.LONGEST_PASSWORD} bytes")
    return PasswordHasher().hash(encoded)


def _matches(hash: str, encoded: bytes) -> bool:
    try:
        return PasswordHasher().verify(hash, encoded)
    except VerifyMismatchError:
        return False
    except VerificationError as error:
        raise Unavailable("The password cannot be checked now; the log tells why.") from error


def _encoded(text: str) -> bytes:
    # JSON can hold halves of surrogate pairs, which are no UTF-8, and nobody's password.
    return text.encode("utf-8", "surrogatepass")
