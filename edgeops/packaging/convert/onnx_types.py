"""Types of the values in an ``.onnx``: what shape inference does not know, the runtime does.

ONNX infers nothing for operators of ``ai.onnx.ml`` (scikit-learn's scalers), and then for nothing
that comes after them: as if there were no floats to quantize.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

_KINDS = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(int64)": TensorProto.INT64,
    "tensor(int32)": TensorProto.INT32,
    "tensor(bool)": TensorProto.BOOL,
}


def infer_types(model: Any, load: Callable[[bytes], Any]) -> Any:
    """Return a model with the types of its inner values.

    Args:
        model: an ``onnx.ModelProto``.
        load: returns a session of ONNX Runtime for the bytes of a model.
    """
    inferred = shape_inference.infer_shapes(model)
    unknown = _unknown(inferred)
    if not unknown:
        return inferred
    asked = onnx.ModelProto.FromString(inferred.SerializeToString())
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    types = {each.name: each.type for each in load(asked.SerializeToString()).get_outputs()}
    told = [name for name in unknown if types.get(name) in _KINDS]
    kept = [each for each in inferred.graph.value_info if each.name not in told]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(kept)
    inferred.graph.value_info.extend(
        helper.make_tensor_value_info(name, _KINDS[types[name]], None) for name in told
    )
    return inferred


def _unknown(model: Any) -> list[str]:
    """Return the values of nodes of which no type is known, in the order of the nodes."""
    graph = model.graph
    known = {
        each.name
        for each in (*graph.value_info, *graph.input, *graph.output)
        if each.type.tensor_type.elem_type
        or each.type.WhichOneof("value") not in (None, "tensor_type")
    }
    return [name for node in graph.node for name in node.output if name and name not in known]
