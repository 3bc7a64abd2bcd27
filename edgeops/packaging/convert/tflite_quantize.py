"""Quantizing a float ``.tflite`` without TensorFlow: own ranges, ai-edge-quantizer's writer.

What the recipe promises of the model is told with the file: a gate counts whether it came true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.rows import fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.bench import Rows, median_ms
from edgeops.packaging.convert.calibration import FEW_ROWS
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.ranges import (
    Observed,
    Ranges,
    narrow_count,
    observe,
    ranges_of,
)
from edgeops.packaging.convert.repair import Settled, difference, settle
from edgeops.packaging.convert.tflite_checks import checked
from edgeops.packaging.convert.tflite_engines import on_engines, run_rows
from edgeops.packaging.convert.tflite_file import (
    WEIGHTED,
    Contents,
    contents,
    inject_signature,
    is_constant,
    load,
    operators,
    pack,
    restore_names,
    unpack,
)
from edgeops.packaging.convert.tflite_writer import write_quantized
from edgeops.packaging.engines import Engine
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.recipes.schema import (
    FLOAT16,
    FLOAT32,
    INT8,
    MIN_MAX,
    STATIC,
    Recipe,
    Rule,
    exactly,
)

COMPARED_ROWS = 64
_SEED = 0


def quantize_tflite(
    data: bytes, recipe: Recipe, rows: NDArray[Any] | None, others: Sequence[Engine] = ()
) -> tuple[bytes, Report]:
    """Make what a recipe says from a float ``.tflite``.

    Args:
        data: the file; with ``float32`` it comes back as it is, or with the signature that it
            lacked.
        recipe: of format tflite.
        rows: calibration rows ``[n, ...]`` for recipes with ranges, else None.
        others: engines besides LiteRT that must answer alike.

    Returns:
        The file, and the report with ranges and notes. Inputs and outputs keep their dtypes
        and names.

    Raises:
        InvalidModel: LiteRT cannot load it, or it is quantized already.
        InvalidInput: the rows do not fit the model.
        ConversionFailed: engines answer differently, whatever is left out.
    """
    bench = TfliteBench(data, others)
    if recipe.precision == FLOAT32:
        return bench.as_float(), Report(notes=tuple(bench.notes))
    _check_promise(bench, recipe)
    if recipe.needs_calibration and rows is None:
        raise InvalidInput(
            f"{recipe.name} needs calibration rows, none are given",
            next_step="give some with --calibration: real inputs of the model, x in an .npz",
        )
    which = "random rows" if rows is None else "calibration rows"
    fitted = bench.random() if rows is None else bench.fit(rows)
    ranges, notes = None, list(bench.notes)
    if recipe.needs_calibration:
        observed = bench.observe(fitted, counts=recipe.calibration != MIN_MAX)
        ranges = ranges_of(observed, recipe)
        notes += _range_notes(ranges, len(fitted))
    compared = fitted[:COMPARED_ROWS]
    settled = bench.settle(recipe, ranges, compared)
    notes += [*settled.notes, *_left_float(contents(unpack(settled.data)))]
    error = relative_error(run_rows(load(settled.data), compared), run_rows(load(data), compared))
    notes.append(f"answers differ from float by {sqnr_db(error):.1f} dB (SQNR, {which})")
    report = Report(
        ranges=ranges,
        notes=tuple(notes),
        excluded=settled.excluded,
        promise=bench.promise(recipe, settled.excluded),
    )
    return settled.data, report


def rebuild_tflite(data: bytes, recipe: Recipe, making: Report) -> bytes:
    """Make an artifact again, without rows: from the ranges and exclusions of its first making.

    Raises:
        InvalidModel: LiteRT cannot load the float model.
    """
    if recipe.precision == FLOAT32:
        return TfliteBench(data).as_float()
    return TfliteBench(data).make(recipe, making.ranges, frozenset(making.excluded))


class TfliteBench:
    """A float ``.tflite`` laid out for recipes; see ``bench.Bench``."""

    def __init__(self, data: bytes, others: Sequence[Engine] = ()) -> None:
        """Lay it out.

        Raises:
            InvalidModel: LiteRT cannot load it, or it is quantized already.
        """
        self._data, self._others = data, others
        self._original = checked(data)
        _check_float(contents(self._original))
        had_none = inject_signature(self._original)
        said = "the model had no signature: one was made from its inputs and outputs"
        self.notes: Sequence[str] = (said,) if had_none else ()
        self._prepared = pack(self._original)
        self._parts = operators(self._original)

    def as_float(self) -> bytes:
        """Return the float model: as it was given, or with the signature that it lacked."""
        return self._prepared if self.notes else self._data

    @property
    def operators(self) -> list[tuple[str, str]]:
        """Type and name of the operators with weights."""
        weighted = (part for part in self._parts if part.type in WEIGHTED and part.weights)
        return [(part.type, part.name) for part in weighted]

    @property
    def names(self) -> list[str]:
        """Names of all operators."""
        return [part.name for part in self._parts]

    def fit(self, rows: NDArray[Any]) -> Rows:
        """Return rows as the model takes them."""
        return fit_rows(self._data, rows)

    def random(self) -> Rows:
        """Return random rows: nothing else is there for recipes without ranges."""
        spec, _ = _only_input(load(self._data))
        chance = np.random.default_rng(_SEED)
        return self.fit(chance.random((COMPARED_ROWS, *spec.shape)).astype(spec.dtype))

    def observe(self, rows: Rows, *, counts: bool = True) -> Observed:
        """Return what all inner float values were on rows."""
        interpreter = load(self._prepared, keep_all=True)
        _, input_at = _only_input(interpreter)
        inner = [
            (at, tensor.name.decode(errors="replace"))
            for at, tensor in enumerate(self._original.subgraphs[0].tensors)
            if tensor.type == 0 and not is_constant(self._original, tensor)  # 0: float32
        ]

        def run(row: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
            interpreter.set_tensor(input_at, row)
            interpreter.invoke()
            return {name: interpreter.get_tensor(at) for at, name in inner}

        return observe(run, rows, counts=counts)

    def make(self, recipe: Recipe, ranges: Ranges | None, without: frozenset[str]) -> bytes:
        """Make the artifact, with the named operators left in floats."""
        recipe = _without(recipe, without)
        if all(recipe.precision_of(part.type, part.name) == FLOAT32 for part in self._parts):
            return self._prepared
        result = unpack(write_quantized(self._prepared, recipe, self._parts, ranges))
        restore_names(result, self._original)
        return pack(result)

    def settle(self, recipe: Recipe, ranges: Ranges | None, rows: Rows) -> Settled:
        """Make it so that all engines answer alike."""
        compared = rows[:COMPARED_ROWS]
        expected = run_rows(load(self._data), compared)
        names = [
            part.name
            for part in self._parts
            if recipe.precision_of(part.type, part.name) != FLOAT32
        ]
        return settle(
            recipe.name,
            names,
            lambda excluded: self.make(recipe, ranges, excluded),
            lambda file: self._differs(file, compared, expected),
        )

    def _differs(self, file: bytes, rows: Rows, expected: NDArray[Any]) -> str | None:
        answers = on_engines(file, rows, self._others)
        return difference(answers.given, expected, answers.refusals)

    def promise(self, recipe: Recipe, without: Sequence[str]) -> Promise:
        """Return what a recipe makes of this model."""
        recipe = _without(recipe, without)
        weights: Counter[str] = Counter()
        activations: Counter[str] = Counter()
        for part in self._parts:
            precision = recipe.precision_of(part.type, part.name)
            if part.type in WEIGHTED and part.weights and precision != FLOAT32:
                weights[FLOAT16 if precision == FLOAT16 else INT8] += part.weights
                if precision in STATIC:
                    activations[precision] += 1
        return Promise(weights=dict(weights), activations=dict(activations))

    def run(self, data: bytes | None, rows: Rows) -> tuple[NDArray[Any], float]:
        """Return a file's answers ``[n, ...]``, and ms for a row."""
        interpreter = load(self._data if data is None else data, delegates=True)
        answers = run_rows(interpreter, rows)
        return answers, median_ms(lambda each: run_rows(interpreter, each), rows)


