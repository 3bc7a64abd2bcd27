"""Preparing rows: a package's preprocessing, the same at packaging and on the device.

One formula (``protocol.preprocessing``), in float32, one operation after the other: so one row
and many give the same bits, on every machine. What is done before scaling to an image, to sound
or to a table's row is done to each row by itself. Its logarithms and transforms are computed in
double precision: machines may differ in the last bit of a float32, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from device_agent.processing.rows import fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.values import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device_agent.protocol.preprocessing import Preprocessing


def prepare_row(x: Any, preprocessing: Preprocessing | None, spec: TensorSpec) -> NDArray[Any]:
    """Return one row of the application as the model's input takes it.

    Args:
        x: anything that numpy makes an array of, with as many elements as ``shape`` of the
            preprocessing or else the input has, in C order.
        preprocessing: the package's, or None: then this is ``fit_row``.
        spec: the model's input.

    Raises:
        BadInput: as ``fit_row``: another number of elements, not numbers, or an input of
            integers (prepared rows are float32); or what the row lacks cannot be filled.
    """
    if preprocessing is None:
        return fit_row(x, spec)
    return fit_row(_prepared(x, preprocessing, rows=None, name=spec.name), spec)


class Preparation:
    """What is done to each row of one package, and what of it is counted."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        """Take the package's preprocessing."""
        self._preprocessing = preprocessing

    def row(self, x: Any, spec: TensorSpec) -> NDArray[Any]:
        """Return one row prepared; as ``prepare_row``."""
        return prepare_row(x, self._preprocessing, spec)

    def counted(self, x: Any) -> NDArray[Any]:
        """Return what is counted of a row; as ``counted_row``."""
        return counted_row(x)


def prepare_rows(x: NDArray[Any], preprocessing: Preprocessing | None) -> NDArray[Any]:
    """Return many rows prepared, not yet fitted to an input.

    Args:
        x: ``[n, ...]`` rows as the application gives them.
        preprocessing: the package's, or None: then ``x`` itself is returned.

    Returns:
        float32 ``[n, ...]``, each row the same as by itself.

    Raises:
        BadInput: rows of another number of elements than ``shape`` has, not numbers, or one that
            lacks what cannot be filled.
    """
    if preprocessing is None:
        return x
    return _prepared(x, preprocessing, rows=len(x), name="x")


def counted_row(x: Any) -> NDArray[np.float32]:
    """Return a row of the application in the precision in which reference rows were counted."""
    import numpy as np

    return np.asarray(x, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Arrays:
    """A preprocessing as numpy takes it; None is nothing to do."""

    scale: np.float32
    mean: NDArray[np.float32] | None
    std: NDArray[np.float32] | None
    work: Callable[[NDArray[Any]], NDArray[np.float32]] | None


@lru_cache(maxsize=64)
def _arrays(preprocessing: Preprocessing) -> _Arrays:
    import numpy as np

    return _Arrays(
        scale=np.float32(preprocessing.scale),
        mean=np.array(preprocessing.mean, np.float32) if preprocessing.mean else None,
        std=np.array(preprocessing.std, np.float32) if preprocessing.std else None,
        work=_work(preprocessing),
    )


def _work(
    preprocessing: Preprocessing,
) -> Callable[[NDArray[Any]], NDArray[np.float32]] | None:
    # Imported on use: a device has one kind of rows.
    if preprocessing.image is not None:
        from device_agent.processing.image import ImageWork

        return ImageWork(preprocessing.image, preprocessing.row_shape)
    if preprocessing.audio is not None:
        from device_agent.processing.audio import AudioWork

        return AudioWork(preprocessing.audio)
    if preprocessing.tabular is not None:
        from device_agent.processing.tabular import TabularWork

        return TabularWork(preprocessing.tabular)
    return None


def _prepared(x: Any, preprocessing: Preprocessing, *, rows: int | None, name: str) -> NDArray[Any]:
    """Return one row prepared, or ``rows`` of them, which then are the first dimension."""
    import numpy as np  # here: without any runtime there is no numpy, and nothing to infer

    from device_agent.protocol.preprocessing import HWC_TO_CHW

    try:
        row = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise BadInput(f"input {name!r} is no array: {error}") from error
    if not np.can_cast(row.dtype, np.float32, "same_kind"):
        raise BadInput(f"input {name!r} takes numbers, given: {row.dtype.name}")
    if preprocessing.row_shape:
        row = _reshaped(row, preprocessing.row_shape, rows, name)
    arrays = _arrays(preprocessing)
    if arrays.work is not None:
        # What is not finite stays so and is found in the answer: no need to warn of it here.
        with np.errstate(invalid="ignore", over="ignore"):
            row = arrays.work(row) if rows is None else np.stack([*map(arrays.work, row)])
    result: NDArray[Any] = np.multiply(row, arrays.scale, dtype=np.float32)
    if arrays.mean is not None:
        result = np.subtract(result, arrays.mean)
    if arrays.std is not None:
        result = np.divide(result, arrays.std)
    if preprocessing.layout == HWC_TO_CHW:
        result = np.moveaxis(result, -1, -3)
    return np.ascontiguousarray(result)


def _reshaped(
    row: NDArray[Any], shape: tuple[int, ...], rows: int | None, name: str
) -> NDArray[Any]:
    size = row.size if rows is None else row.size // max(1, rows)
    if size != math.prod(shape):
        raise BadInput(
            f"input {name!r} takes {math.prod(shape)} elements of shape {list(shape)}, "
            f"given: {size} of shape {list(row.shape if rows is None else row.shape[1:])}"
        )
    return row.reshape(shape if rows is None else (rows, *shape))
