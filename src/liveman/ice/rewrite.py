"""A node's Link fields and Liveman's ICE servers become the client's Link fields (RFC 9725, section 4.6)."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from liveman.config import Secret
from liveman.ice.link import Link, build_link, build_params, parse_links
from liveman.ice.server import IceServer, is_turn

__all__ = ["rewrite_links"]


def rewrite_links(
    values: Sequence[str],
    *,
    session: str,
    location: str,
    override: bool,
    servers: Sequence[IceServer],
    max_urls: int,
) -> tuple[list[str], list[str]]:
    """The Link fields for the client, one link in each, and the ICE urls that ``max_urls`` left out.

    values: the node's fields. session: the raw last segment of the node's Location; links below it get
    ``location``, Liveman's path of that session, instead. override: whether the node's ICE servers are
    dropped; its other links never are.
    ICE links come first, the node's before ``servers``, each url with its credentials once. What is malformed
    in the node's links, or a turn link without credentials, is left out.
    """
    ice: dict[str, str] = {}
    others = []
    for value in values:
        # Nodes repeat their open servers with every session; credentials are not kept here.
        own, links = _read(value) if "credential" in value else _read_again(value)
        if not override:
            ice.update(own)
        others += [_moved(link, session, location) for link in links]
    for server in servers:
        ice.update(_ice_fields(server))
    fields = [*islice(ice, max_urls), *_fields(others)] if others else list(islice(ice, max_urls))
    return fields, [*islice(ice.values(), max_urls, None)]


def _read(value: str) -> tuple[dict[str, str], list[Link]]:
    """One field of a node: its ICE servers as `_ice_fields` gives them, and its other links."""
    ice: dict[str, str] = {}
    others = []
    for link in parse_links((value,)):
        if not link.has_rel("ice-server"):
            others.append(link)
        elif server := _ice_server(link):
            ice.update(_ice_fields(server))
    return ice, others


_read_again = lru_cache(maxsize=256)(_read)


def _ice_server(link: Link) -> IceServer | None:
    if link.get("credential-type").lower() not in ("", "password"):
        return None
    try:
        return IceServer((link.target,), link.get("username"), Secret(link.get("credential")))
    except ValueError:
        return None


def _ice_fields(server: IceServer) -> dict[str, str]:
    """The field of each url, and the url."""
    params = (
        ("username", server.username),
        ("credential", server.credential.reveal()),
        ("credential-type", "password"),
    )
    closed = build_params("ice-server", params)
    return {f"<{url}>{closed if is_turn(url) else _OPEN}": url for url in server.urls}


_OPEN = build_params("ice-server", ())
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
