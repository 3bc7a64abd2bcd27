"""Blobs by their digest: in a folder, or in memory for tests and the simulation.

A blob is at ``sha256/ab/abcdef…``; what is being written is in ``partial/``, and becomes a blob
by a rename. After a crash ``partial/`` may hold left-overs; they are never read.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, digest_hex, digest_of, parse_digest
from edgeops.domain.errors import InvalidInput, NotFound, StoreFailed


class FolderBlobStore:
    """Blobs as files; any number of threads and processes may use the same folder."""

    def __init__(self, path: Path) -> None:
        """Use the folder at ``path``; it is made with the first blob."""
        self._path = path

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a blob; it survives a power cut once this returns. Again is no harm.

        Raises:
            InvalidInput: the digest is none, or not that of ``data``.
            StoreFailed: the disk said no; nothing is half-written.
        """
        target = self._file(_checked(digest, data))
        try:
            if _size_of(target) != len(data):
                self._write(target, data)
            for folder in (target.parent, target.parent.parent, self._path):
                _sync_folder(folder)
        except OSError as error:
            raise _failure(error, self._path) from error

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; fewer, or none, at the blob's end.

        Raises:
            InvalidInput: the digest is none, or offset or length is negative.
            NotFound: there is no such blob.
            StoreFailed: the disk said no.
        """
        _check_range(offset, length)
        try:
            with self._file(digest).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError as error:
            raise _missing(digest) from error
        except OSError as error:
            raise _failure(error, self._path) from error

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes.

        Raises:
            InvalidInput: the digest is none.
            NotFound: there is no such blob.
            StoreFailed: the disk said no.
        """
        try:
            size = _size_of(self._file(digest))
        except OSError as error:
            raise _failure(error, self._path) from error
        if size is None:
            raise _missing(digest)
        return size

    def has(self, digest: Digest) -> bool:
        """Tell whether the blob is there.

        Raises:
            InvalidInput: the digest is none.
            StoreFailed: the disk said no.
        """
        try:
            return _size_of(self._file(digest)) is not None
        except OSError as error:
            raise _failure(error, self._path) from error

    def _file(self, digest: Digest) -> Path:
        name = digest_hex(_parsed(digest))
        return self._path / "sha256" / name[:2] / name

    def _write(self, target: Path, data: bytes) -> None:
        partial = self._path / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=partial)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class MemoryBlobStore:
    """Blobs in a dictionary, with the same promises but for the power cut."""

    def __init__(self) -> None:
        """Start empty."""
        self._blobs: dict[Digest, bytes] = {}

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a blob. Again is no harm.

        Raises:
            InvalidInput: the digest is none, or not that of ``data``.
        """
        self._blobs[_checked(digest, data)] = bytes(data)

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; fewer, or none, at the blob's end.

        Raises:
            InvalidInput: the digest is none, or offset or length is negative.
            NotFound: there is no such blob.
        """
        _check_range(offset, length)
        return self._blob(digest)[offset : offset + length]

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes.

        Raises:
            InvalidInput: the digest is none.
            NotFound: there is no such blob.
        """
        return len(self._blob(digest))

    def has(self, digest: Digest) -> bool:
        """Tell whether the blob is there.

        Raises:
            InvalidInput: the digest is none.
        """
        return _parsed(digest) in self._blobs

    def _blob(self, digest: Digest) -> bytes:
        try:
            return self._blobs[_parsed(digest)]
        except KeyError:
            raise _missing(digest) from None


def _parsed(digest: str) -> Digest:
    """Never trust the type: a digest becomes a path here."""
    try:
        return parse_digest(digest)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error


def _checked(digest: str, data: bytes) -> Digest:
    if digest_of(data) != _parsed(digest):
        raise InvalidInput(
            f"these {len(data)} bytes are not {digest}",
            next_step="send the blob again: it was damaged on its way",
        )
    return Digest(digest)


def _check_range(offset: int, length: int) -> None:
    if offset < 0 or length < 0:
        raise InvalidInput(f"no bytes at offset {offset} with length {length}")


def _missing(digest: str) -> NotFound:
    return NotFound(f"there is no blob {digest}", next_step="publish its package again")


def _size_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(error: OSError, folder: Path) -> StoreFailed:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return StoreFailed(
        f"{folder} refused a blob: {error.strerror or error}",
        next_step="free space there, then try again" if is_full else "check the disk and rights",
    )
