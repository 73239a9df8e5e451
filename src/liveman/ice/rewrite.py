"""A node's Link fields and Liveman's ICE servers become the client's Link fields (RFC 9725, section 4.6)."""

import re
from collections.abc import Iterator, Sequence

from liveman.config import Secret
from liveman.ice.link import Link, build_link, parse_links
from liveman.ice.server import IceServer, is_turn

__all__ = ["rewrite_links"]


def rewrite_links(
    values: Sequence[str],
    *,
    session: str,
    location: str,
    override: bool,
    servers: Sequence[IceServer],
    max_urls: int = 12,
) -> tuple[list[str], list[str]]:
    """The Link fields for the client, one link in each, and the ICE urls that ``max_urls`` left out.

    values: the node's fields. session: the raw last segment of the node's Location; links below it get
    ``location``, Liveman's path of that session, instead. override: whether the node's ICE servers are
    dropped; its other links never are.
    ICE links come first, the node's before ``servers``, each url with its credentials once. What is malformed
    in the node's links, or a turn link without credentials, is left out.
    """
    ice: dict[tuple[str, str, str], None] = {}
    others = []
    for link in parse_links(values):
        if not link.has_rel("ice-server"):
            others.append(_moved(link, session, location))
        elif not override and (server := _ice_server(link)):
            ice.update(_entries(server))
    for server in servers:
        ice.update(_entries(server))
    entries = list(ice)
    fields = [_ice_field(*entry) for entry in entries[:max_urls]]
    fields.extend(_fields(others))
    return fields, [url for url, _, _ in entries[max_urls:]]


def _ice_server(link: Link) -> IceServer | None:
    if link.get("credential-type").lower() not in ("", "password"):
        return None
    try:
        return IceServer((link.target,), link.get("username"), Secret(link.get("credential")))
    except ValueError:
        return None


def _entries(server: IceServer) -> dict[tuple[str, str, str], None]:
    credentials = (server.username, server.credential.reveal())
    return dict.fromkeys((url, *(credentials if is_turn(url) else ("", ""))) for url in server.urls)


def _ice_field(url: str, username: str, credential: str) -> str:
    params = (("username", username), ("credential", credential), ("credential-type", "password"))
    return build_link(Link(url, "ice-server", params if is_turn(url) else ()))


_AUTHORITY = re.compile(r"(?:https?:)?//[^/?#]*", re.IGNORECASE)


def _moved(link: Link, session: str, location: str) -> Link:
    """The link with its target below Liveman's session, when it is below the node's; else as it is.

    All that follows ``/session/`` is looked through: a node writes a stream's name unescaped, "?" included.
    """
    path = _AUTHORITY.sub("", link.target, count=1)
    _, _, inside = f"/{path}".partition("/session/")
    _, found, below = inside.partition(f"/{session}")
    if not session or not found or (below and below[0] not in "/?#"):
        return link
    return Link(location + below, link.rel, link.params)


def _fields(links: Sequence[Link]) -> Iterator[str]:
    for link in links:
        try:
            yield build_link(link)
        except ValueError:
            continue
