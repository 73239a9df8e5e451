"""ICE servers as validated values: STUN and TURN urls (RFC 7064, RFC 7065) with their credentials.

Stricter than the RFCs where a browser is: one bad url makes a whole RTCPeerConnection fail.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Self

from attrs import evolve, field, frozen

from liveman.config import Secret

__all__ = ["IceServer", "IceUrl", "is_turn", "parse_url", "sendable", "transport"]

# A name may hold no more than letters, digits, '-', '.', '_': RFC 3986 would let ';' and ',' stand in a host,
# at which some clients split a Link header.
_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9_-]|\.(?!\.)){0,252})"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<query>\?transport=(?:udp|tcp))?",
    re.IGNORECASE | re.ASCII,
)
_NO_URL = 'must be an ICE url such as "stun:host:3478" or "turn:host:3478?transport=udp"'
_PRINTABLE = re.compile(r"[ -~]*")
_LONGEST = 1024


def parse_url(text: object) -> str:
    """The url with scheme and transport in lower case, ``turn:host:3478?transport=udp``.

    The host is a name, an IPv4 address or an IPv6 address in brackets; the transport is udp or tcp, and none
    stands in stun and stuns urls. Raises ValueError, whose message does not repeat the text.
    """
    if not isinstance(text, str):
        raise ValueError(_NO_URL)
    return _parse_url(text)


# Providers give the same few urls with every lease.
@lru_cache(maxsize=256)
def _parse_url(text: str) -> str:
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(_NO_URL)
    scheme, host, port, query = match.group("scheme", "host", "port", "query")
    scheme = scheme.lower()
    if query and scheme.startswith("stun"):
        raise ValueError("must not name a transport: turn and turns urls alone have one")
    if port and not 1 <= int(port) <= 65_535:
        raise ValueError("must have a port from 1 to 65535")
    if not _is_host(host):
        raise ValueError("has a host that cannot be")
    return f"{scheme}:{host}{':' if port else ''}{port or ''}{(query or '').lower()}"


def transport(url: str) -> str:
    """How a client talks to the server of a url that `parse_url` gave: ``udp``, ``tcp`` or ``tls``."""
    if url.startswith(("stuns:", "turns:")):
        return "tls"
    return "tcp" if url.endswith("=tcp") else "udp"


def is_turn(url: str) -> bool:
    """Whether a url that `parse_url` gave needs credentials."""
    return url.startswith("turn")


IceUrl = Annotated[str, parse_url]
"""A url as a provider's Options name it, so that each one that is wrong is a fault of its own."""


def sendable(text: str) -> str:
    """A text that can stand in a Link header: printable ASCII, at most 1024 characters. Raises ValueError."""
    if len(text) > _LONGEST or not _PRINTABLE.fullmatch(text):
        raise ValueError(f"must be printable ASCII of at most {_LONGEST} characters: it stands in a header")
    return text


def _urls(urls: Iterable[str]) -> tuple[str, ...]:
    if isinstance(urls, str):
        raise TypeError("urls must be several, such as a tuple of one, not a text")
    parsed = []
    for index, url in enumerate(urls):
        try:
            parsed.append(parse_url(url))
        except ValueError as error:
            raise ValueError(f"urls[{index}] {error}") from None
    if not parsed:
        raise ValueError("urls must hold at least one url")
    return tuple(parsed)


def _username(_server: object, _attribute: object, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError("the username must be a text")
    sendable(value)


def _credential(_server: object, _attribute: object, value: object) -> None:
    if not isinstance(value, Secret):
        raise TypeError("the credential must be a Secret")
    sendable(value.reveal())


@frozen
class IceServer:
    """Urls that share one username and credential (the W3C's RTCIceServer). Raises ValueError, TypeError."""

    urls: tuple[IceUrl, ...] = field(converter=_urls)
    username: Annotated[str, sendable] = field(default="", validator=_username)
    credential: Annotated[Secret, sendable] = field(default=Secret(), validator=_credential)
    """turn and turns urls need username and credential."""

    def __attrs_post_init__(self) -> None:
        if not (self.username and self.credential) and any(map(is_turn, self.urls)):
            raise ValueError("turn and turns urls need a username and a credential")

    def over(self, transports: Collection[str]) -> Self | None:
        """The server with the urls that can be reached in these ways (empty: in any); None: there is none."""
        if not transports:
            return self
        urls = tuple(url for url in self.urls if transport(url) in transports)
        return evolve(self, urls=urls) if urls else None

    @classmethod
    def from_json(cls, data: object) -> tuple[Self, ...]:
        """The usable servers in a vendor's decoded JSON: RTCIceServer objects in a list, or a single one.

        ``urls`` may be one text or a list. What cannot be used is left out (a malformed url, a turn url
        without credentials, an entry that is no object), so the result may be empty. Raises ValueError for
        data that is neither a list nor an object.
        """
        if not isinstance(data, list | Mapping):
            raise ValueError("the ICE servers are neither a list nor an object")
        entries = data if isinstance(data, list) else [data]
        servers = (cls._from_entry(entry) for entry in entries if isinstance(entry, Mapping))
        return tuple(server for server in servers if server)

    @classmethod
    def _from_entry(cls, entry: Mapping[Any, Any]) -> Self | None:
        username, credential = _credentials(entry)
        listed = entry.get("urls")
        urls = []
        for text in listed if isinstance(listed, list) else [listed]:
            try:
                url = parse_url(text)
            except ValueError:
                continue
            if credential or not is_turn(url):
                urls.append(url)
        return cls(urls, username, credential) if urls else None


def _credentials(entry: Mapping[Any, Any]) -> tuple[str, Secret]:
    """Both, or neither."""
    match entry.get("username"), entry.get("credential"):
        case str(username), str(credential) if username and credential:
            try:
                return sendable(username), Secret(sendable(credential))
            except ValueError:
                pass
    return "", Secret()


def _is_host(host: str) -> bool:
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif host.rpartition(".")[2].isdecimal():
            ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
