"""Scores: from the output that a package names to a class and a confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_agent.protocol.thresholds import threshold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from 1, by rounding in half precision or 8 bits."""
_EIGHT_BIT_STEPS = 256.0
_EIGHT_BIT_SHIFT = {"b": 128, "B": 0}
"""By numpy's type character (int8, uint8; asking for the name takes 2 µs). The TFLite
quantization specification fixes a softmax: scale 1/256, zero point -128 or 0.
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The class that a row of scores means.

    ``class_index`` is None where there is none: not finite, not scores of classes (a single
    number, a tensor with more than one row), or below the threshold of the class. ``confidence``
    is 0 to 1: of the class, also of one below its threshold, and 0 where there are no classes.
    """

    class_index: int | None
    confidence: float
    finite: bool


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
    # Plain floats from here: for the ten or so classes of most models numpy's calls cost more
    # than the arithmetic does.
    row: list[float] = output.ravel().tolist()
    shift = _EIGHT_BIT_SHIFT.get(output.dtype.char)
    if shift is not None:
        row = [(value + shift) / _EIGHT_BIT_STEPS for value in row]
    total = sum(row)  # one NaN or infinity makes it one too
    if not math.isfinite(total):
        return Scores(class_index=None, confidence=0.0, finite=False)
    top = max(row)
    index, confidence = row.index(top), _confidence(row, top, total)
    if thresholds and confidence < threshold_of(thresholds, index):
        return Scores(class_index=None, confidence=confidence, finite=True)
    return Scores(class_index=index, confidence=confidence, finite=True)


def _confidence(row: list[float], top: float, total: float) -> float:
    if abs(total - 1.0) <= SUM_TOLERANCE and min(row) >= 0:
        return min(1.0, top)
    return 1.0 / math.fsum(math.exp(value - top) for value in row)


def _is_finite(output: NDArray[Any]) -> bool:
    # In float64, so that the sum of finite values is finite.
    return math.isfinite(float(output.sum(dtype="float64")))
