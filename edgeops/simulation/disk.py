"""A disk in memory that loses power as disks do.

It knows what was synced. After a power cut, of what was not synced any part may be there: any
subset of the written sectors of 512 bytes, file names that were made, renamed or removed or not,
a new name with old or missing bytes, a file that grew but holds zeros. What was synced is there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

SECTOR_BYTES = 512
ROOT = ""


class PowerCut(BaseException):
    """The power is gone. No handler of errors may hold it up."""


class Kept(Enum):
    """What a power cut leaves of what was not synced."""

    NOTHING = "nothing"
    SOMETHING = "something"
    EVERYTHING = "everything"


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    current: bytes = b""
    unsynced: list[tuple[int, bytes] | None] = field(default_factory=list)
    """Writes as (offset, bytes), None where the file was emptied."""


@dataclass(frozen=True, slots=True)
class _Naming:
    """A change of names that may not be durable: a file made, renamed or removed."""

    folder: str
    file: _File | None
    new: str | None
    old: str | None


class SimulatedDisk:
    """Fulfils ``device_agent.shell.disk.Disk`` in memory.

    Attributes:
        capacity_bytes: what fits; may be changed at any time.
        calls: how many calls were made that change the disk.
        before: told name and path of each such call before it is made; it may raise an
            ``OSError`` (the call fails) or ``PowerCut``.
        when_full: told the path of each write for which there is no room.
    """

    def __init__(self, capacity_bytes: int = 2**30) -> None:
        """Begin empty."""
        self.capacity_bytes = capacity_bytes
        self.calls = 0
        self.before: Callable[[str, str], None] = _let_it_be
        self.when_full: Callable[[str], None] = _let_it_be
        self._files: dict[str, _File] = {}
        self._folders: set[str] = {ROOT}
        self._durable_files: dict[str, _File] = {}
        self._durable_folders: set[str] = {ROOT}
        self._namings: list[_Naming] = []
        self._new_folders: list[str] = []

    # ---- the calls of a file system

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return a file's bytes from ``offset`` on."""
        end = offset + size if size >= 0 else None
        return self._file(path).current[offset:end]

    def write(self, path: str, offset: int, data: bytes, *, fresh: bool = False) -> None:
        """Write into a file; nothing of it is durable yet."""
        self._call("write", path)
        folder = _folder_of(path)
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        file = self._files.get(path)
        before = b"" if file is None or fresh else file.current
        padded = before.ljust(offset, b"\0") if data else before
        after = padded[:offset] + data + padded[offset + len(data) :] if data else before
        if len(after) - (len(file.current) if file else 0) > self.free_bytes():
            self.when_full(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if file is None:
            file = self._files[path] = _File()
            self._namings.append(_Naming(folder, file, path, None))
        elif fresh:
            file.unsynced.append(None)
        if data:
            file.unsynced.append((offset, data))
        file.current = after

    def sync(self, path: str) -> None:
        """Make a file's bytes durable."""
        self._call("sync", path)
        file = self._file(path)
        file.durable = file.current
        file.unsynced.clear()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._call("rename", new)
        file = self._file(old)
        if _folder_of(new) not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), new)
        del self._files[old]
        self._files[new] = file
        self._namings.append(_Naming(_folder_of(new), file, new, old))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._call("remove", path)
        self._file(path)
        del self._files[path]
        self._namings.append(_Naming(_folder_of(path), None, None, path))

    def make_folder(self, path: str) -> None:
        """Make a folder in an existing one."""
        self._call("make_folder", path)
        if path in self._folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if _folder_of(path) not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._folders.add(path)
        self._new_folders.append(path)

    def has_folder(self, path: str) -> bool:
        """Tell whether there is a folder of that name."""
        return path in self._folders

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        self._call("sync_folder", path)
        for naming in [each for each in self._namings if each.folder == path]:
            _apply(naming, self._durable_files)
            self._namings.remove(naming)
        for folder in [each for each in self._new_folders if _folder_of(each) == path]:
            self._durable_folders.add(folder)
            self._new_folders.remove(folder)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        below = [*self._files, *(self._folders - {ROOT})]
        return [path.rpartition("/")[2] for path in below if _folder_of(path) == folder]

    def free_bytes(self) -> int:
        """Return how many bytes may still be written."""
        return max(0, self.capacity_bytes - self.used_bytes)

    # ---- what happens to it

    @property
    def used_bytes(self) -> int:
        """Bytes of all files."""
        return sum(len(file.current) for file in self._files.values())

    def has(self, path: str) -> bool:
        """Tell whether there is a file of that name."""
        return path in self._files

    @property
    def paths(self) -> list[str]:
        """Every file, sorted."""
        return sorted(self._files)

    @property
    def digest(self) -> str:
        """Hash of every folder, and of every file's name and bytes."""
        hashed = hashlib.sha256(repr(sorted(self._folders)).encode())
        for path in self.paths:
            data = self._files[path].current
            hashed.update(f"{path} {len(data)} ".encode() + data)
        return hashed.hexdigest()

    def flip_byte(self, path: str, at: int) -> None:
        """Damage a file, durably, as a worn-out cell does."""
        file = self._file(path)
        spoiled = bytearray(file.current)
        spoiled[at] ^= 0xFF
        file.current = file.durable = bytes(spoiled)
        file.unsynced.clear()

    def after_power_cut(self, chance: random.Random, kept: Kept = Kept.SOMETHING) -> SimulatedDisk:
        """Return what is there when the power comes back: one of the legal states."""
        after = SimulatedDisk(self.capacity_bytes)
        names = dict(self._durable_files)
        for naming in self._namings:
            if _keeps(chance, kept):
                _apply(naming, names)
        folders = self._durable_folders | {
            folder for folder in self._new_folders if _keeps(chance, kept)
        }
        after._folders = {folder for folder in folders if _is_below(folder, folders)}
        after._durable_folders = set(after._folders)
        for path, file in names.items():
            if _folder_of(path) in after._folders:
                data = _after_cut(file, chance, kept)
                after._files[path] = _File(durable=data, current=data)
        after._durable_files = dict(after._files)
        return after

    def _call(self, call: str, path: str) -> None:
        self.calls += 1
        self.before(call, path)

    def _file(self, path: str) -> _File:
        file = self._files.get(path)
        if file is None:
            is_folder = path in self._folders
            code = errno.EISDIR if is_folder else errno.ENOENT
            kind = IsADirectoryError if is_folder else FileNotFoundError
            raise kind(code, os.strerror(code), path)
        return file


