"""Answers of a node that nobody should send, by the thousand, against what the letter of RFC 9112 says of them.
Each has a stream of its own, and so what Liveman does with the session that the node made is seen too."""

import asyncio
import json
import random
import re
from collections import Counter
from typing import Literal

import pytest
from attrs import define

from liveman.proxy.routing import session_of_location
from liveman.secret import build_session_id
from long.messages import Broken, Message, Unsure, mutated, read_answer, read_answers
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, Received, answer, raw_node

pytestmark = pytest.mark.long

ROUNDS = 15
AT_ONCE = 128
#: How long a node may take here, instead of its 10 to 60 s.
PATIENCE = 2.0
HANGING = 20.0

SDP_TYPE = "Content-Type: application/sdp"
TRICKLE = "Content-Type: application/trickle-ice-sdpfrag"
LINK = '<turn:t.example?transport=udp>; rel="ice-server"; username="u"; credential="a\\"b"'
LONG = bytes(range(256)) * 600


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


CORPUS = (
    answer("201 Created", SDP_TYPE, "Location: /session/x/d6b4", f"Link: {LINK}", body=SDP),
    answer("201 Created", SDP_TYPE, "Location: http://node/session/x/d6b4?a=b", 'ETag: "1"', body=SDP),
    answer("201 Created", "Location: d6b4", "Transfer-Encoding: chunked", body=chunks(SDP, b"x" * 40), length=False),
    answer("201 Created", "Location: /session/x/until-the-end", length=False) + SDP,
    answer("406 Not Acceptable", SDP_TYPE, "Location: /session/x/d6b4", "Connection: close", body=SDP),
    answer("100 Continue", length=False) + answer("103 Early Hints", "Link: <x>", length=False) + answer("200 OK", body=b"late"),
    answer("200 OK", "Content-Type: application/json", body=b'[{"encodingId":"q"}]'),
    answer("200 OK", "Transfer-Encoding: chunked", body=chunks(LONG[:70_000], LONG[70_000:]), length=False),
    answer("200 OK", "Content-Encoding: gzip", body=LONG),
    answer("200 OK", "Content-Type: text/plain", length=False) + LONG,
    answer("200 OK", "Content-Type: text/event-stream", length=False) + b"data: 1\n\ndata: 2\n\n",
    answer("204 No Content", 'ETag: W/"x"', "Connection: keep-alive, x-hop", "X-Hop: 1"),
    answer("304 Not Modified", "Content-Length: 40", length=False),
    answer("307 Temporary Redirect", "Location: http://elsewhere/", body=b"there"),
    answer("401 Unauthorized", "WWW-Authenticate: Bearer"),
    answer("409 Conflict", "Retry-After: 1", "Content-Type: text/plain", body=b"taken"),
    answer("500 Internal Server Error", "Content-Type: text/plain; charset=utf-8", body=b"SdpInvalidSyntax"),
    answer("503 Service Unavailable", "Retry-After: 7", body=b"busy"),
    answer("200 OK", *(f"X-{i}: {'y' * 200}" for i in range(200)), body=b"many"),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
)  # fmt: skip


@define
class Case:
    """One answer, and what came of it."""

    number: int
    method: Literal["POST", "PATCH", "GET"]
    said: bytes
    end: Literal["closed", "reset", "open"]
    """What the node does with the connection after its answer."""
    cuts: tuple[int, ...]
    heard: bytes = b""

    @property
    def stream(self) -> str:
        return f"c{self.number}"

    def request(self) -> bytes:
        if self.method == "POST":
            return request_bytes(
                "POST", f"/api/whip/n0/{self.stream}", SDP_TYPE, "Connection: close", body=OFFER
            )
        shown = build_session_id(b"any", alias="n0", kind="p", stream=self.stream, id="mine")
        lines = (TRICKLE, "Connection: close") if self.method == "PATCH" else ("Connection: close",)
        body = b"a=b\r\n" if self.method == "PATCH" else b""
        return request_bytes(self.method, f"/session/{self.stream}/{shown}", *lines, body=body)


def make_case(number: int, chance: random.Random) -> Case:
    said = mutated(chance.choice(CORPUS), CORPUS, chance)
    return Case(
        number,
        chance.choice(("POST", "POST", "PATCH", "GET")),
        said,
        chance.choices(("closed", "reset", "open"), (6, 1, 2))[0],
        tuple(sorted(chance.randint(0, len(said)) for _ in range(chance.choice((0, 0, 1, 3))))),
    )


def reading(case: Case) -> Message | None:
    """The answer that the node gave. Raises Broken, and Unsure where recipients may differ."""
    message = read_answer(case.said)
    head = case.said[: case.said.find(b"\r\n\r\n")]
    if len(head) > 60_000 or len(message.fields) > 250 or any(len(v) > 60_000 for _, v in message.fields):
        raise Unsure("a large head")
    if message.rest or case.end == "reset":
        raise Unsure("bytes behind it, or bytes that may be lost")
    if message.until_close and case.end == "open":
        events = any(v.lower().startswith(b"text/event-stream") for v in message.values("content-type"))
        raise (Unsure if events else Broken)("no end")
    return message


