"""Rows of data sets: read from files and samples, parted into seen and unseen, written."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.samples import Sample
from edgeops.domain.errors import InvalidInput
from edgeops.domain.row_file import HOW_TO_SAVE, SLICE, read_row_file

UNSEEN_OF = 3
"""Of so many distinct rows one is never trained on."""
MAX_ROWS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows of a data set.

    Attributes:
        x: finite numbers, ``[n, ...]``, as applications give them; NaN is missing.
        y: true classes, int64 ``[n]``, or None.
        slices: by kind, the name of the part that each row belongs to, ``[n]``.
    """

    x: NDArray[Any]
    y: NDArray[np.int64] | None
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """The largest class and one; 0 without labels or rows."""
        return 0 if self.y is None or not len(self.y) else int(self.y.max()) + 1


def read_rows(data: bytes, name: str) -> Rows:
    """Read an ``.npz`` with ``x`` and perhaps ``y`` and ``slice.KIND``.

    Args:
        data: the file.
        name: how errors name it.

    Raises:
        InvalidInput: no (whole) ``.npz``, other keys, different lengths, no rows, wrong
            dtypes, infinity, rows of nothing but NaN, Python objects, a zip bomb.
    """
    held = read_row_file(data, name)
    return _checked(Rows(x=held.x, y=held.y, slices=held.slices), name)


def write_rows(rows: Rows) -> bytes:
    """Return the ``.npz`` of rows: equal rows give equal bytes."""
    buffer = io.BytesIO()
    arrays = {"x": rows.x} if rows.y is None else {"x": rows.x, "y": rows.y}
    arrays |= {f"{SLICE}{kind}": names for kind, names in sorted(rows.slices.items())}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            # ZipInfo by itself has a fixed date, so the bytes hold no time.
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def rows_of(
    samples: Sequence[Sample], classes: int | None = None, filled: tuple[bool, ...] = ()
) -> Rows | None:
    """Return the labelled samples as rows, each distinct row once; None if there are none.

    Samples whose row has another shape or dtype than most have are left out, and those with a
    class that the model does not know.

    Args:
        samples: of one model.
        classes: how many classes it tells apart, None if that is not fixed.
        filled: for each element of a row whether it may be missing, see ``lacks``.
    """
    distinct: dict[bytes, Sample] = {
        sample.data + sample.label.to_bytes(8, "little"): sample
        for sample in samples
        if sample.label is not None and (classes is None or sample.label < classes)
    }
    kinds = [(each.dtype, each.shape) for each in distinct.values()]
    if not kinds:
        return None
    common = max(sorted(set(kinds)), key=kinds.count)
    kept = [each for each in distinct.values() if (each.dtype, each.shape) == common]
    x = np.stack([_array(each) for each in kept])
    good = ~lacks(x, filled)
    y = np.array([each.label for each in kept], dtype=np.int64)
    return Rows(x=x[good], y=y[good]) if good.any() else None


def lacks(x: NDArray[Any], filled: tuple[bool, ...]) -> NDArray[np.bool_]:
    """Return which rows have infinity, or lack (NaN) what the model cannot do without, ``[n]``.

    Args:
        x: rows, ``[n, ...]``.
        filled: for each element of a row whether preprocessing fills it; empty: none.
    """
    flat = x.reshape(len(x), -1).astype(np.float64)
    bad = ~np.isfinite(flat)
    if flat.shape[1] == len(filled):
        bad &= ~(np.isnan(flat) & np.array(filled))
    return np.asarray(bad.any(axis=1))


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


def without(rows: Rows, others: Sequence[Rows]) -> Rows:
    """Return the rows that are in none of ``others``: what judges is not trained on.

    Rows are the same if their numbers are, in float32.
    """
    known = {each for other in others for each in _identities(other)}
    kept = np.array([each not in known for each in _identities(rows)], dtype=bool)
    return rows if kept.all() else _at(rows, kept)


def _identities(rows: Rows) -> list[bytes]:
    flat = np.ascontiguousarray(rows.x.reshape(len(rows.x), -1).astype(np.float32))
    return [row.tobytes() for row in flat]


def _at(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    slices = {kind: names[mask] for kind, names in rows.slices.items()}
    return Rows(x=rows.x[mask], y=None if rows.y is None else rows.y[mask], slices=slices)


def _array(sample: Sample) -> NDArray[Any]:
    dtype = np.dtype(sample.dtype).newbyteorder("<")
    return np.frombuffer(sample.data, dtype=dtype).reshape(sample.shape).astype(sample.dtype)


def _checked(rows: Rows, name: str) -> Rows:
    x, y = rows.x, rows.y
    if x.dtype.kind not in "fiub" or x.ndim < 2 or x.size == 0:
        raise InvalidInput(
            f"x in {name} is {x.dtype} of shape {list(x.shape)}, not rows of numbers",
            next_step=HOW_TO_SAVE,
        )
    if len(x) > MAX_ROWS:
        raise InvalidInput(f"{name} has {len(x)} rows, {MAX_ROWS} are allowed")
    if x.dtype.kind == "f" and (
        np.isinf(x).any() or np.isnan(x).reshape(len(x), -1).all(axis=1).any()
    ):
        raise InvalidInput(
            f"x in {name} has infinity, or a row of nothing but NaN", next_step="drop such rows"
        )
    for kind, names in rows.slices.items():
        if names.shape != (len(x),) or names.dtype.kind not in "iuU":
            raise InvalidInput(
                f"{SLICE}{kind} in {name} is {names.dtype} of shape {list(names.shape)}, "
                "not a name a row",
                next_step=f"for {len(x)} rows as many texts or integers",
            )
    if y is None:
        return rows
    if y.shape != (len(x),):
        raise InvalidInput(
            f"y in {name} has shape {list(y.shape)}, "
            f"not one class number for each of {len(x)} rows",
            next_step="from one-hot rows: y.argmax(axis=1)",
        )
    if y.dtype.kind not in "iu":
        raise InvalidInput(
            f"y in {name} is {y.dtype}, not integers", next_step="use class numbers from 0"
        )
    if y.min() < 0:
        raise InvalidInput(
            f"y in {name} has the class {y.min()}, first in row {int(y.argmin())}",
            next_step="classes start at 0",
        )
    return replace(rows, y=y.astype(np.int64))
