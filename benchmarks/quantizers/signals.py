"""Sounds that are made here, and the features that the models of MLPerf Tiny take of them.

No sound with a clear licence comes with the packages that this benchmark installs. So speech is
synthesised (pulses of a voice through the resonances of vowels, hiss for consonants, pauses), and
so is a machine (harmonics of a motor, broad noise, slow changes). They fill the range of the
features; they are no test of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import lfilter

Floats = NDArray[np.float64]
Chance = np.random.Generator

RATE_HZ = 16_000
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
"""First three resonances of four vowels of a man's voice (Peterson and Barney, 1952)."""


def speech(chance: Chance) -> Floats:
    """Return a second that sounds like a word: ``[16000]``, about -1 to 1."""
    parts = [np.zeros(int(chance.integers(500, 4000)))]
    for _ in range(int(chance.integers(1, 4))):
        parts.append(_hiss(chance) if chance.random() < 0.6 else np.zeros(400))
        parts.append(_vowel(chance))
    sound = np.concatenate([*parts, np.zeros(RATE_HZ)])[:RATE_HZ]
    sound = sound / max(1e-9, float(np.abs(sound).max())) * chance.uniform(0.05, 0.9)
    return np.asarray(sound + chance.normal(size=RATE_HZ) * 10 ** chance.uniform(-4, -2))


def _vowel(chance: Chance) -> Floats:
    count = int(chance.integers(1600, 4800))
    pitch_hz = chance.uniform(90, 240) * np.linspace(1, chance.uniform(0.8, 1.25), count)
    phase = np.cumsum(pitch_hz) / RATE_HZ
    sound = np.diff(np.floor(phase), prepend=0.0)
    for resonance_hz in VOWELS_HZ[int(chance.integers(len(VOWELS_HZ)))]:
        turn = 2 * np.pi * resonance_hz * chance.uniform(0.9, 1.1) / RATE_HZ
        radius = np.exp(-np.pi * 90 / RATE_HZ)
        sound = lfilter([1.0], [1.0, -2 * radius * np.cos(turn), radius**2], sound)
    return np.asarray(sound / np.abs(sound).max() * np.hanning(count))


def _hiss(chance: Chance) -> Floats:
    count = int(chance.integers(600, 2400))
    sound = lfilter([1.0, -chance.uniform(0.3, 0.95)], [1.0], chance.normal(size=count))
    return np.asarray(sound / np.abs(sound).max() * np.hanning(count) * chance.uniform(0.1, 0.5))


def machine(chance: Chance) -> Floats:
    """Return a second of a motor: ``[16000]``."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    turns_hz = chance.uniform(20, 120) * (
        1 + 0.02 * np.sin(2 * np.pi * chance.uniform(0.5, 3) * time_s)
    )
    phase = 2 * np.pi * np.cumsum(turns_hz) / RATE_HZ
    hum = sum(
        chance.uniform(0.1, 1) / order * np.sin(order * phase + chance.uniform(0, 6))
        for order in range(1, 40)
    )
    noise = lfilter([1.0], [1.0, -chance.uniform(0.5, 0.97)], chance.normal(size=RATE_HZ))
    sound = hum + chance.uniform(0.05, 0.5) * noise
    return np.asarray(sound / np.abs(sound).max() * chance.uniform(0.01, 0.3))


def keyword_features(sound: Floats, coefficients: int = 10) -> Floats:
    """Return MFCCs as the reference trainer of MLPerf Tiny makes them: ``[49, 10, 1]``.

    Windows of 30 ms every 20 ms, 40 mel bands from 20 to 4,000 Hz, 10 coefficients.
    """
    frames = np.abs(np.fft.rfft(_frames(sound, 480, 320, 49) * _hann(480), 512))
    mel = frames @ _mel_weights(40, 512, 20.0, 4000.0, _hz_to_mel).T
    found = dct(np.log(mel + 1e-6), type=2, axis=-1) / np.sqrt(2 * 40)
    return np.asarray(found[:, :coefficients, None])


def machine_features(sound: Floats) -> Floats:
    """Return a row of the anomaly detector: five frames of 128 mel bands in dB, ``[640]``."""
    padded = np.pad(sound, 512)
    power = np.abs(np.fft.rfft(_frames(padded, 1024, 512, 5) * _hann(1024), 1024)) ** 2
    weights = _mel_weights(128, 1024, 0.0, RATE_HZ / 2, _hz_to_mel)
    return np.asarray(10 * np.log10(power @ weights.T + np.finfo(float).eps)).reshape(640)


def _frames(sound: Floats, size: int, step: int, count: int) -> Floats:
    return np.stack([sound[at * step : at * step + size] for at in range(count)])


def _hann(size: int) -> Floats:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))


def _hz_to_mel(hz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def _mel_weights(
    bands: int, size: int, low_hz: float, high_hz: float, to_mel: Callable[[Any], Any]
) -> Floats:
    """Return triangles over the spectrum, ``[bands, size // 2 + 1]``."""
    mel = to_mel(np.linspace(0, RATE_HZ / 2, size // 2 + 1))
    edges = np.linspace(to_mel(low_hz), to_mel(high_hz), bands + 2)
    rise = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights[:, 0] = 0.0
    return np.asarray(weights)
