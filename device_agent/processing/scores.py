"""Scores: from the output that a package names to a class and a confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from 1, by rounding in half precision or 8 bits."""
_EIGHT_BITS = 256.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The class that a row of scores means.

    ``class_index`` is None where there is none: not finite, or not scores of classes (a single
    number, a tensor with more than one row). ``confidence`` is 0 to 1, and 0 without a class.
    """

    class_index: int | None
    confidence: float
    finite: bool


def read_scores(output: NDArray[Any]) -> Scores:
    """Read the scores of one row.

    Args:
        output: float ``[1, C]``: probabilities or, if they do not sum to 1, logits, whose
            softmax then gives the confidence; 8-bit ``[1, C]``: probabilities in 1/256, as
            quantized softmax layers give them; one integer of any shape: the class itself,
            with confidence 1.

    Returns:
        Class, confidence, and whether every value is finite.
    """
    kind = output.dtype.kind
    if kind in "iub" and output.size == 1:
        return Scores(class_index=int(output.item()), confidence=1.0, finite=True)
    finite = kind != "f" or bool(np.isfinite(output).all())
    if not finite or output.size < 2 or output.ndim < 1 or output.shape[-1] != output.size:
        return Scores(class_index=None, confidence=0.0, finite=finite)
    row = _unit(output.reshape(-1))
    index = int(row.argmax())
    return Scores(class_index=index, confidence=_confidence(row, index), finite=True)


def _unit(row: NDArray[Any]) -> NDArray[Any]:
    """Undo the 8-bit quantization of a softmax (scale 1/256, zero point -128 or 0).

    The scale is fixed by the TFLite quantization specification for SOFTMAX:
    https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
    """
    if row.dtype == np.int8:
        return (row.astype(np.float32) + 128.0) / _EIGHT_BITS
    if row.dtype == np.uint8:
        return row.astype(np.float32) / _EIGHT_BITS
    return row


def _confidence(row: NDArray[Any], index: int) -> float:
    # float64: thousands of half-precision probabilities would not add up to 1.
    total = float(row.sum(dtype=np.float64))
    if abs(total - 1.0) <= SUM_TOLERANCE and row.min() >= 0:
        return min(1.0, float(row[index]))
    shifted = row.astype(np.float64) - float(row[index])
    return 1.0 / math.fsum(np.exp(shifted))
