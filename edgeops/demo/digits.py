"""The demo's data: real handwritten digits, parted by seed, and the shift that it injects.

scikit-learn's 1,797 scans of real handwriting, 8x8 pixels of 0 to 16. (The data set does not say
who wrote a row: a writer can be on several sides.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

PIXEL_MAX = 16.0
TRAIN_ROWS = 600
EVALUATION_ROWS = 600
GOLDEN_ROWS = 64
SIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DigitsSplit:
    """Disjoint rows of the data set for one seed.

    Every ``*_x`` is float32 ``(n, 64)`` with values 0..16, every ``*_y`` int64 ``(n,)``, 0..9.

    Attributes:
        train_x: 600 rows that version 1 is trained on.
        train_y: their labels.
        evaluation_x: 600 rows for evidence and reference.
        evaluation_y: their labels.
        stream_x: the other 597 rows, which the devices see.
        stream_y: their labels.
    """

    train_x: Floats
    train_y: Ints
    evaluation_x: Floats
    evaluation_y: Ints
    stream_x: Floats
    stream_y: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What happens to the cameras of one hall."""

    rotation_deg: float = 0.0
    blur: float = 0.0
    gain: float = 1.0

    def apply(self, rows: Floats) -> Floats:
        """Return shifted rows: turned, blurred (pixels, standard deviation), made brighter.

        Args:
            rows: ``(n, 64)`` with values 0..16.

        Returns:
            The same shape, clipped to 0..16; equal rows give equal rows.
        """
        from scipy.ndimage import gaussian_filter, rotate

        images = rows.reshape(-1, SIDE, SIDE).astype(np.float32)
        if self.rotation_deg:
            images = rotate(images, self.rotation_deg, axes=(2, 1), reshape=False, order=1)
        if self.blur:
            images = gaussian_filter(images, (0, self.blur, self.blur))
        shifted = np.clip(images * self.gain, 0, PIXEL_MAX).reshape(len(rows), -1)
        return np.asarray(np.rint(shifted * 4) / 4, dtype=np.float32)


SHIFT = Shift(rotation_deg=25.0, blur=0.4, gain=1.15)
"""What the demo does to half of the fleet."""
BRIGHTER = Shift(gain=1.15)
"""Brightness alone: seen, but harmless."""


def split(seed: int) -> DigitsSplit:
    """Part the data set; equal seeds give equal parts."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    first, second = TRAIN_ROWS, TRAIN_ROWS + EVALUATION_ROWS
    return DigitsSplit(
        train_x=x[:first],
        train_y=y[:first],
        evaluation_x=x[first:second],
        evaluation_y=y[first:second],
        stream_x=x[second:],
        stream_y=y[second:],
    )


def garbage(parts: DigitsSplit) -> Floats:
    """Return calibration rows that make int8 useless: a camera whose lens is covered."""
    return np.asarray(parts.train_x[:200] * np.float32(0.01), dtype=np.float32)
