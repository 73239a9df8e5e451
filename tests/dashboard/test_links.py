"""Links of the original's tools lead to pages that do the same."""

import pytest

from dashboard.browsing import CLOSED, browsing, get


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("player.html?id=cam&autoplay&muted&reconnect=3000", "../watch/cam"),
        ("player.html?id=a%20b%2Fc", "../watch/a%20b%2Fc"),
        ("player.html?id=cam&token=a.b%2Bc", "../watch/cam#token=a.b%2Bc"),
        ("player.html", "../streams/"),
        ("debugger.html?id=cam&token=t", "../publish/cam#token=t"),
        ("debugger.html", "../publish/"),
        ("dash.html?mpd=cam/2026/1.mpd&token=t", "../play?mpd=cam%2F2026%2F1.mpd#token=t"),
        ("dash.html?mpd=//evil.example/x", "../play?mpd=%2F%2Fevil.example%2Fx"),
        ("dash.html", "../recordings/"),
    ],
)
async def test_a_link_leads_there(link: str, expected: str) -> None:
    """Its token goes behind the #, which no server is sent."""
    async with browsing(auth=CLOSED) as client:
        answer = await get(client, f"tools/{link}")
        assert (answer.status, answer.headers["Location"]) == (302, expected)
