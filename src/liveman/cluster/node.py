"""A node as it was declared or discovered, and the way to it."""

from typing import Literal

from attrs import field, frozen

from liveman.config import NodeConfig, Secret

__all__ = ["Node", "Way"]


@frozen
class Node:
    """One live777 node, as it was declared."""

    alias: str
    url: str
    token: Secret = field(factory=Secret)
    mode: Literal["auto", "sse", "poll"] = "auto"
    pub_max: int = 65_535
    sub_max: int = 65_535
    kind: Literal["config", "api", "net4mqtt", "demo"] = "config"

    @classmethod
    def from_config(cls, node: NodeConfig, kind: Literal["config", "api"] = "config") -> "Node":
        return cls(node.alias, node.url, node.token, node.mode, node.pub_max, node.sub_max, kind)


@frozen
class Way:
    """How it stands with the way to a node that nobody can dial, which leads over an MQTT broker."""

    agent: str
    """The node's name at the broker."""
    presence: Literal["online", "offline", "unknown"]
    """What the agent has announced; ``unknown``: nothing, which need not mean anything."""
    broker: str
    """``connected``, or why it is not."""
    reported_at: float | None = None
    """When the agent last told of its streams by itself, unix seconds."""
