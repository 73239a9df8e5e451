"""Liveman inside another aiohttp application, below /live.

python examples/embed.py [liveman.toml]
"""

import sys

from aiohttp import web

from liveman import Config, create_app, load_config


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="The host's own page. WHIP is at /live/whip/{stream}.\n")


def application(config: Config) -> web.Application:
    """The host: its own pages, and Liveman as a part of it that starts and ends with it."""
    app = web.Application()
    app.router.add_get("/", hello)
    app.add_subapp("/live", create_app(config))
    return app


if __name__ == "__main__":
    web.run_app(application(load_config(sys.argv[1] if len(sys.argv) > 1 else None)), port=8080)
