"""A Liveman with something to see on every page, below a prefix and behind a login, and its pages in a browser.

Nothing moves by itself: nodes are scripted, recordings are rows of the index. So it is the same whenever it is
looked at; for accessibility, hostile names, and pictures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientSession, web
from attrs import define, field
from playwright.async_api import Browser, Page

from auth.asking import HASH
from auth.issuing import SECRET, native
from cluster.fake import FakeNode, as_json, body, fake_node, session, stream
from liveman import create_app
from liveman.config import (
    Account,
    Auth,
    Cluster,
    Config,
    Database,
    ExtraIce,
    FsStorage,
    NodeConfig,
    Recorder,
    RecordSync,
    Secret,
)
from liveman.database import open_database
from liveman.recording.index import Index
from liveman.recording.wire import Recorded
from liveman.server import serving
from liveman.tasks import TaskOwner

__all__ = ["ALIAS", "ODD", "PAGES", "Looked", "logged_in", "opened", "stage"]

_PREFIX = "/live"
#: Of a stream that is published, and was recorded; it stands for all that is odd.
ODD = '<b>it\'s<b> 100% \u202e"odd" &amp; {{ 7 * 7 }}'
#: Of a node that is down, which the overview tells of.
ALIAS = '"><img src=x onerror=alert(1)>'
_PROVIDER = "<b>cloud<b>"
_HOUR = 3600

_odd = quote(ODD, safe="")
#: The paths of all pages that there are, below the root, by names for files.
PAGES = {
    "overview": "",
    "nodes": "nodes/",
    "nodes-none": "nodes/?q=nothing",
    "node": "nodes/eu-1",
    "node-draining": "nodes/us-east",
    "node-down": f"nodes/{quote(ALIAS, safe='')}",
    "streams": "streams/",
    "stream": "streams/cam-1",
    "stream-named": f"streams/{_odd}",
    "stream-absent": "streams/nobody",
    "watch": f"watch/{_odd}",
    "publish": "publish/",
    "publish-named": f"publish/{_odd}",
    "recordings": "recordings/",
    "recordings-stream": "recordings/cam-1",
    "recordings-named": f"recordings/{_odd}",
    "recordings-none": "recordings/nobody",
    "play": f"recordings/{_odd}/play?mpd={_odd}%2Fmanifest.mpd",
    "ice": "ice/",
    "tokens": f"tokens/?stream={_odd}",
    "error": "nowhere",
}


@asynccontextmanager
async def stage(folder: Path, names: Sequence[str] = ()) -> AsyncIterator[str]:
    """The URL of the root, with a slash at its end; streams of these names are there too."""
    names = ["cam-1", "cam-2", "conference", ODD, *names]
    nodes_there: list[FakeNode] = []
    async with AsyncExitStack() as stack, TaskOwner() as tasks:

        async def node(told: bytes) -> str:
            info = {"GET /api/info": as_json(b'{"version": "v0.9.0"}')}
            made = await stack.enter_async_context(fake_node(streams=told, sse=True, answers=info))
            nodes_there.append(made)
            return made.url

        async def vendor(_request: web.Request) -> web.Response:
            return web.Response(status=403)

        refusing = web.Application()
        refusing.router.add_route("*", "/{path:.*}", vendor)
        ice = await stack.enter_async_context(serving(refusing, "127.0.0.1:0"))
        nodes = (
            NodeConfig("eu-1", await node(_first(names)), pub_max=20, sub_max=200),
            NodeConfig("eu-2", await node(_second(names)), pub_max=8, sub_max=100),
            NodeConfig("us-east", await node(_third())),
            NodeConfig(ALIAS, "http://127.0.0.1:9"),
        )
        database = f"sqlite://{folder}/liveman.db"
        await _record(database, names)
        (folder / "storage").mkdir(exist_ok=True)
        config = Config(
            nodes=nodes,
            auth=Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret(HASH)),)),
            cluster=Cluster(poll_interval_ms=200),
            database=Database(url=Secret(database)),
            recorder=Recorder(FsStorage(root=str(folder / "storage"))),
            record_sync=RecordSync(enabled=True),
            extra_ice=ExtraIce(
                providers={
                    "coturn": {
                        "secret": "s" * 32,
                        "urls": ["turn:turn.example.com", "stun:turn.example.com"],
                    },
                    _PROVIDER: {
                        "provider": "cloudflare",
                        "key_id": "key",
                        "api_token": "token",
                        "api_base": ice,
                    },
                }
            ),
        )
        host = web.Application()
        host.add_subapp(_PREFIX, create_app(config))
        url = f"{await stack.enter_async_context(serving(host, '127.0.0.1:0'))}{_PREFIX}/"
        bearer = {"Authorization": f"Bearer {native({'id': '*', 'exp': int(time.time()) + 600, 'mode': 7})}"}
        client = await stack.enter_async_context(ClientSession(url, headers=bearer))
        async with client.put("api/nodes/us-east/drain", json={"deadline": _HOUR}) as response:
            assert response.status < 300, await response.text()
        tasks.start("keep the nodes up", _keep(nodes_there))
        yield url


async def _keep(nodes: list[FakeNode]) -> None:
    """Nodes that say nothing are taken for lost."""
    while True:
        await asyncio.sleep(5)
        for node in nodes:
            node.say(b":\n\n")


def _first(names: Sequence[str]) -> bytes:
    """All streams have their publisher here; the first is pushed on."""
    ago = int((time.time() - 30 * _HOUR) * 1000)
    pushed = {
        "targetUrl": "http://n1.example/whip/cam-1",
        "sessionUrl": "http://n1.example/session/cam-1/end",
    }
    shared = {"codecs": [{"kind": "video", "codec": "H264"}, {"kind": "audio", "codec": "opus"}]}
    told = []
    for at, name in enumerate(names):
        viewers: list[Any] = [_session(f"viewer-{at}-{n}", 2.4e6) for n in range(at % 4 + 1)]
        if not at:
            viewers.append(_session("feed", 2.4e6, cascade=pushed))
        rates = {"publish": {"bitrate": 2.4e6}, "subscribe": {"bitrate": 2.4e6 * len(viewers)}}
        told.append(
            stream(name, [_session("publisher", 2.4e6)], viewers, createdAt=ago, stats=rates, **shared)
        )
    told.append(stream("doorbell", createdAt=ago, onDemand=True))
    return body(*told)


def _second(names: Sequence[str]) -> bytes:
    ago = int((time.time() - 5 * _HOUR) * 1000)
    rates = {"publish": {"bitrate": 2.4e6}, "subscribe": {"bitrate": 7.2e6}}
    viewers = [_session(f"far-{n}", 2.4e6) for n in range(3)]
    beginning = stream("studio", [session("p", state="connecting")], createdAt=ago)
    return body(stream(names[0], [_session("end", 2.4e6)], viewers, createdAt=ago, stats=rates), beginning)


def _third() -> bytes:
    ago = int((time.time() - 3 * _HOUR) * 1000)
    return body(stream("lobby", [_session("p", 1e6)], [_session("v", 1e6)], createdAt=ago))


def _session(id: str, bitrate: float, **more: Any) -> dict[str, Any]:
    return session(id, createdAt=int((time.time() - 2 * _HOUR) * 1000), stats={"bitrate": bitrate}, **more)


async def _record(url: str, names: Sequence[str]) -> None:
    """Some in the days of a month that are past whenever it is."""
    noon = 1_795_262_400
    async with open_database(url) as database:
        index = Index(database)
        for name in names:
            starts = [
                noon + day * 24 * _HOUR + hour * _HOUR for day in (-15, -9, -2, 0) for hour in (0, 2, 5)
            ]
            await index.put("eu-1", [_recorded(name, start) for start in starts])


def _recorded(name: str, start: int) -> Recorded:
    failed = start % 7 == 1
    moment = start * 1_000_000
    seconds = 1200 + start // _HOUR % 50 * 61
    return Recorded(
        f"{name}-{start}",
        name,
        moment,
        moment + seconds * 1_000_000,
        seconds * 1000,
        f"{quote(name, safe='')[:120]}/{start}/manifest.mpd",
        "Failed" if failed else "Completed",
    )


@define
class Looked:
    """A page in a browser, and what must not happen there."""

    page: Page
    wrong: list[str] = field(factory=list)
    """Scripts that should not run, dialogs, refusals of the policy, requests to others."""

    async def well(self) -> None:
        """Nothing of that has happened."""
        assert await self.page.evaluate("window.trapped") == []
        assert self.wrong == []


#: A refusal of the policy also where nothing is written to the console, and what hostile texts would call.
_TRAP = """
window.trapped = [];
window.alert = (...words) => { window.trapped.push("alert " + words); };
document.addEventListener("securitypolicyviolation", (event) => {
  window.trapped.push("policy " + event.violatedDirective + " " + event.blockedURI);
});
"""


@asynccontextmanager
async def opened(browser: Browser, url: str, *, logged: bool = True, **options: Any) -> AsyncIterator[Looked]:
    """A page in a context of its own, of one who is logged in, or of nobody."""
    context = await browser.new_context(**options)
    try:
        if logged:
            await logged_in(context, url)
        await context.add_init_script(_TRAP)
        page = await context.new_page()
        looked = Looked(page)
        ours = urlsplit(url).netloc

        def asked(request: Any) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != ours:
                looked.wrong.append(f"asked {request.url}")

        def said(message: Any) -> None:
            if "Content Security Policy" in message.text:
                looked.wrong.append(message.text)

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: looked.wrong.append(f"thrown {error}"))
        yield looked
    finally:
        await context.close()


async def logged_in(context: Any, url: str) -> None:
    claims = {"id": "*", "sub": "ann", "exp": int(time.time()) + 600, "mode": 7}
    await context.add_cookies([{"name": "liveman", "value": native(claims), "url": url}])
