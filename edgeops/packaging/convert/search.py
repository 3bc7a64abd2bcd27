"""The search for a recipe: which calibration, which operators, which precision for each.

Ranges are taken from one part of the calibration rows, candidates are judged on the other; the
gates then judge the chosen one on evaluation rows that the search never saw. First come the ready
recipes. Then operators are quantized one by one, to see which cost most; the costliest are left
in a wider precision in more candidates. The best one is made so that all engines answer alike; if
that cannot be, the next best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edgeops.domain.errors import EdgeopsError, InvalidInput
from edgeops.packaging.convert.bench import Bench, Rows
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.ranges import Ranges, ranges_of
from edgeops.packaging.recipes.ready import RECIPES
from edgeops.packaging.recipes.schema import (
    ALL_OPERATORS,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    MAX_PATTERN,
    Recipe,
    Rule,
    exactly,
)
from edgeops.packaging.recipes.trials import Search, Trial, ranked
from edgeops.packaging.rows.golden_rows import spread

JUDGED_EVERY = 3
"""One row of so many judges; the others give ranges."""
MIN_ROWS = 12
MAX_JUDGING, MAX_CALIBRATING = 128, 192
MAX_ISOLATED = 48
"""Operators that are tried alone, those with the most weights."""
WIDER = {"tflite": (INT16, FLOAT16, FLOAT32), "onnx": (FLOAT32,)}
"""Precisions that the costliest operators are left in, by format."""
WIDENED = (1, 2, 4, 8)
"""How many of the costliest operators are left in a wider precision."""

Clock = Callable[[], float]
Progress = Callable[[str], None]


def search(
    bench: Bench,
    form: str,
    asked: Search,
    rows: NDArray[Any],
    float_bytes: int,
    clock: Clock,
    progress: Progress,
) -> tuple[bytes, Report]:
    """Find the recipe that is best for an objective, and make its artifact.

    Args:
        bench: the float model.
        form: its format.
        asked: objective, bars, time.
        rows: calibration rows ``[n, ...]``.
        float_bytes: size of the float model.
        clock: seconds of a clock that does not jump.
        progress: told one line about each candidate.

    Raises:
        InvalidInput: too few rows, or rows that do not fit.
        ConversionFailed: no candidate comes near enough to the float model; the message names
            the best one.
    """
    judges, calibrates = _parted(bench.fit(rows))
    hunt = _Hunt(bench, asked, calibrates, judges, clock, progress)
    for recipe in _ready(form):
        hunt.try_(recipe)
    isolated = hunt.isolate()
    for recipe in hunt.widened(isolated):
        hunt.try_(recipe)
    stopped = "time is up" if hunt.is_over else "all candidates were tried"
    return hunt.settled(float_bytes, isolated, stopped)


def _parted(rows: Rows) -> tuple[Rows, Rows]:
    """Return the rows that judge and those that calibrate."""
    if len(rows) < MIN_ROWS:
        raise InvalidInput(
            f"{len(rows)} calibration rows are too few for a search, {MIN_ROWS} are needed",
            next_step="give a few hundred real inputs of the model, or name a recipe",
        )
    judged = rows[::JUDGED_EVERY]
    judges = [judged[at] for at in spread(len(judged), MAX_JUDGING)]
    calibrates = [row for at, row in enumerate(rows) if at % JUDGED_EVERY]
    return judges, [calibrates[at] for at in spread(len(calibrates), MAX_CALIBRATING)]


def _ready(form: str) -> Iterator[Recipe]:
    """Yield the ready recipes that quantize, and all operators where that is not the default."""
    for recipe in RECIPES.values():
        if recipe.format == form and recipe.precision != FLOAT32:
            yield recipe
            if recipe.precision == INT8 and recipe.operators != (ALL_OPERATORS,):
                yield replace(recipe, name=f"{recipe.name}-all", operators=(ALL_OPERATORS,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """An operator, and the relative error when it alone is quantized."""

    type: str
    name: str
    error: float


class _Hunt:
    """One search: what was tried so far, and the ranges by calibration."""

    def __init__(
        self,
        bench: Bench,
        asked: Search,
        calibrates: Rows,
        judges: Rows,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._bench, self._asked, self._judges = bench, asked, judges
        self._clock, self._progress = clock, progress
        self._end_s = clock() + asked.seconds
        progress(f"running {len(calibrates)} rows for the ranges of activations")
        self._observed = bench.observe(calibrates)
        self._ranges: dict[tuple[str, float | None], Ranges] = {}
        self._expected, self._float_ms = bench.run(None, judges)
        self.trials: list[Trial] = []
        progress(f"the float model takes {self._float_ms:.3f} ms here")

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end_s

    def try_(self, recipe: Recipe) -> None:
        """Make and judge one candidate, if there is time."""
        if self.is_over or any(each.recipe == recipe for each in self.trials):
            return
        try:
            data = self._bench.make(recipe, self.ranges(recipe), frozenset())
            trial = self._judged(recipe, data)
        except EdgeopsError as error:
            trial = Trial(recipe=recipe, size_bytes=0, sqnr_db=-200.0, agreement=0.0)
            trial = replace(trial, why_not=str(error)[:500])
        except (ValueError, RuntimeError, KeyError, IndexError, TypeError) as error:
            # Quantizers raise these for models that they do not master.
            trial = Trial(recipe=recipe, size_bytes=0, sqnr_db=-200.0, agreement=0.0)
            trial = replace(trial, why_not=f"the quantizer failed: {type(error).__name__}")
        self.trials.append(trial)
        self._progress(_line(trial))

    def _judged(self, recipe: Recipe, data: bytes) -> Trial:
        given, took_ms = self._bench.run(data, self._judges)
        ratio = sqnr_db(relative_error(given, self._expected))
        agreement = float((given.argmax(axis=1) == self._expected.argmax(axis=1)).mean())
        why_not = ""
        if ratio < self._asked.min_sqnr_db or agreement < self._asked.min_agreement:
            why_not = "too far from the float model"
        return Trial(
            recipe=recipe,
            size_bytes=len(data),
            sqnr_db=round(max(-200.0, min(200.0, ratio)), 2),
            agreement=round(agreement, 4),
            latency_ms=round(took_ms, 5),
            why_not=why_not,
        )

    def ranges(self, recipe: Recipe) -> Ranges | None:
        """Return the ranges that a recipe takes; those of one calibration are taken once."""
        if recipe.calibration is None:
            return None
        key = (recipe.calibration, recipe.percentile)
        if key not in self._ranges:
            self._ranges[key] = ranges_of(self._observed, recipe)
        return self._ranges[key]

    def _best_static(self) -> Recipe | None:
        tried = [each for each in self.trials if each.recipe.precision == INT8 and each.size_bytes]
        best = max(tried, key=lambda each: each.sqnr_db, default=None)
        return None if best is None else best.recipe

    def isolate(self) -> list[_Cost]:
        """Quantize the operators with weights one by one; return them, the costliest first."""
        recipe = self._best_static()
        if recipe is None:
            return []
        found = []
        every = self._bench.operators
        self._progress(f"quantizing {min(len(every), MAX_ISOLATED)} operators one by one")
        for kind, name in every[:MAX_ISOLATED]:
            if self.is_over:
                break
            others = frozenset(self._bench.names) - {name}
            try:
                data = self._bench.make(recipe, self.ranges(recipe), others)
                given, _ = self._bench.run(data, self._judges)
            except (EdgeopsError, ValueError, RuntimeError, KeyError):
                continue
            error = relative_error(given, self._expected)
            found.append(_Cost(type=kind, name=name, error=min(error, 1e6)))
        return sorted(found, key=lambda each: -each.error)

    def widened(self, costs: Sequence[_Cost]) -> Iterator[Recipe]:
        """Yield the best recipe with its costliest operators in a wider precision."""
        recipe = self._best_static()
        if recipe is None:
            return
        for precision in WIDER[recipe.format]:
            for count in WIDENED:
                if count > len(costs) // 2:
                    break
                patterns = [exactly(each.name) for each in costs[:count]]
                if any(len(each) > MAX_PATTERN for each in patterns):
                    break
                rules = tuple(Rule(precision=precision, name=each) for each in patterns)
                name = f"{recipe.name}-{count}-{precision}"
                yield replace(recipe, name=name, rules=(*recipe.rules, *rules))

    def settled(
        self, float_bytes: int, costs: Sequence[_Cost], stopped: str
    ) -> tuple[bytes, Report]:
        """Make the best candidate on which all engines agree."""
        for trial in ranked(self.trials, self._asked, float_bytes, self._float_ms):
            recipe, ranges = trial.recipe, self.ranges(trial.recipe)
            try:
                made = self._bench.settle(recipe, ranges, self._judges)
            except ConversionFailed as error:
                self._progress(f"{recipe.name} cannot be taken: {error}")
                at = self.trials.index(trial)
                self.trials[at] = replace(trial, why_not=str(error)[:500])
                continue
            report = Report(
                ranges=ranges,
                notes=(*self._bench.notes, *made.notes),
                excluded=made.excluded,
                promise=self._bench.promise(recipe, made.excluded),
                recipe=recipe,
                trials=tuple(self.trials),
                sensitivity={each.name: float(f"{each.error:.4g}") for each in costs},
                stopped=f"{stopped}: {len(self.trials)} candidates",
                objective=self._asked.objective,
                float_ms=round(self._float_ms, 5),
            )
            return made.data, report
        nearest = max(self.trials, key=lambda each: each.sqnr_db, default=None)
        said = "none could be made" if nearest is None else f"the nearest is {_line(nearest)}"
        raise ConversionFailed(
            f"no recipe comes near enough to the float model; {said}",
            next_step="ask for less with --min-sqnr or --min-agreement, or package it as float32",
        )


def _line(trial: Trial) -> str:
    if not trial.size_bytes:
        return f"{trial.recipe.name}: {trial.why_not}"
    took = "" if trial.latency_ms is None else f", {trial.latency_ms:.3f} ms here"
    why_not = f" ({trial.why_not})" if trial.why_not else ""
    return (
        f"{trial.recipe.name}: {trial.size_bytes} bytes, {trial.sqnr_db:.1f} dB, same answer on "
        f"{trial.agreement:.3f}{took}{why_not}"
    )
