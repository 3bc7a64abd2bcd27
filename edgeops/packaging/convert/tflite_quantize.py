"""Quantizing a float ``.tflite`` without TensorFlow: own ranges, ai-edge-quantizer's writer.

Quantizers report success for files in which nothing was quantized, so it is the file that is
looked at, never whether the call returned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
from edgeops.packaging.convert.repair import Names, difference, settle
from edgeops.packaging.convert.tflite_checks import checked
from edgeops.packaging.convert.tflite_engines import on_engines, run_rows
from edgeops.packaging.convert.tflite_file import (
    WEIGHTED,
    Contents,
    Operator,
    contents,
    inject_signature,
    is_constant,
    load,
    operators,
    pack,
    restore_names,
    unpack,
)
from edgeops.packaging.engines import Engine
from edgeops.packaging.recipes.schema import (
    ALL_OPERATORS,
    DYNAMIC,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    STATIC,
    WEIGHTS8,
    Recipe,
    Rule,
)

MIN_SHARE = 0.9
"""Share of the weights, and of the operators with weights, that must be as the recipe says."""
COMPARED_ROWS = 64
_ACTIVATION_BITS = {INT8: 8, INT16: 16}
_QUANTIZERS_NAME = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
"""Types that the quantizer calls otherwise than the format."""
_SEED = 0


def quantize_tflite(
    data: bytes, recipe: Recipe, rows: NDArray[Any] | None, others: Sequence[Engine] = ()
) -> tuple[bytes, Report]:
    """Make what a recipe says from a float ``.tflite``.

    Args:
        data: the file; with ``float32`` it comes back as it is, or with the signature that it
            lacked.
        recipe: of format tflite.
        rows: calibration rows ``[n, ...]`` for recipes with ranges, else None.
        others: engines besides LiteRT that must answer alike.

    Returns:
        The file, and the report with ranges and notes. Inputs and outputs keep their dtypes
        and names.

    Raises:
        InvalidModel: LiteRT cannot load it, or it is quantized already.
        InvalidInput: the rows do not fit the model.
        ConversionFailed: the result is not what the recipe promises.
    """
    original = checked(data)
    _check_float(contents(original))
    notes = []
    if inject_signature(original):
        notes.append("the model had no signature: one was made from its inputs and outputs")
    if recipe.precision == FLOAT32:
        return pack(original) if notes else data, Report(notes=tuple(notes))
    prepared = pack(original)
    parts = operators(original)
    _check_promise(parts, recipe)
    ranges = None
    if recipe.needs_calibration:
        if rows is None:
            raise InvalidInput(f"{recipe.name} needs calibration rows, none are given")
        ranges, said = _calibrate(prepared, original, recipe, rows)
        notes += said
    spec, _ = _only_input(load(data))
    compared, which = _compared_rows(rows, spec)
    expected = run_rows(load(data), compared)

    def make(excluded: Names) -> bytes:
        return _made(prepared, original, _without(recipe, excluded), parts, ranges)

    def differs(file: bytes) -> str | None:
        return difference(on_engines(file, compared, others), expected)

    names = [part.name for part in parts if recipe.precision_of(part.type, part.name) != FLOAT32]
    settled = settle(recipe.name, names, make, differs)
    final = _without(recipe, settled.excluded)
    found = contents(unpack(settled.data))
    _check_effect(found, final, parts)
    notes += [*settled.notes, *_left_float(found, recipe)]
    error = relative_error(run_rows(load(settled.data), compared), expected)
    notes.append(f"answers differ from float by {sqnr_db(error):.1f} dB (SQNR, {which})")
    report = Report(ranges=ranges, notes=tuple(notes), excluded=settled.excluded)
    return settled.data, report


def _without(recipe: Recipe, excluded: Collection[str]) -> Recipe:
    """Return a recipe that leaves operators in floats besides."""
    rules = (Rule(precision=FLOAT32, name=f"^{re.escape(name)}$") for name in sorted(excluded))
    return replace(recipe, rules=(*recipe.rules, *rules)) if excluded else recipe


def _made(
    data: bytes, original: Any, recipe: Recipe, parts: list[Operator], ranges: Ranges | None
) -> bytes:
    if all(recipe.precision_of(part.type, part.name) == FLOAT32 for part in parts):
        return data
    result = unpack(_quantize(data, recipe, parts, ranges))
    restore_names(result, original)
    return pack(result)


def _compared_rows(rows: NDArray[Any] | None, spec: TensorSpec) -> tuple[list[NDArray[Any]], str]:
    """Return inputs to compare on, and what they are."""
    which = "calibration rows"
    if rows is None:
        chance = np.random.default_rng(_SEED)
        rows = chance.random((COMPARED_ROWS, *spec.shape)).astype(spec.dtype)
        which = "random rows"
    return [_fit(row, spec) for row in rows[:COMPARED_ROWS]], which


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


def _quantize(data: bytes, recipe: Recipe, parts: list[Operator], ranges: Ranges | None) -> bytes:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    rules = RecipeManager()
    for operator in recipe.operators or (ALL_OPERATORS,):
        _add_rule(rules, recipe.precision, ".*", _QUANTIZERS_NAME.get(operator, operator))
    for part in parts:
        precision = recipe.precision_of(part.type, part.name)
        is_meant = {ALL_OPERATORS, part.type} & set(recipe.operators or (ALL_OPERATORS,))
        if is_meant and precision == recipe.precision:
            continue
        # The quantizer's scope is the names of all outputs, each with a semicolon behind it.
        _add_rule(rules, precision, f"^{re.escape(part.name)};", ALL_OPERATORS)
    if recipe.precision in STATIC:
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


def _add_rule(rules: Any, precision: str, scope: str, operator: str) -> None:
    """Tell the quantizer a precision, in its own words."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
        TFLOperationName,
    )

    try:
        name = TFLOperationName(operator)
    except ValueError as error:
        raise InvalidInput(
            f"the quantizer knows no operator {operator!r}",
            next_step=f"it knows {', '.join(each.value for each in TFLOperationName)}",
        ) from error
    if precision == FLOAT32:
        rules.add_quantization_config(scope, name, None, AlgorithmName.NO_QUANTIZE)
    elif precision == FLOAT16:
        config = OpQuantizationConfig(
            weight_tensor_config=TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT),
            compute_precision=ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        rules.add_quantization_config(scope, name, config, AlgorithmName.FLOAT_CASTING)
    elif precision == DYNAMIC:
        rules.add_dynamic_config(scope, name, 8)
    elif precision == WEIGHTS8:
        rules.add_weight_only_config(scope, name, 8)
    else:
        rules.add_static_config(scope, name, _ACTIVATION_BITS[precision], 8)


