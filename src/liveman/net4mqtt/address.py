"""Where the broker is and who we are there, from ``mqtt://[user:password@]host:port/prefix?client_id=…``."""

from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen

from liveman.forms import Secret, mqtt_url, topic_level

__all__ = ["BrokerAddress", "parse_broker_url"]

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_PREFIX = "net4mqtt"


@frozen
class BrokerAddress:
    """A broker's URL, taken apart. Nothing that is secret shows in its repr."""

    scheme: str
    host: str
    port: int
    prefix: str
    """What all topics begin with, without outer slashes."""
    client_id: str
    user: str | None = None
    password: Secret = field(default=Secret())

    @property
    def encrypted(self) -> bool:
        return self.scheme in ("mqtts", "wss")

    def __str__(self) -> str:
        """For logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.prefix}"


def parse_broker_url(url: Secret, *, alias: str = "", client_id: str) -> BrokerAddress:
    """``{alias}`` in the URL stands for the alias; ``client_id`` serves where the URL has none.

    Raises ValueError with what is wrong, which never repeats the URL.
    """
    text = mqtt_url(url.reveal().replace("{alias}", alias))
    parts = urlsplit(text)
    prefix = unquote(parts.path).strip("/") or _PREFIX
    for level in prefix.split("/"):
        if not level:
            raise ValueError("must have no empty level in its path, which is the prefix of all topics")
        topic_level(level)
    given = parse_qs(parts.query).get("client_id", [""])[-1]
    return BrokerAddress(
        parts.scheme,
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        prefix,
        given or client_id,
        None if parts.username is None else unquote(parts.username),
        Secret(unquote(parts.password or "")),
    )
