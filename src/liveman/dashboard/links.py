"""Where shared links of the original's tools lead: to the pages here that do the same."""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from aiohttp import web

from liveman.access import OPEN
from liveman.dashboard.page import Asked, Pages, place
from liveman.middleware import INBOUND, Route

__all__ = ["routes"]


def routes(pages: Pages) -> list[Route]:
    def route(tool: str, page: Callable[[Asked, Mapping[str, str]], str]) -> Route:
        async def lead(request: web.Request) -> web.Response:
            asked = place(request[INBOUND])
            # Behind the #, where no server and no log sees it.
            token = asked.query.get("token")
            fragment = f"#token={quote(token, safe='')}" if token else ""
            location = page(asked, asked.query) + fragment
            return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"})

        return Route("GET", f"/tools/{tool}.html", lead, OPEN, refusal=pages.refuse)

    return [route("player", _player), route("debugger", _debugger), route("dash", _dash)]


def _player(asked: Asked, query: Mapping[str, str]) -> str:
    stream = query.get("id")
    return asked.href("watch", stream) if stream else asked.href("streams", "")


def _debugger(asked: Asked, query: Mapping[str, str]) -> str:
    return asked.href("publish", query.get("id", ""))


def _dash(asked: Asked, query: Mapping[str, str]) -> str:
    manifest = query.get("mpd")
    return asked.href("play", mpd=manifest) if manifest else asked.href("recordings", "")
