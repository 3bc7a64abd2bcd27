"""The calls of a file system that the agent makes, one method each.

``Storage`` is made of these calls, so that their order can be tried out: a disk that loses power
between any two of them, that refuses one, or that is full. Paths are relative to the state folder
and written with ``/``; ``""`` is the state folder itself. Everything fails with ``OSError``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """A file system below one folder. Nothing is durable before it was synced."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return a file's bytes from ``offset`` on, at most ``size`` of them, -1 for all."""
        ...

    def write(self, path: str, offset: int, data: bytes, *, fresh: bool = False) -> None:
        """Write into a file, made if it is missing; ``fresh`` empties it first."""
        ...

    def sync(self, path: str) -> None:
        """Make a file's bytes durable; its name is its folder's."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, over an existing file if there is one."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def make_folder(self, path: str) -> None:
        """Make a folder in an existing one."""
        ...

    def has_folder(self, path: str) -> bool:
        """Tell whether there is a folder of that name."""
        ...

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable: files made, renamed and removed."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes may still be written."""
        ...


class FolderDisk:
    """A folder of a real file system; files get mode 0600, folders 0700."""

    def __init__(self, root: Path) -> None:
        """Take an existing folder."""
        self.root = root
        self._prefix = os.path.join(root, "")  # joining paths takes longer than opening them

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        with open(self._prefix + path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def write(self, path: str, offset: int, data: bytes, *, fresh: bool = False) -> None:
        """Write all of ``data`` at ``offset``."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if fresh else 0)
        descriptor = os.open(self._prefix + path, flags, 0o600)
        try:
            while data:
                written = os.pwrite(descriptor, data, offset)
                data, offset = data[written:], offset + written
        finally:
            os.close(descriptor)

    def sync(self, path: str) -> None:
        """Make a file's bytes durable."""
        _sync(self._prefix + path, os.O_RDWR)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        os.replace(self._prefix + old, self._prefix + new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.unlink(self._prefix + path)

    def make_folder(self, path: str) -> None:
        """Make a folder."""
        os.mkdir(self._prefix + path, 0o700)

    def has_folder(self, path: str) -> bool:
        """Tell whether there is a folder of that name."""
        return os.path.isdir(self._prefix + path)

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        _sync(self._prefix + path, os.O_RDONLY)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(self._prefix + folder)

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write here."""
        return shutil.disk_usage(self.root).free


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
