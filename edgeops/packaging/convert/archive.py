"""Zip archives that hold models: no path that leads out, no link, no bomb.

Keras 3 and skops both save a zip archive with a JSON description in it. What is refused here is
never unpacked, and no library has opened it.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.domain.errors import InvalidModel

MAX_ENTRIES = 10_000
MAX_CONFIG_BYTES = 32 * 1024 * 1024
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What Keras and skops write. The others of zip unpack a block at once, whatever size they say."""
MAX_RATIO = 200
"""Times that an entry may grow by unpacking. Trained weights hardly shrink at all."""
RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Entries up to this size may shrink as they like: JSON of large models does."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


@contextmanager
def opened(data: bytes, path: Path, config: str, *, again: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive, once its directory was found to be harmless.

    Args:
        data: a file that begins like a zip archive. Not the file itself: opening that takes memory
            for what its directory claims, not for what it has.
        path: where it is, for errors.
        config: the entry that describes the model; it must be there.
        again: how to make such a file anew, for errors.

    Raises:
        InvalidModel: damaged, an entry leads out or is a link, it is a bomb, or has no
            ``config``.
    """
    with _damage_told(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if sum(each.compress_size for each in entries) > len(data):
            raise zipfile.BadZipFile("its entries are larger than it is")
        _check_names(entries, path, again)
        if any(entry.compress_type not in METHODS for entry in entries):
            raise InvalidModel(f"{path} is packed as no model is", next_step=again)
        _check_sizes(entries, path, config)
        if config not in archive.namelist():
            raise InvalidModel(
                f"{path} is a zip archive, but no model (it has no {config})", next_step=again
            )
        yield archive


def entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return an entry: so much as it says, whatever there is."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def names(data: bytes, path: Path) -> frozenset[str]:
    """Return the names of the entries of an archive, as it gives them.

    Raises:
        InvalidModel: it is damaged.
    """
    with _damage_told(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        return frozenset(archive.namelist())


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise InvalidModel(
            f"{path} is a damaged zip archive: {error}", next_step="copy or save it again"
        ) from error


def _check_names(entries: list[zipfile.ZipInfo], path: Path, again: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidModel(f"{path} has {len(entries)} entries: that is no model", next_step=again)
    for entry in entries:
        # The name as written: zipfile cuts what it shows at a NUL.
        name = entry.orig_filename
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or "\\" in name or ".." in parts or "\x00" in name:
            raise InvalidModel(
                f"{path} has an entry that leads out of it: {name[:80]!r}",
                next_step="do not use this file; find out who made it",
            )
        if not parts or ":" in parts[0]:
            raise InvalidModel(
                f"{path} has an entry without a proper name: {name[:80]!r}", next_step=again
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InvalidModel(
                f"{path} has the link {name[:80]!r}, which may lead anywhere", next_step=again
            )
    twice = [name for name, n in Counter(each.filename for each in entries).items() if n > 1]
    if twice:
        raise InvalidModel(
            f"{path} has the entry {twice[0][:80]!r} twice: readers disagree which one counts",
            next_step=again,
        )


def _check_sizes(entries: list[zipfile.ZipInfo], path: Path, config: str) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BLOB_BYTES:
        raise InvalidModel(
            f"{path} unpacks to {total} bytes, {MAX_BLOB_BYTES} are allowed",
            next_step="if it is a real model, it is too large for devices",
        )
    for entry in entries:
        limit = max(RATIO_FREE_BYTES, entry.compress_size * MAX_RATIO)
        if entry.filename == config:
            limit = MAX_CONFIG_BYTES
        if entry.file_size > limit:
            raise InvalidModel(
                f"{path}: entry {entry.filename[:80]!r} unpacks from {entry.compress_size} to "
                f"{entry.file_size} bytes: a zip bomb",
                next_step="do not use this file; find out who made it",
            )
