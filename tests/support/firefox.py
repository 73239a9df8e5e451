"""Headless Firefox by WebDriver BiDi, which it speaks itself: what Playwright drives is a Firefox of its own."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse
from attrs import define, field

__all__ = ["Firefox", "Tab", "firefox"]

_FIREFOX = "/usr/bin/firefox-esr"
#: Media over the loopback, sound by a gesture alone, and nobody asked for news.
_PREFERENCES = {
    "media.peerconnection.ice.loopback": "true",
    "media.peerconnection.ice.obfuscate_host_addresses": "false",
    "media.autoplay.default": "1",
    "media.autoplay.blocking_policy": "1",
    "app.update.enabled": "false",
    "datareporting.policy.dataSubmissionEnabled": "false",
    "network.captive-portal-service.enabled": "false",
    "network.connectivity-service.enabled": "false",
}


@define
class Firefox:
    _socket: ClientWebSocketResponse
    _ids: Any = field(factory=itertools.count)

    async def ask(self, method: str, **params: Any) -> Any:
        """A command's result; nobody else asks meanwhile."""
        id = next(self._ids)
        await self._socket.send_json({"id": id, "method": method, "params": params})
        async with asyncio.timeout(30):
            while (said := await self._socket.receive_json()).get("id") != id:
                pass
        assert said["type"] == "success", said
        return said["result"]

    async def open(self, url: str) -> "Tab":
        """In a window of its own, so that it is seen."""
        made = await self.ask("browsingContext.create", type="window")
        await self.ask("browsingContext.navigate", context=made["context"], url=url, wait="complete")
        return Tab(self, made["context"])


@define
class Tab:
    _firefox: Firefox
    _context: str

    async def value(self, expression: str) -> Any:
        """What an expression is, awaited where it promises: a text, a number, or true or false."""
        result = await self._firefox.ask(
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert result["type"] == "success", result
        return result["result"].get("value")


@asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[Firefox]:
    """With this folder for its profile."""
    lines = [f'user_pref("{name}", {value});\n' for name, value in _PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        _FIREFOX,
        *("--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    reading = None
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while not (found := re.search(r"ws://\S+", (await process.stderr.readline()).decode())):
                assert not process.stderr.at_eof(), "Firefox has ended"
        reading = asyncio.create_task(process.stderr.read())
        async with (
            ClientSession() as client,
            client.ws_connect(f"{found[0]}/session", max_msg_size=0) as socket,
        ):
            browser = Firefox(socket)
            await browser.ask("session.new", capabilities={})
            yield browser
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading:
            await reading
