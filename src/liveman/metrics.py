"""`/metrics` in Prometheus' text format: how the cluster is at this moment, read off the rooms when asked.

Labels are bounded: nodes and providers have some, streams and sessions none.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import asdict
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry

from liveman.access import MANAGE, OPEN, PUBLISH, SUBSCRIBE, Rule
from liveman.cluster import Cluster
from liveman.cluster.health import Status
from liveman.cluster.state import NodeState
from liveman.ice.broker import Broker
from liveman.middleware import Route

if TYPE_CHECKING:
    from liveman.discovery import Discovery

__all__ = ["routes"]


def routes(cluster: Cluster, broker: Broker, discovery: "Discovery | None", *, public: bool) -> list[Route]:
    async def metrics(_request: web.Request) -> web.Response:
        families = [*_cluster(cluster), *_ice(broker)]
        if discovery is not None:
            families += _net4mqtt(discovery, cluster)
        # A thousand nodes take a while to write down.
        body = await asyncio.to_thread(generate_latest, _Collected(families))
        headers = {"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    rule = OPEN if public else Rule(MANAGE | PUBLISH | SUBSCRIBE)
    return [Route("GET", "/metrics", metrics, rule)]


class _Collected(CollectorRegistry):
    """Families that were collected already; nothing in them is global."""

    def __init__(self, families: Sequence[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _cluster(cluster: Cluster) -> Iterator[Metric]:
    state, nodes = cluster.state, cluster.nodes()
    yield _gauge("liveman_info", "Always 1.", ("version",), [((version("liveman"),), 1)])
    health = Counter(node.health.status for node in nodes)
    counted = [((status,), health[status]) for status in _HEALTH]
    yield _gauge("liveman_nodes", "Nodes, by their health.", ("health",), counted)
    yield _gauge("liveman_streams", "Streams on nodes that are not down.", (), [((), len(state.streams))])
    for name, text, read in _NODE:
        read_off = [((node.node.alias,), read(node)) for node in nodes]
        yield _gauge(f"liveman_node_{name}", text, ("node",), read_off)


_HEALTH: Sequence[Status] = ("up", "suspect", "down")

_NODE: Sequence[tuple[str, str, Callable[[NodeState], float]]] = (
    ("up", "Whether the node is up or suspect.", lambda node: node.health.status != "down"),
    ("draining", "Whether the node is being emptied.", lambda node: node.draining),
    ("publishers", "Publishers on the node, without relays.", lambda node: node.publishers),
    ("subscribers", "Subscribers on the node, without relays.", lambda node: node.subscribers),
    ("relays", "Ends of relays on the node.", lambda node: node.relays),
)


def _ice(broker: Broker) -> Iterator[Metric]:
    found = broker.status
    leases = [
        ((each.name, outcome), count) for each in found for outcome, count in asdict(each.counts).items()
    ]
    text = "What became of the leases, since the start."
    yield _filled(CounterMetricFamily("liveman_ice_leases", text, labels=("provider", "outcome")), leases)
    works = [((each.name,), float(each.works)) for each in found]
    yield _gauge("liveman_ice_provider_works", "Whether it did what it was asked last.", ("provider",), works)
    held = [((each.name,), each.held) for each in found if each.held is not None]
    yield _gauge("liveman_ice_leases_held", "Leases that wait for sessions.", ("provider",), held)


def _net4mqtt(discovery: "Discovery", cluster: Cluster) -> Iterator[Metric]:
    local = discovery.local
    for name, text, value in (
        ("broker_connected", "Whether the MQTT broker is connected.", local.broker.connected),
        ("agents", "Agents that have announced themselves.", len(local.agents)),
        ("connections", "Connections to agents that are open.", local.connections),
    ):
        yield _gauge(f"liveman_net4mqtt_{name}", text, (), [((), value)])
    ways = {node.node.alias: node.way for node in cluster.nodes() if node.way is not None}
    text = "Whether the node's agent has announced itself."
    present = [((alias,), float(way.presence == "online")) for alias, way in ways.items()]
    yield _gauge("liveman_net4mqtt_present", text, ("node",), present)
    text = "When the agent last told of its streams by itself, unix seconds."
    reported = [((alias,), way.reported_at) for alias, way in ways.items() if way.reported_at is not None]
    yield _gauge("liveman_net4mqtt_reported_timestamp_seconds", text, ("node",), reported)


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: Sequence[str], samples: _Samples) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: _Samples) -> Metric:
    for values, value in samples:
        family.add_metric(values, value)
    return family
