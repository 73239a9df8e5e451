"""Liveman inside another aiohttp application, which says itself who is asking.

python examples/embed_identity.py [liveman.toml]

The host logs people in as it always did. Who has a session with it may publish and watch, and the admin may
do everything; all others need what Liveman's configuration knows, such as a token.
"""

import secrets
import sys

from aiohttp import web

from liveman import MANAGE, PUBLISH, SUBSCRIBE, Config, Identity, create_app, load_config

#: Names by the cookie of those who are logged in.
SESSIONS = web.AppKey("sessions", dict[str, str])


async def log_in(request: web.Request) -> web.Response:
    """Whatever a host does to know its people; here everyone is believed."""
    form = await request.post()
    session = secrets.token_urlsafe()
    request.app[SESSIONS][session] = str(form["name"])
    response = web.Response(text="Welcome.\n")
    # Strict, so that no other site's page makes a browser publish or watch.
    response.set_cookie("session", session, httponly=True, samesite="Strict")
    return response


def who_asks(request: web.Request) -> Identity | None:
    """Asked for each request that needs somebody; it may be async, as where sessions are in a database."""
    name = request.config_dict[SESSIONS].get(request.cookies.get("session", ""))
    if name is None:
        return None
    return Identity(name, mode=PUBLISH | SUBSCRIBE | (MANAGE if name == "admin" else 0))


def application(config: Config) -> web.Application:
    """The host, and Liveman as a part of it."""
    app = web.Application()
    app[SESSIONS] = {}
    app.router.add_post("/login", log_in)
    app.add_subapp("/live", create_app(config, identity=who_asks))
    return app


if __name__ == "__main__":
    web.run_app(application(load_config(sys.argv[1] if len(sys.argv) > 1 else None)), port=8080)
