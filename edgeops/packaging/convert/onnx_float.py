"""A float ``.onnx`` in its canonical form, of versions that the oldest runtime of devices takes."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import; see device_agent.runtimes

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, version_converter

from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.onnx_file import OPSET, canonical, number_anew
from edgeops.packaging.convert.onnx_run import remedy_of
from edgeops.packaging.files.onnx_header import NEWEST_OPSETS, OLDEST_RUNTIME

MAX_ERROR = 1e-4
"""Largest relative error between a model and itself in an older opset: the same sums."""
_EXPORT = f"export it with opset {OPSET}"
_SEED = 0
_ORT_FATAL = 4


def float_onnx(model: Any) -> tuple[bytes, Report]:
    """Return a float model with canonical names and order, and the report.

    Args:
        model: an ``onnx.ModelProto`` that was parsed and checked, changed in place.

    Raises:
        InvalidModel: it is too new, and cannot be converted down.
        ConversionFailed: converted down it answers something else.
    """
    model, notes = bounded(model)
    number_anew(model)
    data = canonical(model)
    run_once(data)
    return data, Report(notes=tuple(notes))


def run_once(data: bytes) -> None:
    """Load a file as devices do and run it on one row of zeros: bombs go off here.

    Raises:
        InvalidModel: it does not load or run.
    """
    try:
        session = _session(data)
        session.run(None, {each.name: _row(each) for each in session.get_inputs()})
    except Exception as error:  # its errors have no common class below Exception
        raise InvalidModel(
            f"ONNX Runtime cannot run the model: {one_line(error)}", next_step=remedy_of(error)
        ) from error


def bounded(model: Any) -> tuple[Any, list[str]]:
    """Return a model of versions that devices take, and notes; the same one if it is so already.

    Raises:
        InvalidModel, ConversionFailed: as ``float_onnx``.
    """
    newest = NEWEST_OPSETS[""]
    for each in model.opset_import:
        bound = NEWEST_OPSETS.get(each.domain)
        if each.domain and bound is not None and each.version > bound:
            raise InvalidModel(
                f"the model is of {each.domain} {each.version}, onnxruntime {OLDEST_RUNTIME} takes "
                f"{bound} at most",
                next_step=_EXPORT,
            )
    opset = max(
        (each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0
    )
    if opset <= newest:
        return model, []
    try:
        older = version_converter.convert_version(model, newest)
        onnx.checker.check_model(older)
    except Exception as error:  # its errors have no common class below Exception
        raise InvalidModel(
            f"the model is of opset {opset}, onnxruntime {OLDEST_RUNTIME} takes {newest} at most, "
            f"and it cannot be converted down: {one_line(error)}",
            next_step=_EXPORT,
        ) from error
    return older, [f"converted from opset {opset} down to {newest}", *_check_same(model, older)]


def _check_same(model: Any, older: Any) -> list[str]:
    """Compare answers to a random row; return a note if that is not possible."""
    try:
        session = _session(model.SerializeToString())
    except Exception as error:  # noqa: BLE001 - the model may be newer than the runtime here
        return [f"not compared with the model: {one_line(error)}"]
    chance = np.random.default_rng(_SEED)
    row = {each.name: _row(each, chance) for each in session.get_inputs()}
    try:
        given = _session(older.SerializeToString()).run(None, row)
        expected = session.run(None, row)
    except Exception as error:
        raise InvalidModel(
            f"the model does not run: {one_line(error)}", next_step=_EXPORT
        ) from error
    for one, other in zip(given, expected, strict=True):
        is_float = other.dtype.kind == "f"
        off = relative_error(one, other) if is_float else float((one != other).any())
        if off > MAX_ERROR:
            raise ConversionFailed(
                f"converted down, the model answers something else ({off:.2g} off)",
                next_step=_EXPORT,
            )
    return []


def _session(data: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _ORT_FATAL
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _row(value: Any, chance: np.random.Generator | None = None) -> NDArray[Any]:
    """Return one row for an input of a session: zeros, or drawn between 0 and 1."""
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in value.shape]
    kind = value.type.removeprefix("tensor(").removesuffix(")").upper()
    dtype = helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind))
    if chance is None:
        return np.zeros(shape, dtype)
    drawn = chance.random(shape) if dtype.kind == "f" else chance.integers(0, 2, shape)
    return np.asarray(drawn, dtype)
