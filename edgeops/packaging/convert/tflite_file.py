"""TFLite's flatbuffers: what is in a file, and the little that is changed in it.

Schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.inspect import TFLITE_IDENTIFIER

SIGNATURE = "serving_default"
THREADS = 1
"""One, so that sums are added up in the same order each time."""

_ALIGNMENT = 16
_T = schema.TensorType
_DTYPES = {getattr(_T, name): name.lower() for name in dir(_T) if name.isupper()}
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators whose weights are quantized; together they hold nearly all of most models."""
WEIGHT_DTYPES = ("float32", "float16", "int16", "int8", "uint8", "int4")
"""Others (shapes, paddings, indexes) are no weights."""
_MIN_WEIGHT_RANK = 2
"""Biases have rank 1: they become 32-bit, or stay floats, and weigh nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of a file: its type, the name of its first output, its weights in elements."""

    type: str
    name: str
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file is made of.

    Attributes:
        weights: elements of constant tensors of rank 2 or more, by dtype.
        activations: weighted operators by the dtype of their first input.
        operators: how many operators of each type there are.
        quantized: whether any tensor has a quantization scale.
    """

    weights: dict[str, int]
    activations: dict[str, int]
    operators: dict[str, int]
    quantized: bool

    def share(self, dtype: str) -> float:
        """Return the share of weights that are of ``dtype``; 0 without weights."""
        return self.weights.get(dtype, 0) / max(1, sum(self.weights.values()))


def load(data: bytes, *, keep_all: bool = False, delegates: bool = False) -> Any:
    """Return an interpreter for a file, tensors allocated; LiteRT has verified it then.

    Args:
        data: the file.
        keep_all: keep the values of inner tensors readable after a run.
        delegates: let XNNPACK compute, as on devices. Delegates hide inner tensors, and may
            compute them in another order.

    Raises:
        InvalidModel: LiteRT cannot load it.
    """
    try:
        kinds = OpResolverType
        interpreter = Interpreter(
            model_content=data,
            num_threads=THREADS,
            experimental_op_resolver_type=(
                kinds.AUTO if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
            experimental_preserve_all_tensors=keep_all,
        )
        interpreter.allocate_tensors()
    except Exception as error:  # native code: anything it raises means the file is bad
        raise InvalidModel(
            f"LiteRT cannot load the model: {one_line(error)}",
            next_step="export it again, with TFLite's built-in operators only",
        ) from error
    return interpreter


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that is written as the schema asks (``force_align: 16``); Python's writer does not.

    Runtimes point into the file, and vector instructions want such addresses.
    """

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated code's name
        if self.data is None or len(self.data) == 0:
            return super().Pack(builder)
        builder.StartVector(1, len(self.data), _ALIGNMENT)
        builder.head -= len(self.data)
        builder.Bytes[builder.head : builder.head + len(self.data)] = bytes(self.data)
        at = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, at)
        return schema.BufferEnd(builder)


def unpack(data: bytes) -> Any:
    """Return a file as the schema's object tree; it must have been loaded before.

    Buffers that lie behind the flatbuffer, where ai-edge-quantizer puts them, are taken in:
    runtimes for small boards do not look there.
    """
    model = read_model_from_bytearray(data)
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    for code in model.operatorCodes:
        # Files from before 2020 have only the deprecated field; ai-edge-quantizer reads only the
        # other one, takes every operator for an ADD, and breaks the model.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    return model


def pack(model: Any) -> bytes:
    """Return an object tree as a file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), TFLITE_IDENTIFIER)
    return bytes(builder.Output())


def contents(model: Any) -> Contents:
    """Return what an object tree is made of."""
    weights: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    is_quantized = False
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            dtype, shape = _DTYPES.get(tensor.type, "unknown"), tensor.shape
            scale = tensor.quantization.scale if tensor.quantization is not None else None
            is_quantized |= scale is not None and len(scale) > 0
            is_weight = dtype in WEIGHT_DTYPES and shape is not None
            if is_weight and len(shape) >= _MIN_WEIGHT_RANK and is_constant(model, tensor):
                weights[dtype] += int(np.prod(shape))
        for operator in graph.operators:
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            operators[name] += 1
            if name in WEIGHTED:
                at = 2 if name == "TRANSPOSE_CONV" else 0
                activations[_DTYPES[graph.tensors[operator.inputs[at]].type]] += 1
    return Contents(
        weights=dict(weights),
        activations=dict(activations),
        operators=dict(operators),
        quantized=is_quantized,
    )


def operators(model: Any) -> list[Operator]:
    """Return the operators of the first subgraph in their order."""
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        constants = [
            graph.tensors[at]
            for at in (() if operator.inputs is None else operator.inputs)
            if at >= 0 and is_constant(model, graph.tensors[at])
        ]
        weights = [
            int(np.prod(each.shape))
            for each in constants
            if each.shape is not None
            and len(each.shape) >= _MIN_WEIGHT_RANK
            and _DTYPES.get(each.type) in WEIGHT_DTYPES
        ]
        first = graph.tensors[operator.outputs[0]].name if len(operator.outputs) else b""
        found.append(
            Operator(
                type=operator_name(model.operatorCodes[operator.opcodeIndex]),
                name=first.decode(errors="replace"),
                weights=sum(weights),
            )
        )
    return found


def is_constant(model: Any, tensor: Any) -> bool:
    """Tell whether a tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def inject_signature(model: Any) -> bool:
    """Give a model a signature if it has none; return whether it had none.

    Args:
        model: an object tree, changed in place. Inputs and outputs are called in the signature
            as their tensors are called.
    """
    if model.signatureDefs:
        return False
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_named(graph, index) for index in graph.inputs]
    signature.outputs = [_named(graph, index) for index in graph.outputs]
    model.signatureDefs = [signature]
    return True


def name_by_signature(model: Any) -> None:
    """Call the tensors of inputs and outputs as the signature calls them, in place.

    TensorFlow calls them ``serving_default_x:0`` and ``StatefulPartitionedCall_1:0``; so an
    ``.onnx`` of the same model has the same names.
    """
    graph = model.subgraphs[0]
    for named in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        for tensor in graph.tensors:
            if tensor.name == named.name:
                tensor.name += b"_inner"
        graph.tensors[named.tensorIndex].name = named.name


def restore_names(model: Any, original: Any) -> None:
    """Give inputs and outputs the names that they have in ``original``, in place.

    A quantizer that puts a conversion before an output gives the output a new name; who reads
    the model's scores should not have to know that.
    """
    graph, before = model.subgraphs[0], original.subgraphs[0]
    for old, new in zip(before.outputs, graph.outputs, strict=True):
        wanted, given = before.tensors[old].name, graph.tensors[new].name
        if wanted == given:
            continue
        for tensor in graph.tensors:
            if tensor.name == wanted:
                tensor.name = wanted + b"_quantized"
        graph.tensors[new].name = wanted


def _named(graph: Any, index: int) -> Any:
    named = schema.TensorMapT()
    named.name = graph.tensors[index].name
    named.tensorIndex = int(index)
    return named


def operator_name(code: Any) -> str:
    """Return the type of an operator; ``CUSTOM`` for those that are not TFLite's own."""
    return str(_OPERATORS.get(code.builtinCode, "CUSTOM"))


def dtype_of(tensor: Any) -> str:
    """Return a tensor's dtype by numpy's name, ``unknown`` for one that is newer than we are."""
    return _DTYPES.get(tensor.type, "unknown")
