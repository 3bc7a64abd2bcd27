"""Rows: from what an application has to what the model's input takes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fit_row(x: Any, spec: TensorSpec) -> NDArray[Any]:
    """Return one row as the model's input takes it.

    Args:
        x: anything that numpy makes an array of, in any shape with as many elements as the
            input has for one row (C order).
        spec: the model's input; its free dimensions become 1.

    Returns:
        An array of the input's dtype and shape, C-contiguous; ``x`` itself if it fits.

    Raises:
        BadInput: another number of elements, not numbers, or a dtype that would lose its kind
            (float to integer, …); the message says what was expected and what was given.
    """
    import numpy as np  # here: without any runtime there is no numpy, and nothing to infer

    shape, dtype = _row_shape(spec), _dtype(spec.dtype)
    try:
        row = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise BadInput(f"input {spec.name!r} is no array: {error}") from error
    if row.size != math.prod(shape):
        raise BadInput(
            f"input {spec.name!r} takes {math.prod(shape)} elements of shape {list(shape)}, "
            f"given: {row.size} of shape {list(row.shape)}"
        )
    if row.dtype != dtype:
        if not np.can_cast(row.dtype, dtype, "same_kind"):
            raise BadInput(f"input {spec.name!r} takes {dtype.name}, given: {row.dtype.name}")
        row = _cast(row, dtype, spec)
    return np.ascontiguousarray(row).reshape(shape)


class RowFit:
    """``fit_row`` for one input, many times: a row that fits as it is costs next to nothing.

    Its shape and dtype are looked up once; an int8 model may take no longer than that.
    """

    def __init__(self, spec: TensorSpec) -> None:
        """Look up what the input takes."""
        import numpy as np

        self.spec = spec
        self._array = np.ndarray
        self._shape, self._dtype = _row_shape(spec), _dtype(spec.dtype)

    def __call__(self, x: Any) -> NDArray[Any]:
        """Return one row as the model's input takes it; see ``fit_row``."""
        if (
            type(x) is self._array
            and x.dtype is self._dtype  # the built-in dtypes are there once
            and x.shape == self._shape
            and x.flags.c_contiguous
        ):
            return x
        return fit_row(x, self.spec)


def _cast(row: NDArray[Any], dtype: np.dtype[Any], spec: TensorSpec) -> NDArray[Any]:
    import numpy as np

    cast = row.astype(dtype)
    # Integers wrap around silently: 300 would become 44 in an 8-bit input.
    if dtype.kind in "iu" and not np.array_equal(cast, row):
        raise BadInput(f"input {spec.name!r} takes {dtype.name}, given: values beyond its range")
    return cast


@lru_cache(maxsize=64)
def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if size < 0 else size for size in spec.shape)


@lru_cache(maxsize=64)
def _dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(name)
