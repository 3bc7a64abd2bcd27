"""The disk, through one small door: everything the agent must not lose goes through here.

Paths are relative to the state folder and written with ``/``. ``replace`` is the only way in
which a document changes: temporary file, fsync, rename, fsync of the folder. A folder that has to
be made is durable before anything is put into it. Every ``OSError`` leaves as ``StorageFailed``
with a reason code.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.disk import Disk, FolderDisk

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Storage(Protocol):
    """What the agent needs of a disk. A fake that fills up or breaks is used in tests."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes | None:
        """Return a file's bytes from ``offset`` on, at most ``size`` of them, -1 for all.

        None if the file does not exist; no bytes at its end.
        """
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Make ``path`` hold ``data`` durably; after a power cut it holds the old or the new."""
        ...

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file (made if missing); durable only after ``sync``."""
        ...

    def sync(self, path: str) -> None:
        """Make what was written into ``path`` durable."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename durably, over an existing file if there is one."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if it does not exist."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes may still be written."""
        ...


class DiskStorage:
    """Storage on a disk: this is where the order of writing and syncing is decided."""

    def __init__(self, disk: Disk, root: Path) -> None:
        """Take a disk, and the folder by which errors name it."""
        self.root = root
        self._disk = disk

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes | None:
        """Return a file's bytes from ``offset`` on, None if it does not exist."""
        with self._door("read", path):
            try:
                return self._disk.read(path, offset, size)
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """Make ``path`` hold ``data`` durably."""
        temporary = path + ".new"
        with self._door("write", path):
            self._make_parent(path)
            try:
                self._disk.write(temporary, 0, data, fresh=True)
                self._disk.sync(temporary)
                self._disk.rename(temporary, path)
            except OSError:
                self._remove(temporary)
                raise
            self._disk.sync_folder(_parent(path))

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file at ``offset``."""
        with self._door("write", path):
            self._make_parent(path)
            self._disk.write(path, offset, data)

    def sync(self, path: str) -> None:
        """Make what was written into ``path`` durable."""
        with self._door("sync", path):
            self._disk.sync(path)
            self._disk.sync_folder(_parent(path))

    def rename(self, old: str, new: str) -> None:
        """Rename durably."""
        with self._door("rename", old):
            self._make_parent(new)
            self._disk.rename(old, new)
            self._disk.sync_folder(_parent(new))

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        with self._door("remove", path):
            self._remove(path)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted."""
        with self._door("list", folder):
            try:
                return sorted(self._disk.names(folder))
            except FileNotFoundError:
                return []

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write here."""
        with self._door("measure", ""):
            return self._disk.free_bytes()

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._disk.remove(path)

    def _make_parent(self, path: str) -> None:
        folder = _parent(path)
        if folder and not self._disk.has_folder(folder):
            self._make_parent(folder)
            self._disk.make_folder(folder)
            self._disk.sync_folder(_parent(folder))

    def _door(self, act: str, path: str) -> AbstractContextManager[None]:
        return _door(act, self.root / path)


class FolderStorage(DiskStorage):
    """A folder of a real file system."""

    def __init__(self, root: Path) -> None:
        """Make the folder (mode 0700) if it is missing."""
        with _door("make", root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(FolderDisk(root), root)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


@contextmanager
def _door(act: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise StorageFailed(
            Reason.DISK_FULL if full else Reason.STORAGE_FAILED,
            f"cannot {act} {path}: {error.strerror or error}",
            next_step="free space on this device" if full else "check the disk of this device",
        ) from error
