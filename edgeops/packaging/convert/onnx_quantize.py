"""Quantizing a float ``.onnx``: own ranges, ONNX Runtime's QDQ writer, signed 8 bits throughout.

Only operators with weights are quantized: with every operator quantized, models with a
decomposed LayerNorm fell from 93 % to 20 %. Unsigned activations saturate on x86 without VNNI.

A correct file may still answer nonsense, by a fusion in the runtime (onnxruntime#24711: one scale
a channel). So the result is run with optimizations on and off; if that tells a difference, the
operator that it comes from stays in floats, and the report says so.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import; see device_agent.runtimes

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
)
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.calibration import FEW_ROWS
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.onnx_file import (
    MAX_IR_VERSION,
    OPSET,
    canonical,
    check_float,
    flatten_biases,
    number_anew,
    parse,
    quantized_weights,
)
from edgeops.packaging.convert.onnx_float import bounded, float_onnx
from edgeops.packaging.convert.onnx_run import fit_rows, open_session, run_rows
from edgeops.packaging.convert.onnx_types import infer_types
from edgeops.packaging.convert.ranges import (
    Observed,
    Ranges,
    narrow_count,
    observe,
    ranges_of,
)
from edgeops.packaging.convert.repair import Names, Settled, difference, settle
from edgeops.packaging.files.scratch import check_room
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.recipes.schema import (
    CHANNEL,
    FLOAT32,
    INT8,
    INT16,
    MIN_MAX,
    Recipe,
)

COMPARED_ROWS = 64
FOLDED_MORE_BYTES = 64 * 1024
"""Room for what folding of constants adds to a small model, besides its size once more."""
MIN_OPSET = 13
"""One scale a channel came with it."""
FOLDED = ("Clip", "Relu")
"""Activations that a quantized operator before them takes over: by its range, at no cost."""


def quantize_onnx(
    data: bytes, recipe: Recipe, rows: NDArray[Any] | None, folder: Path | None = None
) -> tuple[bytes, Report]:
    """Make what a recipe says from a float ``.onnx``.

    Args:
        data: the file.
        recipe: of format onnx; with ``float32`` the model comes back in its canonical form.
        rows: calibration rows ``[n, ...]`` for int8, else None.
        folder: where files are that hold some of the weights, or None without such.

    Returns:
        The file, and the report with ranges and notes. Inputs and outputs keep their dtypes
        and names.

    Raises:
        InvalidModel: not valid, quantized already, with weights that are not finite, or
            without any operator that the recipe quantizes.
        InvalidInput: the rows do not fit the model.
        ConversionFailed: the runtime answers something else with optimizations than without,
            whatever is left out.
    """
    model = parse(data, folder)
    check_float(model)
    if recipe.precision == FLOAT32:
        return float_onnx(model)
    model, _ = bounded(model)
    if rows is None:
        raise InvalidInput(
            f"{recipe.name} needs calibration rows, none are given",
            next_step="give some with --calibration: real inputs of the model, x in an .npz",
        )
    prepared = prepare(model)
    operators = prepared.quantized_by(recipe)
    if not quantized_weights(prepared.model, operators).total:
        _check_halves(prepared.model)
        raise InvalidModel(
            f"nothing to quantize: {recipe.name} takes none of the model's weighted operators",
            next_step="package it as float32, or let the recipe take more operators",
        )
    fitted = fit_rows(prepared.model.SerializeToString(), rows)
    ranges = calibrate(prepared, recipe, fitted)
    notes = _range_notes(ranges, len(rows))
    settled = quantize_checked(prepared, recipe, ranges, fitted[:COMPARED_ROWS], run_rows)
    report = Report(
        ranges=ranges,
        notes=(*notes, *settled.notes),
        excluded=settled.excluded,
        promise=promise_of(prepared, recipe, settled.excluded),
    )
    return settled.data, report


def _check_halves(model: Any) -> None:
    """Say that a model is of half floats, which is why no recipe finds anything in it."""
    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    if any(each.data_type in halves and len(each.dims) > 1 for each in model.graph.initializer):
        raise InvalidModel(
            "the model has weights of half floats (float16), recipes quantize those of float32",
            next_step="give the float32 model that it was made from, or package it as it is",
        )


def rebuild_onnx(data: bytes, recipe: Recipe, making: Report) -> bytes:
    """Make an artifact again, without rows: from the ranges and exclusions of its first making.

    Raises:
        InvalidModel: the float model is not valid.
    """
    model = parse(data)
    if recipe.precision == FLOAT32:
        return float_onnx(model)[0]
    prepared = prepare(bounded(model)[0])
    kept = prepared.kept(recipe, making.excluded)
    return quantize_nodes(prepared, recipe, making.ranges or {}, kept)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A float model, ready to be quantized.

    Attributes:
        model: an ``onnx.ModelProto`` with constants folded, and numbered anew.
        names: of inner values before that, by their new names.
    """

    model: Any
    names: Mapping[str, str]

    def name_of(self, node: Any) -> str:
        """Return the name of a node's first output, as the file that was given has it."""
        return self.names.get(node.output[0], str(node.output[0]))

    def quantized_by(self, recipe: Recipe) -> dict[str, str]:
        """Return the operators that a recipe quantizes: name of the node → its name for people."""
        known = QDQRegistry.keys() | QLinearOpsRegistry.keys()
        return {
            node.name: self.name_of(node)
            for node in self.model.graph.node
            if node.op_type in known
            and recipe.precision_of(node.op_type, self.name_of(node)) != FLOAT32
        }

    def kept(self, recipe: Recipe, excluded: Collection[str]) -> set[str]:
        """Return the nodes that a recipe quantizes, but for the operators left in floats."""
        every = self.quantized_by(recipe)
        return {node for node, name in every.items() if name not in excluded}


