"""Quantizing a float ``.onnx``: own ranges, ONNX Runtime's QDQ writer, signed 8 bits throughout.

Only operators with weights are quantized: with every operator quantized, models with a
decomposed LayerNorm fell from 93 % to 20 %. Unsigned activations saturate on x86 without VNNI.

A correct file with one scale a channel may still answer nonsense, by a fusion in the runtime
(onnxruntime#24711). So the result is run with optimizations on and off; if that tells a
difference, weights get one scale a tensor instead, and the report says so.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import; see device_agent.runtimes

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, shape_inference
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
)

from device_agent.processing.rows import fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec
from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.calibration import FEW_ROWS
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.onnx_file import (
    MAX_IR_VERSION,
    OPSET,
    canonical,
    check_float,
    flatten_biases,
    nonfinite_weights,
    parse,
    quantized_weights,
)
from edgeops.packaging.convert.ranges import Ranges, find_ranges, narrow_count
from edgeops.packaging.recipes import CHANNEL, Recipe

MIN_SHARE = 0.9
COMPARED_ROWS = 64
MAX_RUNTIME_ERROR = 0.1
"""Relative error between the answers with optimizations on and off. Rounding alone stays far
below: 8 bits and a dozen layers gave 0.05 at most in trials, the known collapse more than 1."""
MIN_OPSET = 13
"""One scale a channel came with it."""
FOLDED = ("Clip", "Relu")
"""Activations that a quantized operator before them takes over: by its range, at no cost."""
_ORT_ERRORS = 3


def quantize_onnx(data: bytes, recipe: Recipe, rows: NDArray[Any] | None) -> tuple[bytes, Report]:
    """Make what a recipe says from a float ``.onnx``.

    Args:
        data: the file; with ``float32`` it comes back as it is.
        recipe: of format onnx.
        rows: calibration rows ``[n, ...]`` for int8, else None.

    Returns:
        The file, and the report with ranges and notes. Inputs and outputs keep their dtypes
        and names.

    Raises:
        InvalidModel: not valid, quantized already, with weights that are not finite, or
            without any operator that the recipe quantizes.
        InvalidInput: the rows do not fit the model.
        ConversionFailed: the result is not what the recipe promises, or the runtime answers
            something else with optimizations than without.
    """
    model = parse(data)
    check_float(model)
    if (bad := nonfinite_weights(model)) is not None:
        raise InvalidModel(f"the weights {bad!r} hold NaN or infinity", next_step="train it again")
    if recipe.precision == "float32":
        return data, Report()
    if rows is None:
        raise InvalidInput("int8 needs calibration rows, none are given")
    prepared = _prepare(model)
    if not quantized_weights(prepared, recipe.operators).total:
        raise InvalidModel(
            f"the model has no {', '.join(recipe.operators)} with weights: nothing to quantize",
            next_step="package it as float32",
        )
    spec = _only_input(_session(prepared.SerializeToString(), optimized=False))
    fitted = [_fit(row, spec) for row in rows]
    ranges = _calibrate(prepared, recipe, fitted)
    notes = _range_notes(ranges, len(rows))
    made, said = quantize_checked(prepared, recipe, ranges, fitted[:COMPARED_ROWS], _answers)
    return made, Report(ranges=ranges, notes=(*notes, *said))


def _prepare(model: Any) -> Any:
    """Fold constants and batch normalizations; bound the opset from below."""
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    with tempfile.TemporaryDirectory(prefix="edgeops-onnx-") as folder:
        path = Path(folder) / "folded.onnx"
        _session(model.SerializeToString(), save_to=path)
        folded = onnx.load(path)
    flatten_biases(folded)
    folded.ir_version = min(folded.ir_version, MAX_IR_VERSION)
    return onnx.load_from_string(canonical(shape_inference.infer_shapes(folded), rename=True))


def _session(data: bytes, *, optimized: bool = True, save_to: Path | None = None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # so that sums are added up in the same order each time
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
            f"ONNX Runtime cannot load the model: {one_line(error)}",
            next_step=f"export it again, as one file, with opset {OPSET}",
        ) from error


def _calibrate(model: Any, recipe: Recipe, rows: list[NDArray[Any]]) -> Ranges:
    """Return the ranges of all float inputs and outputs of the quantized operators."""
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    constants = {each.name for each in watched.graph.initializer}
    there = {each.name for each in (*watched.graph.output, *watched.graph.input)}
    wanted = {
        name
        for node in watched.graph.node
        if node.op_type in (*recipe.operators, *FOLDED)
        for name in (*node.input, *node.output)
        if name and name not in constants
    }
    for name in sorted(wanted - there):
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = _session(watched.SerializeToString(), optimized=False)
    feed = session.get_inputs()[0].name
    outputs = sorted(wanted - {each.name for each in watched.graph.input})

    def run(row: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        found = dict(zip(outputs, session.run(outputs, {feed: row}), strict=True))
        return {**found, feed: row} if feed in wanted else found

    return find_ranges(run, rows, recipe)


def _range_notes(ranges: Ranges, count: int) -> list[str]:
    notes = []
    if count < FEW_ROWS:
        notes.append(f"only {count} calibration rows: a few hundred tell ranges better")
    if narrow := narrow_count(ranges):
        notes.append(f"{narrow} tensors are constant on all calibration rows")
    return notes


class Answers(Protocol):
    """Runs a file: rows to answers ``[n, ...]``, with optimizations or without."""

    def __call__(self, data: bytes, rows: list[NDArray[Any]], *, optimized: bool) -> NDArray[Any]:
        """Return the answers to ``rows``."""
        ...


def quantize_checked(
    model: Any, recipe: Recipe, ranges: Ranges, rows: list[NDArray[Any]], answers: Answers
) -> tuple[bytes, list[str]]:
    """Quantize, run the result with optimizations on and off, and take what survives that.

    Args:
        model: a prepared float ``onnx.ModelProto``.
        recipe: of precision int8.
        ranges: of all tensors that are quantized.
        rows: inputs to compare on.
        answers: runs a file.

    Returns:
        The file, and notes.

    Raises:
        ConversionFailed: the effect is not what the recipe promises, or optimizations break
            the answers with one scale a tensor too.
    """
    expected = answers(model.SerializeToString(), rows, optimized=False)
    notes = []
    for per_channel in (True, False) if recipe.granularity == CHANNEL else (False,):
        made = _quantize(model, recipe, ranges, per_channel=per_channel)
        _check_effect(made, recipe)
        plain = answers(made, rows, optimized=False)
        fast = answers(made, rows, optimized=True)
        error = relative_error(fast, expected)
        if _agrees(fast, plain, expected):
            notes.append(
                f"answers differ from float by {sqnr_db(error):.1f} dB (SQNR, calibration rows)"
            )
            return made, notes
        notes.append(
            f"with one scale a {'channel' if per_channel else 'tensor'} this ONNX Runtime answers "
            f"something else with optimizations ({sqnr_db(error):.1f} dB) than without "
            f"({sqnr_db(relative_error(plain, expected)):.1f} dB): not used"
        )
    raise ConversionFailed(
        f"{recipe.name}: {notes[-1]}", next_step="another recipe, or another version of onnxruntime"
    )


def _agrees(fast: NDArray[Any], plain: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Tell whether optimizations leave the answers alone, or at least no worse than they were."""
    if not np.isfinite(fast).all():
        return False
    is_same = relative_error(fast, plain) <= MAX_RUNTIME_ERROR
    return is_same or relative_error(fast, expected) <= relative_error(plain, expected)


