"""The node that this folder's tests share."""

from support.nodes import shared_node

__all__ = ["shared_node"]
