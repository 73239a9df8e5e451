"""The mechanism of the pages: what one is asked for, what it shows, and how that becomes an answer.

A page is a function from `Asked` to `View`. It is made whole on the server; asked with ``Accept:
text/event-stream`` the same URL is the page's event stream, by which `static/live.js` keeps it up to date.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from aiohttp import web
from attrs import evolve, frozen
from jinja2 import Environment, PackageLoader, StrictUndefined

from liveman.access import MANAGE, SUBSCRIBE, Identity, Rule
from liveman.dashboard import words
from liveman.dashboard.assets import Assets
from liveman.dashboard.live import Frame, Live
from liveman.errors import BadPath, LivemanError
from liveman.hosted import Hosted
from liveman.inbound import Answer, Inbound
from liveman.middleware import INBOUND, Route

__all__ = ["Asked", "Page", "PageView", "Pages", "View", "place"]


@frozen
class Asked:
    """What a page was asked for."""

    path: str
    """The page's own, as it came, without the prefix of the application: ``/nodes/eu-1``."""
    segments: Mapping[str, str]
    """Decoded, by their names in the page's path: ``{"alias": "eu-1"}``."""
    query: Mapping[str, str]
    """The last of each name."""
    identity: Identity
    """Who asks. A page that is kept up to date is made once for all who may do the same, so it shows nothing
    of this but what one may do."""
    root: str
    """The relative way to the root of Liveman, such as ``./`` and ``../../``."""

    @property
    def may_manage(self) -> bool:
        """Whether what the page shows may be changed by the one who asks."""
        mine = self.identity.stream in ("*", self.segments.get("stream"))
        return mine and bool(self.identity.mode & MANAGE)

    @property
    def home(self) -> str:
        """Where the one who asks can begin: who may see or publish one stream alone, there."""
        who = self.identity
        if who.stream == "*" or not who.mode:
            return self.root
        return self.href("streams" if who.mode & SUBSCRIBE else "publish", who.stream)

    def href(self, *segments: str, **query: object) -> str:
        """The relative URL of a path of Liveman's, from its decoded segments; an empty one at the end stands
        for the slash there."""
        path = "/".join(quote(segment, safe="", errors="replace") for segment in segments)
        return self.root + path + ("?" + urlencode(query) if query else "")


@frozen
class View:
    """What a page shows: a template that extends ``base.html``, and the values in it."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


PageView = Callable[[Asked], Awaitable[View]]
"""May raise LivemanError, which is shown as a page too."""


def _nowhere() -> Sequence[str]:
    return ()


@frozen
class Page:
    """One page."""

    path: str
    """Such as ``/streams/{stream}``."""
    view: PageView
    rule: Rule
    embeddable: bool = False
    """Whether other sites may show it in a frame."""
    connects: Callable[[], Sequence[str]] = _nowhere
    """The origins beside Liveman's own that its scripts and players may ask."""


