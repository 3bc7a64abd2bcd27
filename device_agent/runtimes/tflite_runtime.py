"""tflite-runtime (``.tflite``), LiteRT's last ancestor: 2.14, the one with wheels for 32-bit ARM.

Its wheels were built for NumPy 1 and do not say so: with NumPy 2 an interpreter cannot be made.
"""

from __future__ import annotations

from pathlib import Path

from tflite_runtime import interpreter

from device_agent.runtimes.tflite import TfLiteModel, load_tflite


class TfLiteRuntime:
    """The tflite-runtime."""

    name = "tflite-runtime"

    def load(self, path: Path, threads: int, *, optimized: bool = True) -> TfLiteModel:
        """Load a ``.tflite``; see ``Runtime.load``."""
        return load_tflite(interpreter, "tflite-runtime", path, threads, optimized=optimized)
