"""A bench: one float model laid out so that recipe after recipe can be tried on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from edgeops.packaging.convert.ranges import Observed, Ranges
from edgeops.packaging.convert.repair import Settled
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.recipes.schema import Recipe

Rows = list[NDArray[Any]]
TIMED_ROWS = 8


class Bench(Protocol):
    """What a format must do for recipes to be tried; one for each conversion."""

    @property
    def notes(self) -> Sequence[str]:
        """What was noticed when it was laid out."""

    @property
    def operators(self) -> Sequence[tuple[str, str]]:
        """Type and name of the operators with weights, in the model's order."""

    @property
    def names(self) -> Sequence[str]:
        """Names of all operators."""

    def fit(self, rows: NDArray[Any]) -> Rows:
        """Return rows as the model takes them; raise ``InvalidInput`` if they do not fit."""

    def observe(self, rows: Rows) -> Observed:
        """Return what all inner values were on rows, with counts."""

    def make(self, recipe: Recipe, ranges: Ranges | None, without: frozenset[str]) -> bytes:
        """Make the artifact, with the named operators left in floats."""

    def settle(self, recipe: Recipe, ranges: Ranges | None, rows: Rows) -> Settled:
        """Make it so that all engines answer alike; raise ``ConversionFailed`` if they cannot."""

    def promise(self, recipe: Recipe, without: Sequence[str]) -> Promise:
        """Return what the recipe makes of this model."""

    def run(self, data: bytes | None, rows: Rows) -> tuple[NDArray[Any], float]:
        """Return a file's answers ``[n, ...]``, the float model's for None, and ms for a row."""


def median_ms(run: Callable[[Rows], object], rows: Rows) -> float:
    """Return what one row takes, in ms: the median of parts, since what disturbs moves a mean.

    Args:
        run: answers rows.
        rows: run in parts of several, because each call of ``run`` costs something itself.
    """
    took_s = []
    for start in range(0, len(rows), TIMED_ROWS):
        part = rows[start : start + TIMED_ROWS]
        begun_s = time.perf_counter()
        run(part)
        took_s.append((time.perf_counter() - begun_s) / len(part))
    return statistics.median(took_s) * 1000
