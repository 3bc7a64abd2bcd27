"""What the tests of conversions share: digits, and a door with one cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.runtimes.available import get_runtime
from edgeops.packaging.convert import Converted, convert
from edgeops.packaging.recipes import RECIPES
from tests.digits_models import DigitsSplit, digits

MAX_DROP = 0.03
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}

SPLIT: DigitsSplit = digits(0)
CALIBRATION = SPLIT.train_x[:200]
HELD_OUT, LABELS = SPLIT.stream_x[:400], SPLIT.stream_y[:400]

Load = Callable[[Path], Any]


@dataclass
class Door:
    """``convert`` with a cache; ``said`` keeps what it told."""

    cache: Path
    said: list[str] = field(default_factory=list)

    def __call__(
        self, source: Path, recipe: str, calibration: Any = CALIBRATION, **more: Any
    ) -> Converted:
        return convert(
            source,
            RECIPES[recipe],
            calibration=calibration,
            cache=self.cache,
            trust_code=more.pop("trust_code", False),
            progress=self.said.append,
            **more,
        )


def load(path: Path) -> Any:
    """Load an artifact as a device does."""
    return get_runtime(RUNTIMES[path.suffix[1:]]).load(path, 1)


def accuracy(path: Path, x: NDArray[Any] = HELD_OUT, y: NDArray[np.int64] = LABELS) -> float:
    """Return the share of rows that an artifact answers right, one row at a time."""
    model = load(path)
    right = [
        model.run([row[np.newaxis]])[0].argmax() == label for row, label in zip(x, y, strict=True)
    ]
    return float(np.mean(right))
