"""Nodes that relay without media: what they list changes as if they did."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import ClientSession, web
from attrs import define, evolve, field
from yarl import URL

from cluster.fake import FAST, session, stream
from liveman import config
from liveman.cluster import Cluster, Node, Relays
from liveman.cluster.watch import Timing
from liveman.config import Secret

__all__ = ["PATIENT", "PUBLIC", "RelayNode", "relay_nodes", "relaying"]

PUBLIC = "http://live.example"
"""Where Liveman would be, if nodes really went there."""

#: A machine with much else to do must not make nodes suspect.
PATIENT = evolve(FAST, connect=5.0, total=5.0, silence=30.0)

_ids = count(1)


@define(eq=False)
class RelayNode:
    """One node. ``asked`` holds the bodies of what it was told to relay."""

    alias: str
    streams: dict[str, dict[str, Any]] = field(factory=dict)
    asked: list[dict[str, Any]] = field(factory=list)
    deleted: list[str] = field(factory=list)
    """The sessions that were ended here."""
    token: str = ""
    """Of the last request that told it something."""
    status: int = 200
    """What it answers when it is told to relay."""
    state: str = "connected"
    """What becomes of the relays that it makes."""
    sse: bool = True
    slow: asyncio.Event | None = None
    """Set: before a relay begins, that is waited for."""
    url: str = ""
    network: dict[str, "RelayNode"] = field(factory=dict)
    """All nodes by alias."""
    _bell: asyncio.Condition = field(factory=asyncio.Condition)

    def has(self, name: str, publish: Sequence[Any] = (), subscribe: Sequence[Any] = ()) -> None:
        self.streams[name] = stream(name, list(publish), list(subscribe))

    def sessions(self, name: str, side: str) -> list[dict[str, Any]]:
        return self.streams[name][side]["sessions"] if name in self.streams else []  # type: ignore[no-any-return]

    async def changed(self) -> None:
        async with self._bell:
            self._bell.notify_all()

    async def relay(
        self, name: str, source: "RelayNode", target: "RelayNode", pull: bool, url: str = ""
    ) -> None:
        """``url``: what it was told, if not the other node's own."""
        if self.slow is not None:
            await self.slow.wait()
        here, there = f"s{next(_ids)}", f"r{next(_ids)}"
        if pull:
            far = {
                "sourceUrl": url or f"{source.url}/whep/{name}",
                "sessionUrl": f"{source.url}/session/{name}/{here}",
            }
            left, right = session(here), session(there, state=self.state, cascade=far)
        else:
            far = {
                "targetUrl": url or f"{target.url}/whip/{name}",
                "sessionUrl": f"{target.url}/session/{name}/{there}",
            }
            left, right = session(here, cascade=far), session(there, state=self.state)
        source.sessions(name, "subscribe").append(left)
        if name not in target.streams:
            target.has(name)
        target.sessions(name, "publish").append(right)
        await source.changed()
        await target.changed()

    async def push(self, name: str, url: str, token: str) -> None:
        """Push to a url that really is Liveman's."""
        if self.slow is not None:
            await self.slow.wait()
        headers = {"Authorization": token, "Content-Type": "application/sdp"}
        async with ClientSession() as client, client.post(url, data=b"v=0", headers=headers) as answer:
            far = str(answer.url.join(URL(answer.headers["Location"])))
        there = session(f"s{next(_ids)}", cascade={"targetUrl": url, "sessionUrl": far})
        self.sessions(name, "subscribe").append(there)
        await self.changed()

    # Its HTTP side.

    def app(self, tasks: set["asyncio.Task[None]"]) -> web.Application:
        async def all_streams(request: web.Request) -> web.Response:
            return web.json_response(list(self.streams.values()))

        async def one(request: web.Request) -> web.Response:
            found = self.streams.get(request.match_info["name"])
            return web.json_response(found) if found else web.Response(status=404)

        async def events(request: web.Request) -> web.StreamResponse:
            if not self.sse:
                return web.Response(status=404)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            while True:
                async with self._bell:
                    text = json.dumps(list(self.streams.values()))
                    try:
                        await response.write(f"data: {text}\n\n".encode())
                    except ConnectionError:
                        return response
                    await self._bell.wait()

        async def cascade(request: web.Request) -> web.Response:
            self.token = request.headers.get("Authorization", "")
            name = request.match_info["name"]
            wanted = await request.json()
            self.asked.append(wanted)
            if self.status == 200 and self.state != "never":
                pull = "sourceUrl" in wanted
                url = wanted.get("sourceUrl") or wanted["targetUrl"]
                if "/api/whip/" in url and not url.startswith(PUBLIC):
                    tasks.add(asyncio.create_task(self.push(name, url, wanted["token"])))
                    return web.Response()
                other = self._other(url)
                source, target = (other, self) if pull else (self, other)
                tasks.add(asyncio.create_task(self.relay(name, source, target, pull, url)))
            return web.Response(status=self.status)

        async def offered(request: web.Request) -> web.Response:
            name, id = request.match_info["name"], f"o{next(_ids)}"
            if name not in self.streams:
                self.has(name)
            pushed = request.path.startswith("/whip/")
            state = self.state if pushed else "connected"
            self.sessions(name, "publish" if pushed else "subscribe").append(session(id, state=state))
            await self.changed()
            return web.Response(status=201, text="v=0", headers={"Location": f"/session/{name}/{id}"})

        async def delete(request: web.Request) -> web.Response:
            name, id = request.match_info["name"], request.match_info["id"]
            self.deleted.append(id)
            for side in ("publish", "subscribe"):
                self.sessions(name, side)[:] = [
                    each for each in self.sessions(name, side) if each["id"] != id
                ]
            if not self.sessions(name, "publish") and not self.sessions(name, "subscribe"):
                self.streams.pop(name, None)
            await self.changed()
            return web.Response(status=204)

        app = web.Application()
        app.router.add_get("/api/streams/", all_streams)
        app.router.add_get("/api/streams/{name}", one)
        app.router.add_get("/api/sse/streams", events)
        app.router.add_post("/api/cascade/{name}", cascade)
        app.router.add_post("/{kind:whip|whep}/{name}", offered)
        app.router.add_delete("/session/{name}/{id}", delete)
        return app

    def _other(self, url: str) -> "RelayNode":
        for node in self.network.values():
            if url.startswith(node.url + "/") or f"/{node.alias}/" in url:
                return node
        raise AssertionError(url)


@asynccontextmanager
async def relay_nodes(*aliases: str) -> AsyncIterator[list[RelayNode]]:
    network: dict[str, RelayNode] = {}
    tasks: set[asyncio.Task[None]] = set()
    async with AsyncExitStack() as stack:
        for alias in aliases:
            node = network[alias] = RelayNode(alias, network=network)
            runner = web.AppRunner(node.app(tasks), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield list(network.values())
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def relaying(
    nodes: Sequence[RelayNode],
    *,
    sub_max: int = 1,
    token: str = "",
    max_depth: int = 3,
    timing: Timing = PATIENT,
    **options: Any,
) -> AsyncIterator[tuple[Cluster, Relays]]:
    """Liveman's side of these nodes."""
    declared = [Node(each.alias, each.url, token=Secret(token), sub_max=sub_max) for each in nodes]
    given = {"check_attempts": 1, "check_tick_time": 20, **options}
    async with Cluster(declared, options=config.Cluster(max_depth=max_depth), timing=timing) as cluster:
        relays = Relays(cluster, config.Cascade(**given), public=PUBLIC, secret=b"k" * 32)
        relays.leadership.lead()
        async with relays:
            yield cluster, relays
