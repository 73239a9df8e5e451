"""What nodes have recorded comes into the index, and none of it is lost."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cluster.fake import FAST
from liveman.cluster import Cluster
from liveman.cluster import Node as ClusterNode
from liveman.config import Cluster as Options
from liveman.config import RecordSync
from liveman.database import Database, open_database
from liveman.errors import DatabaseError
from liveman.recording.index import Index
from liveman.recording.sync import Sync
from recording.nodes import Node, recording_node

START = 1_795_219_200_000_000


def row(number: int, *, status: str = "Completed", **changes: Any) -> dict[str, Any]:
    start = START + number * 10_000_000
    ended = status != "Active"
    return {
        "id": f"id-{number}",
        "stream": "cam",
        "start_ts": start,
        "end_ts": start + 5_000_000 if ended else None,
        "duration_ms": 5000 if ended else None,
        "mpd_path": f"cam/2026/11/21/{start // 1_000_000}/manifest.mpd",
        "status": status,
        **changes,
    }


@asynccontextmanager
async def syncing(url: str, *nodes: Node, limit: int = 200) -> AsyncIterator[tuple[Sync, Index, Database]]:
    declared = [ClusterNode(f"n{number}", node.url, mode="poll") for number, node in enumerate(nodes)]
    async with (
        open_database(url) as database,
        Cluster(declared, options=Options(), timing=FAST) as cluster,
    ):
        index = Index(database)
        yield Sync(cluster, index, RecordSync(limit=limit), database.leadership), index, database


async def test_ended_recordings_are_written_acknowledged_and_forgotten(database_url: str) -> None:
    """Running ones are written and stay listed, as their end is still to come."""
    async with recording_node() as node, syncing(database_url, node) as (sync, index, _):
        node.sessions = [row(0), row(1, status="Failed"), row(2, status="Active")]
        await sync.ask_all()
        assert {each.record: each.status for each in await index.page("cam")} == {
            "id-0": "Completed",
            "id-1": "Failed",
            "id-2": "Active",
        }
        assert [each["record"] for each in node.acknowledged] == ["id-0", "id-1"]
        assert node.forgotten == node.acknowledged
        node.sessions[2] |= row(2)
        await sync.ask_all()
        assert (await index.page("cam"))[0].status == "Completed"
        assert len(node.acknowledged) == 3


async def test_all_pages_are_read_in_one_pass(database_url: str) -> None:
    async with recording_node() as node, syncing(database_url, node, limit=10) as (sync, index, _):
        node.sessions = [row(number) for number in range(95)]
        await sync.ask_all()
        assert len(await index.page("cam")) == 95
        assert len(node.forgotten) == 95


async def test_running_recordings_that_fill_a_page_hide_nothing(database_url: str) -> None:
    async with recording_node() as node, syncing(database_url, node, limit=10) as (sync, index, _):
        node.sessions = [row(number, status="Active") for number in range(35)] + [row(99)]
        await sync.ask_all()
        assert len(await index.page("cam")) == 36
        assert node.acknowledged == [{"stream": "cam", "record": "id-99"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"end_ts": START - 1},
        {"start_ts": -1},
        {"start_ts": 1e300},
        {"start_ts": "now"},
        {"duration_ms": -5},
        {"stream": "a/b"},
        {"stream": ""},
        {"stream": "other"},
        {"mpd_path": "../../etc/manifest.mpd"},
        {"mpd_path": "/cam/manifest.mpd"},
        {"mpd_path": "cam\\x/manifest.mpd"},
        {"mpd_path": "cam/\0/manifest.mpd"},
        {"mpd_path": "other/2026/11/21/1/manifest.mpd"},
        {"mpd_path": ""},
        {"status": "Running"},
        {"id": ""},
        {"id": "x" * 256},
        {"id": None},
    ],
    ids=str,
)
async def test_a_row_of_nonsense_is_refused_and_told_and_the_rest_kept(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    """It is not acknowledged either: the node still has it when it is mended."""
    async with recording_node() as node, syncing(f"sqlite://{tmp_path}/a.db", node) as (sync, index, _):
        node.sessions = [row(0), row(1, **changes), row(2)]
        await sync.ask_all()
        await sync.ask_all()
        assert sorted(each.record for each in await index.page("cam")) == ["id-0", "id-2"]
        assert await index.streams() == ["cam"]
        assert {each["record"] for each in node.acknowledged} == {"id-0", "id-2"}
    complaints = [record.message for record in caplog.records if "make no sense" in record.message]
    assert len(complaints) == 2, "once for the page with it, and once for the page that has it alone"


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"sessions": 5}', "[" * 100_000, "\xff"])
async def test_a_node_that_lists_rubbish_disturbs_no_other(tmp_path: Any, said: str) -> None:
    async with (
        recording_node() as bad,
        recording_node() as good,
        syncing(f"sqlite://{tmp_path}/a.db", bad, good) as (sync, index, _),
    ):
        bad.raw = said
        good.sessions = [row(0)]
        await sync.ask_all()
        assert [each.node for each in await index.page("cam")] == ["n1"]


@pytest.mark.parametrize("status", [404, 501])
async def test_a_node_without_a_recorder_is_asked_rarely(tmp_path: Any, status: int) -> None:
    async with recording_node() as node, syncing(f"sqlite://{tmp_path}/a.db", node) as (sync, _, _):
        node.lacks = status
        await sync.ask_all()
        node.lacks = 0
        await sync.ask_all()
        assert node.log == []


async def test_nothing_is_acknowledged_that_is_not_committed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording_node() as node, syncing(f"sqlite://{tmp_path}/a.db", node) as (sync, index, _):
        node.sessions = [row(0)]
        put = Index.put

        async def fail(*_: object) -> None:
            raise DatabaseError("the disk is full")

        monkeypatch.setattr(Index, "put", fail)
        await sync.ask_all()
        assert node.acknowledged == []
        monkeypatch.setattr(Index, "put", put)
        await sync.ask_all()
        assert len(await index.page("cam")) == 1
        assert len(node.acknowledged) == 1


async def test_what_could_not_be_acknowledged_is_taken_over_once(tmp_path: Any) -> None:
    async with recording_node() as node, syncing(f"sqlite://{tmp_path}/a.db", node) as (sync, index, _):
        node.sessions = [row(0)]
        node.refuses = {"acknowledge": 500}
        await sync.ask_all()
        node.refuses = {}
        await sync.ask_all()
        assert len(await index.page("cam")) == 1
        assert node.acknowledged == [{"stream": "cam", "record": "id-0"}]


async def test_a_flood_of_rows_is_refused(tmp_path: Any) -> None:
    async with recording_node() as node, syncing(f"sqlite://{tmp_path}/a.db", node) as (sync, index, _):
        node.raw = json.dumps({"sessions": [5] * 20_000, "last_ts": None})
        await sync.ask_all()
        assert await index.streams() == []
