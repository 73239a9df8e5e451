"""The facade of the room: recordings made, indexed and kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from liveman.cluster import Cluster
from liveman.config import AutoRecord, RecordSync, Retention
from liveman.database import Database
from liveman.recording.index import Index
from liveman.recording.recorder import Recorder
from liveman.recording.retention import Keeper
from liveman.recording.store import Storage
from liveman.recording.sync import Sync

__all__ = ["Recordings"]


@define
class Recordings:
    """What routes and the dashboard use; its parts are there inside `kept_in`."""

    cluster: Cluster
    auto_record: AutoRecord
    record_sync: RecordSync
    retention: Retention
    storage: Storage
    index: Index = field(init=False)
    recorder: Recorder = field(init=False)

    @asynccontextmanager
    async def kept_in(self, database: Database) -> AsyncIterator[None]:
        """Record and take over what nodes have recorded, until the context is left."""
        self.index = Index(database)
        self.recorder = Recorder(self.cluster, self.auto_record, database.leadership)
        sync = Sync(self.cluster, self.index, self.record_sync, database.leadership)
        keeper = Keeper(self.index, self.storage, self.retention, database.leadership)
        async with self.recorder, sync, keeper:
            yield

    async def stream_of(self, path: str) -> str | None:
        """The stream that an object of the storage belongs to."""
        return await self.index.stream_of(path)