def prepare(model: Any) -> Prepared:
    """Fold constants and batch normalizations; bound the opset from below."""
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    with tempfile.TemporaryDirectory(prefix="edgeops-onnx-") as folder:
        path, data = Path(folder) / "folded.onnx", model.SerializeToString()
        check_room(path, 2 * len(data) + FOLDED_MORE_BYTES)
        open_session(data, save_to=path)
        folded = onnx.load(path)
    flatten_biases(folded)
    folded.ir_version = min(folded.ir_version, MAX_IR_VERSION)
    names = number_anew(folded)
    for at, node in enumerate(folded.graph.node):
        node.name = node.name or f"{node.op_type}_{at}"
    inferred = infer_types(folded, lambda data: open_session(data, optimized=False))
    return Prepared(model=onnx.load_from_string(canonical(inferred)), names=names)


def calibrate(prepared: Prepared, recipe: Recipe, rows: list[NDArray[Any]]) -> Ranges:
    """Return the ranges of all float inputs and outputs of the quantized operators."""
    needs_counts = recipe.calibration != MIN_MAX
    return ranges_of(watch(prepared, recipe, rows, counts=needs_counts), recipe)


def watch(
    prepared: Prepared, recipe: Recipe, rows: list[NDArray[Any]], *, counts: bool
) -> Observed:
    """Return what the float inputs and outputs of the quantized operators were on rows."""
    watched = onnx.ModelProto.FromString(prepared.model.SerializeToString())
    constants = {each.name for each in watched.graph.initializer}
    quantized = prepared.quantized_by(recipe)
    wanted = {
        name
        for node in watched.graph.node
        if node.name in quantized or node.op_type in FOLDED
        for name in (*node.input, *node.output)
        if name and name not in constants
    }
    # Some operators take numbers of other kinds too (shapes, indexes): those have no range.
    floats = _float_values(watched.graph)
    wanted = {name for name in wanted if name in floats}
    there = {each.name for each in (*watched.graph.output, *watched.graph.input)}
    for name in sorted(wanted - there):
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(watched.SerializeToString(), optimized=False)
    feed = session.get_inputs()[0].name
    outputs = sorted(wanted - {each.name for each in watched.graph.input})

    def run(row: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        found = dict(zip(outputs, session.run(outputs, {feed: row}), strict=True))
        return {**found, feed: row} if feed in wanted else found

    return observe(run, rows, counts=counts)


def _float_values(graph: Any) -> set[str]:
    """Return the values that shape inference knows to be float32, inputs and outputs included."""
    known = (*graph.value_info, *graph.input, *graph.output)
    return {each.name for each in known if each.type.tensor_type.elem_type == TensorProto.FLOAT}


def _range_notes(ranges: Ranges, count: int) -> list[str]:
    notes = []
    if count < FEW_ROWS:
        notes.append(f"only {count} calibration rows: a few hundred tell ranges better")
    if narrow := narrow_count(ranges):
        notes.append(f"{narrow} tensors are constant on all calibration rows")
    return notes


class Answers(Protocol):
    """Runs a file: rows to answers ``[n, ...]``, with optimizations or without."""

    def __call__(self, data: bytes, rows: list[NDArray[Any]], *, optimized: bool) -> NDArray[Any]:
        """Return the answers to ``rows``."""
        ...


def quantize_checked(
    prepared: Prepared, recipe: Recipe, ranges: Ranges, rows: list[NDArray[Any]], answers: Answers
) -> Settled:
    """Quantize, and leave in floats what answers otherwise with optimizations than without.

    Args:
        prepared: the float model.
        recipe: of a precision that has ranges.
        ranges: of all tensors that are quantized.
        rows: inputs to compare on.
        answers: runs a file.

    Raises:
        ConversionFailed: optimizations break the answers whatever is left out.
    """
    expected = answers(prepared.model.SerializeToString(), rows, optimized=False)
    operators = prepared.quantized_by(recipe)
    nodes = {name: node for node, name in operators.items()}

    def make(excluded: Names) -> bytes:
        return quantize_nodes(
            prepared, recipe, ranges, {nodes[name] for name in nodes if name not in excluded}
        )

    def differs(data: bytes) -> str | None:
        return difference(_on_engines(data, rows, answers), expected)

    settled = settle(recipe.name, list(nodes), make, differs)
    error = relative_error(answers(settled.data, rows, optimized=True), expected)
    said = f"answers differ from float by {sqnr_db(error):.1f} dB (SQNR, calibration rows)"
    return replace(settled, notes=(*settled.notes, said))


def _on_engines(data: bytes, rows: list[NDArray[Any]], answers: Answers) -> dict[str, NDArray[Any]]:
    """Return the answers by engine; one that does not take the file answers NaN."""
    found = {}
    for suffix, optimized in ((" without optimizations", False), ("", True)):
        try:
            given = answers(data, rows, optimized=optimized)
        except (InvalidModel, RuntimeError):
            given = np.array([np.nan])
        found[f"onnxruntime {ort.__version__}{suffix}"] = given
    return found


def quantize_nodes(
    prepared: Prepared, recipe: Recipe, ranges: Ranges, nodes: Collection[str]
) -> bytes:
    """Quantize the named nodes; activations right behind one go with it, at no cost."""
    model = onnx.ModelProto.FromString(prepared.model.SerializeToString())
    if not nodes:
        return canonical(model)
    made_by = {name: node.name for node in model.graph.node for name in node.output}
    folded = {
        node.name
        for node in model.graph.node
        if node.op_type in FOLDED and made_by.get(node.input[0]) in nodes
    }
    chosen = [node for node in model.graph.node if node.name in nodes or node.name in folded]
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    is_16_bit = recipe.precision == INT16
    writer = QDQQuantizer(
        model,
        per_channel=recipe.granularity == CHANNEL,
        reduce_range=False,  # 7-bit weights: for unsigned activations on old x86 only
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt16 if is_16_bit else QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[node.name for node in chosen],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in chosen}),
        # 16 bits came to ONNX with opset 21; ONNX Runtime's own operators have had them longer.
        extra_options={"MatMulConstBOnly": True, "UseQDQContribOps": is_16_bit},
    )
    writer.quantize_model()
    return canonical(writer.model.model)


def promise_of(prepared: Prepared, recipe: Recipe, excluded: Collection[str]) -> Promise:
    """Return what a recipe makes of a model, but for the operators left in floats."""
    kept = prepared.kept(recipe, excluded)
    weighted = [
        node
        for node in prepared.model.graph.node
        if node.name in kept and quantized_weights(prepared.model, (node.name,)).total
    ]
    return Promise(
        weights={INT8: quantized_weights(prepared.model, kept).total},
        activations={recipe.precision: len(weighted)},
    )
