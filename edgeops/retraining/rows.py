"""Rows of data sets: read from files and samples, parted into seen and unseen, written."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.samples import Sample
from edgeops.domain.errors import InvalidInput

UNSEEN_OF = 3
"""Of so many distinct rows one is never trained on."""
MAX_ROWS = 1_000_000
_HOW = "save them with: numpy.savez('rows.npz', x=rows, y=labels)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows of a data set.

    Attributes:
        x: finite numbers, ``[n, ...]``, as applications give them.
        y: true classes, int64 ``[n]``, or None.
    """

    x: NDArray[Any]
    y: NDArray[np.int64] | None


def read_rows(data: bytes, name: str) -> Rows:
    """Read an ``.npz`` with ``x`` and perhaps ``y``.

    Args:
        data: the file.
        name: how errors name it.

    Raises:
        InvalidInput: no (whole) ``.npz``, other keys, different lengths, no rows, wrong
            dtypes, NaN or infinity, Python objects.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            keys = set(arrays.files)
            if not {"x"} <= keys <= {"x", "y"}:
                found = ", ".join(sorted(keys)) or "nothing"
                raise InvalidInput(f"{name} holds {found}, not x and y", next_step=_HOW)
            x, y = arrays["x"], arrays["y"] if "y" in keys else None
    except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(f"{name} is no (whole) .npz of numbers", next_step=_HOW) from error
    return _checked(Rows(x=x, y=y), name)


def write_rows(rows: Rows) -> bytes:
    """Return the ``.npz`` of rows: equal rows give equal bytes."""
    buffer = io.BytesIO()
    arrays = {"x": rows.x} if rows.y is None else {"x": rows.x, "y": rows.y}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            # ZipInfo by itself has a fixed date, so the bytes hold no time.
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def rows_of(samples: Sequence[Sample]) -> Rows | None:
    """Return the labelled samples as rows, each distinct row once; None if there are none.

    Samples whose row has another shape or dtype than most have are left out.
    """
    distinct: dict[bytes, Sample] = {
        sample.data + sample.label.to_bytes(8, "little"): sample
        for sample in samples
        if sample.label is not None
    }
    kinds = [(each.dtype, each.shape) for each in distinct.values()]
    if not kinds:
        return None
    common = max(sorted(set(kinds)), key=kinds.count)
    kept = [each for each in distinct.values() if (each.dtype, each.shape) == common]
    x = np.stack([_array(each) for each in kept])
    good = np.isfinite(x.reshape(len(x), -1).astype(np.float64)).all(axis=1)
    y = np.array([each.label for each in kept], dtype=np.int64)
    return Rows(x=x[good], y=y[good]) if good.any() else None


def is_unseen(row: NDArray[Any]) -> bool:
    """Tell whether a row is held out from every training, by the hash of its bytes.

    The same row is always on the same side, however often devices send it and however many
    data sets are made of it.
    """
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()[0] % UNSEEN_OF == 0


def part(rows: Rows) -> tuple[Rows, Rows]:
    """Return the rows that may be trained on, and the unseen ones."""
    unseen = np.array([is_unseen(row) for row in rows.x], dtype=bool)
    return _at(rows, ~unseen), _at(rows, unseen)


def _at(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    return Rows(x=rows.x[mask], y=None if rows.y is None else rows.y[mask])


def _array(sample: Sample) -> NDArray[Any]:
    dtype = np.dtype(sample.dtype).newbyteorder("<")
    return np.frombuffer(sample.data, dtype=dtype).reshape(sample.shape).astype(sample.dtype)


def _checked(rows: Rows, name: str) -> Rows:
    x, y = rows.x, rows.y
    if x.dtype.kind not in "fiub" or x.ndim < 2 or x.size == 0:
        raise InvalidInput(
            f"x in {name} is {x.dtype} of shape {list(x.shape)}, not rows of numbers",
            next_step=_HOW,
        )
    if len(x) > MAX_ROWS:
        raise InvalidInput(f"{name} has {len(x)} rows, {MAX_ROWS} are allowed")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InvalidInput(f"x in {name} has NaN or infinity", next_step="drop such rows")
    if y is None:
        return rows
    if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0:
        raise InvalidInput(
            f"y in {name} is {y.dtype} of shape {list(y.shape)}, not one class number (from 0) "
            f"for each of {len(x)} rows"
        )
    return Rows(x=x, y=y.astype(np.int64))