def fit_rows(data: bytes, rows: NDArray[Any]) -> Rows:
    """Return rows as a model takes them.

    Raises:
        InvalidModel: the model has several inputs.
        InvalidInput: the rows do not fit it.
    """
    spec, _ = _only_input(load(data))
    try:
        return [fit_row(row, spec) for row in rows]
    except BadInput as error:
        raise InvalidInput(
            f"calibration rows do not fit the model: {error}",
            next_step="give rows in x as the application gives them to the model, [n, …]",
        ) from error


def _without(recipe: Recipe, excluded: Collection[str]) -> Recipe:
    """Return a recipe that leaves operators in floats besides."""
    rules = (Rule(precision=FLOAT32, name=exactly(name)) for name in sorted(excluded))
    return replace(recipe, rules=(*recipe.rules, *rules)) if excluded else recipe


def _check_float(found: Contents) -> None:
    for dtype in ("int8", "uint8", "int16", "int4"):
        if found.quantized and found.weights.get(dtype):
            raise InvalidModel(
                f"the model is quantized already: it has {dtype} weights",
                next_step="give the float model that it was made from, or package it as it is",
            )
    if found.weights.get("float16"):
        raise InvalidModel(
            "the model has float16 weights already",
            next_step="give the float32 model that it was made from, or package it as it is",
        )
    if not found.weights.get("float32"):
        raise InvalidModel(
            "the model has no float32 weights: there is nothing to quantize",
            next_step="package it as it is, without a recipe",
        )


def _range_notes(ranges: Ranges, count: int) -> list[str]:
    notes = []
    if count < FEW_ROWS:
        notes.append(f"only {count} calibration rows: a few hundred tell ranges better")
    if narrow := narrow_count(ranges):
        notes.append(f"{narrow} tensors are constant on all calibration rows")
    return notes


def _check_promise(bench: TfliteBench, recipe: Recipe) -> None:
    """Refuse a recipe that promises nothing for this model."""
    if not recipe.is_float and not bench.promise(recipe, ()).weights:
        raise InvalidModel(
            f"nothing to quantize: {recipe.name} takes none of the model's weighted operators",
            next_step="package it as float32, or let the recipe take more operators",
        )


def _left_float(found: Contents) -> list[str]:
    left = found.weights.get("float32", 0)
    return [f"{left} weights stayed float32"] if left else []


def _only_input(interpreter: Any) -> tuple[TensorSpec, int]:
    details = interpreter.get_input_details()
    if len(details) != 1:
        raise InvalidModel(
            f"the model has {len(details)} inputs, not one",
            next_step="export it with one input: join the others into it, or make them constants",
        )
    detail = details[0]
    shape = tuple(int(size) for size in detail["shape"])
    dtype = np.dtype(detail["dtype"]).name
    return TensorSpec(name=detail["name"], dtype=dtype, shape=shape), int(detail["index"])
