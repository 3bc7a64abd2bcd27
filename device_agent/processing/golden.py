"""Golden rows: what a model must still answer on the device, as one document.

Canonical JSON with the arrays as base64 of their raw little-endian bytes: the same rows give
the same bytes on every machine (an ``.npz`` holds times and compressed bytes that differ).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.manifest import MAX_RANK, TensorSpec
from device_agent.protocol.values import dataclass

GOLDEN_GATE = "golden"
"""Name of the gate on the golden rows, as waivers in manifests say it."""
MAX_GOLDEN_BYTES = 16 * 1024 * 1024
MAX_GOLDEN_ROWS = 4096
MAX_OUTPUTS = 16
MAX_DIMENSION = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenRows:
    """Rows, their labels, and what the artifact answered at packaging.

    Attributes:
        x: rows as the application gives them, ``[n, ...]``, of any numeric dtype.
        labels: true classes, int64 ``[n]``, or None if they are not known.
        expected: output name → answers, ``[n, ...]``, the batch dimension of 1 taken away.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    expected: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])


def encode_golden(rows: GoldenRows) -> bytes:
    """Return the document; equal rows give equal bytes.

    Raises:
        ProtocolError: larger than ``MAX_GOLDEN_BYTES``, or arrays that do not belong together.
    """
    _check_counts(rows)
    data = encode(
        {
            "schema_version": SCHEMA_VERSION,
            "x": encode_array(rows.x),
            "labels": None if rows.labels is None else encode_array(rows.labels),
            "expected": {name: encode_array(value) for name, value in rows.expected.items()},
        }
    )
    if len(data) > MAX_GOLDEN_BYTES:
        raise ProtocolError(
            f"golden rows take {len(data)} bytes, {MAX_GOLDEN_BYTES} are allowed",
            next_step="give fewer golden rows",
        )
    return data


def decode_golden(data: bytes) -> GoldenRows:
    """Read a document from anybody's bytes.

    Raises:
        ProtocolError: not golden rows, or more than ``MAX_GOLDEN_BYTES``.
    """
    fields = Fields(decode(data, max_bytes=MAX_GOLDEN_BYTES), "golden")
    fields.check_schema()
    rows = GoldenRows(
        x=decode_array(fields.fields("x")),
        labels=fields.optional("labels", decode_array),
        expected=fields.mapping("expected", decode_array, max_items=MAX_OUTPUTS),
    )
    if rows.labels is not None and rows.labels.dtype != np.int64:
        raise ProtocolError("golden.labels is not int64")
    _check_counts(rows)
    return rows


def encode_array(array: NDArray[Any]) -> dict[str, object]:
    """Return an array's JSON form: dtype, shape and raw little-endian bytes in C order.

    Raises:
        ProtocolError: a dtype that is not a number, or a shape beyond the bounds.
    """
    native = np.ascontiguousarray(array).reshape(array.shape)
    spec = {"name": "", "dtype": native.dtype.name, "shape": list(native.shape)}
    TensorSpec.from_fields(Fields(spec, "array"))
    raw = native.astype(native.dtype.newbyteorder("<"), copy=False).tobytes()
    return {
        "dtype": native.dtype.name,
        "shape": list(native.shape),
        "data": base64.b64encode(raw).decode(),
    }


def decode_array(fields: Fields) -> NDArray[Any]:
    """Read an array's JSON form.

    Raises:
        ProtocolError: unknown dtype, or bytes that are not as many as the shape says.
    """
    name = fields.text("dtype", max_length=16)
    shape = fields.integers("shape", max_items=MAX_RANK)
    TensorSpec.from_fields(Fields({"name": "", "dtype": name, "shape": list(shape)}, fields.path))
    dtype = np.dtype(name)
    size_bytes = math.prod(shape) * dtype.itemsize
    if max(shape, default=0) > MAX_DIMENSION or size_bytes > MAX_GOLDEN_BYTES:
        raise ProtocolError(f"{fields.path}.shape {list(shape)} is too large")
    raw = fields.data("data", max_bytes=size_bytes)
    if len(raw) != size_bytes:
        raise ProtocolError(f"{fields.path} has {len(raw)} bytes, its shape says {size_bytes}")
    # astype copies: the array is native, writable, and does not hold on to the document.
    return np.frombuffer(raw, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _check_counts(rows: GoldenRows) -> None:
    if rows.x.ndim < 1 or not 1 <= rows.count <= MAX_GOLDEN_ROWS:
        raise ProtocolError(f"golden.x does not hold 1 to {MAX_GOLDEN_ROWS} rows")
    if rows.labels is not None and rows.labels.shape != (rows.count,):
        raise ProtocolError(f"golden.labels does not hold {rows.count} labels")
    for name, value in rows.expected.items():
        if value.ndim < 1 or value.shape[0] != rows.count:
            raise ProtocolError(f"golden.expected.{name[:80]} does not hold {rows.count} answers")
