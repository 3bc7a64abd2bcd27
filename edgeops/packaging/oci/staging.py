"""Blobs on their way into a layout: whole, checked and trusted before anybody sees them.

They wait in a folder of their own inside the layout, so that moving them costs a rename. It is
a layout itself, so that a package is read from it as from any other. Whoever stages holds a lock
on it: what a process that was killed left behind has none, and the next one clears it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from device_agent.protocol.codec import encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.manifest import MAX_MANIFEST_BYTES, Manifest
from edgeops.domain.errors import InvalidPackage, NotTrusted, StoreFailed
from edgeops.packaging.oci.files import PARTIAL, blob_path, locked, sync
from edgeops.packaging.oci.layout import (
    INDEX_FILE,
    MARKER,
    MARKER_FILE,
    add_files,
    read_layout,
    references,
)
from edgeops.packaging.oci.manifest import OciManifest, check_file
from edgeops.packaging.oci.words import EDGE_MANIFEST, INDEX, Descriptor
from edgeops.packaging.package import Package

STAGING = f"{PARTIAL}staging-"
SPARE_BYTES = 16 * 1024 * 1024
"""What must stay free of a disk."""


class Staging:
    """A place for the blobs of one package."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Name the staging folder, and the layout that it is in."""
        self.path, self._folder = path, folder

    def path_of(self, descriptor: Descriptor) -> Path:
        """Return where a blob is to be written."""
        return blob_path(self.path, descriptor.digest)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the layout has the blob already, whole; it then is staged too."""
        there = blob_path(self._folder, descriptor.digest)
        try:
            check_file(there, descriptor)
            os.link(there, self.path_of(descriptor))
        except (OSError, NotTrusted):  # missing, damaged, or a disk that cannot link: fetch it
            return False
        return True

    def make_room(self, size_bytes: int) -> None:
        """Refuse what the disk has no room for.

        Raises:
            StoreFailed: there is less.
        """
        free_bytes = shutil.disk_usage(self.path).free
        if size_bytes + SPARE_BYTES > free_bytes:
            raise StoreFailed(
                f"{size_bytes} bytes are to come, and {free_bytes} are free in {self._folder}",
                next_step="make room, or name a folder on another disk with --layout",
            )

    def read(self, manifest: OciManifest) -> Package:
        """Read the package whose blobs are all staged.

        Raises:
            InvalidPackage: it is no package, or not whole; NotTrusted: bytes are not as signed.
        """
        reference = self._reference(manifest)
        blob_path(self.path, manifest.digest).write_bytes(manifest.data)
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [manifest.entry(reference).to_document()],
        }
        (self.path / MARKER_FILE).write_bytes(MARKER)
        (self.path / INDEX_FILE).write_bytes(encode(index))
        return read_layout(self.path, reference)

    def keep(self, manifest: OciManifest, package: Package) -> bool:
        """Move what was read into the layout; tell whether it is new there.

        Raises:
            Conflict: the layout has another package of that name; StoreFailed: the disk said no.
        """
        for each in (*manifest.blobs, manifest.entry(package.reference)):
            path = self.path_of(each)
            path.chmod(0o644)
            sync(path)
        return add_files(manifest, package.reference, self.path, self._folder)

    def _reference(self, manifest: OciManifest) -> str:
        found = [each for each in manifest.layers if each.media_type == EDGE_MANIFEST]
        if len(found) != 1 or found[0].size_bytes > MAX_MANIFEST_BYTES:
            raise InvalidPackage(
                f"this is no package of edgeops: it has {len(found)} edge manifests",
                next_step="name what edgeops push made",
            )
        try:
            read = Manifest.from_bytes(self.path_of(found[0]).read_bytes())
        except ProtocolError as error:
            raise InvalidPackage(
                f"this is no package of edgeops: {error}",
                next_step="name what edgeops push made",
            ) from error
        return f"{read.model}:{read.version}"


@contextmanager
def staged(folder: Path) -> Iterator[Staging]:
    """Stage a package for the layout in ``folder``, which is made if it is missing.

    Afterwards nothing is left but what was kept.

    Raises:
        InvalidPackage: the folder holds something else than a layout.
        StoreFailed: the disk said no.
    """
    made = _missing(folder)
    if folder.is_dir():
        references(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _place(folder) as path:
            (path / "blobs" / "sha256").mkdir(parents=True)
            yield Staging(path, folder)
    except OSError as error:
        raise StoreFailed(
            f"{folder}: {error.strerror or error}", next_step="check its disk and rights"
        ) from error
    finally:
        with suppress(OSError):  # not empty: it is a layout now, or somebody else's
            for each in made:
                each.rmdir()


def _missing(folder: Path) -> list[Path]:
    """Return the folders that must be made for this one, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    with locked(folder):
        _clear(folder)
        path = Path(tempfile.mkdtemp(dir=folder, prefix=STAGING))
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove what nobody stages any more."""
    for path in folder.glob(f"{STAGING}*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:  # another one is at work
            continue
        finally:
            os.close(descriptor)
