"""Calibration rows: real inputs from which the ranges of activations are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.ids import Digest, digest_of
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.rows.golden_rows import spread

MAX_ROWS = 1024
"""Rows that are run; of more an evenly spaced part. Ranges hardly move beyond a few hundred."""
FEW_ROWS = 100
"""Fewer are taken too, but said: the notes' trials used a hundred."""


def calibration_rows(x: NDArray[Any] | None, needed_for: str = "int8") -> NDArray[Any]:
    """Return the rows to calibrate with, ``[n, ...]``, at most ``MAX_ROWS`` of them.

    Args:
        x: rows as the model's input takes them (after preprocessing), ``[n, ...]``. Whether
            their shape fits is found out when the model is there.
        needed_for: what errors say that they are for.

    Raises:
        InvalidInput: none, not numbers, NaN or infinity, or all the same: nothing can be
            learnt from such rows.
    """
    how = "give a few hundred real inputs of the model, as x in an .npz"
    if x is None:
        raise InvalidInput(f"{needed_for} needs calibration rows, none are given", next_step=how)
    if x.dtype.kind not in "fiub":
        raise InvalidInput(f"calibration rows are {x.dtype}, not numbers", next_step=how)
    if x.ndim < 2 or x.size == 0:
        raise InvalidInput(
            f"there are no calibration rows (shape {list(x.shape)}, not [n, …])", next_step=how
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).argmax())
        raise InvalidInput(
            f"calibration rows have NaN or infinity, first in row {bad}",
            next_step="drop such rows, and find out where they come from",
        )
    if (x == x[0]).all():
        what = "is only one calibration row" if len(x) == 1 else "are only equal calibration rows"
        raise InvalidInput(f"there {what}: they tell no ranges", next_step=how)
    return np.ascontiguousarray(x[spread(len(x), MAX_ROWS)])


def rows_digest(x: NDArray[Any]) -> Digest:
    """Return the digest of rows: of dtype, shape and values."""
    return digest_of(f"{x.dtype.str} {x.shape} ".encode() + x.tobytes())
