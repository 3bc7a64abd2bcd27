"""What a model file is, told by its bytes: a file's name proves nothing."""

from __future__ import annotations

from pathlib import Path

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.domain.errors import InvalidModel

TFLITE_IDENTIFIER = b"TFL3"
"""File identifier of TFLite's flatbuffers schema (schema.fbs), at offset 4."""

_ONNX_IR_VERSION, _ONNX_GRAPH = 1, 7
"""Fields of ``ModelProto`` in onnx.proto: every ONNX model has both."""

_CONVERT = "give a .tflite, .onnx, .keras or .h5 file, or a SavedModel folder"
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 (Keras)", _CONVERT),
    (0, b"PK\x03\x04", "a zip archive (Keras 3, PyTorch or a zipped folder)", _CONVERT),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"\x80\x02", "a Python pickle", _CONVERT),
    (0, b"\x80\x03", "a Python pickle", _CONVERT),
    (0, b"\x80\x04", "a Python pickle", _CONVERT),
    (0, b"\x80\x05", "a Python pickle", _CONVERT),
    (0, b"GGUF", "GGUF (llama.cpp)", _CONVERT),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull"),
    (0, b"\x93NUMPY", "a numpy array", _CONVERT),
    (0, b"\x7fELF", "a program or library", _CONVERT),
    (0, b"<", "XML or HTML", "check how it was downloaded"),
    (0, b"{", "JSON", _CONVERT),
    (4, b"ORTM", "ONNX Runtime's own .ort", "give the .onnx that it was made from"),
)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def read_model_file(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        InvalidModel: missing, a folder, unreadable, empty, or larger than a blob may be.
    """
    if path.is_dir():
        kind = "a TensorFlow SavedModel" if (path / "saved_model.pb").exists() else "no model"
        raise InvalidModel(f"{path} is a folder ({kind})", next_step=_CONVERT)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BLOB_BYTES:
            raise InvalidModel(f"{path} has {size_bytes} bytes, {MAX_BLOB_BYTES} are allowed")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"{path} cannot be read: {error.strerror or error}") from error
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
    fields, is_whole = _protobuf_fields(data)
    if {_ONNX_IR_VERSION, _ONNX_GRAPH} <= fields and is_whole:
        return "onnx"
    if fields and is_whole:
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
    fields: set[int] = set()
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if at < 0 or number == 0:
            return fields, False
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            at = at + length if at >= 0 else at
        elif wire in _FIXED_BYTES:
            at += _FIXED_BYTES[wire]
        else:
            return fields, False
        if not 0 <= at <= len(data):
            return fields, False
        fields.add(number)
    return fields, True


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the offset behind it; the offset is -1 if there is none."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return 0, -1