def _check_promise(parts: list[Operator], recipe: Recipe) -> None:
    """Refuse a recipe that promises nothing for this model."""
    if not recipe.is_float and not _promised(parts, recipe):
        raise InvalidModel(
            f"nothing to quantize: {recipe.name} takes none of the model's weighted operators",
            next_step="package it as float32, or let the recipe take more operators",
        )


def _promised(parts: list[Operator], recipe: Recipe) -> int:
    """Return how many weights shall become the recipe's dtype, in elements."""
    return sum(
        part.weights
        for part in parts
        if part.type in WEIGHTED and recipe.precision_of(part.type, part.name) != FLOAT32
    )


def _check_effect(found: Contents, recipe: Recipe, parts: list[Operator]) -> None:
    dtype = FLOAT16 if recipe.precision == FLOAT16 else INT8
    promised, became = _promised(parts, recipe), found.weights.get(dtype, 0)
    if became < MIN_SHARE * promised:
        raise ConversionFailed(
            f"{recipe.name} promises {dtype} weights, but only {became} of {promised} became that",
            next_step="another recipe, or the model in .onnx",
        )
    for precision in STATIC:
        asked = sum(
            part.type in WEIGHTED and recipe.precision_of(part.type, part.name) == precision
            for part in parts
        )
        if found.activations.get(precision, 0) < MIN_SHARE * asked:
            raise ConversionFailed(
                f"{recipe.name} promises {precision} activations, but only "
                f"{found.activations.get(precision, 0)} of {asked} weighted operators have them",
                next_step="another recipe, or the model in .onnx",
            )


def _left_float(found: Contents, recipe: Recipe) -> list[str]:
    left = found.weights.get("float32", 0)
    return [f"{left} weights stayed float32"] if left and recipe.precision != "float32" else []


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