def session_made(message: Message, case: Case) -> str | None:
    if case.method != "POST" or message.status not in (201, 406):
        return None
    return session_of_location(message.values("location"))


def must_be_refused(message: Message, case: Case) -> bool:
    """Whether no client may see this answer, well-formed as it is."""
    status = message.status
    unnamed = case.method == "POST" and status == 201 and session_made(message, case) is None
    return status in (101, 401, 403) or (300 <= status < 400 and status != 304) or unnamed


async def hear(url: str, case: Case) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(case.request())
        async with asyncio.timeout(HANGING):
            while piece := await reader.read(1 << 16):
                case.heard += piece
                if re.search(rb"(?i)\r\ncontent-type: text/event-stream", case.heard) and case.end == "open":
                    return
    except ConnectionResetError:
        pass
    except TimeoutError:
        raise AssertionError(f"the client hangs: {case}") from None
    finally:
        writer.transport.abort()


def judge(case: Case) -> str:
    """What became of the answer, in a word. Fails when it should not have."""
    try:
        (heard,) = read_answers(case.heard) or [None]
    except Broken:
        heard = None
    except Unsure as error:
        raise AssertionError(f"Liveman sends what is not well-formed ({error}): {case}") from None
    if heard is None:
        outcome = "cut"
    elif b"application/problem+json" in heard.values("content-type"):
        problem = json.loads(heard.body)
        assert problem["status"] == heard.status and heard.status in (502, 504), case
        assert "n0" in problem["detail"], case
        outcome = "problem"
    else:
        outcome = "passed"
    try:
        message = reading(case)
    except Unsure:
        return outcome
    except Broken:
        assert outcome != "passed", ("what is not whole passed as if it were", case)
        return outcome
    if must_be_refused(message, case):
        assert outcome == "problem" and heard.status == 502, case
    else:
        assert outcome == "passed", ("what is whole did not pass", case)
        assert (heard.status, heard.body) == (message.status, message.body), case
    return outcome


def is_left_behind(case: Case, outcome: str) -> bool | None:
    """Whether the node made a session that its client does not know of; None: nobody can say."""
    head, end, _ = case.said.partition(b"\r\n\r\n")
    try:
        message = read_answer(case.said)
    except Unsure:
        return None
    except Broken:
        # The same head with what can be a whole body.
        try:
            message = read_answer(head + end + b"0\r\n\r\n" + b"x" * 1_000_000) if end else None
        except (Broken, Unsure):
            message = None
    if message is None:
        return None
    if case.end == "reset" or len(head) > 60_000 or len(message.fields) > 250:
        return None
    return session_made(message, case) is not None and outcome != "passed"


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_a_node_answers_its_client_gets_the_whole_of_it_or_sees_that_it_did_not(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer, or a problem, or a cut connection, in time; sessions that no client knows of are deleted,
    and no other node's requests suffer."""
    for name in ("attempts.POST_SECONDS", "attempts.ANSWER_SECONDS", "answer.IDLE_SECONDS"):
        monkeypatch.setattr(f"liveman.proxy.{name}", PATIENCE)
    chance = random.Random(1000 + seed)
    cases: list[Case] = []

    async def say(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "DELETE":
            writer.write(answer("204 No Content"))
            return
        match = re.match(r"/(?:whip|session)/c(\d+)", received.target)
        case = cases[int(match[1])]
        try:
            for start, stop in zip([0, *case.cuts], [*case.cuts, len(case.said)], strict=True):
                writer.write(case.said[start:stop])
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return  # Liveman has had enough.
        if case.end == "reset":
            writer.transport.abort()
        elif case.end == "closed":
            writer.close()

    good_offer = request_bytes("POST", "/api/whip/n1/good", SDP_TYPE, "Connection: close", body=OFFER)
    outcomes: Counter[str] = Counter()
    async with raw_node(say) as bad, raw_node() as good, liveman(bad, good) as url:
        for _ in range(ROUNDS):
            batch = [make_case(len(cases) + i, chance) for i in range(AT_ONCE)]
            cases += batch
            answers = await asyncio.gather(
                exchange(url, good_offer), *(hear(url, case) for case in batch), exchange(url, good_offer)
            )
            assert answers[0].startswith(b"HTTP/1.1 201 ") and answers[-1].startswith(b"HTTP/1.1 201 ")
            for case in batch:
                outcome = judge(case)
                outcomes[outcome] += 1
                path = f"/session/{case.stream}/"
                left = is_left_behind(case, outcome)
                if left:
                    try:
                        await bad.wait_for(
                            lambda n, p=path: any(t.startswith(p) for t in n.targets("DELETE"))
                        )
                    except TimeoutError:
                        raise AssertionError(f"seed {seed}: a session is left behind: {case}") from None
                elif left is False and outcome == "passed":
                    assert not [t for t in bad.targets("DELETE") if t.startswith(path)], case
    # Every outcome is met, or this would prove nothing.
    assert len(outcomes) == 3 and min(outcomes.values()) > len(cases) / 100, outcomes
    faults = [r for r in caplog.records if r.exc_info]
    assert not faults, (seed, faults[0].name, faults[0].exc_text)
