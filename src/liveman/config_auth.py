"""The configuration of who may do what: the section ``[auth]``."""

from typing import Annotated, Literal

from attrs import frozen

from liveman import forms
from liveman.access import Action
from liveman.forms import Between, Secret

__all__ = ["Account", "Auth", "Claims", "Quotas", "RateLimits", "Webhook"]


@frozen
class Account:
    """One user of the dashboard."""

    username: Annotated[str, forms.printable]
    """The name to log in with."""
    password: Annotated[Secret, forms.password]
    """Plain text or an argon2id hash, as `liveman hash-password` prints it."""


@frozen
class Webhook:
    """An outside service that is asked who may publish and subscribe."""

    url: Annotated[str, forms.optional(forms.web_url)] = ""
    """Where it is asked, by POST; empty: not used."""
    secret: Secret = Secret()
    """The key by which the service knows that Liveman asks; must be there with the url."""
    timeout_ms: Annotated[int, Between(1, 60_000)] = 2000
    """The longest that it may delay a request, milliseconds."""
    on_failure: Literal["deny", "allow", "stale"] = "deny"
    """Without an answer: nobody is let in (503), everybody is, or its last answer counts, else nobody."""


@frozen
class RateLimits:
    """How often a client may send a POST, counted by each instance; a minute's number may come at once."""

    address_per_minute: Annotated[int, Between(0)] = 0
    """POSTs from one IPv4 address or IPv6 /64 network; 0: any number."""
    subject_per_minute: Annotated[int, Between(0)] = 0
    """POSTs of one account or token; 0: any number."""


@frozen
class Quotas:
    """How many sessions there may be at once. Each instance counts for itself.

    A stream has one publisher at the most as it is.
    """

    subscribers_per_stream: Annotated[int, Between(0)] = 0
    """The most subscribers of one stream, on all nodes; 0: any number."""
    publishers_per_subject: Annotated[int, Between(0)] = 0
    """The most streams that one account or token publishes; 0: any number."""
    subscribers_per_subject: Annotated[int, Between(0)] = 0
    """The most subscriptions of one account or token; 0: any number."""

    def of_subject(self, action: Action) -> int:
        """The most of these that one account or token may have."""
        return self.publishers_per_subject if action == "publish" else self.subscribers_per_subject


@frozen
class Claims:
    """How outside issuers name the claims of their tokens; ``a.b`` is also the member b of the claim a."""

    stream: Annotated[str, forms.filled] = "id"
    """The one stream that the token is good for, or ``*``."""
    mode: Annotated[str, forms.filled] = "mode"
    """What it permits: 1 (manage), 2 (publish), 4 (subscribe), added up, or a list or text of these words."""
    subject: Annotated[str, forms.filled] = "sub"
    """Whose token it is."""


@frozen
class Auth:
    """Who may do what. Nothing set: everyone may do everything."""

    secret: Secret = Secret()
    """The key of JWTs (HS256) and of session ids."""
    tokens: tuple[Annotated[Secret, forms.token], ...] = ()
    """Static tokens that may do everything."""
    accounts: tuple[Account, ...] = ()
    """Who may log in, each a table ``[[auth.accounts]]``."""
    jwt_public_keys: tuple[Annotated[str, forms.public_key], ...] = ()
    """Keys of outside issuers of JWTs (RS256, ES256, EdDSA), each as PEM or as the JSON of a JWK."""
    jwks_url: Annotated[str, forms.optional(forms.web_url)] = ""
    """Where an outside issuer serves its keys as a JWK set; empty: nowhere. Needs issuer and audience."""
    issuer: str = ""
    """The claim ``iss`` that outside issuers' tokens must have; empty: any or none."""
    audience: str = ""
    """What the claim ``aud`` of outside issuers' tokens must name; empty: they must have none."""
    claims: Claims = Claims()
    """How outside issuers name the claims."""
    webhook: Webhook = Webhook()
    """The service that is asked."""
    rate_limits: RateLimits = RateLimits()
    """How often they may send a POST."""
    quotas: Quotas = Quotas()
    """How many sessions there may be."""

    @property
    def required(self) -> bool:
        """Whether a request must say who asks."""
        known = self.secret or self.tokens or self.accounts or self.trusts_issuers
        return bool(known or self.webhook.url)

    @property
    def trusts_issuers(self) -> bool:
        """Whether tokens of outside issuers are accepted."""
        return bool(self.jwt_public_keys or self.jwks_url)
