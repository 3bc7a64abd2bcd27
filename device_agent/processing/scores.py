"""Scores: from the output that a package names to a class and a confidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from device_agent.protocol.thresholds import threshold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from 1, by rounding in half precision or 8 bits."""
MANY_CLASSES = 64
"""Beyond, numpy's calls cost less than a list of its numbers does."""
_EIGHT_BIT_STEPS = 256.0
_EIGHT_BIT_SHIFT = {"b": 128, "B": 0}
"""By numpy's type character (int8, uint8; asking for the name takes 2 µs). The TFLite
quantization specification fixes a softmax: scale 1/256, zero point -128 or 0.
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec"""


class Scores(NamedTuple):
    """The class that a row of scores means. A tuple: one is made at each inference.

    ``class_index`` is None where there is none: not finite, not scores of classes (a single
    number, a tensor with more than one row), or below the threshold of the class. ``confidence``
    is 0 to 1: of the class, also of one below its threshold, and 0 where there are no classes.
    """

    class_index: int | None
    confidence: float
    finite: bool


_NOT_FINITE = Scores(class_index=None, confidence=0.0, finite=False)


def read_scores(output: NDArray[Any], thresholds: tuple[float, ...] = ()) -> Scores:
    """Read the scores of one row.

    Args:
        output: float ``[1, C]``: probabilities or, if they do not sum to 1, logits, whose
            softmax then gives the confidence; 8-bit ``[1, C]``: probabilities in 1/256, as
            quantized softmax layers give them; one integer of any shape: the class itself,
            with confidence 1.
        thresholds: least confidence of every class, or of each; empty asks for none.

    Returns:
        Class, confidence, and whether every value is finite.
    """
    if output.size == 1 and output.dtype.kind in "iub":
        return Scores(class_index=int(output.item()), confidence=1.0, finite=True)
    if output.size < 2 or output.shape[-1] != output.size:
        return Scores(class_index=None, confidence=0.0, finite=_is_finite(output))
    step, shift = 1.0, _EIGHT_BIT_SHIFT.get(output.dtype.char)
    if shift is not None:
        step = 1.0 / _EIGHT_BIT_STEPS
    read = _read_many if output.size > MANY_CLASSES else _read_few
    found = read(output.ravel(), step, shift or 0)
    index = found.class_index
    if thresholds and index is not None and found.confidence < threshold_of(thresholds, index):
        return found._replace(class_index=None)
    return found


def _read_few(row: NDArray[Any], step: float, shift: int) -> Scores:
    """Read ``(row + shift) * step``; ``step`` is a power of two: nothing is rounded by it."""
    # Plain numbers: for the ten or so classes of most models numpy's calls cost more than the
    # arithmetic does.
    values: list[float] = row.tolist()
    total = (sum(values) + shift * len(values)) * step  # one NaN or infinity makes it one too
    finite = math.isfinite(total)
    if not finite:
        return _NOT_FINITE
    top = max(values)
    index = values.index(top)
    if abs(total - 1.0) <= SUM_TOLERANCE and min(values) + shift >= 0:
        return Scores(index, min(1.0, (top + shift) * step), finite)
    share = 1.0 / math.fsum(math.exp((value - top) * step) for value in values)
    return Scores(index, share, finite)


def _read_many(row: NDArray[Any], step: float, shift: int) -> Scores:
    """As ``_read_few``, but for the last digit of a softmax's sum."""
    import numpy as np

    total = (float(row.sum(dtype=np.float64)) + shift * row.size) * step
    finite = math.isfinite(total)
    if not finite:
        return _NOT_FINITE
    index = int(row.argmax())
    top = float(row[index])
    if abs(total - 1.0) <= SUM_TOLERANCE and float(row.min()) + shift >= 0:
        return Scores(index, min(1.0, (top + shift) * step), finite)
    shares = np.subtract(row, top, dtype=np.float64)
    shares *= step
    share = 1.0 / float(np.exp(shares, out=shares).sum())
    return Scores(index, share, finite)


def _is_finite(output: NDArray[Any]) -> bool:
    # In float64, so that the sum of finite values is finite.
    return math.isfinite(float(output.sum(dtype="float64")))
