"""The lists of nodes and streams over HTTP."""

import msgspec
from aiohttp import web

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Rule
from liveman.cluster import listing
from liveman.cluster.cluster import Cluster
from liveman.middleware import INBOUND, Route

__all__ = ["routes"]

_LIST = Rule(MANAGE | PUBLISH | SUBSCRIBE)
_ONE = Rule(SUBSCRIBE, "stream")


def routes(cluster: Cluster) -> list[Route]:
    async def nodes(request: web.Request) -> web.Response:
        return _json([listing.node_row(node) for node in cluster.nodes()])

    async def streams(request: web.Request) -> web.Response:
        return _json(listing.streams(cluster.state, request.query.getall("nodes", ())))

    async def stream(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        with_ids = inbound.identity.stream == "*"
        return _json(listing.nodes_of_stream(cluster.state, inbound.stream, with_ids=with_ids))

    return [
        Route("GET", "/api/nodes/", nodes, _LIST),
        Route("GET", "/api/streams/", streams, _LIST),
        Route("GET", "/api/streams/{stream}", stream, _ONE),
    ]


def _json(data: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json")
