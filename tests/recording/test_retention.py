"""What is too old or too much goes, objects first; what is found in the storage comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from liveman.cli_recordings import recordings as command
from liveman.config import Retention
from liveman.database import open_database
from liveman.errors import StorageError
from liveman.recording.folder import Folder
from liveman.recording.index import Index
from liveman.recording.reindex import found_in, reindex
from liveman.recording.retention import Pruned, prune
from liveman.recording.store import Entry
from liveman.recording.wire import Recorded

DAY = 86_400
#: 2026-11-21, 00:00 UTC, seconds.
NOW = 1_795_219_200


def recorded(stream: str, start: int, **changes: Any) -> Recorded:
    values = {
        "end": (start + 60) * 1_000_000,
        "duration_ms": 60_000,
        "mpd_path": f"{stream}/2026/11/21/{start:010d}/manifest.mpd",
        "status": "Completed",
        **changes,
    }
    return Recorded(f"id-{start}", stream, start * 1_000_000, **values)


@asynccontextmanager
async def kept(url: str, root: Path, *rows: Recorded, size: int = 100) -> AsyncIterator[tuple[Index, Folder]]:
    """Each with a manifest and two segments: three objects of ``size`` bytes."""
    async with open_database(url) as database, Folder(str(root)) as storage:
        index = Index(database)
        await index.put("n0", rows)
        for row in rows:
            folder = row.mpd_path.rpartition("/")[0]
            for name in (row.mpd_path, f"{folder}/v_init.m4s", f"{folder}/v_seg_0001.m4s"):
                await storage.write(name, b"x" * size)
        yield index, storage


async def pruned(index: Index, storage: Folder, *, dry_run: bool = False, **options: Any) -> list[Pruned]:
    return [each async for each in prune(index, storage, Retention(**options), now=NOW, dry_run=dry_run)]


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_what_is_older_goes_with_its_objects(database_url: str, tmp_path: Path) -> None:
    old, young = recorded("cam", NOW - 8 * DAY), recorded("cam", NOW - 6 * DAY)
    async with kept(database_url, tmp_path / "s", old, young) as (index, storage):
        (gone,) = await pruned(index, storage, max_age_days=7)
        assert (gone.recording.record, gone.bytes, gone.why) == (old.id, 300, "age")
        assert [each.record for each in await index.page("cam")] == [young.id]
        assert len(files(tmp_path / "s")) == 3


async def test_the_oldest_go_until_the_rest_fits(database_url: str, tmp_path: Path) -> None:
    rows = [recorded("cam", NOW - number * DAY) for number in range(5)]
    async with kept(database_url, tmp_path / "s", *rows) as (index, storage):
        gone = await pruned(index, storage, max_bytes=700)
        assert [each.recording.record for each in gone] == [row.id for row in reversed(rows[2:])]
        assert {each.why for each in gone} == {"size"}
        assert await pruned(index, storage, max_bytes=700) == []


async def test_nothing_goes_by_default_nor_in_a_dry_run(database_url: str, tmp_path: Path) -> None:
    async with kept(database_url, tmp_path / "s", recorded("cam", NOW - 9 * DAY)) as (index, storage):
        assert await pruned(index, storage) == []
        assert len(await pruned(index, storage, max_age_days=1, dry_run=True)) == 1
        assert len(await index.page("cam")) == 1
        assert len(files(tmp_path / "s")) == 3


async def test_only_streams_that_match_are_touched_or_counted(database_url: str, tmp_path: Path) -> None:
    rows = [recorded("cam", NOW - 9 * DAY), recorded("keep", NOW - 9 * DAY)]
    async with kept(database_url, tmp_path / "s", *rows) as (index, storage):
        assert await pruned(index, storage, max_bytes=300, streams=("c*",)) == []
        await pruned(index, storage, max_age_days=1, streams=("c*",))
        assert await index.streams() == ["keep"]


async def test_a_running_recording_is_never_deleted(database_url: str, tmp_path: Path) -> None:
    row = recorded("cam", NOW - 9 * DAY, status="Active", end=None, duration_ms=None)
    async with kept(database_url, tmp_path / "s", row) as (index, storage):
        assert await pruned(index, storage, max_age_days=1, max_bytes=1) == []


async def test_what_is_broken_off_goes_on(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index has a recording until its last object is gone, and that is the manifest."""
    async with kept(database_url, tmp_path / "s", recorded("cam", NOW - 9 * DAY)) as (index, storage):
        delete, deleted = storage.delete, []

        async def fail(path: str) -> None:
            if path.endswith("manifest.mpd"):
                raise StorageError("the disk is gone")
            deleted.append(path)
            await delete(path)

        monkeypatch.setattr(storage, "delete", fail)
        with pytest.raises(StorageError):
            await pruned(index, storage, max_age_days=1)
        assert len(deleted) == 2
        assert len(await index.page("cam")) == 1
        monkeypatch.undo()
        assert len(await pruned(index, storage, max_age_days=1)) == 1
        assert files(tmp_path / "s") == []


