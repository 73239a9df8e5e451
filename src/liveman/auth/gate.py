"""The guard's and the proxy's one question: who is it, and may that one come in?"""

import asyncio
import hashlib
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from attrs import define, field

from liveman.access import ANYONE, MANAGE, PUBLISH, SUBSCRIBE, Action, Identity, Rule
from liveman.auth.claims import LEEWAY
from liveman.auth.credentials import Password, Token, shown
from liveman.auth.limits import Buckets, check_quotas, client_network, login_failures
from liveman.auth.live import Live, Session
from liveman.auth.passwords import Passwords
from liveman.auth.revocation import Revocations
from liveman.auth.tokens import Tokens
from liveman.auth.webhook import Webhook
from liveman.config import Auth, Quotas
from liveman.errors import LivemanError, NotAllowed, NotAuthenticated, TooMany
from liveman.forwarded import Network
from liveman.hosted import Hosted
from liveman.inbound import Inbound

__all__ = ["AskHost", "Gate", "Seat"]

AskHost = Callable[[web.Request], Identity | Awaitable[Identity | None] | None]
"""How a host application says who is asking; None: it does not know."""

_ALL = MANAGE | PUBLISH | SUBSCRIBE
_MOST_KEYS = 100_000


@define
class Gate:
    """Finds out who asks, and lets publishers and viewers in."""

    auth: Auth
    passwords: Passwords
    revocations: Revocations
    live: Live
    subscribers: Callable[[str], int]
    """How many subscribers a stream has on all nodes."""
    trusted: Sequence[Network] = ()
    ask_host: AskHost | None = None
    webhook: Webhook | None = None
    tokens: Tokens = field(init=False)
    """Set before the first request."""
    failures: Buckets = field(factory=login_failures, init=False)
    _by_address: Buckets | None = field(init=False)
    _by_subject: Buckets | None = field(init=False)
    _counted: bool = field(init=False)
    """Whether there are quotas."""
    _seats: set["Seat"] = field(factory=set, init=False)
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        limits = self.auth.rate_limits
        self._counted = self.auth.quotas != Quotas()
        self._by_address = _per_minute(limits.address_per_minute)
        self._by_subject = _per_minute(limits.subject_per_minute)

    @property
    def closed(self) -> bool:
        """Whether a request must say who asks."""
        return self.auth.required or self.ask_host is not None

    async def identify(self, inbound: Inbound, rule: Rule) -> Identity:
        """Who asks. Raises NotAuthenticated, BadRequest, NotAllowed, TooMany, Unavailable."""
        if inbound.method == "POST":
            self.count(inbound)
        identity = await self._identity(inbound, rule)
        if self._by_subject is not None and inbound.method == "POST" and identity is not ANYONE:
            _take(self._by_subject, identity.subject)
        return identity

    def count(self, inbound: Inbound) -> None:
        """One more POST from this address. Raises TooMany."""
        if self._by_address is not None:
            _take(self._by_address, client_network(inbound.address))

    async def login(self, inbound: Inbound, username: str, password: str) -> bool:
        """Whether the account has this password. Raises TooMany after too many failures, and Unavailable."""
        who = (client_network(inbound.address), username)
        # Also where the password is right: else a guess would be told from all others by its answer.
        if wait := self.failures.take(who, time.monotonic()):
            raise TooMany("Too many failed logins; try again later.", retry_after=wait)
        right = False
        try:
            right = await self.passwords.verify(username, password)
        finally:
            # Nothing is known of a guess that was not judged.
            if right:
                self.failures.give_back(who)
        return right

    async def shown_by(self, inbound: Inbound, token: str) -> Identity:
        """Whose token this is. Raises NotAuthenticated, TooMany."""
        return self._unless_revoked(await self.tokens.identify(token, client_network(inbound.address)))

    def good(self, identity: Identity) -> bool:
        """Whether the one who was let in may stay: the token has neither expired nor been revoked."""
        expired = identity.expires_at is not None and identity.expires_at + LEEWAY <= time.time()
        return not expired and not self._revoked(identity)

    async def admit(self, inbound: Inbound, action: Action) -> "Seat":
        """Let somebody publish or subscribe: the caller `leave`s the seat in the end, whatever comes of it.

        Raises NotAllowed, NotAuthenticated, TooMany, Unavailable.
        """
        await self.consult(inbound, action)
        seat = Seat(self, inbound.identity, action, inbound.stream)
        if self._counted:
            self._check_quotas(seat)
            self._seats.add(seat)
        return seat

    def _check_quotas(self, asked: "Seat") -> None:
        action, stream, subject = asked.action, asked.stream, asked.identity.subject
        quotas = self.auth.quotas
        seats = [seat for seat in self._seats if seat.action == action]
        of_stream = of_subject = 0
        if action == "subscribe" and quotas.subscribers_per_stream:
            waiting = sum(1 for seat in seats if seat.waiting and seat.stream == stream)
            of_stream = self.subscribers(stream) + waiting
        if asked.identity is not ANYONE and quotas.of_subject(action):
            mine = sum(1 for seat in seats if seat.identity.subject == subject)
            of_subject = self.live.count(subject, action) + mine
        check_quotas(quotas, action, of_stream=of_stream, of_subject=of_subject)

    async def consult(self, inbound: Inbound, action: Action) -> None:
        """Ask the outside service, if there is one and the asker is nobody who may do everything anyway."""
        identity = inbound.identity
        if self.webhook is None or (identity.stream == "*" and identity.mode & MANAGE):
            return
        try:
            credentials = shown(inbound, Rule(), self.trusted)
        except LivemanError:
            # The host knows this one by means of its own, and what those look like is not Liveman's business.
            credentials = None
        token = credentials.text if isinstance(credentials, Token) else ""
        subject = "" if identity.undecided else identity.subject
        try:
            await self.webhook.admit(subject, token, action, inbound.stream, inbound.address)
        except NotAllowed:
            if identity.undecided and not token:
                raise NotAuthenticated from None
            raise

    async def _identity(self, inbound: Inbound, rule: Rule) -> Identity:
        if self.ask_host is not None:
            assert isinstance(inbound, Hosted)
            found = self.ask_host(inbound.request)
            identity = await found if inspect.isawaitable(found) else found
            if identity is not None:
                if identity.undecided and self.webhook is None:
                    raise NotAuthenticated
                return self._unless_revoked(identity)
        if not self.closed:
            return ANYONE
        credentials = shown(inbound, rule, self.trusted)
        if isinstance(credentials, Password):
            if not await self.login(inbound, credentials.username, credentials.password):
                raise NotAuthenticated("The name or the password is wrong.")
            return Identity(credentials.username, "*", _ALL)
        if isinstance(credentials, Token):
            return self._unless_revoked(await self._bearer(inbound, credentials.text))
        if self.webhook is not None and rule.outside:
            return Identity(f"address:{inbound.address}", undecided=True)
        raise NotAuthenticated

    async def _bearer(self, inbound: Inbound, token: str) -> Identity:
        known = self.tokens.known(token)
        if known is not None:
            return known
        try:
            return await self.tokens.identify(token, client_network(inbound.address))
        except NotAuthenticated:
            if self.webhook is None:
                raise
            # Nobody can learn the token from its name.
            data = token.encode("utf-8", "surrogatepass")
            name = hashlib.blake2b(data, key=self._key, digest_size=16).hexdigest()
            return Identity(f"token:{name}", undecided=True, token_id=name)

    def _revoked(self, identity: Identity) -> bool:
        return bool(identity.token_id) and identity.token_id in self.revocations

    def _unless_revoked(self, identity: Identity) -> Identity:
        if self._revoked(identity):
            raise NotAuthenticated("The token has been revoked.")
        return identity


@define(eq=False)
class Seat:
    """One who was let in and has no session yet."""

    gate: Gate = field(repr=False)
    identity: Identity
    action: Action
    stream: str
    waiting: bool = True
    """Whether no node is asked for the session now; where one is, it counts there."""

    def taken(self, alias: str, session: str) -> None:
        """A node has made the session. Raises NotAuthenticated when the token was revoked meanwhile."""
        gate = self.gate
        if gate._revoked(self.identity):
            raise NotAuthenticated("The token has been revoked.")
        if self.identity is not ANYONE:
            gate.live.add(Session(self.action, alias, self.stream, session), self.identity)
        self.leave()

    def leave(self) -> None:
        self.gate._seats.discard(self)


def _per_minute(count: int) -> Buckets | None:
    return Buckets(count / 60, count, _MOST_KEYS) if count else None


def _take(buckets: Buckets, key: str) -> None:
    if wait := buckets.take(key, asyncio.get_running_loop().time()):
        raise TooMany(retry_after=wait)
