"""Files of rows that people bring: an ``.npz`` with ``x``, perhaps ``y``, and ``slice.KIND``.

numpy believes what a file says of itself: a few hundred bytes may unpack to gigabytes, and a
header may ask for an array of terabytes. So what an archive says is added up and compared before
anything of it is unpacked, and no array is made that is not as large as its entry.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgeops.domain.errors import InvalidInput

SLICE = "slice."
HOW_TO_SAVE = "save them with: numpy.savez('rows.npz', x=rows, y=labels)"
MAX_ARRAYS = 256
FREE_BYTES = 64 * 1024 * 1024
"""A file may unpack to so much, however small it is."""
MAX_RATIO = 200
"""Times its size that a larger file may unpack to. Rows with 95 % zeros shrink to a thirtieth."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes. The others of zip unpack without a bound."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DAMAGED = (
    *(ValueError, TypeError, EOFError, OSError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_NO_HEADER = (KeyError, OverflowError, SyntaxError, tokenize.TokenError, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowFile:
    """The arrays of a file, as they are in it: dtypes and shapes are for the reader to check."""

    x: NDArray[Any]
    y: NDArray[Any] | None
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def read_row_file(data: bytes, name: str) -> RowFile:
    """Read the arrays of a file.

    Args:
        data: the file.
        name: how errors name it.

    Raises:
        InvalidInput: no (whole) ``.npz``, other arrays than these, Python objects, or a bomb.
    """
    if data.startswith(np.lib.format.MAGIC_PREFIX):
        raise InvalidInput(f"{name} is one array, not rows and labels", next_step=HOW_TO_SAVE)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
            _check_entries(archive.infolist(), len(data), name)
            _check_names(entries, name)
            arrays = {key: _array(archive, entry, name) for key, entry in entries.items()}
    except _DAMAGED as error:
        raise InvalidInput(f"{name} is no (whole) .npz", next_step=HOW_TO_SAVE) from error
    slices = {key.removeprefix(SLICE): each for key, each in arrays.items() if key not in "xy"}
    return RowFile(x=arrays["x"], y=arrays.get("y"), slices=slices)


def _check_names(names: Mapping[str, object], name: str) -> None:
    keys = {key for key in names if not key.startswith(SLICE)}
    if not {"x"} <= keys <= {"x", "y"}:
        found = ", ".join(sorted(keys))[:200] or "nothing"
        raise InvalidInput(f"{name} holds {found}, not x and y", next_step=HOW_TO_SAVE)


def _check_entries(entries: Sequence[zipfile.ZipInfo], size_bytes: int, name: str) -> None:
    total = sum(each.file_size for each in entries)
    if total > max(FREE_BYTES, MAX_RATIO * size_bytes):
        raise InvalidInput(
            f"{name} unpacks from {size_bytes} to {total} bytes: a zip bomb",
            next_step="if these are rows, save them without compression: numpy.savez",
        )
    most = max(Counter(each.filename for each in entries).values(), default=0)
    if len(entries) > MAX_ARRAYS or most > 1:
        raise InvalidInput(
            f"{name} holds more than {MAX_ARRAYS} arrays, or one twice", next_step=HOW_TO_SAVE
        )
    if any(each.compress_type not in METHODS for each in entries):
        raise InvalidInput(f"{name} is packed as numpy packs nothing", next_step=HOW_TO_SAVE)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """Read one array, whose header must ask for just the bytes that follow it."""
    with archive.open(entry) as file:
        shape, dtype = _header(file)
        if dtype.hasobject:
            raise InvalidInput(f"{name} holds Python objects", next_step=HOW_TO_SAVE)
        asked = math.prod(shape) * dtype.itemsize
        if not dtype.itemsize or asked != entry.file_size - file.tell():
            raise ValueError(f"{asked} bytes of {list(shape)} in an entry of {entry.file_size}")
    with archive.open(entry) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    read = _HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        raise ValueError("a version of .npy for records")
    try:
        shape, _, dtype = read(file)
    except _NO_HEADER as error:  # it is evaluated as a Python literal, which can go wrong so
        raise ValueError("no header of an array") from error
    return shape, dtype
