"""A small ``.tflite`` written by hand: dense layers of a scikit-learn network, no TensorFlow.

The schema is TFLite's own (``schema.fbs``), as ai-edge-litert ships it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT_NAME = "x"
OUTPUT_NAME = "probabilities"
_SIGNATURE = "serving_default"
_IDENTIFIER = b"TFL3"
_VERSION = 3


def write_mlp(layers: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> bytes:
    """Return the ``.tflite`` of dense layers: ReLU between them, softmax at the end.

    Args:
        layers: kernel ``[inputs, outputs]`` and bias ``[outputs]`` of each layer.

    Returns:
        A model from float32 ``[1, inputs]`` called ``x`` to float32 ``[1, outputs]`` called
        ``probabilities``. Equal layers give equal bytes.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    at = graph.tensor(INPUT_NAME, (1, layers[0][0].shape[0]))
    graph.made.inputs = [at]
    for number, (kernel, bias) in enumerate(layers):
        is_last = number == len(layers) - 1
        at = graph.dense(at, kernel, bias, number, relu=not is_last)
    graph.made.outputs = [graph.softmax(at, layers[-1][0].shape[1])]
    builder = flatbuffers.Builder(1024)
    builder.Finish(graph.model().Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Graph:
    """A subgraph that grows by operators."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._buffers = [schema.BufferT()]  # the first is empty: tensors without values
        self._codes: dict[str, int] = {}
        self.made = schema.SubGraphT()
        self.made.name = "main"
        self.made.tensors, self.made.operators = [], []

    def tensor(
        self, name: str, shape: tuple[int, ...], values: NDArray[np.float32] | None = None
    ) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = self._schema.TensorType.FLOAT32
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self.made.tensors.append(tensor)
        return len(self.made.tensors) - 1

    def dense(
        self, at: int, kernel: NDArray[Any], bias: NDArray[Any], number: int, *, relu: bool
    ) -> int:
        inputs, outputs = kernel.shape
        weights = np.ascontiguousarray(kernel.T)
        options = self._schema.FullyConnectedOptionsT()
        kinds = self._schema.ActivationFunctionType
        options.fusedActivationFunction = kinds.RELU if relu else kinds.NONE
        taken = [
            at,
            self.tensor(f"kernel_{number}", (outputs, inputs), weights),
            self.tensor(f"bias_{number}", (outputs,), bias),
        ]
        made = self.tensor(f"dense_{number}", (1, outputs))
        self._operate("FULLY_CONNECTED", taken, made, "FullyConnectedOptions", options)
        return made

    def softmax(self, at: int, classes: int) -> int:
        options = self._schema.SoftmaxOptionsT()
        options.beta = 1.0
        made = self.tensor(OUTPUT_NAME, (1, classes))
        self._operate("SOFTMAX", [at], made, "SoftmaxOptions", options)
        return made

    def model(self) -> Any:
        schema = self._schema
        model = schema.ModelT()
        model.version = _VERSION
        model.description = "dense layers"
        model.subgraphs, model.buffers = [self.made], self._buffers
        model.operatorCodes = [self._code(name) for name in self._codes]
        model.signatureDefs = [self._signature()]
        return model

    def _operate(self, name: str, taken: list[int], made: int, kind: str, options: Any) -> None:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(name, len(self._codes))
        operator.inputs, operator.outputs = taken, [made]
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        operator.builtinOptions = options
        self.made.operators.append(operator)

    def _code(self, name: str) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = code.builtinCode
        code.version = 1
        return code

    def _signature(self) -> Any:
        signature = self._schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
        signature.inputs = [self._named(INPUT_NAME, self.made.inputs[0])]
        signature.outputs = [self._named(OUTPUT_NAME, self.made.outputs[0])]
        return signature

    def _named(self, name: str, at: int) -> Any:
        named = self._schema.TensorMapT()
        named.name, named.tensorIndex = name, at
        return named
