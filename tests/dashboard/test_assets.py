"""Styles and scripts: kept by browsers for good, and small."""

import gzip
import re

import pytest

from dashboard.browsing import browsing, get
from liveman.dashboard.assets import Assets

#: All that the overview loads.
OVERVIEW = ("base.css", "live.js", "morph.js", "status.js", "actions.js")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("base.css", "text/css; charset=utf-8"),
        ("live.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_an_asset_is_kept_for_good_under_its_hash_alone(name: str, kind: str) -> None:
    async with browsing() as client:
        good = await get(client, Assets().path(name))
        assert (good.status, good.headers["Content-Type"]) == (200, kind)
        assert good.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert good.headers["X-Content-Type-Options"] == "nosniff"
        other = await get(client, f"assets/of-another-version/{name}")
        assert (other.text, other.headers["Cache-Control"]) == (good.text, "no-cache")


async def test_it_comes_compressed_to_who_takes_that() -> None:
    async with browsing() as client:
        path = Assets().path("base.css")
        plain = await get(client, path, {"Accept-Encoding": "identity"})
        zipped = await get(client, path, {"Accept-Encoding": "gzip"})
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert int(zipped.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
        assert zipped.text == plain.text
        assert plain.headers["Vary"] == zipped.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "%2e%2e", "base.css%00"])
async def test_nothing_else_can_be_read(name: str) -> None:
    async with browsing() as client:
        assert (await get(client, f"assets/x/{name}")).status in (400, 404)


async def test_all_of_the_overview_is_under_60_kb_over_the_wire() -> None:
    assets = Assets()
    async with browsing() as client:
        page = (await get(client, "")).text
    loaded = set(re.findall(rf"assets/{assets.hash}/([\w.]+\.(?:js|css))", page))
    assert loaded <= set(OVERVIEW)
    sizes = [len(await assets.gzipped(name)) for name in OVERVIEW]
    assert sum(sizes) <= 60_000


def test_they_load_nothing_from_foreign_hosts() -> None:
    assets = Assets()
    for name in OVERVIEW:
        assert not re.search(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]", assets._files[name]), name


async def test_they_are_compressed_once() -> None:
    assets = Assets()
    first = await assets.gzipped("base.css")
    assert await assets.gzipped("base.css") is first
    assert gzip.decompress(first) == assets._files["base.css"]
