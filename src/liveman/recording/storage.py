"""The storage that the configuration names."""

from liveman.config import FsStorage
from liveman.config import Storage as Options
from liveman.recording.folder import Folder
from liveman.recording.store import Storage

__all__ = ["storage_for"]


def storage_for(options: Options) -> Storage:
    """Where recordings lie; nothing is opened yet. Raises ConfigError."""
    if isinstance(options, FsStorage):
        return Folder(options.root)
    # Costs memory and time, which who needs none of it need not spend.
    from liveman.recording.bucket import Bucket

    return Bucket(options)
