"""Model files that no device could run, and such that are meant to do harm, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgeops.packaging.convert.tflite_file import pack, unpack
from tests.models import digits_tflite, linear_onnx

WEIGHTS = np.eye(4, dtype=np.float32)
TERABYTES = 2**42


def onnx_file(change: Callable[[Any], None] | None = None) -> bytes:
    """Return a linear classifier, changed, without any check."""
    model = onnx.load_from_string(linear_onnx(WEIGHTS))
    if change is not None:
        change(model)
    return bytes(model.SerializeToString())


def of_opset(version: int, *, ir: int = 8, ml: int | None = None) -> bytes:
    """Return a classifier that says it is of these versions."""

    def change(model: Any) -> None:
        model.opset_import[0].version = version
        model.ir_version = ir
        if ml is not None:
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ml))

    return onnx_file(change)


def strings(model: Any) -> None:
    """Let the input be of strings."""
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def free_size(model: Any) -> None:
    """Let another size than the batch be free."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"


def no_shape(model: Any) -> None:
    """Take the input's shape away."""
    model.graph.input[0].type.tensor_type.ClearField("shape")


def sparse(model: Any) -> None:
    """Let the weights be sparse."""
    values = numpy_helper.from_array(np.ones(4, np.float32), "w")
    places = numpy_helper.from_array(np.arange(4, dtype=np.int64) * 5, "w_places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 4]))
    del model.graph.initializer[:]


def foreign_operator(model: Any) -> None:
    """Let an operator be of a domain of its own."""
    model.graph.node[1].domain = "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))


def unheard_operator(model: Any) -> None:
    """Let an operator of ONNX be one that there is not."""
    model.graph.node[1].op_type = "Softmix"


def calls(name: str, called: list[str]) -> Any:
    """Return a function of the model that calls others, one after the other."""
    names = [f"v{at}" for at in range(len(called) + 1)]
    nodes = [
        helper.make_node(each, [names[at]], [names[at + 1]], domain="bomb" if each != "Neg" else "")
        for at, each in enumerate(called)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("bomb", 1)]
    return helper.make_function("bomb", name, names[:1], names[-1:], nodes, opsets)


def endless(model: Any) -> None:
    """Let two functions call each other."""
    model.functions.extend([calls("A", ["B"]), calls("B", ["A"])])
    _call_first(model)


def laughs(model: Any) -> None:
    """Let twelve functions call the next ten times each: 10^12 nodes in two kilobytes."""
    for at in range(12):
        model.functions.append(calls("A" if not at else f"A{at}", [f"A{at + 1}"] * 10))
    model.functions.append(calls("A12", ["Neg"]))
    _call_first(model)


def _call_first(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("bomb", 1))
    node = model.graph.node[1]
    node.op_type, node.domain = "A", "bomb"
    del node.attribute[:]


def claims_terabytes(model: Any) -> None:
    """Let the weights claim a shape that their few bytes do not fill."""
    model.graph.initializer[0].dims[:] = [TERABYTES, 4]


def fills_terabytes(model: Any) -> None:
    """Let the graph make a tensor of terabytes when it runs."""
    fills(model, TERABYTES)


def fills(model: Any, elements: int) -> None:
    """Let the graph make a tensor of as many floats when it runs."""
    shape = numpy_helper.from_array(np.array([elements], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    model.graph.node[3].input[0] = "sum_logits"
    model.graph.node.insert(3, helper.make_node("Add", ["sum", "logits"], ["sum_logits"]))


def weight(value: float) -> Callable[[Any], None]:
    """Let one weight be ``value``."""

    def change(model: Any) -> None:
        spoiled = WEIGHTS.copy()
        spoiled[1, 2] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(spoiled, "w"))

    return change


def infinite_mask(model: Any) -> None:
    """Add minus infinity to a score, as attention masks do."""
    mask = numpy_helper.from_array(np.array([0, 0, 0, -np.inf], np.float32), "mask")
    model.graph.initializer.append(mask)
    model.graph.node.insert(1, helper.make_node("Add", ["logits", "mask"], ["masked"]))
    model.graph.node[2].input[0] = "masked"


def in_file(location: str) -> Callable[[Any], None]:
    """Let the weights be in another file."""

    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def nested_graphs(depth: int) -> bytes:
    """Return an ``If`` within an ``If`` within …: no library would write it."""
    graph = b""
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(4, b"If") + _field(5, attribute))
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x11")


def _field(number: int, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def tflite_file(change: Callable[[Any], None]) -> bytes:
    """Return the digits classifier, changed, without any check."""
    model = unpack(digits_tflite(2).read_bytes())
    change(model)
    return pack(model)


def tflite_free_size(model: Any) -> None:
    """Let the width of the input be free."""
    _input(model).shapeSignature = np.array([1, -1], np.int32)


def tflite_strings(model: Any) -> None:
    """Let the input be of strings."""
    _input(model).type = schema.TensorType.STRING


def tflite_sparse(model: Any) -> None:
    """Say of the first weights that they are sparse."""
    _weights(model)[0].sparsity = schema.SparsityParametersT()


def tflite_operator(name: bytes) -> Callable[[Any], None]:
    """Let the first operator be one that only its maker's runtime has."""

    def change(model: Any) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = name, 1
        model.operatorCodes.append(code)
        operator = model.subgraphs[0].operators[0]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    return change


def tflite_weight(value: float, *, bias: bool = False) -> Callable[[Any], None]:
    """Let the first of some weights, or of a bias, be ``value``."""

    def change(model: Any) -> None:
        tensor = _weights(model, rank=1 if bias else 2)[0]
        buffer = model.buffers[tensor.buffer]
        values = np.frombuffer(bytes(buffer.data), np.float32).copy()
        values[0] = value
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)

    return change


def tflite_claims_terabytes(model: Any) -> None:
    """Let the input be of a shape that fits no memory."""
    _input(model).shape = np.array([2**30, 64], np.int32)
    _input(model).shapeSignature = None


def tflite_endless(model: Any) -> None:
    """Let the only subgraph call itself in a loop."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE, 119
    code.version = 1
    model.operatorCodes.append(code)
    options = schema.WhileOptionsT()
    options.condSubgraphIndex = options.bodySubgraphIndex = 0
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptions = options
    operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    graph = model.subgraphs[0]
    operator.inputs, operator.outputs = graph.inputs, graph.outputs
    graph.operators = [operator]


def _input(model: Any) -> Any:
    graph = model.subgraphs[0]
    return graph.tensors[graph.inputs[0]]


def _weights(model: Any, rank: int = 2) -> list[Any]:
    return [
        tensor
        for tensor in model.subgraphs[0].tensors
        if tensor.type == 0
        and tensor.shape is not None
        and len(tensor.shape) == rank
        and len(() if model.buffers[tensor.buffer].data is None else [1])
    ]


def looping() -> bytes:
    """Return an ``.onnx`` with a loop that never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_in"], [f"{n}_out"]) for n in ("go", "x")],
        "body",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, ["n", 4]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, ["n", 4]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["yes"], value_ints=[1]),
            helper.make_node("Cast", ["yes"], ["go_1"], to=TensorProto.BOOL),
            helper.make_node("Squeeze", ["go_1"], ["go"]),
            helper.make_node("Loop", ["", "go", "x"], ["y"], body=body),
        ],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())
