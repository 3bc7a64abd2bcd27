"""A small convolutional ``.tflite``, written by hand: images of 8 by 8 to ten scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgeops.packaging.convert.tflite_file import pack

SIDE, CHANNELS, KERNEL, CLASSES = 8, 16, 3, 10
INNER = SIDE - KERNEL + 1


class _Writer:
    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        empty = schema.BufferT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [empty], []
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: tuple[int, ...], data: NDArray[Any] | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), 0
        tensor.type = schema.TensorType.FLOAT32
        if data is not None:
            tensor.type = schema.TensorType.INT32 if data.dtype.kind == "i" else tensor.type
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, options: Any, inputs: list[int], outputs: list[int]) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)


def convolution_tflite(seed: int = 0) -> bytes:
    """Return a float model with one convolution and one dense layer, of random weights."""
    chance = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return chance.normal(size=shape).astype(np.float32)

    out = _Writer()
    flat = INNER * INNER * CHANNELS
    kernels = normal(CHANNELS, KERNEL, KERNEL, 1) * np.exp(normal(CHANNELS, 1, 1, 1))
    x = out.tensor("x", (1, SIDE, SIDE, 1))
    k = out.tensor("kernels", kernels.shape, kernels)
    b = out.tensor("offsets", (CHANNELS,), normal(CHANNELS))
    c = out.tensor("convolved", (1, INNER, INNER, CHANNELS))
    shape = out.tensor("flat_shape", (2,), np.array([1, flat], np.int32))
    f = out.tensor("flat", (1, flat))
    dense = normal(CLASSES, flat) / np.float32(np.sqrt(flat))
    w = out.tensor("dense", dense.shape, dense)
    y = out.tensor("scores", (1, CLASSES))
    convolution, reshape = schema.Conv2DOptionsT(), schema.ReshapeOptionsT()
    convolution.padding, convolution.strideH, convolution.strideW = schema.Padding.VALID, 1, 1
    convolution.dilationHFactor = convolution.dilationWFactor = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    reshape.newShape = [1, flat]
    out.operator("CONV_2D", convolution, [x, k, b], [c])
    out.operator("RESHAPE", reshape, [c, shape], [f])
    out.operator("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), [f, w, -1], [y])
    out.graph.inputs, out.graph.outputs = [x], [y]
    return pack(out.model)
