"""Streams and sessions at the nodes, as people want them: make a stream, delete one, kick a session."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from liveman.cluster.client import Reply
from liveman.cluster.cluster import Cluster
from liveman.cluster.node import Node
from liveman.errors import Conflict, NodeError, NodeRefusal, NodeUnreachable, NoPlace, NotFound

__all__ = ["create_stream", "delete_stream", "kick"]


#: What can be passed on.
_REFUSALS = {status.value for status in HTTPStatus if status >= 400}

E = TypeVar("E", bound=NodeError)


async def create_stream(cluster: Cluster, stream: str, nodes: Sequence[str] = ()) -> Node:
    """Make a stream on the node that a publisher of it would get; it counts at once.

    Raises Conflict when any node has it, NoPlace, and NodeError, also with a node's refusal.
    """
    if there := cluster.state.streams.get(stream):
        raise Conflict(f"The stream {stream!r} is there already, on {', '.join(sorted(there))}.")
    tried: set[str] = set()
    failure: NodeUnreachable | None = None
    while True:
        decision = cluster.place("publish", stream, nodes=nodes, exclude=tried)
        node = decision.target
        if node is None:
            raise failure or NoPlace(decision.reason)
        reserved = cluster.reserve(node.alias, "made", stream)
        try:
            reply = await cluster.client.create_stream(node, stream)
            if not reply.done:
                raise _refusal(reply)
            cluster.session_created(node.alias, "made", stream, "", reserved)
            cluster.changes.mark()
            return node
        except NodeUnreachable as error:
            cluster.node_failed(node.alias, error.detail)
            failure = _named(node, error)
            tried.add(node.alias)
        except NodeError as error:
            raise _named(node, error) from None
        finally:
            cluster.session_deleted(node.alias, stream, reserved)


async def delete_stream(cluster: Cluster, stream: str) -> None:
    """Delete a stream from all nodes that have it.

    Raises NotFound when none has, NodeError with all those that failed.
    """
    aliases = sorted(cluster.state.streams.get(stream, ()))
    if not aliases:
        raise NotFound(f"No node has the stream {stream!r}.")
    answers = await asyncio.gather(*(_delete_at(cluster, alias, stream) for alias in aliases))
    failed = [answer for answer in answers if answer is not None]
    if failed:
        words = "; ".join(f"{each['alias']}: {each['detail']}" for each in failed)
        raise NodeError(f"The stream {stream!r} is not gone everywhere: {words}", members={"failed": failed})


async def kick(cluster: Cluster, stream: str, session: str) -> None:
    """End a session, by the node's own id. Raises NotFound when nobody has it, and NodeError."""
    node = await cluster.find_session(stream, session) if session else None
    if node is None:
        raise NotFound("No node has this session.")
    try:
        reply = await cluster.client.end_session(node, stream, session)
        if not (reply.done or reply.status == 404):
            raise _refusal(reply)
    except NodeError as error:
        raise _named(node, error) from None
    cluster.session_deleted(node.alias, stream, session)


async def _delete_at(cluster: Cluster, alias: str, stream: str) -> dict[str, Any] | None:
    """None: it is gone there."""
    node = cluster.node(alias)
    if node is None:
        return None
    try:
        reply = await cluster.client.delete_stream(node, stream)
    except NodeError as error:
        if isinstance(error, NodeUnreachable):
            cluster.node_failed(alias, error.detail)
        return {"alias": alias, "status": None, "detail": error.detail}
    if reply.done or reply.status == 404:
        cluster.stream_deleted(alias, stream)
        return None
    return {"alias": alias, "status": reply.status, "detail": _said(reply)}


def _refusal(reply: Reply) -> NodeError:
    """What the node said, with its status where that means to a client what it means to Liveman."""
    if reply.status in (401, 403):
        return NodeError("it refused Liveman's own token")
    return NodeRefusal(reply.status if reply.status in _REFUSALS else 502, _said(reply))


def _said(reply: Reply) -> str:
    return reply.text or f"it answered with {reply.status}"


def _named(node: Node, error: E) -> E:
    error.detail = f"Node {node.alias}: {error.detail}"
    return error
