"""One encoding for all who ask, and never an old answer."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from attrs import define, field

from cluster.fake import until
from liveman.cluster import documents
from liveman.cluster.documents import View
from liveman.tasks import TaskOwner


@define(eq=False)
class Source:
    """What a list is made of; its encoding can be held."""

    said: str = "first"
    version: int = 0
    taken: list[str] = field(factory=list)
    go_on: threading.Event = field(factory=threading.Event)

    def change(self, said: str) -> None:
        self.said = said
        self.version += 1

    def take(self) -> Callable[[], bytes]:
        said = self.said
        self.taken.append(said)

        def encode() -> bytes:
            assert self.go_on.wait(5)
            if said == "broken":
                raise ValueError("on purpose")
            return said.encode()

        return encode


@asynccontextmanager
async def viewed(source: Source, *, held: bool = False) -> AsyncIterator[View]:
    if not held:
        source.go_on.set()
    async with TaskOwner() as owner:
        yield View(version=lambda: source.version, take=source.take, lock=asyncio.Lock(), start=owner.start)
        source.go_on.set()


async def test_a_list_is_encoded_once_however_many_ask() -> None:
    """At the same time, and later while nothing has changed."""
    async with viewed(source := Source()) as view:
        first, *others = await asyncio.gather(*(view.document() for _ in range(50)))
        assert all(each is first for each in others) and first is await view.document()
        assert source.taken == ["first"]
        source.change("second")
        assert (await view.document()).body == b"second"
        assert source.taken == ["first", "second"]


async def test_who_asks_after_a_change_does_not_get_what_was_taken_before_it() -> None:
    """Also while that is still being encoded; who asked before the change is content with it."""
    async with viewed(source := Source(), held=True) as view:
        early = asyncio.create_task(view.document())
        await until(lambda: source.taken == ["first"])
        source.change("second")
        late = [asyncio.create_task(view.document()) for _ in range(3)]
        await asyncio.sleep(0)
        source.go_on.set()
        assert (await early).body == b"first"
        assert [(await each).body for each in late] == [b"second"] * 3
        assert source.taken == ["first", "second"]


async def test_a_list_that_changes_all_the_time_is_given_nevertheless() -> None:
    """As it was at the time of asking, or later."""
    async with viewed(source := Source(), held=True) as view:
        asked = asyncio.create_task(view.document())
        await until(lambda: source.taken)
        source.change("second")
        again = asyncio.create_task(view.document())
        await asyncio.sleep(0)
        restless = asyncio.create_task(_change_always(source))
        source.go_on.set()
        await asyncio.wait_for(asyncio.gather(asked, again), 5)
        restless.cancel()
        assert len(source.taken) == 2


async def _change_always(source: Source) -> None:
    while True:
        source.change(source.said)
        await asyncio.sleep(0)


async def test_who_leaves_does_not_end_the_encoding_for_the_others() -> None:
    """They share it."""
    async with viewed(source := Source(), held=True) as view:
        one, other = (asyncio.create_task(view.document()) for _ in range(2))
        await until(lambda: source.taken)
        one.cancel()
        source.go_on.set()
        assert (await other).body == b"first"
        assert source.taken == ["first"]


async def test_an_encoding_that_fails_is_tried_anew() -> None:
    """Those who waited are told."""
    async with viewed(source := Source("broken")) as view:
        with pytest.raises(ValueError, match="on purpose"):
            await view.document()
        source.change("whole")
        assert (await view.document()).body == b"whole"


async def test_a_change_that_makes_no_difference_makes_no_other_document() -> None:
    """Nobody is to be told of it, and what was compressed stays."""
    async with viewed(source := Source()) as view:
        before = await view.document()
        source.change("first")
        assert await view.document() is before
        source.change("second")
        after = await view.document()
        assert after.tag != before.tag and after.number > before.number


async def test_two_views_with_the_same_words_have_the_same_tag() -> None:
    """As two instances do; the compressed form has another one."""
    async with viewed(Source()) as one, viewed(Source()) as other:
        first, second = await one.document(), await other.document()
        assert first.tag == second.tag
        assert first.gzip_tag not in (first.tag, (await other.document()).tag)


async def test_a_list_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for that."""
    compressed = []
    compress = documents._gzip
    monkeypatch.setattr(documents, "_gzip", lambda body: (compressed.append(body), compress(body))[1])
    async with viewed(Source()) as view:
        document = await view.document()
        bodies = await asyncio.gather(*(document.gzipped() for _ in range(10)))
        assert {gzip.decompress(each) for each in bodies} == {b"first"}
        assert gzip.decompress(await document.gzipped()) == b"first"
    assert compressed == [b"first"]


async def test_lists_are_encoded_one_at_a_time() -> None:
    """What they are made of is taken when their turn has come."""
    lock = asyncio.Lock()
    one, other = Source("one"), Source("other")
    other.go_on.set()
    async with TaskOwner() as owner:
        views = [
            View(version=lambda: 0, take=each.take, lock=lock, start=owner.start) for each in (one, other)
        ]
        asked = [asyncio.create_task(each.document()) for each in views]
        await until(lambda: one.taken)
        await asyncio.sleep(0.02)
        assert other.taken == []
        one.go_on.set()
        assert [(await each).body for each in asked] == [b"one", b"other"]
