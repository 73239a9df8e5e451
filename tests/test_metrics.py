"""What Prometheus is told."""

from pathlib import Path

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from liveman.config import Auth, Cluster, ExtraIce, Metrics, Net4mqtt, NodeConfig, Secret
from support.liveman import OFFER, liveman
from support.mosquitto import mosquitto
from support.net4mqtt import agent
from support.nodes import until
from support.raw_node import raw_node


async def read(url: str, headers: dict[str, str] | None = None) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels, which are in the order of their names."""
    async with ClientSession() as client, client.get(f"{url}/metrics", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_nodes_streams_and_sessions_are_counted() -> None:
    async with raw_node() as node, liveman(node, cluster=Cluster(poll_interval_ms=60_000)) as url:
        async with ClientSession() as client:
            async with client.post(
                f"{url}/whip/cam", data=OFFER, headers={"Content-Type": "application/sdp"}
            ) as response:
                assert response.status == 201
        found = await read(url)
    assert found["liveman_nodes", "up"] == 1
    assert found["liveman_nodes", "down"] == 0
    assert found["liveman_streams",] == 1
    assert found["liveman_node_up", "n0"] == 1
    assert found["liveman_node_publishers", "n0"] == 1
    assert found["liveman_node_subscribers", "n0"] == 0
    assert found["liveman_node_draining", "n0"] == 0


async def test_an_alias_with_quotes_is_one_label() -> None:
    odd = NodeConfig('a"b c', "http://127.0.0.1:1")
    async with liveman(odd) as url:
        assert (await read(url))["liveman_node_up", 'a"b c'] in (0, 1)


async def test_ice_providers_are_counted_by_what_became_of_leases() -> None:
    ice = ExtraIce(ice_servers=({"urls": ["stun:stun.example.org"]},))
    async with raw_node() as node, liveman(node, extra_ice=ice) as url:
        async with ClientSession() as client:
            await client.post(f"{url}/whip/cam", data=OFFER, headers={"Content-Type": "application/sdp"})
        found = await read(url)
    assert found["liveman_ice_provider_works", "ice_servers"] == 1
    assert found["liveman_ice_leases_total", "given", "ice_servers"] == 1
    assert found["liveman_ice_leases_total", "missed", "ice_servers"] == 0


async def test_the_broker_and_its_agents_show(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker, raw_node() as node:
        section = Net4mqtt(mqtt_url=Secret(f"{broker.url}/test"), listen="")
        async with liveman(net4mqtt=section) as url:
            port = int(node.url.rpartition(":")[2])
            async with agent(broker.url, port, "edge-7") as side:

                async def announced() -> bool:
                    return (await read(url)).get(("liveman_node_up", "edge-7")) == 1

                await until(announced)
                found = await read(url)
                assert found["liveman_net4mqtt_broker_connected",] == 1
                assert found["liveman_net4mqtt_agents",] == 1
                assert found["liveman_net4mqtt_connections",] >= 1
                assert found["liveman_net4mqtt_present", "edge-7"] == 1
                assert ("liveman_net4mqtt_reported_timestamp_seconds", "edge-7") not in found
                side.broker.publish("test/edge-7/-/x/streams", b"[]")

                async def reported() -> bool:
                    name = "liveman_net4mqtt_reported_timestamp_seconds", "edge-7"
                    return (await read(url)).get(name, 0) > 1_700_000_000

                await until(reported)
            await broker.stop()

            async def lost() -> bool:
                return not (await read(url))["liveman_net4mqtt_broker_connected",]

            await until(lost)


async def test_it_is_open_to_those_who_may_read_the_lists_or_to_everyone() -> None:
    closed = Auth(tokens=(Secret("manager"),))
    async with liveman(auth=closed) as url, ClientSession() as client:
        async with client.get(f"{url}/metrics") as response:
            assert response.status == 401
        assert await read(url, {"Authorization": "Bearer manager"})
    async with liveman(auth=closed, metrics=Metrics(public=True)) as url:
        assert await read(url)
