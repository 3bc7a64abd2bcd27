"""LiteRT (``.tflite``), by its Interpreter."""

from __future__ import annotations

from pathlib import Path

from ai_edge_litert import interpreter

from device_agent.runtimes.tflite import TfLiteModel, load_tflite


class LiteRt:
    """The LiteRT runtime."""

    name = "litert"

    def load(self, path: Path, threads: int, *, optimized: bool = True) -> TfLiteModel:
        """Load a ``.tflite``; see ``Runtime.load``."""
        return load_tflite(interpreter, "LiteRT", path, threads, optimized=optimized)