async def test_what_others_have_in_the_same_folder_or_below_stays(database_url: str, tmp_path: Path) -> None:
    """As older nodes laid them: the day's folder holds several, or holds folders of newer ones."""
    one = recorded("cam", NOW - 9 * DAY, mpd_path="cam/2026/11/12/manifest.mpd")
    other = recorded("cam", NOW - 9 * DAY + 10, mpd_path="cam/2026/11/12/manifest.mpd")
    below = recorded("cam", NOW, mpd_path=f"cam/2026/11/12/{NOW}/manifest.mpd")
    async with kept(database_url, tmp_path / "s", one, other, below) as (index, storage):
        assert await pruned(index, storage, max_bytes=900) == []
        gone = await pruned(index, storage, max_age_days=1)
        assert [each.bytes for each in gone] == [0, 300], "the last one of the folder takes its objects along"
        assert files(tmp_path / "s") == sorted(
            f"cam/2026/11/12/{NOW}/{name}" for name in ("manifest.mpd", "v_init.m4s", "v_seg_0001.m4s")
        )


async def test_what_lies_in_the_storage_is_found_again(database_url: str, tmp_path: Path) -> None:
    """As after a lost database; and what its node tells later takes its place."""
    row = recorded("cam", NOW)
    async with kept(database_url, tmp_path / "s", row) as (index, storage):
        await index.drop(await index.page("cam"))
        assert [each.mpd_path async for each in reindex(index, storage)] == [row.mpd_path]
        assert [each.mpd_path async for each in reindex(index, storage)] == []
        (found,) = await index.page("cam")
        assert (found.node, found.start, found.status) == ("", NOW * 1_000_000, "Completed")
        await index.put("n0", [row])
        assert [each.node for each in await index.page("cam")] == ["n0"]


@pytest.mark.parametrize(
    ("path", "stream", "start"),
    [
        (f"cam/2026/11/21/{NOW}/manifest.mpd", "cam", NOW),
        (f"live/x/cam/2026/11/21/{NOW}/manifest.mpd", "cam", NOW),
        (f"cam/{NOW}/manifest.mpd", "cam", NOW),
        ("cam/2026/11/21/manifest.mpd", "cam", NOW),
        ("cam/manifest.mpd", None, None),
        ("manifest.mpd", None, None),
        ("cam/2026/13/21/manifest.mpd", None, None),
    ],
)
def test_a_manifest_s_path_names_stream_and_time(path: str, stream: str | None, start: int | None) -> None:
    found = found_in(Entry(path, 10, NOW + 60.0, '"a"'))
    if stream is None:
        assert found is None
    else:
        assert found is not None
        assert (found.stream, found.start) == (stream, (start or 0) * 1_000_000)


def test_the_command_lists_deletes_and_finds(tmp_path: Path) -> None:
    config = tmp_path / "liveman.toml"
    config.write_text(
        f'[database]\nurl = "sqlite://{tmp_path}/a.db"\n[retention]\nmax_age_days = 1\n'
        f'[recorder.storage]\ntype = "fs"\nroot = "{tmp_path}/s"\n'
    )
    folder = tmp_path / "s" / "cam" / "2020" / "11" / "21" / "1605916800"
    folder.mkdir(parents=True)
    (folder / "manifest.mpd").write_text("<MPD/>")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(command, [*arguments, "-c", str(config)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "1 recordings were found" in run("reindex")
    assert "2020-11-21T00:00:00Z  Completed  cam  cam/2020/11/21/1605916800/manifest.mpd" in run("list")
    assert "1 recordings, 6 bytes would be deleted" in run("prune", "--dry-run")
    assert (folder / "manifest.mpd").exists()
    assert "1 recordings, 6 bytes deleted" in run("prune")
    assert not (folder / "manifest.mpd").exists()
    assert run("list") == ""
