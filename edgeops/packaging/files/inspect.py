"""What a model file is, told by its bytes: a file's name proves nothing."""

from __future__ import annotations

from pathlib import Path

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.protobuf import NotProtobuf, fields
from edgeops.packaging.files.regular import check_regular

TFLITE_IDENTIFIER = b"TFL3"
"""File identifier of TFLite's flatbuffers schema (schema.fbs), at offset 4."""

_ONNX_IR_VERSION, _ONNX_GRAPH = 1, 7
"""Fields of ``ModelProto`` in onnx.proto: every ONNX model has both."""

_CONVERT = "give a .tflite, .onnx, .keras, .h5 or .skops file, or a SavedModel folder"
_SAFELY = (
    "save a scikit-learn model with skops.io.dump(model, 'model.skops'), or export it to .onnx: "
    "with skl2onnx, or with torch.onnx.export"
)
_PICKLE = "a Python pickle, which runs code when it is read: none is read here"
_PACKED = f"compressed data, as joblib writes it ({_PICKLE})"
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 (Keras)", _CONVERT),
    (0, b"PK\x03\x04", "a zip archive (Keras 3, PyTorch or a zipped folder)", _CONVERT),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"BZh", "a bzip2 archive", "unpack it first"),
    (0, b"\xfd7zXZ", "an xz archive", "unpack it first"),
    *((0, magic, _PACKED, _SAFELY) for magic in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")),
    *((0, bytes((0x80, version)), _PICKLE, _SAFELY) for version in range(2, 6)),
    (0, b"GGUF", "GGUF (llama.cpp)", _CONVERT),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull"),
    (0, b"\x93NUMPY", "a numpy array", _CONVERT),
    (0, b"\x7fELF", "a program or library", _CONVERT),
    (0, b"<", "XML or HTML", "check how it was downloaded"),
    (0, b"{", "JSON", _CONVERT),
    (4, b"ORTM", "ONNX Runtime's own .ort", "give the .onnx that it was made from"),
)


def read_model_file(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        InvalidModel: missing, a folder, unreadable, empty, or larger than a blob may be.
    """
    if path.is_dir():
        kind = "a TensorFlow SavedModel" if (path / "saved_model.pb").exists() else "no model"
        raise InvalidModel(f"{path} is a folder ({kind})", next_step=_CONVERT)
    check_regular(path, InvalidModel)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BLOB_BYTES:
            raise InvalidModel(
                f"{path} has {size_bytes} bytes, {MAX_BLOB_BYTES} are allowed",
                next_step="make it smaller before: devices take no larger file",
            )
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModel(
            f"{path} cannot be read: {error.strerror or error}",
            next_step="check the path and who may read it",
        ) from error
    if not data:
        raise InvalidModel(f"{path} is empty", next_step="export the model again")
    return data


def format_of(data: bytes, name: str) -> str:
    """Return the format of a model file's bytes: ``tflite`` or ``onnx``.

    Whether the model can really be loaded is for its runtime to say.

    Args:
        data: the whole file, not empty.
        name: how errors name it.

    Raises:
        InvalidModel: neither; the message says what it looks like.
    """
    if data[4:8] == TFLITE_IDENTIFIER:
        return "tflite"
    for offset, magic, kind, next_step in _KINDS:
        if data[offset : offset + len(magic)] == magic:
            raise InvalidModel(f"{name} looks like {kind}", next_step=next_step)
    found, is_whole = _protobuf_fields(data)
    if {_ONNX_IR_VERSION, _ONNX_GRAPH} <= found and is_whole:
        return "onnx"
    if found and is_whole:
        raise InvalidModel(
            f"{name} looks like protobuf, but not ONNX (a TensorFlow graph?)", next_step=_CONVERT
        )
    if _is_cut_onnx(data):
        raise InvalidModel(
            f"{name} looks like an ONNX model that is cut off or damaged",
            next_step="copy or export it again",
        )
    raise InvalidModel(f"{name} is neither TFLite nor ONNX", next_step=_CONVERT)


def _is_cut_onnx(data: bytes) -> bool:
    # Writers put ir_version first: one byte of tag, one of a version number below 64.
    return len(data) > 1 and data[0] == 0x08 and 0 < data[1] < 64


def _protobuf_fields(data: bytes) -> tuple[set[int], bool]:
    """Return the top-level field numbers, and whether their lengths add up to the whole file."""
    found: set[int] = set()
    try:
        for number, _ in fields(data):
            found.add(number)
    except NotProtobuf:
        return found, False
    return found, True
