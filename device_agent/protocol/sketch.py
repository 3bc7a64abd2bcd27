"""The layout of sketches: which bins, so that counts of many devices add up exactly.

Bins are fixed by the protocol and not by the data: two windows of any two devices merge by
addition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE_BINS = 32
"""Equal bins over [0, 1]; bin ``i`` is [i/32, (i+1)/32), the last one closed."""
MAX_CLASSES = 4096
LATENCY_BINS_PER_OCTAVE = 4
LATENCY_BINS = 26 * LATENCY_BINS_PER_OCTAVE
"""Logarithmic bins from 1 µs to 2^26 µs (67 s), a quarter of an octave each: a quantile read
from them is off by at most 9 %."""


def confidence_bin(confidence: float) -> int:
    """Return the bin of a confidence; what is outside [0, 1] goes to the nearest end."""
    number = int(confidence * CONFIDENCE_BINS)
    return number if 0 <= number < CONFIDENCE_BINS else (0 if number < 0 else CONFIDENCE_BINS - 1)


def latency_bin(latency_us: float) -> int:
    """Return the bin of a latency in microseconds."""
    if latency_us <= 1.0:
        return 0
    number = int(math.log2(latency_us) * LATENCY_BINS_PER_OCTAVE)
    return number if number < LATENCY_BINS else LATENCY_BINS - 1


def latency_quantile_us(counts: Sequence[int], quantile: float) -> float:
    """Return a latency quantile in microseconds (geometric middle of its bin), 0 if empty."""
    total = sum(counts)
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if count and seen >= quantile * total:
            return float(2.0 ** ((index + 0.5) / LATENCY_BINS_PER_OCTAVE))
    return 0.0
