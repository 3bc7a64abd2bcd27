"""Models for tests of microcontrollers, made of the committed digits classifier on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgeops.packaging.convert.tflite_file import pack, unpack
from tests.conversions import Door
from tests.models import digits_tflite

HIDDEN_BYTES = 4 * (64 + 128)
"""What the float classifier holds at its widest: 64 inputs and the 128 units that they feed."""


@cache
def digits_as(precision: str) -> bytes:
    """Return the second digits classifier by our own recipe, with float inputs and outputs."""
    with TemporaryDirectory() as folder:
        return Door(Path(folder))(digits_tflite(2), f"tflite-{precision}").path.read_bytes()


@cache
def digits_8_bit() -> bytes:
    """Return the int8 classifier without the operators at its ends: int8 inputs and outputs."""
    model = unpack(digits_as("int8"))
    graph = model.subgraphs[0]
    first, last = graph.operators[0], graph.operators[-1]
    assert [_code(model, each) for each in (first, last)] == ["QUANTIZE", "DEQUANTIZE"]
    graph.inputs, graph.outputs = list(first.outputs), list(last.inputs)
    graph.operators = graph.operators[1:-1]
    model.signatureDefs = []
    return pack(model)


def with_operator(data: bytes, old: str, new: str) -> bytes:
    """Return a file in which one kind of operator is called another."""
    model = unpack(data)
    for code in model.operatorCodes:
        if code.builtinCode == getattr(schema.BuiltinOperator, old):
            code.builtinCode = getattr(schema.BuiltinOperator, new)
            code.deprecatedBuiltinCode = min(127, code.builtinCode)
    return pack(model)


def with_tensor_out_of_range(data: bytes) -> bytes:
    """Return a whole file whose first operator reads a tensor that there is not."""
    model = unpack(data)
    model.subgraphs[0].operators[0].inputs[0] = 1 << 28
    return pack(model)


def with_hidden_units(data: bytes, count: int) -> bytes:
    """Return a file whose first operator says that it gives so many numbers."""
    model = unpack(data)
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[0].outputs[0]]
    tensor.shape, tensor.shapeSignature = [1, count], None
    return pack(model)


def _code(model: Any, operator: Any) -> str:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return names[model.operatorCodes[operator.opcodeIndex].builtinCode]