def _quantize(model: Any, recipe: Recipe, ranges: Ranges, *, per_channel: bool) -> bytes:
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    writer = QDQQuantizer(
        onnx.ModelProto.FromString(model.SerializeToString()),
        per_channel=per_channel,
        reduce_range=False,  # 7-bit weights: for unsigned activations on old x86 only
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=[*recipe.operators, *FOLDED],
        extra_options={"MatMulConstBOnly": True},
    )
    writer.quantize_model()
    return canonical(writer.model.model, rename=False)


def _check_effect(made: bytes, recipe: Recipe) -> None:
    weights = quantized_weights(onnx.load_from_string(made), recipe.operators)
    if weights.int8 < MIN_SHARE * max(1, weights.total):
        raise ConversionFailed(
            f"{recipe.name} promises int8 weights, but only {weights.int8} of {weights.total} "
            "weights became that",
            next_step="another recipe, or the model in .tflite",
        )


def _answers(data: bytes, rows: list[NDArray[Any]], *, optimized: bool) -> NDArray[Any]:
    session = _session(data, optimized=optimized)
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
        raise InvalidModel(f"the model has {len(inputs)} inputs, not one")
    if inputs[0].type != "tensor(float)":
        raise InvalidModel(f"the model's input is a {inputs[0].type}, not float32")
    shape = tuple(size if isinstance(size, int) and size >= 0 else 1 for size in inputs[0].shape)
    return TensorSpec(name=inputs[0].name, dtype="float32", shape=shape)


def _fit(row: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    try:
        return fit_row(row, spec)
    except BadInput as error:
        raise InvalidInput(f"calibration rows do not fit the model: {error}") from error
