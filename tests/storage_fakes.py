"""Disks that fill up, break at a chosen call, or lose power: one in memory, one a real folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.storage import FolderStorage


class MemoryStorage:
    """Fulfils ``device_agent.shell.storage.Storage`` without a disk.

    Attributes:
        files: path → bytes, as a reader sees them.
        capacity_bytes: what the disk holds at most; may be changed at any time.
        break_at: number of the mutating call (from 1) that fails; None: none does.
        broken_for: how many calls fail from there on.
        calls: how often each method was called; ``mutations`` is the sum over what changes
            the disk.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int = 2**40,
        break_at: int | None = None,
        broken_for: int = 1,
        reason: Reason = Reason.STORAGE_FAILED,
    ) -> None:
        self.files: dict[str, bytes] = {}
        self.capacity_bytes = capacity_bytes
        self.break_at = break_at
        self.broken_for = broken_for
        self.reason = reason
        self.calls: Counter[str] = Counter()
        self.mutations = 0
        self._durable: dict[str, bytes] = {}

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes | None:
        self.calls["read"] += 1
        data = self.files.get(path)
        return None if data is None else data[offset : offset + size if size >= 0 else None]

    def replace(self, path: str, data: bytes) -> None:
        self._mutate("replace")
        self._need(len(data))
        self.files[path] = self._durable[path] = bytes(data)

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        self._mutate("write_at")
        before = self.files.get(path, b"")
        padded = before.ljust(offset, b"\0") if data else before
        after = padded[:offset] + data + padded[offset + len(data) :] if data else before
        self._need(len(after) - len(before))
        self.files[path] = after

    def sync(self, path: str) -> None:
        self._mutate("sync")
        self._durable[path] = self._existing("sync", path)

    def rename(self, old: str, new: str) -> None:
        self._mutate("rename")
        self._existing("rename", old)
        self.files[new] = self.files.pop(old)
        self._durable[new] = self._durable.pop(old, b"")

    def remove(self, path: str) -> None:
        self._mutate("remove")
        self.files.pop(path, None)
        self._durable.pop(path, None)

    def names(self, folder: str) -> list[str]:
        self.calls["names"] += 1
        inside = [path[len(folder) + 1 :] for path in self.files if path.startswith(folder + "/")]
        return sorted({name.split("/")[0] for name in inside})

    def free_bytes(self) -> int:
        self.calls["free_bytes"] += 1
        return max(0, self.capacity_bytes - sum(len(data) for data in self.files.values()))

    # ---- what happens to it

    def power_cut(self) -> None:
        """Forget everything that was not made durable."""
        self.files = dict(self._durable)

    def fill(self) -> None:
        """Leave no free byte."""
        self.capacity_bytes = sum(len(data) for data in self.files.values())

    def _mutate(self, method: str) -> None:
        self.calls[method] += 1
        self.mutations += 1
        first = self.break_at
        if first is not None and first <= self.mutations < first + self.broken_for:
            raise StorageFailed(self.reason, f"call {self.mutations}, {method}, was to fail")

    def _need(self, more_bytes: int) -> None:
        if more_bytes > self.free_bytes():
            raise StorageFailed(Reason.DISK_FULL, f"{more_bytes} bytes do not fit")

    def _existing(self, act: str, path: str) -> bytes:
        data = self.files.get(path)
        if data is None:
            raise StorageFailed(Reason.STORAGE_FAILED, f"cannot {act} {path}: no such file")
        return data


class PowerCut(BaseException):
    """The power went: no handler of errors may hold this up."""


class BreakableFolder(FolderStorage):
    """A real folder whose disk can be full, or whose power goes at a chosen moment.

    Attributes:
        full: every write that needs room fails with ``disk_full``.
        cut_after: told of each change (method, path, data) after it was made durable; True cuts
            the power there, and nothing is changed any more.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.full = False
        self.cut_after: Callable[[str, str, bytes], bool] = lambda method, path, data: False
        self._is_dark = False

    def replace(self, path: str, data: bytes) -> None:
        self._need_room()
        replace = super().replace
        self._changed("replace", path, data, lambda: replace(path, data))

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        self._need_room()
        write = super().write_at
        self._changed("write_at", path, data, lambda: write(path, offset, data))

    def rename(self, old: str, new: str) -> None:
        rename = super().rename
        self._changed("rename", new, b"", lambda: rename(old, new))

    def remove(self, path: str) -> None:
        remove = super().remove
        self._changed("remove", path, b"", lambda: remove(path))

    def _need_room(self) -> None:
        if self.full:
            raise StorageFailed(Reason.DISK_FULL, "cannot write: No space left on device")

    def _changed(self, method: str, path: str, data: bytes, act: Callable[[], None]) -> None:
        if self._is_dark:
            raise PowerCut
        act()
        if self.cut_after(method, path, data):
            self._is_dark = True
            raise PowerCut
