"""The first page: how the cluster is, what is wrong with it, and its last quarter of an hour."""

from collections import Counter

from liveman.access import READ_ALL
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.history import curve, sample
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.problems import problems

__all__ = ["pages"]


def pages(dashboard: Dashboard) -> list[Page]:
    cluster, history = dashboard.cluster, dashboard.history

    async def overview(_asked: Asked) -> View:
        database = await dashboard.database_problem()
        nodes = cluster.nodes()
        now = sample(nodes, 0.0)
        ice = {each.name: each.problem for each in dashboard.broker.status if not each.works}
        health = Counter(node.health.status for node in nodes)
        values = {
            "problems": problems(nodes, ice=ice, database=database, mqtt=dashboard.mqtt_problem()),
            "nodes": len(nodes),
            "health": health,
            "draining": sum(node.draining for node in nodes),
            "streams": len(cluster.state.streams),
            # Each has an end at either side.
            "relays": -(-sum(node.relays for node in nodes) // 2),
            "recorded": len(dashboard.recordings.recorder.running),
            "now": now,
            "curves": {name: curve(history.values(name)) for name in _CURVES},
        }
        return View("overview.html", values)

    return [Page("/", overview, READ_ALL)]


_CURVES = ("publishers", "viewers", "bits_in", "bits_out")
