"""What a model is before it is converted, told by its bytes; hostile ones stop here.

Nothing in this module imports a converter: what it refuses, TensorFlow never sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.ids import Digest, parse_digest
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert import archive, side_files
from edgeops.packaging.convert.keras_archive import check_keras_archive
from edgeops.packaging.convert.skops_archive import SCHEMA, check_skops_archive
from edgeops.packaging.files.inspect import format_of, read_model_file

MAX_FILES = 1000
"""Files of a SavedModel."""
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
_READ_BYTES = 1024 * 1024

CODE_OPERATORS = (b"PyFunc", b"WriteFile", b"ReadFile", b"MatchingFiles", b"LoadDataset")
"""Operators by which a TensorFlow graph reaches files or Python."""


class SourceKind(StrEnum):
    """What a model file or folder is."""

    KERAS = "keras"
    HDF5 = "hdf5"
    SAVED_MODEL = "saved_model"
    SKOPS = "skops"
    TFLITE = "tflite"
    ONNX = "onnx"

    @property
    def is_artifact(self) -> bool:
        """Whether devices can run it as it is."""
        return self in (SourceKind.TFLITE, SourceKind.ONNX)

    @property
    def needs_tensorflow(self) -> bool:
        """Whether only TensorFlow reads it."""
        return not self.is_artifact and self is not SourceKind.SKOPS

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that it can become."""
        if self.is_artifact:
            return (self.value,)
        return ("onnx",) if self is SourceKind.SKOPS else ("tflite", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model to convert.

    Attributes:
        path: where it is.
        kind: what it is.
        digest: of its bytes, and of those of its side files if it has any.
        side_files: files beside an ``.onnx`` in which some of its weights are.
    """

    path: Path
    kind: SourceKind
    digest: Digest
    side_files: tuple[Path, ...] = ()


def read_source(path: Path, *, trust_code: bool) -> Source:
    """Find out what a model is, and refuse one that could run code.

    Args:
        path: a ``.keras``, ``.h5``, ``.skops``, ``.tflite`` or ``.onnx`` file, whatever it is
            called, or a SavedModel folder.
        trust_code: take Lambda layers, custom objects and operators that reach files. Types in
            a ``.skops`` are judged when it is converted.

    Raises:
        InvalidModel: missing, empty, damaged, of another kind, too large, or with code in it.
    """
    if path.is_dir():
        return _saved_model(path, trust_code=trust_code)
    data = read_model_file(path)
    digest = parse_digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    if data.startswith(HDF5_MAGIC):
        return Source(path=path, kind=SourceKind.HDF5, digest=digest)
    if data.startswith(ZIP_MAGIC):
        kind = _archive(data, path, trust_code=trust_code)
        return Source(path=path, kind=kind, digest=digest)
    kind = SourceKind(format_of(data, str(path)))
    if kind is SourceKind.ONNX and (beside := side_files.find(path, data)):
        digest = side_files.digest_with(data, beside, path.parent)
        return Source(path=path, kind=kind, digest=digest, side_files=beside)
    return Source(path=path, kind=kind, digest=digest)


def _archive(data: bytes, path: Path, *, trust_code: bool) -> SourceKind:
    names = archive.names(data, path)
    if SCHEMA in names:
        check_skops_archive(data, path)
        return SourceKind.SKOPS
    if any(name.endswith("data.pkl") for name in names):
        raise InvalidModel(
            f"{path} is a PyTorch file: weights or code, and read by unpickling",
            next_step="export the model with torch.onnx.export (docs/packages.md, PyTorch)",
        )
    check_keras_archive(data, path, trust_code=trust_code)
    return SourceKind.KERAS


def _saved_model(folder: Path, *, trust_code: bool) -> Source:
    graph = folder / "saved_model.pb"
    if not graph.is_file():
        raise InvalidModel(
            f"{folder} is a folder, but no SavedModel (it has no saved_model.pb)",
            next_step="name the folder that holds saved_model.pb",
        )
    digest = hashlib.sha256()
    size_bytes = 0
    for file in _files(folder):
        size_bytes += file.stat().st_size
        if size_bytes > MAX_BLOB_BYTES:
            raise InvalidModel(
                f"{folder} has more than {MAX_BLOB_BYTES} bytes",
                next_step="make it smaller before: devices take no larger file",
            )
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                digest.update(part)
    found = [name for name in CODE_OPERATORS if name in graph.read_bytes()]
    if found and not trust_code:
        raise InvalidModel(
            f"{folder} has operators that reach files or Python: {b', '.join(found).decode()}",
            next_step="if you trust whoever made it, give --trust-code",
        )
    name = parse_digest(f"sha256:{digest.hexdigest()}")
    return Source(path=folder, kind=SourceKind.SAVED_MODEL, digest=name)


def _files(folder: Path) -> Iterator[Path]:
    found = sorted(folder.rglob("*"))
    if len(found) > MAX_FILES:
        raise InvalidModel(
            f"{folder} has more than {MAX_FILES} files: that is no SavedModel",
            next_step="name the folder that holds saved_model.pb, and nothing else",
        )
    for file in found:
        if file.is_symlink():
            raise InvalidModel(
                f"{file} is a link, which may lead anywhere", next_step="copy the file in its place"
            )
        if file.is_file():
            yield file
