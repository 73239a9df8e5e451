"""The first page: how the cluster is."""

from liveman.access import READ_ALL
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View

__all__ = ["pages"]


def pages(dashboard: Dashboard) -> list[Page]:
    async def overview(_asked: Asked) -> View:
        nodes = dashboard.cluster.nodes()
        values = {
            "nodes": len(nodes),
            "publishers": sum(node.publishers for node in nodes),
            "viewers": sum(node.subscribers for node in nodes),
        }
        return View("overview.html", values)

    return [Page("/", overview, READ_ALL)]
