"""The anatomy of an ``.onnx``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from edgeops.packaging.convert.onnx_file import parse
from edgeops.packaging.convert.onnx_float import run_once
from edgeops.packaging.record.anatomy import Anatomy, Operation, live_bytes

_4_BIT = (TensorProto.INT4, TensorProto.UINT4)

Shape = tuple[int, ...]


def onnx_anatomy(data: bytes) -> Anatomy:
    """Return what a file's graph is made of; graphs within operators are not looked into.

    Shapes are those that ONNX infers with one row; what it cannot infer weighs nothing.

    Raises:
        InvalidModel: as ``onnx_file.parse``, or ONNX Runtime cannot run it once.
    """
    model = parse(data)
    run_once(data)
    reader = _Reader(_with_one_row(model))
    operations = tuple(
        reader.operation(node) for node in model.graph.node if not _is_constant(node)
    )
    outputs = tuple(each.name for each in model.graph.output)
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    return Anatomy(
        format="onnx",
        operations=operations,
        live_bytes=live_bytes(operations, reader.sizes_bytes, outputs),
        opset=opset,
    )


def _with_one_row(model: Any) -> Any:
    """Return a copy with free first dimensions set to one, and all shapes inferred."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for each in (*copy.graph.input, *copy.graph.output):
        dims = each.type.tensor_type.shape.dim
        if len(dims) and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    for node in copy.graph.node:  # ONNX Runtime's own, which took 16 bits before ONNX's did
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = ""
    del copy.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(copy)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return copy  # operators that ONNX does not know: their outputs stay unknown


def _is_constant(node: Any) -> bool:
    return bool(node.op_type == "Constant" and node.domain in ("", "ai.onnx"))


class _Reader:
    """A graph's values: which are constants, also behind ``DequantizeLinear``, and their shapes."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self._constants: dict[str, tuple[Shape, int]] = {
            each.name: (tuple(each.dims), each.data_type) for each in graph.initializer
        }
        for node in graph.node:
            if _is_constant(node):
                self._constants[node.output[0]] = _constant_of(node)
        self._behind = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear"
        }
        self._values: dict[str, tuple[Shape, int]] = {}
        for each in (*graph.value_info, *graph.input, *graph.output):
            kind = each.type.tensor_type
            dims = tuple(max(1, dim.dim_value) for dim in kind.shape.dim)
            self._values[each.name] = dims, kind.elem_type
        self.sizes_bytes = {name: _bytes(*found) for name, found in self._values.items()}

    def _constant(self, name: str) -> tuple[Shape, int] | None:
        return self._constants.get(self._behind.get(name, name))

    def _shape(self, name: str) -> Shape:
        found = self._values.get(name) or self._constant(name)
        return found[0] if found is not None else ()

    def operation(self, node: Any) -> Operation:
        inputs = [name for name in node.input if name]
        constants = [found for name in inputs if (found := self._constant(name)) is not None]
        values = [name for name in inputs if self._constant(name) is None]
        is_inner = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        weights = [each for each in constants if len(each[0]) > 1 and not is_inner]
        shapes = [self._shape(name) for name in node.input]
        count = _MACS.get(node.op_type)
        output = self._shape(node.output[0])
        return Operation(
            type=node.op_type
            if node.domain in ("", "ai.onnx")
            else f"{node.domain}.{node.op_type}",
            name=node.output[0],
            inputs=tuple(values),
            outputs=tuple(name for name in node.output if name),
            weights=sum(math.prod(shape) for shape, _ in weights),
            weight_dtype=_dtype(weights[0][1]) if weights else "",
            activation_dtype=self._activation(values[0]) if values else "",
            constant_bytes=sum(_bytes(*each) for each in constants),
            output_bytes=sum(self.sizes_bytes.get(name, 0) for name in node.output),
            macs=count(shapes, output) if count is not None and len(shapes) > 1 else 0,
        )

    def _activation(self, name: str) -> str:
        """Return the dtype that a value has before it is made floats for the operator."""
        found = self._values.get(self._behind.get(name, name))
        return _dtype(found[1]) if found is not None else ""


def _constant_of(node: Any) -> tuple[Shape, int]:
    for attribute in node.attribute:
        if attribute.name == "value":
            return tuple(attribute.t.dims), attribute.t.data_type
    return (), TensorProto.FLOAT


def _dtype(elem_type: int) -> str:
    if elem_type in _4_BIT:
        return str(TensorProto.DataType.Name(elem_type)).lower()
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).name)
    except (KeyError, TypeError, ValueError):
        return ""


def _bytes(shape: Shape, elem_type: int) -> int:
    if elem_type in _4_BIT:
        return (math.prod(shape) + 1) // 2
    try:
        width = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).itemsize
    except (KeyError, TypeError, ValueError):
        return 0
    return int(math.prod(shape) * width)


def _conv(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:])  # weights: [out, in / groups, ...]


def _transposed(inputs: Sequence[Shape], _: Shape) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])  # weights: [in, out / groups, ...]


def _matmul(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * (inputs[0][-1] if inputs[0] else 1)


_MACS: Mapping[str, Callable[[Sequence[Shape], Shape], int]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "Gemm": _matmul,
    "MatMul": _matmul,
}
