"""Golden rows as people bring them: an ``.npz`` with rows ``x`` and labels ``y``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.ids import Digest, digest_of
from edgeops.domain.errors import InvalidGolden, InvalidInput
from edgeops.domain.row_file import SLICE, read_row_file
from edgeops.packaging.files.regular import check_regular

MAX_EVALUATED_ROWS = 2048
"""Rows that accuracy is measured on: enough to tell it to one point (standard error at 80 %)."""
MAX_KEPT_ROWS = 256
"""Rows that go to devices, as golden vectors."""
MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Bytes of rows and answers that go to devices: they must fetch them as well as the model."""

_HOW = "save them with: numpy.savez('golden.npz', x=rows, y=labels)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledRows:
    """Rows to evaluate a model on.

    Attributes:
        x: finite numbers, ``[n, ...]``; NaN where preprocessing fills what is missing.
        y: true classes, int64 ``[n]``, or None if the file has none.
        targets: true numbers ``[n, ...]`` of a model that predicts numbers, else None.
        even: how many of them have the mix of their file: the first ones; those after them were
            added for rare classes and slices (see ``rows.drawing``). None: all have it.
        digest: digest of the file that they came from.
        slices: what somebody named parts of the rows by: by kind, a name for each row, ``[n]``.
        name: of that file, for errors.
    """

    x: NDArray[Any]
    y: NDArray[np.int64] | None
    digest: Digest
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    name: str = "the rows"
    targets: NDArray[np.float64] | None = None
    even: int | None = None

    def at(self, rows: NDArray[np.int64]) -> LabelledRows:
        """Return the rows of those numbers."""
        y = None if self.y is None else self.y[rows]
        slices = {kind: names[rows] for kind, names in self.slices.items()}
        targets = None if self.targets is None else self.targets[rows]
        return replace(self, x=self.x[rows], y=y, slices=slices, targets=targets, even=None)

    def distinct(self) -> LabelledRows:
        """Return each row once: the first of those with the same numbers and the same class."""
        flat = np.ascontiguousarray(self.x.reshape(len(self.x), -1))
        known = self.y if self.targets is None else self.targets
        first: dict[tuple[bytes, bytes], int] = {}
        for number, row in enumerate(flat):
            label = b"" if known is None else known[number].tobytes()
            first.setdefault((row.tobytes(), label), number)
        kept = np.array(sorted(first.values()), dtype=np.int64)
        return self if len(kept) == len(flat) else self.at(kept)


def read_golden_rows(
    path: Path, filled: tuple[bool, ...] = (), *, targets: bool = False, every: bool = False
) -> LabelledRows:
    """Read golden rows; of more than ``MAX_EVALUATED_ROWS`` an evenly spaced part.

    Besides ``x`` and ``y`` a file may hold ``slice.KIND``: for each row the name (text or an
    integer) of the part that it belongs to.

    Args:
        path: of the ``.npz``.
        filled: for each element of a row whether it may be missing (NaN), because preprocessing
            fills it; empty: none may.
        targets: take ``y`` of floats for numbers to predict.
        every: read all of them.

    Raises:
        InvalidGolden: no such file, no ``.npz``, other keys, different lengths, no rows, wrong
            dtypes, NaN or infinity, Python objects, a zip bomb.
    """
    check_regular(path, InvalidGolden)
    try:
        data = path.read_bytes()
        held = read_row_file(data, str(path))
    except OSError as error:
        raise InvalidGolden(
            f"{path} cannot be read: {error.strerror or error}",
            next_step="name the .npz file with x and y",
        ) from error
    except InvalidInput as error:
        raise InvalidGolden(str(error), next_step=error.next_step) from error
    x = held.x
    rows = LabelledRows(
        x=_checked_x(x, path, filled),
        y=None if targets and _is_float(held.y) else _checked_y(held.y, x, path),
        targets=_checked_targets(held.y, x, path) if targets and _is_float(held.y) else None,
        digest=digest_of(data),
        name=str(path),
        slices={
            kind: _checked_slice(f"{SLICE}{kind}", each, x, path)
            for kind, each in held.slices.items()
        },
    )
    return rows if every else rows.at(spread(len(x), MAX_EVALUATED_ROWS))


def _checked_slice(key: str, names: NDArray[Any], x: NDArray[Any], path: Path) -> NDArray[np.str_]:
    if names.shape != (len(x),) or names.dtype.kind not in "iuU":
        raise InvalidGolden(
            f"{key} in {path} is {names.dtype} of shape {list(names.shape)}, not a name a row",
            next_step=f"for {len(x)} rows as many texts or integers",
        )
    return names.astype(np.str_)


def kept_numbers(count: int, row_bytes: int) -> NDArray[np.int64]:
    """Return which of ``count`` rows go to devices: evenly spaced, bounded in number and bytes.

    Args:
        count: how many rows there are.
        row_bytes: bytes of one row with its answers.
    """
    return spread(count, min(MAX_KEPT_ROWS, max(1, MAX_KEPT_BYTES // row_bytes)))


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the numbers 0 to ``count`` - 1, evenly spaced, ascending."""
    kept = min(count, most)
    return np.array([number * count // kept for number in range(kept)], dtype=np.int64)


def _checked_x(x: NDArray[Any], path: Path, filled: tuple[bool, ...]) -> NDArray[Any]:
    if x.dtype.kind not in "fiub":
        raise InvalidGolden(f"x in {path} is {x.dtype}, not numbers", next_step=_HOW)
    if x.ndim < 1 or x.size == 0:
        raise InvalidGolden(f"x in {path} holds no rows (shape {list(x.shape)})", next_step=_HOW)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = (~np.isfinite(x)).reshape(len(x), -1)
        if bad.shape[1] == len(filled):
            bad &= ~(np.isnan(x).reshape(bad.shape) & np.array(filled))
        if bad.any():
            row, at = np.argwhere(bad)[0].tolist()
            raise InvalidGolden(
                f"x in {path} has NaN or infinity, first in row {row} at element {at}",
                next_step="drop such rows, or let preprocessing fill what is missing (NaN)",
            )
    return x


def _is_float(y: NDArray[Any] | None) -> bool:
    return y is not None and y.dtype.kind == "f"


def _checked_targets(
    y: NDArray[Any] | None, x: NDArray[Any], path: Path
) -> NDArray[np.float64] | None:
    if y is None:
        return None
    if len(y) != len(x) or not np.isfinite(y).all():
        raise InvalidGolden(
            f"{path} has {len(x)} rows in x and {len(y)} targets in y, which must be finite",
            next_step="give one finite target for each row",
        )
    return y.astype(np.float64)


def _checked_y(y: NDArray[Any] | None, x: NDArray[Any], path: Path) -> NDArray[np.int64] | None:
    if y is None:
        return None
    if y.ndim != 1:
        raise InvalidGolden(
            f"y in {path} has shape {list(y.shape)}, not one class number a row",
            next_step="from one-hot rows: y.argmax(axis=1)",
        )
    if len(y) != len(x):
        raise InvalidGolden(
            f"{path} has {len(x)} rows in x and {len(y)} labels in y",
            next_step="give one class number for each row",
        )
    if y.dtype.kind not in "iu":
        raise InvalidGolden(
            f"y in {path} is {y.dtype}, not integers", next_step="use class numbers from 0"
        )
    labels = y.astype(np.int64)
    if labels.min() < 0:
        raise InvalidGolden(
            f"y in {path} has the class {labels.min()}, first in row {int(labels.argmin())}",
            next_step="classes start at 0",
        )
    return labels
