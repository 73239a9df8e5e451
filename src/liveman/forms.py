"""What a value of the configuration may look like: each form gives the value back as Liveman uses it.

A form takes one value and raises ValueError with what is wrong and what to write instead. The message never
repeats the value, which may hold a password.
"""

import base64
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from attrs import frozen

__all__ = [
    "LONGEST_PASSWORD",
    "Between",
    "Secret",
    "address",
    "agent_id",
    "alias",
    "domain",
    "filled",
    "is_host",
    "mqtt_url",
    "network",
    "node_url",
    "optional",
    "origin",
    "parse_address",
    "password",
    "printable",
    "public_key",
    "public_url",
    "seconds",
    "token",
    "topic_level",
    "web_url",
]


@frozen
class Secret:
    """A text that no repr, log or error shows. ``reveal()`` gives it; empty is falsy."""

    _value: str = ""

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"


@frozen
class Between:
    """A whole number within bounds, both included."""

    low: int
    high: int = 2**31 - 1

    def __call__(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ValueError(f"must be a whole number from {self.low} to {self.high}")
        return value


def seconds(value: float) -> float:
    """A length of time, up to a year."""
    if not 0 <= value <= 31_536_000:
        raise ValueError("must be seconds, from 0 to 31536000 (a year)")
    return value


def optional(form: Callable[[str], str]) -> Callable[[str], str]:
    """The empty text, which stands for "not set", or this form."""
    return lambda text: form(text) if text else text


def filled(text: str) -> str:
    """Any text but the empty one."""
    if not text:
        raise ValueError("must not be empty")
    return text


def printable(text: str) -> str:
    """What can stand in a log and in a token, such as an account's name."""
    if not 1 <= len(text) <= 255 or not text.isprintable():
        raise ValueError("must be a text of 1 to 255 printable characters")
    return text


def parse_address(text: str) -> tuple[str, int]:
    """The host and the port of ``host:port``; an IPv6 host stands in brackets, which are taken off."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError('must be host:port, such as "0.0.0.0:8888"')
    if not host:
        raise ValueError('has no host before the port; write "0.0.0.0" or "[::]" for every interface')
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError('must have its IPv6 host in brackets, such as "[::]:8888"')
    if not is_host(host):
        raise ValueError("has a host that is neither a name nor an IP address")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError("must end in a port from 0 to 65535")
    return host.strip("[]"), int(port)


def address(text: str) -> str:
    """``host:port``."""
    parse_address(text)
    return text


def public_url(text: str) -> str:
    """``http(s)://host[:port][/prefix]``, given back without a final slash."""
    return _plain_url(text, example="https://live.example.org")


def node_url(text: str) -> str:
    """``http(s)://host[:port][/prefix]``, given back without a final slash."""
    return _plain_url(text, example="http://127.0.0.1:7777", remedy="; a token belongs into the key token")


def web_url(text: str) -> str:
    """``http(s)://host[:port][/path][?query]``, given back as it is."""
    parts = _split(text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must begin with https:// or http://")
    if "@" in parts.netloc or "#" in text:
        raise ValueError("must not hold a user or password, or a fragment (#)")
    return text


def public_key(text: str) -> str:
    """What `token_key.parse_public_key` takes."""
    # It brings a library with it that takes a tenth of a second to load.
    from liveman.token_key import parse_public_key

    parse_public_key(text)
    return text


def origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454, section 6.2): in lower case, without the usual port."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s/?#@]+)", text)
    if match is None:
        raise ValueError(
            'must be scheme://host[:port] without a path or final slash; "cors = true" is for any'
        )
    scheme = match[1].lower()
    parts = _split(text)
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(scheme)) else f":{parts.port}"
    return f"{scheme}://{_host(parts)}{port}"


def network(text: str) -> str:
    """An IP network or address; an address is the network of itself alone."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError('must be a network such as "10.0.0.0/8" or "fd00::/8"') from None
    raise ValueError(f'has bits set beyond its length; write "{wider}"')


def alias(text: str) -> str:
    """A node's alias: a segment of a path and a value of a query."""
    if not 1 <= len(text.encode("utf-8", "replace")) <= 255:
        raise ValueError("must have 1 to 255 bytes")
    if text in (".", "..") or not text.isprintable() or re.search(r"[/\\?#%]", text) or text != text.strip():
        raise ValueError("stands in URLs: no / \\ ? # %, no control characters or outer blanks, not . or ..")
    return text


