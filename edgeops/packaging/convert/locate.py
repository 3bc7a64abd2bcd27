"""Finding the first operator that engines compute otherwise, in a file that nobody here made.

The file is cut off behind an operator, whose output becomes the model's, and run on every engine;
where to cut is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeops.domain.errors import EdgeopsError
from edgeops.packaging.convert.bench import Rows
from edgeops.packaging.convert.fidelity import relative_error
from edgeops.packaging.convert.repair import MAX_FLOAT_ERROR
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.engines import Engine

Cut = Callable[[int], bytes]
"""Returns the model that ends with the operator of a number."""
RunAll = Callable[[bytes], Mapping[str, NDArray[Any]]]
"""Runs a file on every engine."""


def locate(
    data: bytes, kind: SourceKind, rows: NDArray[Any], others: Sequence[Engine]
) -> str | None:
    """Return type and name of the first operator that engines compute otherwise.

    Args:
        data: the file.
        kind: ``tflite`` or ``onnx``.
        rows: inputs of the model ``[n, ...]``.
        others: engines besides the format's own runtime.

    Returns:
        The operator, or None if cutting shows nothing: the fault needs what comes behind.
    """
    try:
        if kind is SourceKind.TFLITE:
            return _tflite(data, rows, others)
        return _onnx(data, rows)
    except (EdgeopsError, RuntimeError, ValueError, TypeError, IndexError):
        return None  # a model that cannot be cut; that it is misread is told all the same


def first_that_differs(count: int, cut: Cut, run: RunAll) -> int | None:
    """Return the number of the first operator behind which engines differ, None if none does."""

    def differs(number: int) -> bool:
        answers = list(run(cut(number)).values())
        return any(_apart(each, answers[0]) for each in answers[1:])

    if not differs(count - 1):
        return None
    fine, broken = -1, count - 1
    while broken - fine > 1:
        middle = (fine + broken) // 2
        fine, broken = (fine, middle) if differs(middle) else (middle, broken)
    return broken


def _apart(given: NDArray[Any], other: NDArray[Any]) -> bool:
    if given.shape != other.shape:
        return True
    level = float(other.astype(np.float64).mean()) if np.isfinite(other).all() else 0.0
    return relative_error(given - level, other - level) > MAX_FLOAT_ERROR


def _tflite(data: bytes, rows: NDArray[Any], others: Sequence[Engine]) -> str | None:
    from edgeops.packaging.convert.tflite_engines import on_engines
    from edgeops.packaging.convert.tflite_file import load, operators, pack, unpack
    from edgeops.packaging.convert.tflite_quantize import fit_rows

    load(data)
    parts = operators(unpack(data))
    fitted = fit_rows(data, rows)

    def cut(number: int) -> bytes:
        model = unpack(data)
        graph = model.subgraphs[0]
        graph.operators = graph.operators[: number + 1]
        graph.outputs = [int(graph.operators[number].outputs[0])]
        model.signatureDefs = []
        return pack(model)

    def run(file: bytes) -> Mapping[str, NDArray[Any]]:
        return on_engines(file, fitted, others).given

    found = first_that_differs(len(parts), cut, run)
    return None if found is None else f"{parts[found].type} {parts[found].name!r}"


def _onnx(data: bytes, rows: NDArray[Any]) -> str | None:
    import onnx
    from onnx import helper

    from edgeops.packaging.convert.onnx_file import parse
    from edgeops.packaging.convert.onnx_run import fit_rows, run_rows

    model = parse(data)
    nodes = list(model.graph.node)
    fitted: Rows = fit_rows(data, rows)

    def cut(number: int) -> bytes:
        shorter = onnx.ModelProto.FromString(data)
        del shorter.graph.node[number + 1 :]
        del shorter.graph.output[:]
        shorter.graph.output.append(helper.make_empty_tensor_value_info(nodes[number].output[0]))
        return bytes(shorter.SerializeToString())

    def run(file: bytes) -> Mapping[str, NDArray[Any]]:
        return {str(on): run_rows(file, fitted, optimized=on) for on in (False, True)}

    found = first_that_differs(len(nodes), cut, run)
    return None if found is None else f"{nodes[found].op_type} {nodes[found].output[0]!r}"
