"""The lists of nodes and streams over HTTP, and as event streams."""

from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Rule
from liveman.cluster import listing
from liveman.cluster.cluster import Cluster
from liveman.cluster.documents import answer
from liveman.inbound import Answer, Inbound
from liveman.middleware import INBOUND, Route, Signal

__all__ = ["routes"]

_LIST = Rule(MANAGE | PUBLISH | SUBSCRIBE)
_ONE = Rule(SUBSCRIBE, "stream")


def routes(cluster: Cluster) -> list[Route | Signal]:
    lists = cluster.lists

    async def nodes(inbound: Inbound) -> Answer | None:
        return await answer(inbound, await lists.nodes.document())

    async def streams(inbound: Inbound) -> Answer | None:
        asked = [value for name, value in parse_qsl(inbound.query) if name == "nodes"]
        return await answer(inbound, await lists.streams(asked).document())

    async def stream(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        with_ids = inbound.identity.stream == "*"
        return _json(listing.nodes_of_stream(cluster.state, inbound.stream, with_ids=with_ids))

    return [
        Signal("GET", "/api/nodes/", nodes, _LIST),
        Signal("GET", "/api/streams/", streams, _LIST),
        Signal("GET", "/api/sse/nodes", lists.nodes_feed.listen, _LIST),
        Signal("GET", "/api/sse/streams", lists.streams_feed.listen, _LIST),
        Route("GET", "/api/streams/{stream}", stream, _ONE),
    ]


def _json(data: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json")
