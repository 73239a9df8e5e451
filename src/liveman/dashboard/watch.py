"""The pages to watch and to publish one stream, which are shared with those who know nothing of the cluster.

They hold no data: what is done there is done by WHEP and WHIP, with the token in the URL's fragment or the
cookie of a login.
"""

from liveman.access import OPEN
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View

__all__ = ["pages"]


def pages(_dashboard: Dashboard) -> list[Page]:
    return [
        Page("/watch/{stream}", _watch, OPEN, embeddable=True),
        # First: else it would be the page of a stream without a name.
        Page("/publish/", _choose, OPEN),
        Page("/publish/{stream}", _publish, OPEN),
    ]


async def _watch(asked: Asked) -> View:
    return View("watch.html", {"stream": asked.segments["stream"]})


async def _publish(asked: Asked) -> View:
    return View("publish.html", {"stream": asked.segments["stream"]})


async def _choose(_asked: Asked) -> View:
    return View("choose.html", {})
