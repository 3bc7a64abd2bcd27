"""Where the control plane keeps its truth: a database for facts, a folder for blobs."""

from edgeops.store.blobs import FolderBlobStore, MemoryBlobStore
from edgeops.store.database import Database, Work

__all__ = ["Database", "FolderBlobStore", "MemoryBlobStore", "Work"]
