"""Where the suite keeps environments of runtimes that cannot live beside it: made once."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from edgeops.packaging.engines import Engine, engine_for

CACHE = Path(sys.prefix) / "edgeops-cache"


def tflm() -> Engine:
    """Return TensorFlow Lite Micro, in its environment."""
    return engine_for("tflm", CACHE, lambda _: None)


needs_tflm = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="tflite-micro has wheels for x86-64 only"
)
