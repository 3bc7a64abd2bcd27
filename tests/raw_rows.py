"""Raw rows of each kind, with the preprocessing and the small model that tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.audio import AudioStep
from device_agent.protocol.image import ImageStep
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.tabular import Feature, TabularStep
from tests.digits_models import digits
from tests.models import digits_tflite, linear_onnx

RATE_HZ = 8000
TONES_HZ = (250, 700, 1500, 3000)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Rows as an application has them, and what makes classes of them."""

    x: NDArray[Any]
    y: NDArray[np.int64]
    preprocessing: Preprocessing
    suffix: str
    model: bytes
    profile: str = "x86-64-generic"


def images(count: int = 60) -> Raw:
    """Return digits of twice the size, in red light and some blue noise, for LiteRT."""
    split = digits(0)
    small = split.stream_x[:count].reshape(count, 8, 8) * np.float32(15)
    x = np.zeros((count, 16, 16, 3), np.uint8)
    x[..., 0] = np.repeat(np.repeat(small, 2, axis=1), 2, axis=2)
    x[..., 2] = np.random.default_rng(1).integers(0, 8, x.shape[:3])
    return Raw(
        x=x,
        y=split.stream_y[:count],
        preprocessing=Preprocessing(
            scale=1 / (15 * 0.299),
            shape=(16, 16, 3),
            image=ImageStep(resize=(8, 8), method="nearest", channels="rgb-to-grey"),
        ),
        suffix=".tflite",
        model=digits_tflite(2).read_bytes(),
        profile="raspberry-pi-zero-2w",
    )


def sound(count: int = 60, seed: int = 0) -> Raw:
    """Return tones in noise as 16-bit samples: the class is the pitch."""
    chance = np.random.default_rng(seed)
    y = np.arange(count) % len(TONES_HZ)
    at_s = np.arange(1000) / RATE_HZ
    phase = chance.uniform(0, 6, (count, 1))
    wave = np.sin(2 * np.pi * np.array(TONES_HZ)[y][:, np.newaxis] * at_s + phase)
    x = np.round(8000 * wave + chance.normal(0, 300, wave.shape)).astype(np.int16)
    step = AudioStep(
        sample_rate_hz=RATE_HZ,
        frame_length=256,
        frame_step=248,
        mel_bins=8,
        fft_size=256,
        upper_hz=4000,
        full_scale=32768,
        log_floor=1e-6,
    )
    preprocessing = Preprocessing(shape=(1000,), audio=step, mean=(-2.0,), std=(4.0,))
    weights = _centroids(x, y, preprocessing)
    return Raw(
        x=x,
        y=y.astype(np.int64),
        preprocessing=preprocessing,
        suffix=".onnx",
        model=linear_onnx(weights),
    )


def table(count: int = 120, seed: int = 0) -> Raw:
    """Return rows of temperature (may be missing), flow (skewed) and site (a category)."""
    chance = np.random.default_rng(seed)
    y = np.arange(count) % 3
    temperature = 20.0 + 30.0 * (y == 1) + chance.normal(0, 2, count)
    temperature[(y != 1) & (chance.random(count) < 0.2)] = np.nan
    flow = np.expm1(chance.uniform(0, 8, count))
    site = np.where(y == 2, 7, np.where(np.arange(count) % 2, 3, 99))
    preprocessing = Preprocessing(
        mean=(20.0, 4.0, 0.0, 0.0, 0.0),
        std=(30.0, 8.0, 1.0, 1.0, 1.0),
        tabular=TabularStep(
            features=(
                Feature(name="temperature", fill=20.0, clip=(-40.0, 120.0)),
                Feature(name="flow", clip=(0.0, 1e6), log1p=True),
                Feature(name="site", fill=-1.0, categories=(3.0, 7.0)),
            )
        ),
    )
    #                    temperature, flow, site 3, site 7, another site
    weights = np.array([[-6, 9, 0], [0, 0, 0], [2, 0, 0], [-9, -9, 9], [2, 0, 0]], np.float32)
    return Raw(
        x=np.stack([temperature, flow, site.astype(float)], axis=1).astype(np.float32),
        y=y.astype(np.int64),
        preprocessing=preprocessing,
        suffix=".onnx",
        model=linear_onnx(weights),
    )


KINDS = {"image": images, "audio": sound, "tabular": table}


def _centroids(
    x: NDArray[Any], y: NDArray[Any], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return weights that point from the middle of all rows to the middle of each class."""
    from device_agent.processing.prepare import prepare_rows

    made = prepare_rows(x, preprocessing).reshape(len(x), -1)
    middles = np.stack([made[y == each].mean(axis=0) for each in np.unique(y)])
    return np.ascontiguousarray((middles - made.mean(axis=0)).T) / np.float32(4)
