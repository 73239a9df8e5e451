"""An access service: everyone may watch; who shows a stream's key may publish it."""

import hashlib
import hmac
import os
import time

from aiohttp import web

SECRET = os.environ["ACCESS_SECRET"].encode()
KEYS = {"cam": "the key of cam"}


async def access(request: web.Request) -> web.Response:
    body = await request.read()
    timestamp, signature = (request.headers.get(f"Liveman-{name}", "") for name in ("Timestamp", "Signature"))
    expected = hmac.new(SECRET, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    genuine = hmac.compare_digest(f"sha256={expected}".encode(), signature.encode())
    if not genuine or abs(time.time() - int(timestamp)) > 60:
        raise web.HTTPBadRequest(text="not a question of Liveman's, or an old one")
    asked = await request.json()
    key = KEYS.get(asked["stream"])
    if asked["action"] == "subscribe" or (key and hmac.compare_digest(key.encode(), asked["token"].encode())):
        return web.json_response({"allow": True, "ttl": 60})
    return web.json_response({"allow": False, "reason": "This is not the stream's key."})


app = web.Application()
app.router.add_post("/access", access)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=9000)
