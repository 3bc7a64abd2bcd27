"""Two devices with a known bug: what does not find them out proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from device_agent.shell.storage import FolderStorage, Storage
from tests.crashpoints.calls import Kind


class InPlace(FolderStorage):
    """Writes a document over the one before, and syncs it; of records it has no second copy."""

    def replace(self, path: str, data: bytes) -> None:
        if path.endswith("/record.json"):
            self.remove(path.replace(".json", ".kept.json"))
        with self._door("write", path):
            self._make_parent(path)
            self._disk.write(path, 0, data, fresh=True)
            self._disk.sync(path)


class Unguarded(FolderStorage):
    """Lets errors of the system out as they are."""

    def _door(self, act: str, path: str) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A device with a bug, and what shows it in an update: a call, a file, what is done to it."""

    storage: Callable[[Path], Storage]
    call: str
    file: str
    kind: Kind


PLANTED: Mapping[str, Planted] = {
    "written in place": Planted(
        storage=InPlace, call="pwrite64", file="models/kws/record.json", kind=Kind.KILL
    ),
    "errors not caught": Planted(
        storage=Unguarded, call="fsync", file="models/kws/active", kind=Kind.EIO
    ),
}
