"""What no ``.onnx`` may hold, whatever becomes of it: each refusal names the place and the remedy.

Looked at before any checker or runtime is let near: their messages name files in C++.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.onnx_header import NEWEST_OPSETS

EXTENSIONS = ("com.microsoft", "com.microsoft.nchwc")
"""Domains of the operators that onnxruntime has beyond ONNX's own."""
MAX_NODES = 1_000_000
"""Of a graph whose functions are written out. Ten functions that each call the next ten times are a
file of a kilobyte and ten thousand million nodes."""
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_ONE_SHAPE = (
    "export it with fixed sizes (only the first, the batch, may be free), or: python -m "
    "onnxruntime.tools.make_dynamic_shape_fixed --dim_param {name} --dim_value SIZE IN OUT"
)


def check_onnx(model: Any) -> None:
    """Refuse a model that no device could run, or that is a bomb.

    Args:
        model: an ``onnx.ModelProto``, parsed and nothing more.

    Raises:
        InvalidModel: inputs or outputs that are no tensors of numbers; inputs of free shape;
            sparse weights; operators of an unknown domain; functions that call themselves or
            grow without bound; weights that are not finite.
    """
    _check_ends(model.graph)
    _check_sparse(model)
    _check_functions(model)
    _check_domains(model)
    if (bad := nonfinite_weights(model)) is not None:
        raise InvalidModel(f"the weights {bad!r} hold NaN or infinity", next_step="train it again")


def tensors(model: Any) -> Iterator[Any]:
    """Yield every ``TensorProto`` of a model, at whatever depth."""
    for graph in _graphs(model):
        yield from graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node of a model: of its graph, of graphs within, of its functions."""
    yield from _all_nodes(model.graph.node)
    for function in model.functions:
        yield from _all_nodes(function.node)


def _graphs(model: Any) -> Iterator[Any]:
    yield model.graph
    for node in nodes(model):
        yield from _graphs_of(node)


def _all_nodes(listed: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes and those of graphs within them, without recursion: depth is the file's."""
    waiting = [listed]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting += [graph.node for graph in _graphs_of(node)]


def _graphs_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nonfinite_weights(model: Any) -> str | None:
    """Return the name of a constant that holds NaN, or of a weight that holds infinity, or None.

    Other constants may be infinite: masks, and where maxima begin.
    """
    weights = {name for node in nodes(model) if node.op_type in _WEIGHTED for name in node.input}
    for graph in _graphs(model):
        for each in graph.initializer:
            if _is_bad(each, is_weight=each.name in weights):
                return str(each.name)
    for node in nodes(model):
        if node.op_type == "Constant" and weights.intersection(node.output):
            for attribute in node.attribute:
                if _is_bad(attribute.t, is_weight=True):
                    return str(node.output[0])
    return None


def _is_bad(tensor: Any, *, is_weight: bool) -> bool:
    if tensor.data_type not in _FLOATS:
        return False
    values = np.asarray(numpy_helper.to_array(tensor), np.float64)
    return bool(np.isnan(values).any() or (is_weight and np.isinf(values).any()))


def _check_ends(graph: Any) -> None:
    constants = {each.name for each in graph.initializer}
    for each in graph.input:
        if each.name in constants:
            continue
        _check_kind(each, "input")
        _check_shape(each)
    for each in graph.output:
        _check_kind(each, "output")


def _check_kind(value: Any, end: str) -> None:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        shown = (kind or "thing without a type").removesuffix("_type").replace("_", " ")
        raise InvalidModel(
            f"{end} {value.name!r} is a {shown}, not a tensor of numbers",
            next_step="export dense tensors only; for scikit-learn: options={'zipmap': False}",
        )
    if value.type.tensor_type.elem_type == TensorProto.STRING:
        raise InvalidModel(
            f"{end} {value.name!r} is of strings: devices feed and read numbers",
            next_step="turn text into numbers before the model, classes into scores",
        )


def _check_shape(value: Any) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise InvalidModel(
            f"input {value.name!r} has no shape: devices run one row of one shape",
            next_step="export it with the shape of its inputs",
        )
    for at, size in enumerate(tensor.shape.dim):
        if at and size.WhichOneof("value") != "dim_value":
            name = size.dim_param or "NAME"
            raise InvalidModel(
                f"input {value.name!r} has the free size {name!r} at {at}: devices run one row of "
                "one shape",
                next_step=_ONE_SHAPE.format(name=name),
            )


def _check_sparse(model: Any) -> None:
    found = [each.values.name for graph in _graphs(model) for each in graph.sparse_initializer]
    kinds = (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)
    found += [
        str(node.output[0])
        for node in nodes(model)
        if any(attribute.type in kinds for attribute in node.attribute)
    ]
    if found:
        raise InvalidModel(
            f"the weights {found[0]!r} are sparse: runtimes of devices take dense ones",
            next_step="export it with dense weights; zeros cost nothing more to compute",
        )


def _check_domains(model: Any) -> None:
    own = {(each.domain, each.name) for each in model.functions}
    unknown = {
        f"{node.domain}.{node.op_type}".lstrip(".")
        for node in nodes(model)
        if (node.domain, node.op_type) not in own and not _is_known(node)
    }
    if unknown:
        raise InvalidModel(
            f"no runtime of devices has the operators {', '.join(sorted(unknown)[:5])}",
            next_step="export it with ONNX's own operators, or write the operator as a function "
            "of the model",
        )


def _is_known(node: Any) -> bool:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain in NEWEST_OPSETS:
        return bool(onnx.defs.has(node.op_type, domain))
    return domain in EXTENSIONS


def _check_functions(model: Any) -> None:
    """Refuse functions that call themselves, or that would fill the memory when written out."""
    calls = {(each.domain, each.name): _calls(each.node) for each in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size_of(called: list[tuple[str, str]]) -> int:
        return sum(sizes.get(key, 1) for key in called)

    waiting = dict(calls)
    while waiting:
        ready = [key for key, called in waiting.items() if not waiting.keys() & set(called)]
        if not ready:
            raise InvalidModel(
                f"the function {next(iter(waiting))[1]!r} calls itself",
                next_step="do not use this file; find out who made it",
            )
        for key in ready:
            sizes[key] = size_of(waiting.pop(key))
    whole = max((size_of(_calls(model.graph.node)), *sizes.values()))
    if whole > MAX_NODES:
        raise InvalidModel(
            f"the model has {whole} nodes when its functions are written "
            f"out, {MAX_NODES} are allowed",
            next_step="do not use this file; find out who made it",
        )


def _calls(listed: Iterable[Any]) -> list[tuple[str, str]]:
    return [(node.domain, node.op_type) for node in _all_nodes(listed)]
