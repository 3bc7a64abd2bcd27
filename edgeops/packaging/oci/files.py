"""The files of a layout: blobs, the index, what was measured; each written by a rename."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, digest_hex, digest_of, parse_digest
from edgeops.domain.errors import InvalidPackage, NotTrusted, StoreFailed
from edgeops.packaging.oci.words import Descriptor

PARTIAL = ".new-"
MEASURED = "measured"
MAX_MEASURED_BYTES = 1024 * 1024


def blob_path(folder: Path, digest: Digest) -> Path:
    """Return where a layout keeps a blob."""
    return folder / "blobs" / "sha256" / digest_hex(parse_digest(digest))


def read_blob(folder: Path, descriptor: Descriptor) -> bytes:
    """Return the blob of a descriptor.

    Raises:
        InvalidPackage: it is missing; NotTrusted: it has other bytes, or more or fewer of them.
    """
    path = blob_path(folder, descriptor.digest)
    try:
        with path.open("rb") as file:
            # Reading takes memory for what it is asked for, not for what there is.
            there = os.fstat(file.fileno()).st_size
            data = file.read(min(descriptor.size_bytes, there) + 1)
    except FileNotFoundError as error:
        raise InvalidPackage(
            f"blob {descriptor.digest} is missing in {folder}", next_step="package it again"
        ) from error
    if len(data) != descriptor.size_bytes or digest_of(data) != descriptor.digest:
        raise NotTrusted(
            f"blob {descriptor.digest} in {folder} was altered or cut off",
            next_step="package it again from the original files",
        )
    return data


def measured_path(folder: Path, digest: Digest) -> Path:
    """Return where a layout keeps what was measured of a package."""
    return folder / MEASURED / f"{digest_hex(digest)}.json"


def read_measured(path: Path) -> bytes | None:
    """Read what was measured of a package; None if that is not here, as of one that was pulled."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MEASURED_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return data if len(data) <= MAX_MEASURED_BYTES else None


def write_blob(folder: Path, data: bytes) -> None:
    """Write a blob that is not there yet."""
    path = blob_path(folder, digest_of(data))
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside its place, keep it on the disk, and rename it: whole, or not there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # a layout is for others too: mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Have the disk keep a folder or a file as it is now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one writer at the index at a time; the lock leaves no file behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make the folder of a layout.

    Raises:
        StoreFailed: the disk said no.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(
            f"{folder} cannot be made: {error.strerror or error}",
            next_step="give --out another folder, which can be written",
        ) from error


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn what the disk says into errors of ours.

    Raises:
        InvalidPackage: there is no such folder; StoreFailed: the disk said no.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidPackage(
            f"there is no layout in {folder}", next_step="make it with: edgeops package"
        ) from error
    except OSError as error:
        raise StoreFailed(
            f"{folder}: {error.strerror or error}", next_step="check its disk and rights"
        ) from error


@contextmanager
def well_formed(folder: Path) -> Iterator[None]:
    """Turn documents that are none into ``InvalidPackage``."""
    try:
        yield
    except ProtocolError as error:
        raise InvalidPackage(
            f"{folder} holds no package: {error}", next_step="make it with: edgeops package"
        ) from error
