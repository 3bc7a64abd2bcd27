"""Where the suite keeps environments of runtimes that cannot live beside it: made once."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import pytest

from edgeops.packaging.engines import Engine, engine_for

CACHE = Path(sys.prefix) / "edgeops-cache"


def tflite_runtime() -> Engine:
    """Return tflite-runtime 2.14, in its environment."""
    return engine_for("tflite-runtime", CACHE, lambda _: None)


def tflm() -> Engine:
    """Return TensorFlow Lite Micro, in its environment."""
    return engine_for("tflm", CACHE, lambda _: None)


needs_tflite_runtime = pytest.mark.skipif(
    not any(map(shutil.which, ("python3.11", "python3.10"))) and sys.version_info[:2] > (3, 11),
    reason="tflite-runtime has wheels for Python 3.10 and 3.11 only",
)
needs_tflm = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="tflite-micro has wheels for x86-64 only"
)
