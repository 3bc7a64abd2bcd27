"""Weights of an ``.onnx`` in files beside it: taken only from its own folder, and digested with it.

ONNX calls them external data; exporters write them by themselves for large models, and PyTorch's
for all. Nothing that leads out of the folder is followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.ids import Digest, parse_digest
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.onnx_header import read_onnx_header

MAX_SIDE_FILES = 1000
_READ_BYTES = 1024 * 1024


def find(path: Path, data: bytes) -> tuple[Path, ...]:
    """Return the files that an ``.onnx`` leans on, sorted; none for most.

    Args:
        path: where the model is.
        data: its bytes.

    Raises:
        InvalidModel: one leads out of the model's folder, is a link, is missing, or all
            together are too large.
    """
    locations = read_onnx_header(data, str(path)).locations
    if len(locations) > MAX_SIDE_FILES:
        raise InvalidModel(
            f"{path} has its weights in {len(locations)} files, {MAX_SIDE_FILES} are allowed",
            next_step="save it as one file: onnx.save(onnx.load('model.onnx'), 'one.onnx')",
        )
    found = tuple(sorted(_beside(path, location) for location in locations))
    size_bytes = len(data) + sum(file.stat().st_size for file in found)
    if size_bytes > MAX_BLOB_BYTES:
        raise InvalidModel(
            f"{path} and the files with its weights have {size_bytes} bytes, {MAX_BLOB_BYTES} are "
            "allowed",
            next_step="make it smaller before: devices take no larger file",
        )
    return found


def digest_with(data: bytes, files: Sequence[Path], folder: Path) -> Digest:
    """Return the digest of a model together with its side files.

    Raises:
        InvalidModel: one cannot be read.
    """
    digest = hashlib.sha256(f"onnx\0{len(data)}\0".encode() + data)
    for file in files:
        try:
            size_bytes = file.stat().st_size
            digest.update(f"{file.relative_to(folder).as_posix()}\0{size_bytes}\0".encode())
            with file.open("rb") as stream:
                while part := stream.read(_READ_BYTES):
                    digest.update(part)
        except OSError as error:
            raise InvalidModel(
                f"{file} cannot be read: {error.strerror or error}",
                next_step="check who may read it",
            ) from error
    return parse_digest(f"sha256:{digest.hexdigest()}")


def _beside(path: Path, location: str) -> Path:
    parts = PurePosixPath(location).parts
    is_odd = not parts or "\\" in location or not location.isprintable()
    if is_odd or location.startswith("/") or ".." in parts or ":" in parts[0]:
        raise InvalidModel(
            f"{path} has weights in {location[:80]!r}, which leads out of its folder",
            next_step="do not use this file; find out who made it",
        )
    file = path.parent.joinpath(*parts)
    steps = [path.parent.joinpath(*parts[: at + 1]) for at in range(len(parts))]
    if any(step.is_symlink() for step in steps):
        raise InvalidModel(
            f"{path} has weights in {location[:80]!r}, which is a link and may lead anywhere",
            next_step="copy the file in its place",
        )
    if not file.is_file():
        raise InvalidModel(
            f"{path} has weights in the file {location[:80]!r}, which is not beside it",
            next_step="put it there, or save all as one file: "
            "onnx.save(onnx.load('model.onnx'), 'one.onnx')",
        )
    return file
