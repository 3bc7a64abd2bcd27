"""How close one model's answers are to another's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SQNR_DB = 200.0


def relative_error(given: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the root mean square of the difference over that of ``expected``.

    Infinite where ``given`` is not finite; 0 where both are zero everywhere.
    """
    a, b = given.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(a).all():
        return math.inf
    noise, signal = float(np.mean((a - b) ** 2)), float(np.mean(b**2))
    if noise == 0.0:
        return 0.0
    return math.sqrt(noise / signal) if signal > 0.0 else math.inf


def sqnr_db(error: float) -> float:
    """Return a relative error as a signal-to-quantization-noise ratio in decibels."""
    if math.isinf(error):
        return -MAX_SQNR_DB
    return MAX_SQNR_DB if error == 0.0 else -20.0 * math.log10(error)
