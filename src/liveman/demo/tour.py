"""What `liveman demo` does and says: a test picture is published through Liveman, watched and recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import ClientError, ClientSession

from liveman.demo.client import Publisher, SignallingFailed, Subscriber, publish, subscribe
from liveman.demo.pictures import MovingPicture, Tone

__all__ = ["tour"]

Say = Callable[[str], object]

STREAM = "demo"
#: One second of the test picture.
FRAMES = 15
PATIENCE = 20.0


async def tour(url: str, *, nodes: int, say: Say, stay: Callable[[], Awaitable[object]] | None) -> int:
    """Publish at ``url``, once so many nodes are there, watch, record, leave; then ``stay`` as long as that
    takes. 0 when all went well."""
    try:
        async with ClientSession(url) as api:
            return await _tour(url, api, await _nodes(api, nodes), say, stay)
    except (SignallingFailed, ClientError, OSError) as error:  # OSError: TimeoutError too.
        say(f"That failed: {error or type(error).__name__}")
        return 1


async def _tour(
    url: str,
    api: ClientSession,
    nodes: Sequence[Mapping[str, Any]],
    say: Say,
    stay: Callable[[], Awaitable[object]] | None,
) -> int:
    say(f"Liveman serves at {url}")
    for node in nodes:
        say(f"  node {node['alias']} at {node['url']}: {node['status']}, sub_max {node['sub_max']}")
    async with await publish(f"{url}/whip/{STREAM}", [MovingPicture(), Tone()]) as publisher:
        say(f"Published a test picture as stream '{STREAM}': POST {url}/whip/{STREAM}")
        say(f"  node: {await _node_of(api, 'publish')}")
        say(f"  {_ice(publisher)}")
        async with api.post(f"/api/record/{STREAM}") as response:
            response.raise_for_status()
            manifest = f"/api/record/object/{(await response.json())['mpd_path']}"
        async with await subscribe(f"{url}/whep/{STREAM}") as subscriber:
            say(f"Watching it: POST {url}/whep/{STREAM}")
            say(f"  node: {await _node_of(api, 'subscribe')}")
            say(f"  {_ice(subscriber)}")
            await subscriber.wait_for_frames(FRAMES, PATIENCE)
            say(f"  decoded {subscriber.frames} frames and {subscriber.audio_frames} pieces of sound")
        async with api.delete(f"/api/record/{STREAM}") as response:
            response.raise_for_status()
        async with api.get(manifest) as response:
            response.raise_for_status()
        say(f"Recorded it meanwhile: POST, DELETE {url}/api/record/{STREAM}")
        say(f"  to play in any DASH player: {url}{manifest}")
        say("Left again, so its place is free.")
        if stay is not None:
            _guide(url, say)
            await stay()
    return 0


def _guide(url: str, say: Say) -> None:
    say("")
    say(f"In a browser       {url}/")
    say(f"Watch it           {url}/watch/{STREAM}")
    say(f"             WHEP  {url}/whep/{STREAM}")
    say(f"Publish      WHIP  {url}/whip/NAME")
    say(f"The nodes          {url}/api/nodes/")
    say(f"The streams        {url}/api/streams/")
    say(f"Recordings         {url}/api/playback/{STREAM}")
    say("Ctrl-C ends everything.")


async def _nodes(api: ClientSession, count: int) -> list[dict[str, Any]]:
    """The nodes, once so many are up."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: list[dict[str, Any]] = await _get(api, "/api/nodes/")
            if [node["health"] for node in found] == ["up"] * count:
                return found
            await asyncio.sleep(0.1)


async def _node_of(api: ClientSession, side: str) -> str:
    """The node that lists a connected session of the stream on this side, ``publish`` or ``subscribe``."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for alias, stream in (await _get(api, f"/api/streams/{STREAM}")).items():
                if any(session["state"] == "connected" for session in stream[side]["sessions"]):
                    return str(alias)
            await asyncio.sleep(0.1)


def _ice(session: Publisher | Subscriber) -> str:
    urls = [url for server in session.ice_servers for url in server.urls]
    return f"ICE servers: {', '.join(urls) or 'none'}"


async def _get(api: ClientSession, path: str) -> Any:
    async with api.get(path) as response:
        response.raise_for_status()
        return await response.json()
