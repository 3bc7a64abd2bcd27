"""The disk, through one small door: everything the agent must not lose goes through here.

Paths are relative to the state folder and written with ``/``. ``replace`` is the only way in
which a document changes: temporary file, fsync, rename, fsync of the folder. Every ``OSError``
leaves as ``StorageFailed`` with a reason code.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Storage(Protocol):
    """What the agent needs of a disk. A fake that fills up or breaks is used in tests."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None if it does not exist."""
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


class FolderStorage:
    """A folder of a real file system."""

    def __init__(self, root: Path) -> None:
        """Make the folder (mode 0700) if it is missing."""
        self.root = root
        with _door("make", root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None if it does not exist."""
        with _door("read", self.root / path):
            try:
                return (self.root / path).read_bytes()
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """Make ``path`` hold ``data`` durably."""
        target = self.root / path
        temporary = target.with_name(target.name + ".new")
        with _door("write", target):
            self._make_parent(target)
            try:
                with open(temporary, "wb", opener=_private) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file at ``offset``."""
        target = self.root / path
        with _door("write", target):
            self._make_parent(target)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                while data:
                    written = os.pwrite(descriptor, data, offset)
                    data, offset = data[written:], offset + written
            finally:
                os.close(descriptor)

    def sync(self, path: str) -> None:
        """Make what was written into ``path`` durable."""
        with _door("sync", self.root / path):
            descriptor = os.open(self.root / path, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync_folder((self.root / path).parent)

    def rename(self, old: str, new: str) -> None:
        """Rename durably."""
        with _door("rename", self.root / old):
            self._make_parent(self.root / new)
            os.replace(self.root / old, self.root / new)
            _sync_folder((self.root / new).parent)

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        with _door("remove", self.root / path):
            (self.root / path).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted."""
        with _door("list", self.root / folder):
            try:
                return sorted(os.listdir(self.root / folder))
            except FileNotFoundError:
                return []

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write here."""
        with _door("measure", self.root):
            return shutil.disk_usage(self.root).free

    def _make_parent(self, target: Path) -> None:
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(target.parent.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
