"""Conversions that were done before, by the digest of all that went into them.

One folder each: the artifact and ``report.json``, which holds the artifact's digest. It is made
beside and moved into place, so that others see it whole or not at all. What does not fit its
digest (a damaged disk, a curious editor) is made anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_hex, digest_of
from edgeops.domain.errors import StoreFailed
from edgeops.packaging.convert.job import MAX_REPORT_BYTES, Report

CONVERTER_VERSION = 8
"""Of this package's own part in what comes out: a new one makes every kept entry anew."""

REPORT_FILE = "report.json"
PARTIAL = ".new-"
BROKEN = ".old-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A kept conversion: the artifact's path, its digest, and the report of its making."""

    path: Path
    digest: Digest
    report: Report


def cached(
    folder: Path, key: Mapping[str, object], name: str, make: Callable[[Path], Report]
) -> Kept:
    """Return the conversion of a key, made if it is not there or damaged.

    Args:
        folder: the cache, which is made if it is missing. Others may use it meanwhile.
        key: everything that the result depends on.
        name: the artifact's file name.
        make: writes the artifact to a path and returns its report. If it raises, nothing is kept.

    Returns:
        The conversion, whole.

    Raises:
        StoreFailed: the disk said no. What ``make`` raises goes through.
    """
    entry = folder / digest_hex(digest_of(encode(key)))
    if (kept := _read(entry, name)) is not None:
        return kept
    with _disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder, prefix=PARTIAL))
    try:
        report = make(fresh / name)
        with _disk(folder):
            _seal(fresh, name, report)
            _move_into_place(fresh, entry, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    kept = _read(entry, name)
    if kept is None:
        raise StoreFailed(f"{entry} cannot be read back", next_step="check the disk")
    return kept


def _read(entry: Path, name: str) -> Kept | None:
    """Return what is kept, or None if there is nothing, or nothing whole."""
    try:
        fields = Fields(
            decode((entry / REPORT_FILE).read_bytes(), max_bytes=MAX_REPORT_BYTES), "report"
        )
        digest = fields.digest("artifact")
        if digest_of((entry / name).read_bytes()) != digest:
            return None
        return Kept(path=entry / name, digest=digest, report=Report.from_fields(fields))
    except (OSError, ProtocolError):
        return None


def _seal(fresh: Path, name: str, report: Report) -> None:
    digest = digest_of((fresh / name).read_bytes())
    document = {**report.to_document(), "artifact": digest}
    (fresh / REPORT_FILE).write_bytes(encode(document))
    for file in (fresh / name, fresh / REPORT_FILE):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _move_into_place(fresh: Path, entry: Path, folder: Path) -> None:
    if entry.exists():
        # Damaged, or another process was first: either way ours is as good. A folder cannot be
        # replaced by a rename, so the old one goes aside before it goes away.
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=BROKEN))
        with suppress(FileNotFoundError):  # the other process moved it aside as well
            entry.rename(aside / entry.name)
        shutil.rmtree(aside, ignore_errors=True)
    try:
        fresh.rename(entry)
    except OSError:
        if not entry.exists():
            raise


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"{folder}: {error.strerror or error}",
            next_step="make room on its disk",
        ) from error
