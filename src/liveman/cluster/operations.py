"""What is changed over HTTP: nodes at run time, drains, streams and their sessions."""

from typing import Annotated, Any
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web
from attrs import frozen

from liveman import forms
from liveman.access import MANAGE, Rule
from liveman.audit import audit
from liveman.cluster import listing, streams
from liveman.cluster.cluster import Cluster
from liveman.cluster.node import Node
from liveman.cluster.registry import Registry
from liveman.config import NodeConfig
from liveman.json_body import read_json
from liveman.middleware import INBOUND, Route

__all__ = ["routes"]

_NODES = Rule(MANAGE)
_STREAM = Rule(MANAGE, "stream")


@frozen
class DrainRequest:
    """How a node is to be emptied."""

    deadline: Annotated[float, forms.seconds] | None = None
    """After so many seconds all that is left is closed; null: never."""
    close: bool = False
    """Whether subscribers are closed that can come back to other nodes."""


def routes(cluster: Cluster, registry: Registry) -> list[Route]:
    async def add(request: web.Request) -> web.Response:
        node = Node.from_config(await read_json(request, NodeConfig), "api")
        await registry.add(node)
        audit(request[INBOUND], "node added", node=node.alias, url=node.url)
        where = f"{request[INBOUND].prefix}/api/nodes/{quote(node.alias, safe='')}"
        row = listing.node_row(cluster.state.nodes[node.alias])
        return _json(row, status=201, headers={"Location": where})

    async def remove(request: web.Request) -> web.Response:
        await registry.remove(_alias(request))
        audit(request[INBOUND], "node removed", node=_alias(request))
        return web.Response(status=204)

    async def drain(request: web.Request) -> web.Response:
        wanted = await read_json(request, DrainRequest)
        status = await registry.drain(_alias(request), seconds=wanted.deadline, close=wanted.close)
        audit(request[INBOUND], "node is drained", node=_alias(request))
        return _json(status)

    async def draining(request: web.Request) -> web.Response:
        return _json(registry.draining(_alias(request)))

    async def end_drain(request: web.Request) -> web.Response:
        status = await registry.end_drain(_alias(request))
        audit(request[INBOUND], "node is back in service", node=_alias(request))
        return _json(status)

    async def create(request: web.Request) -> web.Response:
        nodes = request.query.getall("nodes", ())
        node = await streams.create_stream(cluster, request[INBOUND].stream, nodes)
        audit(request[INBOUND], "stream made", stream=request[INBOUND].stream, node=node.alias)
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.Response:
        await streams.delete_stream(cluster, request[INBOUND].stream)
        audit(request[INBOUND], "stream deleted", stream=request[INBOUND].stream)
        return web.Response(status=204)

    async def kick(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        session = unquote(inbound.segments[-1])
        await streams.kick(cluster, inbound.stream, session)
        audit(inbound, "session ended", stream=inbound.stream, session=session)
        return web.Response(status=204)

    return [
        Route("POST", "/api/nodes/", add, _NODES),
        Route("DELETE", "/api/nodes/{alias}", remove, _NODES),
        Route("PUT", "/api/nodes/{alias}/drain", drain, _NODES),
        Route("GET", "/api/nodes/{alias}/drain", draining, _NODES),
        Route("DELETE", "/api/nodes/{alias}/drain", end_drain, _NODES),
        Route("POST", "/api/streams/{stream}", create, _STREAM),
        Route("DELETE", "/api/streams/{stream}", delete, _STREAM),
        Route("DELETE", "/api/streams/{stream}/sessions/{session}", kick, _STREAM),
    ]


def _alias(request: web.Request) -> str:
    return unquote(request[INBOUND].segments[2])


def _json(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(data)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
