"""A built-in node says what a real node said: the recorded requests are replayed at it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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

#: Parts that a built-in node does not have yet: no relays, no recorder. What depends on a relay's
#: existence is left out with it.
LEFT_OUT = {
    "push to node b",
    "the source of a push",
    "the destination of a push",
    "neither url",
    "pull from node a under another name; unknown stream",
    "again (POST /api/streams/other)",
    "POST /api/streams/other",
    "pull from node a under another name",
    "the destination of a pull",
    "the source of a push and a pull",
    "node b after the push source has gone",
    "record",
    "record again",
    "while recording",
    "after it",
    "limit missing",
    "acknowledge",
    "acknowledged",
    "forget",
    "GET /api/record/cam",
    "DELETE /api/record/cam",
}
#: Of the connection, or of the moment.
IGNORED = {"date", "connection", "content-length", "transfer-encoding"}
ICE_SERVERS = (
    {"urls": ["stun:stun.example.org:3478"]},
    {"urls": ["turn:turn.example.org:3478?transport=udp"], "username": "user", "credential": "pass"},
)


def name(recorded: Recorded) -> str:
    plain = f"{recorded.method} {recorded.target}"
    if recorded.note == "again" and recorded.target.startswith("/api/streams/"):
        return f"again ({plain})"
    return recorded.note or plain


def with_token(recorded: Recorded) -> bool:
    return "authorization" in recorded.fields or recorded.note.startswith("tokens set")


TOKEN_PART = next(i for i, each in enumerate(RECORDED) if with_token(each))
FIRST, SECOND = RECORDED[:TOKEN_PART], RECORDED[TOKEN_PART:]


class Replay:
    """The conversation with one node; ids of the capture stand for those that this node gave."""

    def __init__(self, url: str, client: ClientSession) -> None:
        self._url = url
        self._client = client
        self._ids: dict[str, str] = {}
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
        target = recorded.target
        for captured, ours in self._ids.items():
            target = target.replace(captured, ours)
        headers = {
            key: value for key, value in recorded.fields.items() if key not in ("host", "content-length")
        }
        async with self._client.request(
            recorded.method,
            URL(self._url + target, encoded=True),
            headers=headers,
            data=body or None,
            skip_auto_headers=["Content-Type"],
        ) as response:
            assert response.status == recorded.status
            names = {key.lower() for key in response.headers}
            assert names - IGNORED == recorded.names - IGNORED
            answer = await self._read(response, recorded)
        self._compare(recorded, response, answer)
        if peer is not None:
            await self._connect(peer, answer, recorded.note)

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
                # A built-in node has none of the features that the capture names.
                assert ours.pop("features") == []
                assert set(captured.pop("features")) == {"cascade", "net4mqtt", "recorder"}
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
        self._ids[captured_id] = our_id
        assert response.headers.getall("Link")[-1] == recorded.answer_fields["link"]
        assert len(response.headers.getall("Link")) == 2

    async def _connect(self, peer: RTCPeerConnection, answer: str, note: str) -> None:
        """Media flows, as it did in the capture."""
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(20):
            while not await self._listed_as_connected(note):
                await asyncio.sleep(0.05)

    async def _listed_as_connected(self, note: str) -> bool:
        side = {"publish": "publish", "subscribe": "subscribe"}[note]
        async with self._client.get("/api/streams/cam") as response:
            stream = await response.json()
        states = [each["state"] for each in stream[side]["sessions"] if each["stats"]["packets"] > 0]
        return states == ["connected"] and len(stream["codecs"]) == 2


@asynccontextmanager
async def conversation(token: str = "", sub_max: int = 2) -> AsyncIterator[Replay]:
    async with (
        buildin_nodes(1, sub_max=sub_max, token=Secret(token), ice_servers=ICE_SERVERS) as nodes,
        ClientSession(nodes[0].url) as client,
    ):
        replay = Replay(nodes[0].url, client)
        try:
            yield replay
        finally:
            await replay.close()


async def converse(part: list[Recorded], replay: Replay) -> list[str]:
    asked = []
    for recorded in part:
        if name(recorded) in LEFT_OUT:
            continue
        try:
            await replay.ask(recorded)
        except AssertionError as error:
            raise AssertionError(
                f"{recorded.note or 'no note'}: {recorded.method} {recorded.target}: {error}"
            ) from error
        asked.append(name(recorded))
    return asked


async def test_a_built_in_node_answers_as_the_real_one_did() -> None:
    """From the first GET to the last unpublish, with a real publisher and a real viewer."""
    async with conversation() as replay:
        asked = await converse(FIRST, replay)
    assert {"publish", "trickle", "subscribe", "second publisher", "mute video", "unpublish"} <= set(asked)
    assert len(asked) >= 30


async def test_a_node_with_a_token_answers_as_the_real_one_did() -> None:
    async with conversation(token="node-token") as replay:
        asked = await converse([each for each in SECOND if each.note != "idle for 20 s"], replay)
    assert len(asked) == 4


def test_only_relays_and_recordings_are_left_out() -> None:
    """A part that is built must not stay on the list, nor a name that the capture does not have."""
    names = {name(each) for each in RECORDED}
    assert names >= LEFT_OUT
    about = re.compile(r"cascade|record|/api/streams/(cam|other)|15102")
    for each in RECORDED:
        if name(each) in LEFT_OUT:
            assert about.search(each.target + each.node), name(each)


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
