"""Styles, scripts and pictures: each under the hash of them all, so that browsers keep them for good.

They import each other by relative paths, which hold under any hash. An address with another hash, as of a
page that another version of Liveman has made, leads to the same files, which are not kept then.
"""

import asyncio
import gzip
import hashlib
from importlib import resources

from aiohttp import web

from liveman.access import OPEN
from liveman.cluster.negotiation import accepts_gzip
from liveman.errors import NotFound
from liveman.middleware import INBOUND, Route

__all__ = ["Assets"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
#: Compressing these makes nothing smaller.
_DENSE = (".png",)


class Assets:
    """The files of the folder ``static``, read once."""

    def __init__(self) -> None:
        folder = resources.files("liveman.dashboard") / "static"
        self._files = {
            file.name: file.read_bytes()
            for file in sorted(folder.iterdir(), key=lambda each: each.name)
            if file.name[file.name.rfind(".") :] in _TYPES
        }
        self._gzipped: dict[str, bytes] = {}
        digest = hashlib.blake2b(digest_size=9)
        for name, data in self._files.items():
            digest.update(b"%b %d " % (name.encode(), len(data)) + data)
        self.hash = digest.hexdigest()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def path(self, name: str) -> str:
        """Where a file is, from the root of Liveman. Raises KeyError for one that is not there."""
        if name not in self._files:
            raise KeyError(f"There is no {name} in static/.")
        return f"assets/{self.hash}/{name}"

    async def gzipped(self, name: str) -> bytes:
        """Compressed at the first call."""
        if name not in self._gzipped:
            self._gzipped[name] = await asyncio.to_thread(gzip.compress, self._files[name], 9, mtime=0)
        return self._gzipped[name]

    def route(self) -> Route:
        async def serve(request: web.Request) -> web.Response:
            inbound = request[INBOUND]
            _, hash, name = inbound.segments
            if name not in self._files:
                raise NotFound(f"There is no file {name}.")
            suffix, body = name[name.rfind(".") :], self._files[name]
            headers = {
                "Content-Type": _TYPES[suffix],
                "Cache-Control": "public, max-age=31536000, immutable" if hash == self.hash else "no-cache",
                "X-Content-Type-Options": "nosniff",
            }
            if suffix not in _DENSE:
                headers["Vary"] = "Accept-Encoding"
                if accepts_gzip(inbound.header(b"accept-encoding")):
                    headers["Content-Encoding"] = "gzip"
                    body = await self.gzipped(name)
            return web.Response(body=body, headers=headers)

        return Route("GET", "/assets/{hash}/{name}", serve, OPEN)
