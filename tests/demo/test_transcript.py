"""A built-in node says what a real node said: the recorded requests are replayed at it."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from aiortc import RTCPeerConnection, RTCSessionDescription
from yarl import URL

from liveman.config import Secret
from liveman.demo.client import publishing_peer, watching_peer
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Tone
from support.transcript import Recorded, json_shape, parse

RECORDED = parse(Path(__file__).parent.parent / "data" / "live777.http")

#: The nodes of the capture.
NODES = ("127.0.0.1:15101", "127.0.0.1:15102")
AFTER_THE_SOURCE = "node b after the push source has gone"
#: Of the connection, or of the moment.
IGNORED = {"date", "connection", "content-length", "transfer-encoding"}
ICE_SERVERS = (
    {"urls": ["stun:stun.example.org:3478"]},
    {"urls": ["turn:turn.example.org:3478?transport=udp"], "username": "user", "credential": "pass"},
)


def name(recorded: Recorded) -> str:
    return recorded.note or f"{recorded.method} {recorded.target}"


def with_token(recorded: Recorded) -> bool:
    return "authorization" in recorded.fields or recorded.note.startswith("tokens set")


TOKEN_PART = next(i for i, each in enumerate(RECORDED) if with_token(each))
FIRST, SECOND = RECORDED[:TOKEN_PART], RECORDED[TOKEN_PART:]


class Replay:
    """The conversation with two nodes; what they are called and the ids they give stand for the capture's."""

    def __init__(self, urls: Sequence[str], client: ClientSession, recordings: Path) -> None:
        self._client = client
        self._recordings = recordings
        self._ours = {node: url.removeprefix("http://") for node, url in zip(NODES, urls, strict=False)}
        self._peers: list[RTCPeerConnection] = []

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()

    async def ask(self, recorded: Recorded) -> None:
        """Replay one request and compare the answer; publishers and viewers are real ones."""
        peer = None
        body = recorded.body
        if recorded.note == "publish":
            peer = await publishing_peer([MovingPicture(), Tone()])
        elif recorded.note == "subscribe":
            peer = await watching_peer()
        if peer is not None:
            self._peers.append(peer)
            body = peer.localDescription.sdp.encode()
        headers = {
            key: value for key, value in recorded.fields.items() if key not in ("host", "content-length")
        }
        if (recorded.method, recorded.status) == ("GET", 200) and recorded.target.startswith("/api/streams/"):
            # The capture waited some seconds; a replay waits until it is as there, or until it never will be.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    while await self._differs(recorded, headers):
                        await asyncio.sleep(0.05)
        if recorded.note == "while recording":
            (listed,) = json.loads(recorded.answer)["sessions"]
            async with asyncio.timeout(20):
                while not (self._recordings / listed["mpd_path"]).exists():
                    await asyncio.sleep(0.05)
        async with self._client.request(
            recorded.method,
            self._url(recorded),
            headers=headers,
            data=self._mapped(body.decode()).encode() or None,
            skip_auto_headers=["Content-Type"],
        ) as response:
            assert response.status == recorded.status
            names = {key.lower() for key in response.headers}
            assert names - IGNORED == recorded.names - IGNORED
            answer = await self._read(response, recorded)
        self._compare(recorded, response, answer)
        if peer is not None:
            await self._connect(peer, answer, recorded)

    def _mapped(self, text: str) -> str:
        for captured, ours in self._ours.items():
            text = text.replace(captured, ours)
        return text

    def _url(self, recorded: Recorded) -> URL:
        return URL(self._mapped(f"http://{recorded.node}{recorded.target}"), encoded=True)

    async def _differs(self, recorded: Recorded, headers: dict[str, str]) -> bool:
        async with self._client.get(self._url(recorded), headers=headers) as response:
            if response.status != 200:
                return True
            ours = self._listed(await response.json(), recorded)
        return ours != self._listed(json.loads(recorded.answer), recorded)

    def _listed(self, answer: Any, recorded: Recorded) -> list[Any]:
        """What a listing and its capture have in common: shapes, states, and who relays what to where."""
        streams = answer if isinstance(answer, list) else [answer]
        seen = []
        for stream in streams:
            sessions = stream["publish"]["sessions"] + stream["subscribe"]["sessions"]
            relays = [relay for each in sessions if (relay := each.get("cascade"))]
            urls = [{key: self._mapped(url.rpartition("/")[0]) for key, url in r.items()} for r in relays]
            states = [each["state"] for each in sessions]
            if recorded.note == AFTER_THE_SOURCE:
                # A real node notices some seconds later that the source of its pull has hung up, too.
                states, stream = [], {**stream, "codecs": []}
            seen.append((stream["id"], json_shape(stream), states, urls))
        return seen

    async def _read(self, response: ClientResponse, recorded: Recorded) -> str:
        if response.content_type != "text/event-stream":
            return await response.text()
        wanted = len(re.findall(r"(?m)^data: ", recorded.answer))
        text = ""
        async with asyncio.timeout(20):
            # Several messages came within the five seconds of the capture; two prove that it goes on.
            while len(re.findall(r"(?m)^data: .*\n\n", text)) < min(wanted, 2):
                text += (await response.content.readany()).decode()
        return text

    def _compare(self, recorded: Recorded, response: ClientResponse, answer: str) -> None:
        if recorded.names >= {"location"}:
            self._compare_location(recorded, response)
        elif response.content_type == "text/event-stream":
            captured = json.loads(re.findall(r"(?m)^data: (.*)$", recorded.answer)[0])
            for message in re.findall(r"(?m)^data: (.*)$", answer):
                assert json_shape(json.loads(message)) == json_shape(captured)
        elif recorded.answer.startswith(("{", "[")):
            ours, captured = json.loads(answer), json.loads(recorded.answer)
            if recorded.target == "/api/info":
                # A built-in node has two of the features that the capture names.
                assert ours.pop("features") == ["cascade", "recorder"]
                assert set(captured.pop("features")) == {"cascade", "net4mqtt", "recorder"}
            if recorded.target.startswith("/api/streams/"):
                assert self._listed(ours, recorded) == self._listed(captured, recorded)
            elif recorded.target.startswith("/api/record"):
                assert timeless(ours) == timeless(captured)
            else:
                assert json_shape(ours) == json_shape(captured)
        else:
            assert answer == recorded.answer
        for header in ("allow", "content-type", "accept-patch", "vary", "cache-control"):
            assert response.headers.get(header) == recorded.answer_fields.get(header)

    def _compare_location(self, recorded: Recorded, response: ClientResponse) -> None:
        captured, _, captured_id = recorded.answer_fields["location"].rpartition("/")
        ours, _, our_id = response.headers["Location"].rpartition("/")
        assert ours == captured
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", our_id)
        self._ours[captured_id] = our_id
        assert response.headers.getall("Link")[-1] == recorded.answer_fields["link"]
        assert len(response.headers.getall("Link")) == 2

    async def _connect(self, peer: RTCPeerConnection, answer: str, recorded: Recorded) -> None:
        """Media flows, as it did in the capture."""
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(20):
            while not await self._listed_as_connected(recorded):
                await asyncio.sleep(0.05)

    async def _listed_as_connected(self, recorded: Recorded) -> bool:
        async with self._client.get(self._url(recorded).with_path("/api/streams/cam")) as response:
            stream = await response.json()
        sessions = stream[recorded.note]["sessions"]
        states = [each["state"] for each in sessions if each["stats"]["packets"] > 0]
        return states == ["connected"] and len(stream["codecs"]) == 2


