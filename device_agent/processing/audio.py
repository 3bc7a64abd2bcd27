"""Preparing sound: log-mel features and MFCCs of a window of samples, as ``protocol.audio`` says.

In double precision up to the last step: kernels of other machines then differ far below what
float32 holds, and older numpy, which has no other FFT, gives the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from device_agent.protocol.audio import AREA, HANN, MEL, POWER, SLANEY, AudioStep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HTK_FACTOR, _HTK_CORNER_HZ = 2595.0, 700.0
_SLANEY_HZ_A_MEL, _SLANEY_CORNER_HZ = 200.0 / 3.0, 1000.0
_SLANEY_STEP = math.log(6.4) / 27.0


class AudioWork:
    """An ``AudioStep`` with its window, filter bank and DCT."""

    def __init__(self, step: AudioStep) -> None:
        """Compute what is the same for each row.

        Args:
            step: what to do.
        """
        self._step = step
        self._window = hann(step.frame_length) if step.window == HANN else None
        self._bank = mel_bank(step)
        self._dct = dct(step.coefficients, step.mel_bins) if step.coefficients else None

    def __call__(self, row: NDArray[Any]) -> NDArray[np.float32]:
        """Return the features of one window of samples.

        Args:
            row: ``[samples]``, any numbers.

        Returns:
            float32 ``[frames, features]``.
        """
        import numpy as np

        step = self._step
        samples = np.asarray(row, np.float64) / step.full_scale
        every = np.lib.stride_tricks.sliding_window_view(samples, step.frame_length)
        frames = every[:: step.frame_step]
        if self._window is not None:
            frames = frames * self._window
        spectrum = np.fft.rfft(frames, step.fft_size)
        level = np.square(spectrum.real) + np.square(spectrum.imag)
        if step.spectrum != POWER:
            level = np.sqrt(level)
        made = np.log(np.maximum(level @ self._bank + step.log_offset, step.log_floor))
        if self._dct is not None:
            made = made @ self._dct
        return np.asarray(made, np.float32)


def hann(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, ``[length]``."""
    import numpy as np

    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length))


def dct(coefficients: int, count: int) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II as ``[count, coefficients]``."""
    import numpy as np

    places, orders = np.arange(count)[:, None] + 0.5, np.arange(coefficients)
    matrix = np.cos(np.pi / count * places * orders) * math.sqrt(2.0 / count)
    matrix[:, 0] *= math.sqrt(0.5)
    return np.asarray(matrix)


def mel_bank(step: AudioStep) -> NDArray[np.float64]:
    """Return the weights of the mel bins, ``[fft_size // 2 + 1, mel_bins]``."""
    import numpy as np

    lowest, highest = (_to_mel(each, step.mel_scale) for each in (step.lower_hz, step.upper_hz))
    corners_mel = np.linspace(lowest, highest, step.mel_bins + 2)
    corners_hz = np.array([_to_hz(each, step.mel_scale) for each in corners_mel])
    lines_hz = np.arange(step.fft_size // 2 + 1) * (step.sample_rate_hz / step.fft_size)
    if step.triangles == MEL:
        lines = np.array([_to_mel(each, step.mel_scale) for each in lines_hz])[:, None]
        corners = corners_mel
    else:
        lines, corners = lines_hz[:, None], corners_hz
    rising = (lines - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - lines) / (corners[2:] - corners[1:-1])
    bank = np.maximum(0.0, np.minimum(rising, falling))
    if step.normalization == AREA:
        bank = bank * (2.0 / (corners_hz[2:] - corners_hz[:-2]))
    return np.asarray(bank)


def _to_mel(hz: float, scale: str) -> float:
    if scale == SLANEY:
        if hz < _SLANEY_CORNER_HZ:
            return hz / _SLANEY_HZ_A_MEL
        corner = _SLANEY_CORNER_HZ / _SLANEY_HZ_A_MEL
        return corner + math.log(hz / _SLANEY_CORNER_HZ) / _SLANEY_STEP
    return _HTK_FACTOR * math.log10(1.0 + hz / _HTK_CORNER_HZ)


def _to_hz(mel: float, scale: str) -> float:
    if scale == SLANEY:
        corner = _SLANEY_CORNER_HZ / _SLANEY_HZ_A_MEL
        if mel < corner:
            return mel * _SLANEY_HZ_A_MEL
        return _SLANEY_CORNER_HZ * math.exp((mel - corner) * _SLANEY_STEP)
    return _HTK_CORNER_HZ * (math.pow(10.0, mel / _HTK_FACTOR) - 1.0)
