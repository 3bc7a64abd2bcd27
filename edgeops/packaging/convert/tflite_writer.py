"""ai-edge-quantizer's writer, told recipe and ranges in its own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.convert.ranges import Ranges
from edgeops.packaging.convert.tflite_file import Operator
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
)

_ACTIVATION_BITS = {INT8: 8, INT16: 16}
_QUANTIZERS_NAME = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
"""Types that the quantizer calls otherwise than the format."""


def write_quantized(
    data: bytes, recipe: Recipe, parts: Sequence[Operator], ranges: Ranges | None
) -> bytes:
    """Quantize a float file.

    Args:
        data: the file, with a signature.
        recipe: what becomes what.
        parts: the file's operators.
        ranges: of activations, for recipes that need them.

    Raises:
        InvalidInput: the recipe names an operator that the quantizer does not know.
    """
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
