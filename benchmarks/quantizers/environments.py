"""Where the opponents live: each in an environment of its own, made on demand and kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from edgeops.packaging.engines import Apart, environment

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(sys.prefix) / "edgeops-cache"

_PYTHONS = ("3.11", "3.12", "3.13")
TENSORFLOW, NNCF, MAGIKA = "tensorflow", "nncf", "magika"
_APART = {
    # edgeops is beside TensorFlow there, for Keras models: its children import both.
    TENSORFLOW: Apart(
        packages=(
            *("tensorflow==2.21.0", "tf_keras==2.21.0", "tf2onnx==1.17.0"),
            *("-c", str(ROOT / "constraints.txt"), "-e", str(ROOT / "device_agent")),
            *("-e", f"{ROOT}[tensorflow,demo]"),
        ),
        pythons=_PYTHONS,
    ),
    NNCF: Apart(
        packages=("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"),
        pythons=_PYTHONS,
    ),
    # The files alone: what it needs to run is not needed here.
    MAGIKA: Apart(packages=("magika==1.0.3", "--no-deps"), pythons=_PYTHONS),
}


def python_of(name: str, progress: Callable[[str], None]) -> str:
    """Return the interpreter of an opponent's environment.

    Raises:
        EdgeopsError: it cannot be made here, for example without the package index.
    """
    return environment(name, _APART[name], CACHE, progress)


def magika_model(progress: Callable[[str], None]) -> Path:
    """Return Magika's ONNX model, from its package."""
    prefix = Path(python_of(MAGIKA, progress)).parents[1]
    return next(prefix.glob("lib/python3*/site-packages/magika/models/standard_v3_3/model.onnx"))
