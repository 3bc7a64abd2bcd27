"""Scores: from the output that a package names to a class and a confidence."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from device_agent.protocol.thresholds import threshold_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device_agent.protocol.manifest import TensorSpec

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from 1, by rounding in half precision or 8 bits."""
MANY_CLASSES = 64
"""Beyond, numpy's calls cost less than a list of its numbers does."""
_AS_THEY_ARE = (1.0, 0)
_STEPS = {"b": (1 / 256, 128), "B": (1 / 256, 0)}
"""Size and shift of 8-bit scores, by numpy's type character (int8, uint8; asking for the name takes
2 µs). The TFLite quantization specification fixes a softmax: scale 1/256, zero point -128 or 0.
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec"""
_INT8_STEPS = bytes(byte ^ 0x80 for byte in range(256))
"""What ``bytes.translate`` takes to do that shift."""
_STEPS_TOLERANCE = 256 * SUM_TOLERANCE


class Scores(NamedTuple):
    """The class that a row of scores means.

    ``class_index`` is None where there is none: not finite, not scores of classes (a single
    number, a tensor with more than one row), or below the threshold of the class. ``confidence``
    is 0 to 1: of the class, also of one below its threshold, and 0 where there are no classes.
    """

    class_index: int | None
    confidence: float
    finite: bool


Found: TypeAlias = "tuple[int | None, float, bool]"
"""The fields of ``Scores``: making a plain tuple takes no call."""
_NOT_FINITE: Found = (None, 0.0, False)


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
    return Scores(*scores_of(output, thresholds))


def scores_of(output: NDArray[Any], thresholds: tuple[float, ...] = ()) -> Found:
    """Read the scores of one row as ``read_scores`` does."""
    size, kind = output.size, output.dtype.char
    if size < 2 or output.shape[-1] != size:
        if size == 1 and output.dtype.kind in "iub":
            return int(output.item()), 1.0, True
        return None, 0.0, _is_finite(output)
    # Plain numbers for few classes: numpy's calls cost more than the arithmetic does.
    if size > MANY_CLASSES:
        found = _read_many(output.ravel(), *_STEPS.get(kind, _AS_THEY_ARE))
    else:
        found = _OF_FEW.get(kind, _read_few)(output)
    if thresholds and found[0] is not None and found[1] < threshold_of(thresholds, found[0]):
        return None, found[1], found[2]
    return found


def reader_of(spec: TensorSpec, thresholds: tuple[float, ...]) -> Callable[[NDArray[Any]], Found]:
    """Return ``scores_of`` for one output, for who reads it at every inference.

    Args:
        spec: what the arrays that are read should have; of few classes without a threshold,
            only the shape is looked at again.
        thresholds: as ``read_scores``.
    """
    shape = spec.shape
    classes = shape[-1] if shape else 0
    if thresholds or not 2 <= classes <= MANY_CLASSES or math.prod(shape) != classes:
        return partial(scores_of, thresholds=thresholds)
    read = _OF_FEW.get({"int8": "b", "uint8": "B"}.get(spec.dtype, ""), _read_few)
    # A runtime may give another shape than a file declares.
    return lambda output: read(output) if output.shape == shape else scores_of(output)


def _read_few(output: NDArray[Any]) -> Found:
    values = output.ravel().tolist()
    total = sum(values)  # one NaN or infinity makes it one too
    if not math.isfinite(total):
        return _NOT_FINITE
    top = max(values)
    index = values.index(top)
    if abs(total - 1.0) <= SUM_TOLERANCE and min(values) >= 0:
        return index, min(1.0, top), True
    return index, 1.0 / math.fsum(math.exp(value - top) for value in values), True


def _read_few_int8(output: NDArray[Any]) -> Found:
    return _read_steps(output.tobytes().translate(_INT8_STEPS))


def _read_few_uint8(output: NDArray[Any]) -> Found:
    return _read_steps(output.tobytes())


def _read_steps(steps: bytes) -> Found:
    top = max(steps)
    if abs(sum(steps) - 256) <= _STEPS_TOLERANCE:
        return steps.index(top), top / 256, True
    shares = math.fsum(math.exp((step - top) / 256) for step in steps)
    return steps.index(top), 1.0 / shares, True


_OF_FEW = {"b": _read_few_int8, "B": _read_few_uint8}
"""Readers of 8-bit scores, by numpy's type character."""


def _read_many(row: NDArray[Any], step: float, shift: int) -> Found:
    """Read ``(row + shift) * step``, as above but for the last digit of a softmax's sum."""
    import numpy as np

    total = (float(row.sum(dtype=np.float64)) + shift * row.size) * step
    if not math.isfinite(total):
        return _NOT_FINITE
    index = int(row.argmax())
    top = float(row[index])
    if abs(total - 1.0) <= SUM_TOLERANCE and float(row.min()) + shift >= 0:
        return index, min(1.0, (top + shift) * step), True
    shares = np.subtract(row, top, dtype=np.float64)
    shares *= step
    return index, 1.0 / float(np.exp(shares, out=shares).sum()), True


def _is_finite(output: NDArray[Any]) -> bool:
    # In float64, so that the sum of finite values is finite.
    return math.isfinite(float(output.sum(dtype="float64")))
