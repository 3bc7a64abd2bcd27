"""The anatomy of a ``.tflite``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeops.packaging.convert.tflite_checks import checked
from edgeops.packaging.convert.tflite_file import (
    WEIGHT_DTYPES,
    dtype_of,
    is_constant,
    operator_name,
)
from edgeops.packaging.record.anatomy import Anatomy, Operation, live_bytes

_BITS = {
    name: bits
    for bits, names in {
        128: ("complex128",),
        64: ("float64", "int64", "uint64", "complex64"),
        32: ("float32", "int32", "uint32"),
        16: ("float16", "bfloat16", "int16", "uint16"),
        8: ("int8", "uint8", "bool"),
        4: ("int4", "uint4"),
    }.items()
    for name in names
}

Shape = Sequence[int]


def tflite_anatomy(data: bytes) -> Anatomy:
    """Return what the first subgraph of a file is made of.

    Raises:
        InvalidModel: as ``tflite_checks.checked``, which runs it once.
    """
    model = checked(data)
    graph = model.subgraphs[0]
    reader = _Reader(model, graph)
    operations = tuple(reader.operation(each) for each in graph.operators)
    outputs = tuple(reader.name(int(at)) for at in graph.outputs)
    sizes = {reader.name(at): reader.size_bytes(at) for at in range(len(graph.tensors))}
    return Anatomy(
        format="tflite", operations=operations, live_bytes=live_bytes(operations, sizes, outputs)
    )


class _Reader:
    """One subgraph; constants are looked for behind ``DEQUANTIZE`` too."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._model, self._graph = model, graph
        self._behind: dict[int, int] = {
            int(each.outputs[0]): int(each.inputs[0])
            for each in graph.operators
            if operator_name(model.operatorCodes[each.opcodeIndex]) == "DEQUANTIZE"
            and is_constant(model, graph.tensors[each.inputs[0]])
        }

    def name(self, at: int) -> str:
        """Name a tensor: names need not be unique, so its number goes with it."""
        name = self._graph.tensors[at].name
        return f"{at}:{name.decode(errors='replace') if name else ''}"

    def shape(self, at: int) -> tuple[int, ...]:
        shape = self._graph.tensors[at].shape
        return () if shape is None else tuple(max(1, int(size)) for size in shape)

    def size_bytes(self, at: int) -> int:
        bits = _BITS.get(dtype_of(self._graph.tensors[at]), 0)
        return (math.prod(self.shape(at)) * bits + 7) // 8

    def _constant(self, at: int) -> int | None:
        at = self._behind.get(at, at)
        return at if is_constant(self._model, self._graph.tensors[at]) else None

    def operation(self, operator: Any) -> Operation:
        kind = operator_name(self._model.operatorCodes[operator.opcodeIndex])
        inputs = [int(at) for at in (() if operator.inputs is None else operator.inputs) if at >= 0]
        outputs = [int(at) for at in operator.outputs]
        found = [self._constant(at) for at in inputs]
        constants = [at for at in found if at is not None]
        values = [at for at, constant in zip(inputs, found, strict=True) if constant is None]
        weights = [] if kind == "DEQUANTIZE" else [at for at in constants if self._is_weight(at)]
        dtypes = [dtype_of(self._graph.tensors[at]) for at in weights]
        first = self._graph.tensors[outputs[0]].name if outputs else b""
        return Operation(
            type=kind,
            name=(first or b"").decode(errors="replace"),
            inputs=tuple(self.name(at) for at in values),
            outputs=tuple(self.name(at) for at in outputs),
            weights=sum(math.prod(self.shape(at)) for at in weights),
            weight_dtype=dtypes[0] if dtypes else "",
            activation_dtype=dtype_of(self._graph.tensors[values[0]]) if values else "",
            constant_bytes=sum(self.size_bytes(at) for at in constants),
            output_bytes=sum(self.size_bytes(at) for at in outputs),
            macs=self._macs(kind, inputs, outputs),
        )

    def _is_weight(self, at: int) -> bool:
        tensor = self._graph.tensors[at]
        return len(self.shape(at)) > 1 and dtype_of(tensor) in WEIGHT_DTYPES

    def _macs(self, kind: str, inputs: list[int], outputs: list[int]) -> int:
        count = _MACS.get(kind)
        if count is None or not outputs or len(inputs) < 2:
            return 0
        return count([self.shape(at) for at in inputs], self.shape(outputs[0]))


def _conv(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:])  # weights: [out, height, width, in]


def _depthwise(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:3])  # weights: [1, height, width, out]


def _fully_connected(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * (inputs[1][-1] if inputs[1] else 1)  # weights: [out, in]


def _transposed(inputs: Sequence[Shape], _: Shape) -> int:
    if len(inputs) < 3:
        return 0
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])  # weights: [out, height, width, in]


def _matmul(inputs: Sequence[Shape], output: Shape) -> int:
    return math.prod(output) * (inputs[0][-1] if inputs[0] else 1)


_MACS: Mapping[str, Callable[[Sequence[Shape], Shape], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transposed,
    "BATCH_MATMUL": _matmul,
}
