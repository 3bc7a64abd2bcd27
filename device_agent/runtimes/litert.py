"""LiteRT (``.tflite``), by its Interpreter.

Tensor details are read once at loading: asking for them costs several times a small model's
inference. Tensors are copied in and out: views without copies measured slower, and one that
is kept makes the interpreter refuse to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from device_agent.protocol.errors import BadInput, InferenceFailed, ModelRefused
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.contract import Array
from device_agent.runtimes.refusals import one_line, wrong_count


class LiteRtModel:
    """A loaded ``.tflite``."""

    def __init__(self, interpreter: Any) -> None:
        """Take over an interpreter whose tensors are allocated."""
        ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_spec(detail) for detail in ins)
        self.outputs = tuple(_spec(detail) for detail in outs)
        self._ins = [int(detail["index"]) for detail in ins]
        self._outs = [int(detail["index"]) for detail in outs]
        self._interpreter = interpreter

    def run(self, inputs: list[Array]) -> list[Array]:
        """Answer one row; see ``LoadedModel.run``."""
        interpreter = self._interpreter
        if interpreter is None:
            raise InferenceFailed("the model is closed")
        if len(inputs) != len(self._ins):
            raise wrong_count(self.inputs, inputs)
        try:
            for index, value in zip(self._ins, inputs, strict=True):
                interpreter.set_tensor(index, value)
        except ValueError as error:
            raise BadInput(f"input does not fit the model: {one_line(error)}") from error
        try:
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._outs]
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"LiteRT: {one_line(error)}") from error

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


class LiteRt:
    """The LiteRT runtime."""

    name = "litert"

    def load(self, path: Path, threads: int) -> LiteRtModel:
        """Load a ``.tflite``; see ``Runtime.load``."""
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            return LiteRtModel(interpreter)
        except Exception as error:  # native code: anything it raises means the file is bad
            raise ModelRefused(
                Reason.LOAD_FAILED, f"LiteRT cannot load {path.name}: {one_line(error)}"
            ) from error


def _spec(detail: Any) -> TensorSpec:
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or len(signature) == 0 else signature
    return TensorSpec(
        name=detail["name"],
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) for size in shape),
    )
