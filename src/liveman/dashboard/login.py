"""Logging in and out by forms, which work without scripts."""

from aiohttp import web
from attrs import evolve

from liveman.access import OPEN
from liveman.auth.credentials import check_page
from liveman.auth.logins import log_in, log_in_by_token, log_out
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, Pages, View, place
from liveman.errors import BadPath, LivemanError
from liveman.json_body import read_form
from liveman.middleware import INBOUND, Route
from liveman.paths import check_path

__all__ = ["own_page", "pages", "routes"]


def pages(_dashboard: Dashboard) -> list[Page]:
    async def login(asked: Asked) -> View:
        return _form(asked.query.get("next", ""))

    return [Page("/login", login, OPEN)]


def routes(dashboard: Dashboard, pages: Pages) -> list[Route]:
    """Where the forms lead."""
    gate = dashboard.gate

    async def enter(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        asked = place(inbound)
        check_page(inbound, gate.trusted)
        gate.count(inbound)
        fields = await read_form(request)
        following = own_page(fields.get("next", ""))
        location = asked.root + following[1:]
        token = fields.get("token", "").strip()
        try:
            if token:
                identity, kept = await log_in_by_token(gate, inbound, token)
                if following == "/":
                    location = evolve(asked, identity=identity).home
            else:
                _, kept = await log_in(gate, inbound, fields.get("username", ""), fields.get("password", ""))
        except LivemanError as error:
            response = pages.response(_form(following, error, fields.get("username", "")), asked)
            response.headers.update(error.headers)
            return response
        return _see_other(location, kept)

    async def leave(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        return _see_other(place(inbound).href("login"), await log_out(gate, inbound))

    return [
        Route("POST", "/login", enter, OPEN, refusal=pages.refuse),
        Route("POST", "/logout", leave, OPEN, refusal=pages.refuse),
    ]


def own_page(text: str) -> str:
    """A path of Liveman's with its query, as it may stand in the query; ``/`` for whatever is none."""
    path = text.partition("?")[0]
    if not path.startswith("/") or path.startswith("//") or path in ("/login", "/logout"):
        return "/"
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}#'):
        return "/"
    try:
        check_path(path)
    except BadPath:
        return "/"
    return text


def _form(following: str, error: LivemanError | None = None, username: str = "") -> View:
    """``username``: as it was typed; without one a token was."""
    values = {
        "following": own_page(following),
        "problem": error.detail if error else "",
        "username": username,
    }
    return View("login.html", values, status=error.status if error else 200)


def _see_other(location: str, cookie: str) -> web.Response:
    return web.Response(
        status=303, headers={"Location": location, "Set-Cookie": cookie, "Cache-Control": "no-store"}
    )
