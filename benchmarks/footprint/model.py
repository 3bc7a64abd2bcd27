"""A model of about 10 µs: fully connected in int8, of random weights, from 640 numbers to classes.

It is as deep as that takes on this machine. MLPerf Tiny's autoencoder ``ad01_int8``, which is not
part of the project, has 640 inputs and layers of 128 too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeops.packaging.convert.tflite_file import pack

FEATURES, HIDDEN, CLASSES = 640, 128, 10
MAX_DEPTH = 400
INPUT_SCALE = 1 / 128
HIDDEN_SCALE = 6 / 255
SOFTMAX_SCALE, SOFTMAX_ZERO = 1 / 256, -128
_HIDDEN_ZERO = -128
_T = schema.TensorType


class _Writer:
    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, shape: tuple[int, ...], scale: float, zero: int, data: NDArray[Any] | None = None
    ) -> int:
        tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
        number = len(self.graph.tensors)
        tensor.name, tensor.shape, tensor.buffer = f"t{number}".encode(), list(shape), 0
        tensor.type = _T.INT32 if data is not None and data.dtype == np.int32 else _T.INT8
        quantization.scale, quantization.zeroPoint = [scale], [zero]
        tensor.quantization = quantization
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return number

    def operator(self, kind: str, version: int, options: Any, inputs: list[int], out: int) -> None:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = version
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = inputs, [out]
        operator.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)


def model_of_about(wanted_us: float) -> bytes:
    """Return a model whose ``invoke`` takes about so many microseconds here."""
    depth = 10
    for _ in range(3):
        taken_us = _invoke_us(_of_depth(depth))
        depth = max(1, min(MAX_DEPTH, round(depth * wanted_us / taken_us)))
    return _of_depth(depth)


def _of_depth(depth: int) -> bytes:
    return dense_int8((FEATURES, *[HIDDEN] * depth, CLASSES))


def _invoke_us(model: bytes, calls: int = 500, blocks: int = 15) -> float:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    taken = []
    for _ in range(blocks):
        begun = time.perf_counter_ns()
        for _ in range(calls):
            interpreter.invoke()
        taken.append((time.perf_counter_ns() - begun) / 1000 / calls)
    return min(taken)


def dense_int8(widths: Sequence[int], seed: int = 0) -> bytes:
    """Return a ``.tflite``: int8 ``[1, widths[0]]`` to a softmax in int8 ``[1, widths[-1]]``."""
    chance = np.random.default_rng(seed)
    out = _Writer()
    at, scale = out.tensor((1, widths[0]), INPUT_SCALE, 0), INPUT_SCALE
    first = at
    for number, (fan_in, fan_out) in enumerate(pairwise(widths)):
        is_last = number == len(widths) - 2
        weights, weight_scale = _weights(chance, fan_in, fan_out)
        w = out.tensor(weights.shape, weight_scale, 0, weights)
        b = out.tensor((fan_out,), scale * weight_scale, 0, np.zeros(fan_out, np.int32))
        options = schema.FullyConnectedOptionsT()
        if not is_last:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        answer_scale, answer_zero = (0.1, 0) if is_last else (HIDDEN_SCALE, _HIDDEN_ZERO)
        answer = out.tensor((1, fan_out), answer_scale, answer_zero)
        out.operator("FULLY_CONNECTED", 4, options, [at, w, b], answer)
        at, scale = answer, answer_scale
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    scores = out.tensor((1, widths[-1]), SOFTMAX_SCALE, SOFTMAX_ZERO)
    out.operator("SOFTMAX", 2, softmax, [at], scores)
    out.graph.inputs, out.graph.outputs = [first], [scores]
    return pack(out.model)


def _weights(chance: np.random.Generator, fan_in: int, fan_out: int) -> tuple[NDArray[Any], float]:
    """Return random weights and their scale; between equal layers, nearly the identity.

    Many layers of random weights would blow a rounding up, and the packager's gates, which hold
    answers with and without optimizations together, would rightly refuse the model.
    """
    if fan_in == fan_out:
        small = chance.integers(-3, 4, (fan_out, fan_in)) + 124 * np.eye(fan_in, dtype=np.int64)
        return small.astype(np.int8), 1 / 127
    weights = chance.integers(-127, 128, (fan_out, fan_in)).astype(np.int8)
    return weights, 2.0 / (73 * fan_in**0.5)  # their standard deviation is 73
