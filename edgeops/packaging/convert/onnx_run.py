"""Running ``.onnx`` files on the ONNX Runtime, from within a conversion."""

from __future__ import annotations

import os
import re

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import; see device_agent.runtimes

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from device_agent.processing.rows import fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec
from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.onnx_file import OPSET

INPUT_DTYPES = {
    "tensor(float)": "float32",
    **{f"tensor({kind})": kind for kind in ("int32", "int64", "uint8", "int8")},
}
_ORT_ERRORS = 3

_MEMORY = re.compile(r"bad.?alloc|[Ff]ailed to allocate|AllocateRaw|out of memory", re.IGNORECASE)
"""How ONNX Runtime says that memory is not to be had."""


def open_session(data: bytes, *, optimized: bool = True, save_to: Path | None = None) -> Any:
    """Return a session on one thread, so that sums are added up in the same order each time.

    Raises:
        InvalidModel: ONNX Runtime cannot load it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ORT_ERRORS
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    if save_to is not None:
        options.graph_optimization_level = level.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(save_to)
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class below Exception
        raise InvalidModel(
            f"ONNX Runtime cannot load the model: {one_line(error)}", next_step=remedy_of(error)
        ) from error


def remedy_of(error: Exception) -> str:
    """Return the next step for what ONNX Runtime says when it loads or runs a model."""
    if _MEMORY.search(str(error)):
        return "it asks for more memory than it may have: make the values inside of it smaller"
    return f"export it again, as one file, with opset {OPSET} and ONNX's own operators"


def run_rows(data: bytes, rows: list[NDArray[Any]], *, optimized: bool) -> NDArray[Any]:
    """Run a file on the ONNX Runtime; see ``Answers``."""
    return run_session(open_session(data, optimized=optimized), rows)


def run_session(session: Any, rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the answers to rows: all float outputs in one row, ``[n, ...]``."""
    feed = session.get_inputs()[0].name
    said = []
    for row in rows:
        outputs = session.run(None, {feed: row})
        floats = [each.ravel() for each in outputs if each.dtype.kind == "f"]
        said.append(
            np.concatenate(floats) if floats else np.concatenate([each.ravel() for each in outputs])
        )
    return np.stack(said)


def _only_input(session: Any) -> TensorSpec:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise InvalidModel(
            f"the model has {len(inputs)} inputs, not one",
            next_step="export it with one input: join the others into it, or make them constants",
        )
    dtype = INPUT_DTYPES.get(inputs[0].type)
    if dtype is None:
        raise InvalidModel(
            f"the model's input is a {inputs[0].type}",
            next_step=f"export it with one of: {', '.join(INPUT_DTYPES.values())}",
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else 1 for size in inputs[0].shape)
    return TensorSpec(name=inputs[0].name, dtype=dtype, shape=shape)


def fit_rows(data: bytes, rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Return rows as a model takes them.

    Raises:
        InvalidModel: the model has several inputs, or one that takes no numbers.
        InvalidInput: the rows do not fit it.
    """
    spec = _only_input(open_session(data, optimized=False))
    try:
        return [fit_row(row, spec) for row in rows]
    except BadInput as error:
        raise InvalidInput(
            f"calibration rows do not fit the model: {error}",
            next_step="give rows in x as the application gives them to the model, [n, …]",
        ) from error
