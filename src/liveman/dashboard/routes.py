"""All pages, and what belongs to them."""

from liveman.dashboard import ice, links, login, nodes, overview, recordings, streams, tokens, watch
from liveman.dashboard.assets import Assets
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Pages
from liveman.middleware import Refusal, Route

__all__ = ["routes"]

#: Each has ``pages(dashboard)``.
_ROOMS = (overview, nodes, streams, watch, recordings, tokens, ice, login)


def routes(dashboard: Dashboard) -> tuple[list[Route], Refusal]:
    """The routes; and how it is shown that there is nothing at a path."""
    assets = Assets()
    accounts = bool(dashboard.config.auth.accounts)
    pages = Pages(dashboard.live, assets, closed=dashboard.gate.closed, accounts=accounts)
    shown = [pages.route(page) for room in _ROOMS for page in room.pages(dashboard)]
    return [*shown, *login.routes(dashboard, pages), *links.routes(pages), assets.route()], pages.refuse
