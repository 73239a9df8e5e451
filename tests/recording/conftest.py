"""The S3 server that this folder's tests share."""

from recording.buckets import moto

__all__ = ["moto"]
