"""A float ``.onnx`` laid out for recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeops.packaging.convert.bench import Rows, median_ms
from edgeops.packaging.convert.onnx_file import (
    WEIGHTED,
    check_float,
    parse,
    quantized_weights,
)
from edgeops.packaging.convert.onnx_float import bounded
from edgeops.packaging.convert.onnx_quantize import (
    prepare,
    promise_of,
    quantize_checked,
    quantize_nodes,
    watch,
)
from edgeops.packaging.convert.onnx_run import fit_rows, open_session, run_rows, run_session
from edgeops.packaging.convert.ranges import Observed, Ranges
from edgeops.packaging.convert.repair import Settled
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.recipes.ready import RECIPES
from edgeops.packaging.recipes.schema import ALL_OPERATORS, Recipe

EVERYTHING = replace(RECIPES["onnx-int8"], operators=(ALL_OPERATORS,))


class OnnxBench:
    """A float ``.onnx`` laid out for recipes; see ``bench.Bench``."""

    notes: Sequence[str] = ()

    def __init__(self, data: bytes, folder: Path | None = None) -> None:
        """Lay it out; ``folder`` holds files with some of the weights, if there are such.

        Raises:
            InvalidModel: not valid, or quantized already.
        """
        model = parse(data, folder)
        check_float(model)
        self._prepared = prepare(bounded(model)[0])
        self._float = self._prepared.model.SerializeToString()

    @property
    def operators(self) -> list[tuple[str, str]]:
        """Type and name of the operators with weights."""
        return [
            (node.op_type, self._prepared.name_of(node))
            for node in self._prepared.model.graph.node
            if node.op_type in WEIGHTED
            and quantized_weights(self._prepared.model, (node.name,)).total
        ]

    @property
    def names(self) -> list[str]:
        """Names of all operators."""
        return [self._prepared.name_of(node) for node in self._prepared.model.graph.node]

    def fit(self, rows: NDArray[Any]) -> Rows:
        """Return rows as the model takes them."""
        return fit_rows(self._float, rows)

    def observe(self, rows: Rows) -> Observed:
        """Return what the float values around all operators were on rows."""
        return watch(self._prepared, EVERYTHING, rows, counts=True)

    def make(self, recipe: Recipe, ranges: Ranges | None, without: frozenset[str]) -> bytes:
        """Make the artifact, with the named operators left in floats."""
        kept = self._prepared.kept(recipe, without)
        return quantize_nodes(self._prepared, recipe, ranges or {}, kept)

    def settle(self, recipe: Recipe, ranges: Ranges | None, rows: Rows) -> Settled:
        """Make it so that the runtime answers alike with optimizations and without."""
        return quantize_checked(self._prepared, recipe, ranges or {}, rows, run_rows)

    def promise(self, recipe: Recipe, without: Sequence[str]) -> Promise:
        """Return what a recipe makes of this model."""
        return promise_of(self._prepared, recipe, without)

    def run(self, data: bytes | None, rows: Rows) -> tuple[NDArray[Any], float]:
        """Return a file's answers ``[n, ...]``, and ms for a row."""
        session = open_session(self._float if data is None else data)
        answers = run_session(session, rows)
        return answers, median_ms(lambda each: run_session(session, each), rows)
