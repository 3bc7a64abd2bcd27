"""Types of inner values, from the runtime where ONNX's own inference knows none.

ONNX infers nothing behind some operators of ``ai.onnx.ml`` (``Scaler``), and what has no type is
neither measured nor quantized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto, ValueInfoProto, helper, shape_inference


def typed(model: Any, session: Callable[[bytes], Any]) -> Any:
    """Return a model with a type for every inner value that has one.

    Args:
        model: an ``onnx.ModelProto``.
        session: loads a file on the runtime.
    """
    inferred = shape_inference.infer_shapes(model)
    graph = inferred.graph
    known = {each.name for each in (*graph.value_info, *graph.input, *graph.output)}
    unknown = [name for node in graph.node for name in node.output if name and name not in known]
    if not unknown:
        return inferred
    asked = onnx.ModelProto.FromString(inferred.SerializeToString())
    asked.graph.output.extend(ValueInfoProto(name=name) for name in unknown)
    types = {each.name: each.type for each in session(asked.SerializeToString()).get_outputs()}
    for name in unknown:
        if types[name] == "tensor(float)":
            graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return inferred