def timeless(value: Any) -> Any:
    """A recording's answer as it is at any time."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return "a time" if type(value) is int and value > 3 else value


@asynccontextmanager
async def conversation(recordings: Path, token: str = "") -> AsyncIterator[Replay]:
    async with (
        buildin_nodes(
            2, sub_max=2, token=Secret(token), ice_servers=ICE_SERVERS, recordings=str(recordings)
        ) as nodes,
        ClientSession() as client,
    ):
        replay = Replay([node.url for node in nodes], client, recordings)
        try:
            yield replay
        finally:
            await replay.close()


async def converse(part: list[Recorded], replay: Replay) -> list[str]:
    asked = []
    for recorded in part:
        try:
            await replay.ask(recorded)
        except AssertionError as error:
            raise AssertionError(
                f"{recorded.note or 'no note'}: {recorded.method} {recorded.target}: {error}"
            ) from error
        asked.append(name(recorded))
    return asked


async def test_a_built_in_node_answers_as_the_real_one_did(tmp_path: Path) -> None:
    """From the first GET to the last unpublish, with a real publisher, viewer, recording and real relays."""
    async with conversation(tmp_path) as replay:
        asked = await converse(FIRST, replay)
    assert {"publish", "trickle", "subscribe", "second publisher", "mute video", "unpublish"} <= set(asked)
    assert {"push to node b", "the destination of a pull", AFTER_THE_SOURCE} <= set(asked)
    assert {"record again", "while recording", "limit missing", "acknowledged"} <= set(asked)
    assert len(asked) == len(FIRST)


async def test_a_node_with_a_token_answers_as_the_real_one_did(tmp_path: Path) -> None:
    async with conversation(tmp_path, token="node-token") as replay:
        asked = await converse([each for each in SECOND if each.note != "idle for 20 s"], replay)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"a": 1, "b": [{"c": "x"}, {}], "d": None}, {"a": "number", "b": [{"c": "str"}], "d": "NoneType"}),
        ([], []),
        ([True, 1.5], ["bool"]),
    ],
)
def test_shapes_are_names_and_types(value: object, shape: object) -> None:
    assert json_shape(value) == shape
