"""A node that records, as far as HTTP goes: it lists streams, begins and ends recordings, and tells of them."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from attrs import define, field

from cluster.fake import body, session, stream

__all__ = ["Node", "recording_node"]


@define
class Node:
    """What it knows; a test may change all of it."""

    url: str = ""
    published: dict[str, str] = field(factory=dict)
    """Streams, and the session of their publisher."""
    states: dict[str, str] = field(factory=dict)
    """By session: its state, where that is not connected."""
    running: dict[str, dict[str, Any]] = field(factory=dict)
    """Recordings that run, by stream, as they are listed."""
    sessions: list[dict[str, Any]] = field(factory=list)
    """All that nobody has forgotten."""
    log: list[str] = field(factory=list)
    """What it was told, in words."""
    lacks: int = 0
    """The status of a node without a recorder; 0: it has one."""
    acknowledged: list[dict[str, str]] = field(factory=list)
    forgotten: list[dict[str, str]] = field(factory=list)
    refuses: dict[str, int] = field(factory=dict)
    """By method and path's first words: a status that it answers instead."""
    raw: str | None = None
    """What it lists instead of its recordings."""

    def publish(self, name: str, id: str = "p1") -> None:
        self.published[name] = id

    def leave(self, name: str) -> None:
        """The publisher goes; its recording ends with it."""
        del self.published[name]
        if name in self.running:
            self.end(name)

    def end(self, name: str) -> None:
        row = self.running.pop(name)
        row |= {"end_ts": row["start_ts"] + 5_000_000, "duration_ms": 5000, "status": "Completed"}

    async def streams(self, _request: web.Request) -> web.Response:
        listed = [
            stream(name, [session(id, state=self.states.get(id, "connected"))])
            for name, id in self.published.items()
        ]
        return web.Response(body=body(*listed), content_type="application/json")

    async def start(self, request: web.Request) -> web.Response:
        name = request.match_info["stream"]
        asked = await request.json()
        self.log.append(f"start {name}")
        if status := self.lacks or self.refuses.get("start", 0):
            return web.Response(status=status)
        if name not in self.running:
            begun = f"{int(time.time()):010d}"
            folder = asked.get("base_dir") or f"{name}/{begun}"
            row = {
                "id": f"{name}-{len(self.sessions)}",
                "stream": name,
                "start_ts": int(time.time() * 1_000_000),
                "end_ts": None,
                "duration_ms": None,
                "mpd_path": f"{folder}/manifest.mpd",
                "status": "Active",
            }
            self.running[name] = row
            self.sessions.append(row)
        row = self.running[name]
        folder = row["mpd_path"].rpartition("/")[0]
        answer = {
            "id": row["id"],
            "record_id": folder.rpartition("/")[2],
            "record_dir": folder,
            "mpd_path": row["mpd_path"],
        }
        return web.Response(body=json.dumps(answer).encode())

    async def status(self, request: web.Request) -> web.Response:
        if self.lacks:
            return web.Response(status=self.lacks)
        return web.json_response({"recording": request.match_info["stream"] in self.running})

    async def stop(self, request: web.Request) -> web.Response:
        name = request.match_info["stream"]
        self.log.append(f"stop {name}")
        if name in self.running:
            self.end(name)
        return web.Response()

    async def recordings(self, request: web.Request) -> web.Response:
        if self.lacks:
            return web.Response(status=self.lacks)
        if self.raw is not None:
            return web.Response(text=self.raw, content_type="application/json")
        done = {each["record"] for each in self.acknowledged}
        listed = [row for row in self.sessions if row["id"] not in done][: int(request.query["limit"])]
        self.log.append(f"list {request.query['limit']}")
        return web.json_response({"sessions": listed, "last_ts": None})

    async def acknowledge(self, request: web.Request) -> web.Response:
        records = (await request.json())["records"]
        self.log.append(f"acknowledge {len(records)}")
        if status := self.refuses.get("acknowledge", 0):
            return web.Response(status=status)
        self.acknowledged += records
        return web.json_response({"acked": len(records)})

    async def forget(self, request: web.Request) -> web.Response:
        records = (await request.json())["records"]
        self.forgotten += records
        return web.json_response({"deleted": len(records)})


@asynccontextmanager
async def recording_node() -> AsyncIterator[Node]:
    """On a free port of the loopback; polled, as it has no event stream."""
    node = Node()
    app = web.Application()
    app.router.add_get("/api/streams/", node.streams)
    app.router.add_post("/api/record/{stream}", node.start)
    app.router.add_get("/api/record/{stream}", node.status)
    app.router.add_delete("/api/record/{stream}", node.stop)
    app.router.add_get("/api/recordings", node.recordings)
    app.router.add_patch("/api/recordings", node.acknowledge)
    app.router.add_delete("/api/recordings", node.forget)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await runner.cleanup()