def token(text: str) -> str:
    """What can stand in a header as a Bearer token (RFC 6750, section 2.1, taken widely)."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be printable ASCII without blanks, and not empty, since it stands in a header")
    return text


#: Bytes. More is no password that anyone types.
LONGEST_PASSWORD = 1024

_HASH = re.compile(r"\$(argon2\w*|2[abxy]?|[1567y]|gy|md5|sha1|apr1|bcrypt[\w-]*|scrypt|pbkdf2[\w-]*)\$")
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", re.ASCII
)


def password(text: str) -> str:
    """Plain text, or an argon2id hash in the PHC string format, of at most 1 GiB and 100 passes."""
    remedy = "; `liveman hash-password` makes one"
    if len(filled(text).encode()) > LONGEST_PASSWORD:
        raise ValueError(f"must have at most {LONGEST_PASSWORD} bytes")
    if not _HASH.match(text):
        return text
    if not text.startswith("$argon2id$"):
        raise ValueError(f"must be plain text or an argon2id hash; this is another kind of hash{remedy}")
    match = _PHC.fullmatch(text)
    if match is None or not (_is_base64(match[4], 8) and _is_base64(match[5], 16)):
        raise ValueError(f"must be a whole argon2id hash; this one is broken, or cut off{remedy}")
    memory, passes, lanes = int(match[1]), int(match[2]), int(match[3])
    if not (lanes >= 1 and 8 * lanes <= memory <= 1024 * 1024 and 1 <= passes <= 100):
        raise ValueError(f"has parameters that no argon2id hash can have here{remedy}")
    return text


def topic_level(text: str) -> str:
    """One level of an MQTT topic (MQTT 3.1.1, section 4.7)."""
    if not text.isprintable() or re.search(r"[/+#]", text) or text == "-":
        raise ValueError("stands in MQTT topics: no / + #, no control characters, and not - alone")
    return text


def agent_id(text: str) -> str:
    """What the id of an agent must be that is a node: the first label of its URL's host."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", text) or text == "-":
        raise ValueError("must be the first part of a host's name: 1 to 63 letters, digits, - _, not - alone")
    return text


def domain(text: str) -> str:
    """A domain name."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", text):
        raise ValueError('must be a domain name such as "net4mqtt.local"')
    return text.lower()


def mqtt_url(text: str) -> str:
    """``mqtt://[user:password@]host:port/prefix?client_id=…``, or mqtts, ws, wss; it may hold ``{alias}``."""
    parts = _split(text)
    if parts.scheme not in ("mqtt", "mqtts", "ws", "wss"):
        raise ValueError("must begin with mqtt://, mqtts://, ws:// or wss://")
    if "@" in parts.path + parts.query + parts.fragment:
        # Else a part of the password would pass for the host and the prefix, which logs show.
        raise ValueError("must write / ? # @ in its user, password and prefix as %2F %3F %23 %40")
    return text


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _plain_url(text: str, *, example: str, remedy: str = "") -> str:
    parts = _split(text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f'must begin with http:// or https://, such as "{example}"')
    if "@" in parts.netloc:
        raise ValueError(f"must not hold a user or password{remedy}")
    if "?" in text or "#" in text:
        raise ValueError("must not hold a query (?) or a fragment (#)")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(text: str) -> SplitResult:
    """An absolute URL whose host and port are sound; 'http:/x' and 'http://:80' are not."""
    if not text.isprintable() or " " in text:
        raise ValueError("must not hold blanks or control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("has a host or port that cannot be; an IPv6 host stands in brackets") from None
    if not parts.scheme or not parts.hostname:
        raise ValueError("must be a whole URL: scheme://host[:port]")
    authority = parts.netloc.rpartition("@")[2]
    whole = re.fullmatch(re.escape(_host(parts)) + r"(:[0-9]+)?", authority, re.IGNORECASE)
    if not whole or not is_host(_host(parts)) or port == 0:
        raise ValueError("has a host or port that cannot be")
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def is_host(text: str) -> bool:
    """A name, an IPv4 address, or an IPv6 address in brackets. Names may hold what DNS has not, such as _."""
    try:
        if text.startswith("["):
            ipaddress.IPv6Address(text[1:-1])
            return True
        if re.fullmatch(r"[0-9.]+", text):
            ipaddress.IPv4Address(text)
            return True
    except ValueError:
        return False
    return bool(re.fullmatch(r"[^\s\x00-\x2c/:;<=>?@\[\\\]^`{|}]+", text)) and text[0] not in ".-"


def _is_base64(text: str, least: int) -> bool:
    """Without padding, as it is written for these bytes and no others."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False
    return len(data) >= least and base64.b64encode(data).decode().rstrip("=") == text
