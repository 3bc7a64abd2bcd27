"""Arrays as short JSON: deflated bytes in base64, or plain lists as older documents have them."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("<i4", "<f8")
MAX_BYTES = 16 * 1024 * 1024
"""Of one unpacked array."""
LEVEL = 6


def pack(values: NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON: whole numbers as int32, others as float64, bit for bit.

    The first bytes of all numbers come first, then the second ones, and so on: near numbers
    share bytes, and these deflate to little.
    """
    kind = "<i4" if values.dtype.kind in "iu" else "<f8"
    data = np.ascontiguousarray(values, dtype=kind)
    planes = data.reshape(-1, 1).view(np.uint8).T.tobytes()
    packed = base64.b64encode(zlib.compress(planes, LEVEL)).decode()
    return {"of": kind, "shape": list(values.shape), "packed": packed}


def unpack(value: Mapping[str, Any] | Sequence[Any]) -> NDArray[Any]:
    """Return the array that ``pack`` was given; a list is read as the array that it is.

    Raises:
        ValueError: not one, or a larger one than is ever packed.
    """
    if not isinstance(value, Mapping):
        return np.array(value)
    try:
        kind, shape = value["of"], tuple(int(length) for length in value["shape"])
        compressed = base64.b64decode(value["packed"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("this is no packed array") from error
    size_bytes = math.prod(shape) * np.dtype(kind).itemsize if kind in KINDS else -1
    if not 0 <= size_bytes <= MAX_BYTES or min(shape, default=0) < 0:
        raise ValueError("this is no packed array")
    inflate = zlib.decompressobj()
    try:
        planes = inflate.decompress(compressed, size_bytes + 1)
    except zlib.error as error:
        raise ValueError("a packed array is damaged") from error
    if len(planes) != size_bytes:
        raise ValueError("a packed array is damaged")
    itemsize = np.dtype(kind).itemsize
    bytes_of = np.frombuffer(planes, np.uint8).reshape(itemsize, -1).T
    unpacked: NDArray[Any] = np.ascontiguousarray(bytes_of).view(kind).reshape(shape)
    return unpacked
