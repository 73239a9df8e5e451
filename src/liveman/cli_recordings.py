"""``liveman recordings``: what the index holds, deleted by age and size, rebuilt from the storage."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import click

from liveman import logs
from liveman.app import load_config
from liveman.config import Config
from liveman.database import open_database
from liveman.errors import ConfigError, Fault
from liveman.recording.index import Index
from liveman.recording.reindex import reindex
from liveman.recording.retention import prune
from liveman.recording.routes import recording_row
from liveman.recording.storage import storage_for
from liveman.recording.store import Storage

__all__ = ["recordings"]

_PAGE = 500
_CONFIG = click.option("-c", "--config", "path", help="The configuration; as for `liveman` itself.")


@click.group()
def recordings() -> None:
    """Look at, delete and find recordings."""


@recordings.command("list")
@click.option("--stream", help="Those of this stream alone.")
@_CONFIG
@click.pass_obj
def list_recordings(outer: str | None, stream: str | None, path: str | None) -> None:
    """Print the recordings of the index, a line each, the newest of each stream first."""

    async def show(_config: Config, index: Index, _storage: Storage) -> None:
        for name in [stream] if stream is not None else await index.streams():
            after = None
            while page := await index.page(name, after=after, limit=_PAGE):
                for each in page:
                    row = recording_row(each)
                    click.echo(f"{row['start']}  {row['status']:<9}  {name}  {row['mpd_path']}")
                after = page[-1].place

    _run(path or outer, show)


@recordings.command("prune")
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@_CONFIG
@click.pass_obj
def prune_recordings(outer: str | None, dry_run: bool, path: str | None) -> None:
    """Delete what [retention] says, objects first. What is broken off goes on when it is run again."""

    async def delete(config: Config, index: Index, storage: Storage) -> None:
        options = config.retention
        if not (options.max_age_days or options.max_bytes):
            raise ConfigError(
                Fault("retention", "set max_age_days or max_bytes; without them nothing is deleted")
            )
        count = size = 0
        async for each in prune(index, storage, options, now=time.time(), dry_run=dry_run):
            count, size = count + 1, size + each.bytes
            click.echo(f"{each.why}  {each.bytes} bytes  {each.recording.mpd_path}")
        done = "would be deleted" if dry_run else "deleted"
        click.echo(f"{count} recordings, {size} bytes {done}")

    _run(path or outer, delete)


@recordings.command("reindex")
@_CONFIG
@click.pass_obj
def reindex_recordings(outer: str | None, path: str | None) -> None:
    """Take into the index what lies in the storage and is not there, as after a lost database."""

    async def find(_config: Config, index: Index, storage: Storage) -> None:
        count = 0
        async for each in reindex(index, storage):
            count += 1
            click.echo(each.mpd_path)
        click.echo(f"{count} recordings were found")

    _run(path or outer, find)


def _run(path: str | None, work: Callable[[Config, Index, Storage], Awaitable[None]]) -> None:
    async def run() -> None:
        config = load_config(path)
        async with _opened(config) as (index, storage):
            await work(config, index, storage)

    logs.configure("warn")
    asyncio.run(run())


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Index, Storage]]:
    options = config.database
    async with (
        open_database(
            options.url, max_connections=options.max_connections, connect_timeout=options.connect_timeout
        ) as database,
        storage_for(config.recorder.storage) as storage,
    ):
        yield Index(database), storage
