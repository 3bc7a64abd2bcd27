"""ONNX Runtime (``.onnx``), on the CPU.

Its official wheels report usage to their maker by default since 1.29 (``Privacy.md`` in the
wheel). Only this variable, set before the first import, keeps it from starting at all: the
call that disables it later still leaves a database in the home folder.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from pathlib import Path
from typing import Any

import onnxruntime as ort

from device_agent.protocol.errors import BadInput, InferenceFailed, ModelRefused
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.contract import Array
from device_agent.runtimes.refusals import one_line, wrong_count

_LOG_ERRORS = 3

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{
        f"tensor({kind}{bits})": f"{kind}{bits}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}


class OnnxModel:
    """A loaded ``.onnx``."""

    def __init__(self, session: Any) -> None:
        """Take over a session.

        Raises:
            ModelRefused: an input or output is not a tensor of numbers.
        """
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._in_names = [spec.name for spec in self.inputs]
        self._out_names = [spec.name for spec in self.outputs]
        self._session = session

    def run(self, inputs: list[Array]) -> list[Array]:
        """Answer one row; see ``LoadedModel.run``."""
        if self._session is None:
            raise InferenceFailed("the model is closed")
        if len(inputs) != len(self._in_names):
            raise wrong_count(self.inputs, inputs)
        try:
            feed = dict(zip(self._in_names, inputs, strict=True))
            outputs: list[Array] = self._session.run(self._out_names, feed)
            return outputs
        except ort.capi.onnxruntime_pybind11_state.InvalidArgument as error:
            raise BadInput(f"input does not fit the model: {one_line(error)}") from error
        except Exception as error:  # its errors have no common class below Exception
            raise InferenceFailed(f"ONNX Runtime: {one_line(error)}") from error

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntime:
    """The ONNX Runtime."""

    name = "onnxruntime"

    def load(self, path: Path, threads: int, *, optimized: bool = True) -> OnnxModel:
        """Load an ``.onnx``; see ``Runtime.load``."""
        options = ort.SessionOptions()
        # Its own default takes every core, which starves the rest of a small device.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = ort.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
            return OnnxModel(session)
        except ModelRefused:
            raise
        except Exception as error:  # its errors have no common class below Exception
            raise ModelRefused(
                Reason.LOAD_FAILED, f"ONNX Runtime cannot load {path.name}: {one_line(error)}"
            ) from error


def _spec(node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise ModelRefused(
            Reason.LOAD_FAILED,
            f"{node.name!r} is a {node.type}, not a tensor of numbers",
            next_step="export tensors only; for scikit-learn: options={'zipmap': False}",
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(name=node.name, dtype=dtype, shape=shape)
