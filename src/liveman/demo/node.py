"""A built-in node: a live777 node on aiortc, in a process of its own.

``python -m liveman.demo.node [--listen HOST:PORT] [--sub-max N] [--recordings FOLDER] [--until-eof]`` prints
one line of JSON, ``{"url": "http://…"}``, when it listens. It ends on SIGTERM and SIGINT, with
``--until-eof`` also when its standard input ends, so that it never outlives its parent. From the environment:
LIVEMAN_NODE_TOKEN, the token it wants, and LIVEMAN_NODE_ICE_SERVERS, a JSON array of RTCIceServer
dictionaries that it offers.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from liveman.demo.media import forward_encoded_frames
from liveman.demo.routes import NodeSettings, create_node_app
from liveman.logs import configure


def main() -> None:
    """Run a node until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m liveman.demo.node", description="A built-in node.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port, port 0: any free one")
    parser.add_argument("--sub-max", type=int, default=65_535, help="the each_stream_max_sub that it reports")
    parser.add_argument("--recordings", type=Path, help="where it records; without it, it has no recorder")
    parser.add_argument("--until-eof", action="store_true", help="end when the standard input ends")
    options = parser.parse_args()
    settings = NodeSettings(
        sub_max=options.sub_max,
        token=os.environ.get("LIVEMAN_NODE_TOKEN", ""),
        ice_servers=json.loads(os.environ.get("LIVEMAN_NODE_ICE_SERVERS", "[]")),
        recordings=options.recordings,
    )
    configure("warn")
    forward_encoded_frames()
    try:
        asyncio.run(_serve(settings, options.listen, options.until_eof))
    except OSError as error:
        sys.exit(f"cannot listen on {options.listen}: {error.strerror}")
    # A decoder thread of a session that did not close in time would keep the process.
    os._exit(0)


async def _serve(settings: NodeSettings, listen: str, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    if until_eof:
        await loop.connect_read_pipe(lambda: _UntilEof(end), sys.stdin)
    runner = web.AppRunner(create_node_app(settings), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    shown, bound = runner.addresses[0][:2]
    shown = f"[{shown}]" if ":" in shown else shown
    print(json.dumps({"url": f"http://{shown}:{bound}"}), flush=True)
    await end.wait()
    try:
        async with asyncio.timeout(1.5):
            await runner.cleanup()
    except TimeoutError:
        pass


class _UntilEof(asyncio.Protocol):
    def __init__(self, end: asyncio.Event) -> None:
        self._end = end

    def connection_lost(self, _error: Exception | None) -> None:
        self._end.set()


if __name__ == "__main__":
    main()
