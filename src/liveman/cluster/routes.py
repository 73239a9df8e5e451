"""What can be read over HTTP: the lists of nodes and streams, also as event streams, and decisions."""

from collections.abc import Callable
from urllib.parse import parse_qsl, quote

import msgspec
from aiohttp import web

from liveman.access import MANAGE, PUBLISH, READ_ALL, SUBSCRIBE, Identity, Rule, stream_name
from liveman.cluster import listing
from liveman.cluster.cluster import Cluster
from liveman.cluster.decision import decision_row
from liveman.cluster.documents import answer
from liveman.cluster.journal import KEPT
from liveman.cluster.state import Kind
from liveman.errors import BadRequest
from liveman.inbound import Answer, Inbound
from liveman.middleware import INBOUND, Route, Signal

__all__ = ["routes"]

_KINDS: dict[str, Kind] = {"whip": "publish", "whep": "subscribe"}

_FEED = Rule(MANAGE | PUBLISH | SUBSCRIBE, query_token=True)
_ONE = Rule(SUBSCRIBE, "stream")


def routes(cluster: Cluster, good: Callable[[Identity], bool]) -> list[Route | Signal]:
    """``good``: whether one who was let in may go on listening."""
    lists = cluster.lists

    async def listen_to_nodes(inbound: Inbound) -> Answer | None:
        return await lists.nodes_feed.listen(inbound, good)

    async def listen_to_streams(inbound: Inbound) -> Answer | None:
        return await lists.streams_feed.listen(inbound, good)

    async def nodes(inbound: Inbound) -> Answer | None:
        return await answer(inbound, await lists.nodes.document())

    async def streams(inbound: Inbound) -> Answer | None:
        asked = [value for name, value in parse_qsl(inbound.query) if name == "nodes"]
        return await answer(inbound, await lists.streams(asked).document())

    async def stream(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        with_ids = inbound.identity.stream == "*"
        return _json(listing.nodes_of_stream(cluster.state, inbound.stream, with_ids=with_ids))

    async def placement(request: web.Request) -> web.Response:
        query = request.query
        stream = stream_name(quote(query.get("stream", ""), safe=""))
        if (kind := _KINDS.get(query.get("kind", ""))) is None:
            raise BadRequest("Say kind=whip for a publisher, or kind=whep for a viewer.")
        return _json(decision_row(cluster.preview(kind, stream, query.getall("nodes", ()))))

    async def decisions(request: web.Request) -> web.Response:
        limit = request.query.get("limit", str(KEPT))
        if not limit.isdecimal() or not limit.isascii() or not 1 <= int(limit[:9]) <= KEPT:
            raise BadRequest(f"limit is a number from 1 to {KEPT}.")
        return _json(cluster.journal.newest(stream=request.query.get("stream"), limit=int(limit)))

    return [
        Signal("GET", "/api/nodes/", nodes, READ_ALL),
        Signal("GET", "/api/streams/", streams, READ_ALL),
        Signal("GET", "/api/sse/nodes", listen_to_nodes, _FEED),
        Signal("GET", "/api/sse/streams", listen_to_streams, _FEED),
        Route("GET", "/api/streams/{stream}", stream, _ONE),
        Route("GET", "/api/placement", placement, READ_ALL),
        Route("GET", "/api/decisions", decisions, READ_ALL),
    ]


def _json(data: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json")
