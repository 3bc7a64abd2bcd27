"""Quantizing a float ``.tflite`` without TensorFlow: own ranges, ai-edge-quantizer's writer.

Quantizers report success for files in which nothing was quantized, so it is the file that is
looked at, never whether the call returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.rows import fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.calibration import FEW_ROWS
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.ranges import Ranges, find_ranges, narrow_count
from edgeops.packaging.convert.tflite_file import (
    Contents,
    contents,
    inject_signature,
    is_constant,
    load,
    pack,
    restore_names,
    unpack,
)
from edgeops.packaging.recipes import Recipe

MIN_SHARE = 0.9
"""Share of the weights, and of the operators with weights, that must be as the recipe says."""
COMPARED_ROWS = 64
_SEED = 0


def quantize_tflite(data: bytes, recipe: Recipe, rows: NDArray[Any] | None) -> tuple[bytes, Report]:
    """Make what a recipe says from a float ``.tflite``.

    Args:
        data: the file; with ``float32`` it comes back as it is.
        recipe: of format tflite.
        rows: calibration rows ``[n, ...]`` for int8, else None.

    Returns:
        The file, and the report with ranges and notes. Inputs and outputs keep their dtypes
        and names.

    Raises:
        InvalidModel: LiteRT cannot load it, or it is quantized already.
        InvalidInput: the rows do not fit the model.
        ConversionFailed: the result is not what the recipe promises.
    """
    load(data)
    original = unpack(data)
    _check_float(contents(original))
    if recipe.precision == "float32":
        return data, Report()
    notes = []
    if inject_signature(original):
        notes.append("the model had no signature: one was made from its inputs and outputs")
    prepared = pack(original)
    ranges = None
    if recipe.needs_calibration:
        if rows is None:
            raise InvalidInput("int8 needs calibration rows, none are given")
        ranges, said = _calibrate(prepared, original, recipe, rows)
        notes += said
    result = unpack(_quantize(prepared, recipe, ranges))
    restore_names(result, original)
    made = pack(result)
    _check_effect(contents(result), recipe)
    notes += _left_float(contents(result), recipe)
    notes.append(_compare(data, made, rows))
    return made, Report(ranges=ranges, notes=tuple(notes))


def _check_float(found: Contents) -> None:
    for dtype in ("int8", "uint8", "int16", "int4"):
        if found.quantized and found.weights.get(dtype):
            raise InvalidModel(
                f"the model is quantized already: it has {dtype} weights",
                next_step="give the float model that it was made from, or package it as it is",
            )
    if found.weights.get("float16"):
        raise InvalidModel(
            "the model has float16 weights already",
            next_step="give the float32 model that it was made from, or package it as it is",
        )
    if not found.weights.get("float32"):
        raise InvalidModel(
            "the model has no float32 weights: there is nothing to quantize",
            next_step="package it as it is, without a recipe",
        )


def _calibrate(
    data: bytes, model: Any, recipe: Recipe, rows: NDArray[Any]
) -> tuple[Ranges, list[str]]:
    interpreter = load(data, keep_all=True)
    spec, input_at = _only_input(interpreter)
    graph = model.subgraphs[0]
    inner = [
        (at, tensor.name.decode(errors="replace"))
        for at, tensor in enumerate(graph.tensors)
        if tensor.type == 0 and not is_constant(model, tensor)  # 0: float32
    ]

    def run(row: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        interpreter.set_tensor(input_at, row)
        interpreter.invoke()
        return {name: interpreter.get_tensor(at) for at, name in inner}

    ranges = find_ranges(run, [_fit(row, spec) for row in rows], recipe)
    notes = []
    if len(rows) < FEW_ROWS:
        notes.append(f"only {len(rows)} calibration rows: a few hundred tell ranges better")
    if narrow := narrow_count(ranges):
        notes.append(f"{narrow} tensors are constant on all calibration rows")
    return ranges, notes


def _quantize(data: bytes, recipe: Recipe, ranges: Ranges | None) -> bytes:
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
        TFLOperationName,
    )

    rules = recipe_manager.RecipeManager()
    everything = TFLOperationName.ALL_SUPPORTED
    if recipe.precision == "float16":
        weights = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
        config = OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        rules.add_quantization_config(".*", everything, config, AlgorithmName.FLOAT_CASTING)
    else:
        rules.add_static_config(".*", everything, activation_num_bits=8, weight_num_bits=8)
        # Inputs and outputs stay floats, so that devices feed what they measure.
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            rules.add_quantization_config(".*", end, None, AlgorithmName.NO_QUANTIZE)
    # Only activations: for a constant the quantizer takes a scale a channel from its values.
    statistics = None
    if ranges is not None:
        statistics = {
            name: {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
            for name, (low, high) in ranges.items()
        }
    result = quantizer.Quantizer(data, rules.get_quantization_recipe()).quantize(
        statistics, enable_progress_bar=False, enable_progress_report=False
    )
    return bytes(result.quantized_model)


def _check_effect(found: Contents, recipe: Recipe) -> None:
    share = found.share(recipe.precision)
    if share < MIN_SHARE:
        raise ConversionFailed(
            f"{recipe.name} promises {recipe.precision} weights, but only {share:.0%} of the "
            "weights became that",
            next_step="another recipe, or the model in .onnx",
        )
    if recipe.precision != "int8":
        return
    total = sum(found.activations.values())
    if total and found.activations.get("int8", 0) < MIN_SHARE * total:
        raise ConversionFailed(
            f"{recipe.name} promises int8 activations, but only "
            f"{found.activations.get('int8', 0)} of {total} operators with weights have them",
            next_step="another recipe, or the model in .onnx",
        )


def _left_float(found: Contents, recipe: Recipe) -> list[str]:
    left = found.weights.get("float32", 0)
    return [f"{left} weights stayed float32"] if left and recipe.precision != "float32" else []


def _compare(data: bytes, made: bytes, rows: NDArray[Any] | None) -> str:
    """Run both files, which also shows that LiteRT takes what was made; say how they differ."""
    which = "calibration rows"
    if rows is None:
        spec, _ = _only_input(load(data))
        chance = np.random.default_rng(_SEED)
        rows = chance.random((COMPARED_ROWS, *spec.shape)).astype(spec.dtype)
        which = "random rows"
    expected, given = (_answers(file, rows[:COMPARED_ROWS]) for file in (data, made))
    error = relative_error(given, expected)
    if not np.isfinite(error):
        raise ConversionFailed("the quantized model answers NaN or infinity, or only it answers")
    return f"answers differ from float by {sqnr_db(error):.1f} dB (SQNR, {which})"


def _answers(data: bytes, rows: NDArray[Any]) -> NDArray[Any]:
    interpreter = load(data)
    spec, at = _only_input(interpreter)
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    said = []
    for row in rows:
        interpreter.set_tensor(at, _fit(row, spec))
        interpreter.invoke()
        said.append(np.concatenate([interpreter.get_tensor(out).ravel() for out in outputs]))
    return np.stack(said)


def _only_input(interpreter: Any) -> tuple[TensorSpec, int]:
    details = interpreter.get_input_details()
    if len(details) != 1:
        raise InvalidModel(f"the model has {len(details)} inputs, not one")
    detail = details[0]
    shape = tuple(int(size) for size in detail["shape"])
    dtype = np.dtype(detail["dtype"]).name
    return TensorSpec(name=detail["name"], dtype=dtype, shape=shape), int(detail["index"])


def _fit(row: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    try:
        return fit_row(row, spec)
    except BadInput as error:
        raise InvalidInput(f"calibration rows do not fit the model: {error}") from error
