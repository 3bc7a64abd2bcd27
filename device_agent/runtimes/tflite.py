"""What both TFLite interpreters share: LiteRT and the tflite-runtime that it grew from.

Tensor details are read once at loading: asking for them costs several times a small model's
inference. Tensors are copied in and out: views without copies measured slower, and one that
is kept makes the interpreter refuse to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from device_agent.protocol.errors import BadInput, InferenceFailed, ModelRefused
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.contract import Array
from device_agent.runtimes.refusals import one_line, wrong_count


class TfLiteModel:
    """A loaded ``.tflite``."""

    def __init__(self, interpreter: Any, maker: str) -> None:
        """Take over an interpreter whose tensors are allocated; errors call it ``maker``."""
        ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_spec(detail) for detail in ins)
        self.outputs = tuple(_spec(detail) for detail in outs)
        self._ins = [int(detail["index"]) for detail in ins]
        self._outs = [int(detail["index"]) for detail in outs]
        self._interpreter = interpreter
        self._maker = maker

    def run(self, inputs: list[Array]) -> list[Array]:
        """Answer one row; see ``LoadedModel.run``."""
        interpreter = self._interpreter
        if interpreter is None:
            raise InferenceFailed("the model is closed")
        if len(inputs) != len(self._ins):
            raise wrong_count(self.inputs, inputs)
        try:
            for index, value in zip(self._ins, inputs):  # noqa: B905 - as many, see above
                interpreter.set_tensor(index, value)
        except ValueError as error:
            raise BadInput(f"input does not fit the model: {one_line(error)}") from error
        try:
            interpreter.invoke()
            return list(map(interpreter.get_tensor, self._outs))
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"{self._maker}: {one_line(error)}") from error

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


def load_tflite(
    package: Any, maker: str, path: Path, threads: int, *, optimized: bool
) -> TfLiteModel:
    """Load a ``.tflite``; see ``Runtime.load``.

    Args:
        package: the module that holds ``Interpreter`` and ``OpResolverType``.
        maker: what errors call it.
        path: the file.
        threads: of one inference.
        optimized: False leaves XNNPACK out: its kernels are not the interpreter's own.
    """
    kinds = package.OpResolverType
    try:
        interpreter = package.Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_op_resolver_type=(
                kinds.AUTO if optimized else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        interpreter.allocate_tensors()
        return TfLiteModel(interpreter, maker)
    except Exception as error:  # native code: anything it raises means the file is bad
        raise ModelRefused(
            Reason.LOAD_FAILED, f"{maker} cannot load {path.name}: {one_line(error)}"
        ) from error


def _spec(detail: Any) -> TensorSpec:
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or len(signature) == 0 else signature
    return TensorSpec(
        name=detail["name"],
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) for size in shape),
    )