def _let_it_be(*_told: str) -> None:
    """Let it be."""


def _apply(naming: _Naming, names: dict[str, _File]) -> None:
    if naming.old is not None:
        names.pop(naming.old, None)
    if naming.new is not None and naming.file is not None:
        names[naming.new] = naming.file


def _after_cut(file: _File, chance: random.Random, kept: Kept) -> bytes:
    data = bytearray(file.durable)
    for write in file.unsynced:
        if write is None:
            if _keeps(chance, kept):
                data.clear()
            continue
        offset, written = write
        end = offset + len(written)
        if end > len(data) and _keeps(chance, kept):
            data.extend(bytes(end - len(data)))  # the size came before the bytes
        for at, sector in _sectors(offset, written):
            if _keeps(chance, kept):
                data.extend(bytes(max(0, at + len(sector) - len(data))))
                data[at : at + len(sector)] = sector
    return bytes(data)


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a write where the disk's sectors begin."""
    at = offset
    while at < offset + len(data):
        end = min(offset + len(data), (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield at, data[at - offset : end - offset]
        at = end


def _keeps(chance: random.Random, kept: Kept) -> bool:
    return chance.random() < 0.5 if kept is Kept.SOMETHING else kept is Kept.EVERYTHING


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _is_below(folder: str, folders: set[str]) -> bool:
    while folder != ROOT:
        folder = _folder_of(folder)
        if folder not in folders:
            return False
    return True