class Pages:
    """Makes routes of pages."""

    def __init__(self, live: Live, assets: Assets, *, closed: bool, logins: bool, accounts: bool) -> None:
        """closed: whether a request must say who asks; where it need not, each page warns of that. logins:
        whether one can log in here, which a host of Liveman's may do instead; accounts: by a name."""
        self._live = live
        self._assets = assets
        self._jinja = Environment(
            loader=PackageLoader("liveman.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._jinja.filters.update({name: getattr(words, name) for name in words.__all__})
        self._jinja.globals.update(closed=closed, logins=logins, accounts=accounts)

    def route(self, page: Page) -> Route:
        async def show(request: web.Request) -> web.StreamResponse:
            inbound = request[INBOUND]
            assert isinstance(inbound, Hosted)
            if not inbound.segments:
                # The root of an application below a prefix, without its slash.
                query = f"?{inbound.query}" if inbound.query else ""
                raise web.HTTPPermanentRedirect(f"{inbound.path.rpartition('/')[2]}/{query}")
            asked = place(inbound, page.path)
            # What is open to everyone shows nothing that changes.
            if inbound.method == "GET" and page.rule.needs and _wants(inbound, "text/event-stream"):
                return await self._follow(inbound, page, asked)
            view = await page.view(asked)
            return self.response(view, asked, policy=_policy(page.connects(), page.embeddable))

        return Route("GET", page.path, show, page.rule, refusal=self.refuse)

    def response(self, view: View, asked: Asked, *, policy: str = "") -> web.Response:
        headers = {**_HEADERS, "Content-Security-Policy": policy or _policy()}
        text = self.render(view, asked)
        return web.Response(status=view.status, text=text, content_type="text/html", headers=headers)

    def render(self, view: View, asked: Asked) -> str:
        def asset(name: str) -> str:
            return asked.root + self._assets.path(name)

        text = self._jinja.get_template(view.template).render(
            view.values, asked=asked, root=asked.root, path=asked.path, href=asked.href, asset=asset
        )
        # JSON that others have written, such as a token's, may hold halves of characters.
        return text.encode(errors="replace").decode()

    def refuse(self, inbound: Inbound, error: LivemanError) -> Answer | None:
        """A refusal for a browser: who must say who he is, is sent to the login, others get an error page.
        None: it is no browser that asks."""
        if not _wants(inbound, "text/html") and not _wants(inbound, "text/event-stream"):
            return None
        asked = place(inbound)
        status, told = error.status, error
        if status == 401 and inbound.method in ("GET", "HEAD"):
            status = 303
            asking = asked.path + ("?" + inbound.query if inbound.query else "")
            told = LivemanError(headers={"Location": asked.href("login", next=asking)})
        text = self.render(View("error.html", {"status": error.status, "problem": error.detail}), asked)
        usual = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _policy(), **_HEADERS}
        return Answer(status, told.fields(usual), text.encode())

    async def _follow(self, inbound: Hosted, page: Page, asked: Asked) -> web.StreamResponse:
        shared = evolve(asked, identity=Identity("", asked.identity.stream, asked.identity.mode))

        async def render() -> Frame:
            return Frame.of(self.render(await page.view(shared), shared))

        key = (page.path, shared.path, shared.root, *sorted(shared.query.items()), shared.identity)
        await self._live.listen(inbound, key, render)
        assert inbound.response is not None
        return inbound.response


#: What every page has.
_HEADERS = {
    "Cache-Control": "no-store",
    # Nobody else learns where one comes from; without a word of it forms would tell no Origin here either.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def _policy(connects: Sequence[str] = (), embeddable: bool = False) -> str:
    """Content-Security-Policy (W3C, level 3)."""
    more = "".join(f" {origin}" for origin in connects)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            f"connect-src 'self'{more}",
            f"media-src 'self' blob:{more}",
            "worker-src 'self' blob:",
            "form-action 'self'",
            "base-uri 'none'",
            f"frame-ancestors {'*' if embeddable else chr(39) + 'none' + chr(39)}",
        )
    )


def _wants(inbound: Inbound, kind: str) -> bool:
    return kind in inbound.header(b"accept").lower()


def place(inbound: Inbound, pattern: str = "") -> Asked:
    """What was asked for, at a path of this pattern. Raises BadPath."""
    names = pattern.strip("/").split("/")
    try:
        segments = {
            name[1:-1]: unquote(raw, errors="strict")
            for name, raw in zip(names, inbound.segments, strict=False)
            if name.startswith("{")
        }
    except UnicodeDecodeError:
        raise BadPath("The path is not valid UTF-8.") from None
    query = dict(parse_qsl(inbound.query, keep_blank_values=True, errors="replace"))
    root = "../" * (len(inbound.segments) - 1) or "./"
    return Asked("/" + "/".join(inbound.segments), segments, query, inbound.identity, root)
