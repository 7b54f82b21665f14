"""What a node keeps: one SQLite file for state, one folder of content-addressed blobs, one lock on both.

Whatever a node has acknowledged survives ``kill -9`` at any instruction and the loss of power: the
database commits with a full sync, a blob takes its name only after its bytes are on the disk.
"""

from banyan.node.store.blobs import BlobStore, Collected
from banyan.node.store.database import Batch, Database, StoredEvent
from banyan.node.store.errors import (
    BlobMismatch,
    BlobMissing,
    DiskFull,
    HomeInUse,
    StoreDamaged,
    StoreError,
    StoreTooNew,
)
from banyan.node.store.lock import HomeLock
from banyan.node.store.partial import PartialBlob

__all__ = [
    "Batch",
    "BlobMismatch",
    "BlobMissing",
    "BlobStore",
    "Collected",
    "Database",
    "DiskFull",
    "HomeInUse",
    "HomeLock",
    "PartialBlob",
    "StoreDamaged",
    "StoreError",
    "StoreTooNew",
    "StoredEvent",
]
