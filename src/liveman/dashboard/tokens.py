"""The page that makes tokens, and the texts to use them with."""

import time

from liveman.access import MANAGE, Rule
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.snippets import SNIPPETS

__all__ = ["pages"]


def pages(_dashboard: Dashboard) -> list[Page]:
    async def tokens(asked: Asked) -> View:
        ends = asked.identity.expires_at
        values = {
            "snippets": SNIPPETS,
            "mode": asked.identity.mode,
            "stream": asked.query.get("stream", ""),
            "left": None if ends is None else max(0, int(ends - time.time())),
        }
        return View("tokens.html", values)

    return [Page("/tokens/", tokens, Rule(MANAGE))]
