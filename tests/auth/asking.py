"""Clients of a Liveman with authentication, and a node that knows which sessions it has."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from attrs import define, field
from yarl import URL

from auth.issuing import SECRET, native
from cluster import fake
from liveman.config import Auth, NodeConfig, Secret
from support.liveman import OFFER, liveman
from support.raw_node import SDP, RawNode, Received, answer, raw_node

__all__ = [
    "HASH",
    "MANAGE",
    "PUBLISH",
    "SUBSCRIBE",
    "Keeper",
    "Said",
    "ask",
    "basic",
    "bearer",
    "client_of",
    "exactly",
    "guarded",
    "keeper",
    "made",
    "post",
]

MANAGE, PUBLISH, SUBSCRIBE = 1, 2, 4

#: Of "her password", with the least that argon2 takes, so that no test waits for it.
HASH = "$argon2id$v=19$m=8,t=1,p=1$daW4D3rVvh3IdQxVPm8Tzw$KNXlIVDz1DOZV4FJ7qv65IsBDUm0bA+oKJzO6Wjh6S8"


def bearer(stream: str = "*", mode: int = 7, *, seconds: float = 36_000, **claims: Any) -> dict[str, str]:
    """The header of one who has a token."""
    token = native({"id": stream, "mode": mode, "exp": int(time.time() + seconds), **claims})
    return {"Authorization": f"Bearer {token}"}


def basic(name: str, password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


@define
class Said:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def exactly(client: ClientSession, path: str) -> URL:
    """The path as it stands, whatever is odd about it."""
    return URL(str(client._base_url).rstrip("/") + path, encoded=True)


async def ask(client: ClientSession, method: str, path: str, **options: Any) -> Said:
    async with client.request(method, exactly(client, path), **options) as response:
        return Said(response.status, response.headers, await response.text())


async def post(client: ClientSession, path: str, headers: Mapping[str, str] = {}) -> Said:
    """An offer."""
    return await ask(client, "POST", path, data=OFFER, headers={"Content-Type": "application/sdp", **headers})


async def made(client: ClientSession, path: str, headers: Mapping[str, str] = {}) -> str:
    """The path of the session that an offer made."""
    said = await post(client, path, headers)
    assert said.status == 201, said.text
    return said.headers["Location"]


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[ClientSession]:
    """One that keeps no cookies by itself."""
    async with ClientSession(url, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=15)) as client:
        yield client


@asynccontextmanager
async def guarded(
    *nodes: RawNode | str | NodeConfig,
    auth: Mapping[str, Any] = {},
    **sections: Any,
) -> AsyncIterator[ClientSession]:
    """A client of Liveman with a secret, and what else is named of ``[auth]``."""
    whole = Auth(**{"secret": Secret(SECRET), **auth})
    async with liveman(*nodes, auth=whole, **sections) as url, client_of(url) as client:
        yield client


@define
class Keeper:
    """A node that lists the sessions which it has made, until they are deleted."""

    node: RawNode = field(factory=RawNode)
    sessions: dict[str, tuple[str, str]] = field(factory=dict)
    """By id: ``publish`` or ``subscribe``, and the stream."""
    reply: bytes | None = None
    """What it says to offers instead of 201."""
    count: int = 0

    def of(self, stream: str, side: str) -> list[str]:
        return [id for id, what in self.sessions.items() if what == (side, stream)]

    def list(self) -> None:
        streams = sorted({stream for _, stream in self.sessions.values()})
        self.node.streams = fake.body(
            *(fake.stream(each, self.of(each, "publish"), self.of(each, "subscribe")) for each in streams)
        )

    async def script(self, received: Received, writer: Any) -> None:
        _, first, stream, *rest = received.target.partition("?")[0].split("/")
        if received.method == "POST" and first in ("whip", "whep"):
            if self.reply is not None:
                writer.write(self.reply)
                return
            self.count += 1
            id = f"{first}-{self.count}"
            self.sessions[id] = ("publish" if first == "whip" else "subscribe", stream)
            self.list()
            location = f"Location: /session/{stream}/{id}"
            writer.write(answer("201 Created", "Content-Type: application/sdp", location, body=SDP))
            return
        if received.method == "DELETE" and len(rest) == 1:
            self.sessions.pop(rest[0], None)
            self.list()
        writer.write(answer("204 No Content"))


@asynccontextmanager
async def keeper() -> AsyncIterator[Keeper]:
    kept = Keeper()
    async with raw_node(kept.script) as node:
        kept.node = node
        yield kept
