"""What no ``.tflite`` may hold, whatever becomes of it: each refusal names place and remedy.

LiteRT verifies the flatbuffer first, with bounds on depth and on the number of tables; only what it
has loaded is unpacked into Python's objects.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.tflite_file import WEIGHTED, load, operator_name, unpack

_NO_FLATBUFFER = "valid Flatbuffer"
"""What LiteRT says of bytes that its verifier refused: nothing more is read of them then."""
_T = schema.TensorType
_KINDS = {_T.STRING: "strings", _T.RESOURCE: "a resource", _T.VARIANT: "variants"}
_FLOATS = {_T.FLOAT32: np.float32, _T.FLOAT16: np.float16, _T.FLOAT64: np.float64}


def checked(data: bytes) -> Any:
    """Return a file as an object tree, once LiteRT has loaded it and run it on zeros.

    Raises:
        InvalidModel: LiteRT cannot load or run it; operators of its own; inputs or outputs that
            are no numbers; inputs of free shape; sparse weights, or such that are not finite.
    """
    try:
        interpreter = load(data)
    except InvalidModel as error:
        _tell_why(data, error)
        raise
    model = unpack(data)
    _check_ends(model.subgraphs[0])
    _check_weights(model)
    try:
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise InvalidModel(
            f"LiteRT cannot run the model: {one_line(error)}", next_step="export it again"
        ) from error
    return model


def _tell_why(data: bytes, error: InvalidModel) -> None:
    """Name what LiteRT did not take, in a file that it found to be whole."""
    if _NO_FLATBUFFER in str(error):
        return
    try:
        model = unpack(data)
        _check_operators(model)
        _check_sizes(model)
        _check_ends(model.subgraphs[0])
        _check_weights(model)
    except InvalidModel as better:
        raise better from error
    except (struct.error, IndexError, TypeError, ValueError, AttributeError):
        return  # what LiteRT said must do


def _check_operators(model: Any) -> None:
    codes = (each.customCode for each in model.operatorCodes)
    names = [code.decode(errors="replace")[:80] for code in codes if code]
    if not names:
        return
    is_flex = any(name.startswith("Flex") for name in names)
    raise InvalidModel(
        f"no runtime of devices has the operators {', '.join(names[:5])}",
        next_step=(
            "convert it with TFLite's built-in operators alone (TFLITE_BUILTINS, no SELECT_TF_OPS)"
            if is_flex
            else "replace them by TFLite's built-in operators"
        ),
    )


def _check_sizes(model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            elements = math.prod(
                int(size) for size in (() if tensor.shape is None else tensor.shape)
            )
            if elements > MAX_BLOB_BYTES:
                raise InvalidModel(
                    f"tensor {_name(tensor)!r} claims {elements} elements",
                    next_step="do not use this file; find out who made it",
                )


def _check_ends(graph: Any) -> None:
    for end, indexes in (("input", graph.inputs), ("output", graph.outputs)):
        for index in () if indexes is None else indexes:
            tensor = graph.tensors[index]
            name = _name(tensor)
            if tensor.type in _KINDS:
                raise InvalidModel(
                    f"{end} {name!r} is of {_KINDS[tensor.type]}: devices feed and read numbers",
                    next_step="turn text into numbers before the model, classes into scores",
                )
            signature = tensor.shapeSignature
            if end == "input" and signature is not None and (np.asarray(signature)[1:] < 0).any():
                at = int((np.asarray(signature)[1:] < 0).argmax()) + 1
                raise InvalidModel(
                    f"input {name!r} has a free size at {at}: devices run one row of one shape",
                    next_step="build the model with a fixed input shape (only the first, the "
                    "batch, may be free), then convert it again",
                )


def _check_weights(model: Any) -> None:
    for graph in model.subgraphs:
        weights = {
            int(index)
            for operator in graph.operators
            if operator_name(model.operatorCodes[operator.opcodeIndex]) in WEIGHTED
            for index in operator.inputs
        }
        for at, tensor in enumerate(graph.tensors):
            name = _name(tensor)
            if tensor.sparsity is not None:
                raise InvalidModel(
                    f"the weights {name!r} are sparse: runtimes of devices take dense ones",
                    next_step="convert it without sparsity; zeros cost nothing more to compute",
                )
            if _is_bad(model, tensor, is_weight=at in weights):
                raise InvalidModel(
                    f"the weights {name!r} hold NaN or infinity", next_step="train it again"
                )


def _name(tensor: Any) -> str:
    return (tensor.name or b"").decode(errors="replace")[:80]


def _is_bad(model: Any, tensor: Any, *, is_weight: bool) -> bool:
    """Tell whether constant floats hold NaN or, in weights, infinity; masks may be infinite."""
    data, dtype = model.buffers[tensor.buffer].data, _FLOATS.get(tensor.type)
    if data is None or dtype is None:
        return False
    raw = bytes(data)
    values = np.frombuffer(raw[: len(raw) - len(raw) % np.dtype(dtype).itemsize], dtype)
    return bool(np.isnan(values).any() or (is_weight and np.isinf(values).any()))
