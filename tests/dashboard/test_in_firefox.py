"""The pages to watch and to publish, in Firefox."""

from pathlib import Path

from dashboard.players import mounted
from support.firefox import Tab, firefox
from support.nodes import get_json, until

_STATE = "document.getElementById('state').dataset.is"
#: So many pictures more; Firefox counts those of streams nowhere else.
_FRAMES = """new Promise((resolve) => {
  const video = document.querySelector("video");
  let left = 20;
  const next = () => (left-- ? video.requestVideoFrameCallback(next) : resolve(true));
  next();
})"""
#: What the page says from now on, one after another.
_LISTEN = """window.said = [];
new MutationObserver(() => said.push(state.dataset.is)).observe(state, {attributeFilter: ["data-is"]});"""


async def is_live(tab: Tab) -> bool:
    return bool(await tab.value(_STATE) == "live")


async def test_what_one_page_publishes_another_shows_and_does_again_when_kicked(tmp_path: Path) -> None:
    async with mounted() as url, firefox(tmp_path) as browser:
        publisher = await browser.open(f"{url}/publish/cam")
        await publisher.value("document.querySelector('[value=pattern]').click(), go.click()")
        await until(lambda: is_live(publisher), within=30)
        viewer = await browser.open(f"{url}/watch/cam")
        await until(lambda: is_live(viewer), within=30)
        assert await viewer.value(_FRAMES)
        assert await viewer.value("video.videoWidth > 0 && video.muted && !video.paused")
        await viewer.value("sound.click(), figures.click()")
        assert not await viewer.value("video.muted || video.paused")

        async def told() -> bool:
            text = await viewer.value("stats.textContent")
            return "host → host" in text and "VP8" in text

        await until(told)
        (stream,) = await get_json(f"{url}/api/streams/")
        (session,) = stream["subscribe"]["sessions"]
        await viewer.value(_LISTEN)
        assert (
            await viewer.value(
                f"fetch('../session/cam/{session['id']}', {{method: 'DELETE'}}).then((a) => a.status)"
            )
            == 204
        )

        async def is_back() -> bool:
            return bool(await viewer.value("said.join()") == "lost,connecting,live")

        await until(is_back, within=30)
        assert await viewer.value(_FRAMES)
