"""ONNX files: read with suspicion, and written so that equal models are equal bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.onnx_checks import check_onnx, nodes, tensors

OPSET = 17
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose weights are quantized; together they hold nearly all of most models."""
MAX_IR_VERSION = 9
"""Older runtimes refuse newer ones; opset 17 needs 8."""
QUANTIZING = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxWeights:
    """Constant weights of operators, in elements: those that are int8, and all of them."""

    int8: int
    total: int


def parse(data: bytes, folder: Path | None = None) -> Any:
    """Return a file as an ``onnx.ModelProto``, checked, with all its weights in it.

    Args:
        data: the file.
        folder: where the files are in which some of its weights are; ``side_files.find`` has
            looked at them. None takes no such files.

    Raises:
        InvalidModel: damaged, not valid ONNX, or with what no device runs (``check_onnx``).
    """
    try:
        model = onnx.load_from_string(data)
        _take_in(model, folder)
        check_onnx(model)
        onnx.checker.check_model(model)
    except InvalidModel:
        raise
    except (
        *(DecodeError, onnx.checker.ValidationError, ValueError, TypeError),
        *(OSError, EOFError),
    ) as error:
        raise InvalidModel(
            f"the model is no valid ONNX: {one_line(error)}", next_step="export it again"
        ) from error
    return model


def _take_in(model: Any, folder: Path | None) -> None:
    """Load the weights that are in other files, in place; refuse those that were not looked at."""
    taken = _outside(model.graph.initializer) if folder is not None else Counter()
    left = list(_outside(tensors(model)) - taken)
    if left:
        raise InvalidModel(
            f"the weights {left[0]!r} are in another file, and not where such are taken from",
            next_step="save it as one file: onnx.save(onnx.load('model.onnx'), 'one.onnx')",
        )
    if folder is not None:
        onnx.load_external_data_for_model(model, str(folder))


def check_float(model: Any) -> None:
    """Refuse a model that is quantized already.

    Raises:
        InvalidModel: it has quantizing operators.
    """
    found = next((node.op_type for node in model.graph.node if node.op_type in QUANTIZING), None)
    if found is not None:
        raise InvalidModel(
            f"the model is quantized already: it has {found}",
            next_step="give the float model that it was made from, or package it as it is",
        )


def quantized_weights(model: Any, nodes: Collection[str] | None = None) -> OnnxWeights:
    """Return how many of the constant weights of operators in ``WEIGHTED`` are int8.

    A weight is an initializer, or one behind a ``DequantizeLinear``, of rank 2 or more.

    Args:
        model: an ``onnx.ModelProto``.
        nodes: names of the nodes to look at; None looks at all.
    """
    constants = {each.name: each for each in model.graph.initializer}
    behind = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    counts: Counter[bool] = Counter()
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or (nodes is not None and node.name not in nodes):
            continue
        for name in node.input[:2]:  # the third is a bias: 32-bit, and small
            constant = constants.get(behind.get(name, name))
            if constant is not None and len(constant.dims) >= 2:
                counts[constant.data_type == TensorProto.INT8] += int(np.prod(constant.dims))
    return OnnxWeights(int8=counts[True], total=counts[True] + counts[False])


def number_anew(model: Any) -> dict[str, str]:
    """Number nodes and inner values anew, in place; return the former names by the new ones.

    Exporters number them as their threads come along. Inputs and outputs keep their names, and
    so does a model with graphs within its graph.
    """
    graph = model.graph
    if _has_subgraphs(graph):
        return {}
    _sort_nodes(graph)
    names = _number(graph)
    _drop_unused(graph)
    graph.name = "model"
    del graph.value_info[:]
    return {new: old for old, new in names.items()}


def canonical(model: Any) -> bytes:
    """Return a model's bytes so that equal models give equal bytes, for runtimes of all ages.

    Args:
        model: an ``onnx.ModelProto``, changed in place.
    """
    graph = model.graph
    is_flat = not _has_subgraphs(graph)
    if is_flat:
        _sort_nodes(graph)
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    model.doc_string = ""
    for part in (graph, *nodes(model), *graph.input, *graph.output, *tensors(model)):
        part.doc_string = ""
        del part.metadata_props[:]  # PyTorch writes where in whose files each node was made
    del graph.quantization_annotation[:]  # by names, which may be new
    for listed, key in ((model.opset_import, "domain"), (graph.initializer, "name")):
        listed.sort(key=lambda each, key=key: getattr(each, key))
    graph.value_info.sort(key=lambda each: each.name)
    used = {node.domain for node in graph.node} | {""}
    if is_flat and not model.functions:
        for opset in [each for each in model.opset_import if each.domain not in used]:
            model.opset_import.remove(opset)
    return bytes(model.SerializeToString(deterministic=True))


def flatten_biases(model: Any) -> None:
    """Give biases of ``Gemm`` the rank 1, in place: ``[1, n]`` and ``[n]`` add alike.

    ONNX Runtime's quantizer raises on the former with one scale a channel.
    """
    others = Counter(name for node in model.graph.node for name in node.input)
    gemms = [node for node in model.graph.node if node.op_type == "Gemm" and len(node.input) == 3]
    biases = Counter(node.input[2] for node in gemms)
    for constant in model.graph.initializer:
        is_only_bias = 0 < biases[constant.name] == others[constant.name]
        if is_only_bias and len(constant.dims) == 2 and constant.dims[0] == 1:
            constant.dims[:] = constant.dims[1:]


def _outside(listed: Iterable[Any]) -> Counter[str]:
    """Count tensors by name whose values are in another file."""
    return Counter(str(each.name) for each in listed if each.data_location == TensorProto.EXTERNAL)


def _has_subgraphs(graph: Any) -> bool:
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(attribute.type in kinds for node in graph.node for attribute in node.attribute)


def _sort_nodes(graph: Any) -> None:
    """Sort nodes by a walk from the outputs, which depends on nothing but the structure."""
    makers = {name: node for node in graph.node for name in node.output if name}
    order: list[Any] = []
    seen: set[int] = set()
    waiting = [(makers[each.name], False) for each in reversed(graph.output) if each.name in makers]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            before = [makers[name] for name in reversed(node.input) if name in makers]
            waiting += [(each, False) for each in before if id(each) not in seen]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    del graph.node[:]
    graph.node.extend(copies)


def _number(graph: Any) -> dict[str, str]:
    kept = {each.name for each in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    count: Counter[str] = Counter()
    for node in graph.node:
        node.name = f"{node.op_type}_{count[node.op_type]}"
        count[node.op_type] += 1
        for at, name in enumerate(node.input):
            if name and name not in kept and name not in names:
                names[name] = f"{node.name}.in{at}"
        for at, name in enumerate(node.output):
            if name and name not in kept:
                names[name] = f"{node.name}.out{at}"
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    for constant in graph.initializer:
        constant.name = names.get(constant.name, constant.name)
    return names


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    used |= {each.name for each in graph.output}
    for constant in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(constant)
