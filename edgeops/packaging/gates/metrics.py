"""Metrics: one number for how good answers are, of ours or of the user's own.

A drop is positive when the artifact is worse. For scores (accuracy, F1, …) it is the float model's
less the artifact's; for errors (MAE, RMSE) it is the growth of the error, as a share of the float
model's.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import MetricEvidence
from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import EdgeopsError, GateFailed, InvalidInput
from edgeops.packaging.gates.evidence import CONFIDENCE, QUALITY_GATE, sqnr_of
from edgeops.packaging.rows.golden_rows import MAX_EVALUATED_ROWS
from edgeops.statistics.intervals import bootstrap_interval

MIN_ROWS = 30
"""Fewer rows tell a bootstrap nothing: it draws the same few again and again."""
RESAMPLES = 500
_SEED = 0
_TOP = re.compile(r"top-([1-9]\d{0,3})")
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TINY = 1e-12

Scores = NDArray[np.float64]
Targets = NDArray[np.float64]
Measure = Callable[[Scores, Targets], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number for answers.

    Attributes:
        name: as people write it.
        measure: takes scores ``[n, C]`` and ``y`` (classes ``[n]``, or targets ``[n, ...]``).
        is_error: whether less is better.
        takes_targets: whether ``y`` may be other numbers than classes.
    """

    name: str
    measure: Measure
    is_error: bool = False
    takes_targets: bool = False

    def __call__(self, scores: Scores, y: Targets) -> float:
        """Return the number.

        Raises:
            InvalidInput: the function raises, or returns no finite number.
        """
        try:
            found = float(self.measure(scores, y))
        except EdgeopsError:
            raise
        except (Exception, SystemExit) as error:  # whatever a function of somebody's own does
            raise InvalidInput(
                f"metric {self.name} failed: {type(error).__name__}: {one_line(error)[:200]}",
                next_step="it takes scores [n, classes] and y [n, ...], and returns one number",
            ) from error
        if not math.isfinite(found):
            raise InvalidInput(
                f"metric {self.name} is {found} on {len(y)} rows",
                next_step="evaluate on rows of every class, or use another metric",
            )
        return found

    def drop(self, float_value: float, value: float, usual: float = 0.0) -> float:
        """Return how much is lost; see the module's docstring.

        Args:
            float_value: of the float model.
            value: of the artifact.
            usual: an error that growth is a share of where the float model's own is smaller.
        """
        if self.is_error:
            return (value - float_value) / max(abs(float_value), usual, _TINY)
        return float_value - value

    def lost(self, usual: float = 0.0) -> Callable[[Scores, Scores, Targets], float]:
        """Return the drop as a function of both models' scores and ``y``, for a bootstrap."""

        def statistic(before: Scores, after: Scores, y: Targets) -> float:
            return self.drop(self(before, y), self(after, y), usual)

        return statistic


def read_metric(name: str) -> Metric:
    """Return the metric of a name.

    Args:
        name: ``accuracy``, ``top-K``, ``f1``, ``auc``, ``mae``, ``rmse``, or ``module:function``
            of the user's own, which is imported; with an attribute ``is_error`` less is better.

    Raises:
        InvalidInput: there is none of that name, or it cannot be imported.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    if (top := _TOP.fullmatch(name)) is not None:
        return Metric(name=name, measure=_top(int(top[1])))
    if _OWN.fullmatch(name):
        return _own(name)
    raise InvalidInput(
        f"there is no metric {name[:60]!r}",
        next_step=f"choose one of: {', '.join(_KNOWN)}, top-5, or MODULE:FUNCTION of your own",
    )


def measure_metric(
    metric: Metric,
    float_scores: NDArray[np.generic],
    scores: NDArray[np.generic],
    y: NDArray[np.generic],
    *,
    max_drop: float,
    confidence: float = CONFIDENCE,
) -> MetricEvidence:
    """Return a metric of the float model and of the artifact, and the interval of the drop.

    The interval is a percentile bootstrap of rows, the same rows for both models.

    Args:
        metric: what to measure.
        float_scores: ``[n, ...]`` of the float model.
        scores: ``[n, ...]`` of the artifact.
        y: ``[n, ...]`` classes or targets.
        max_drop: the bar, kept with it.
        confidence: of the interval.

    Raises:
        InvalidInput: the metric fails.
        GateFailed: too few rows.
    """
    if len(y) < MIN_ROWS:
        raise GateFailed(
            f"gate {QUALITY_GATE!r}: {len(y)} rows are too few for an interval of {metric.name}",
            next_step=f"evaluate on {MIN_ROWS} rows at least, better on hundreds",
        )
    before, after = (each.reshape(len(y), -1).astype(np.float64) for each in (float_scores, scores))
    truth = y.astype(np.float64)

    interval = bootstrap_interval(
        metric.lost(),
        (before, after, truth),
        rng=np.random.default_rng(_SEED),
        confidence=confidence,
        resamples=max(RESAMPLES, math.ceil(4 / (1.0 - confidence))),
    )
    return MetricEvidence(
        name=metric.name,
        rows=len(y),
        float_value=digits(metric(before, truth)),
        value=digits(metric(after, truth)),
        drop_low=digits(interval.low),
        drop_high=digits(interval.high),
        confidence=confidence,
        max_drop=max_drop,
        sqnr_db=sqnr_of(before, after),
    )


def check_metric(metric: Metric, found: MetricEvidence, name: str) -> str:
    """Hold the upper end of the drop's interval against the bar; return what was found.

    Raises:
        GateFailed: more may be lost than is allowed.
    """
    said = (
        f"{found.name} {found.value:.4g}, float {found.float_value:.4g}, drop between "
        f"{found.drop_low:.4f} and {found.drop_high:.4f} on {found.rows} rows"
    )
    if found.drop_high < found.max_drop:
        return said
    what = "share of the error" if metric.is_error else "drop"
    how = "use another recipe, better calibration rows, or ask for less with --max-drop"
    if found.rows < MAX_EVALUATED_ROWS:
        how = "use another recipe, better calibration rows, or more evaluation rows"
    raise GateFailed(
        f"gate {QUALITY_GATE!r}: {name}: {said}; a {what} below {found.max_drop:g} must be shown",
        next_step=how,
    )


def check_targets(metric: Metric, scores: NDArray[np.generic], y: Targets, name: str) -> None:
    """Refuse targets that the float model does not come nearer to than one constant does.

    Raises:
        GateFailed: how large the errors are.
    """
    if not metric.is_error:
        return
    answers = scores.reshape(len(y), -1).astype(np.float64)
    truth = y.reshape(len(y), -1)
    constant = np.broadcast_to(np.median(truth, axis=0), answers.shape)
    error, by_constant = metric(answers, y), metric(np.asarray(constant), y)
    if error < by_constant:
        return
    raise GateFailed(
        f"gate {QUALITY_GATE!r}: {metric.name} of the float model of {name} is {error:.4g}, of "
        f"always answering the median {by_constant:.4g}",
        next_step="check that y is what the model predicts, in its unit, and x what it takes",
    )


def _own(name: str) -> Metric:
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise InvalidInput(
            f"metric {name} cannot be imported: {type(error).__name__}: {one_line(error)[:200]}",
            next_step="name MODULE:FUNCTION, of a module in this folder or installed here",
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise InvalidInput(
            f"metric {name} is no function, but of type {type(found).__name__}",
            next_step="name a function f(scores, y) of that module, which returns one number",
        )

    def measure(scores: Scores, y: Targets) -> float:
        # Of copies: a function that works in place would change what is measured next.
        return float(found(scores.copy(), y.copy()))

    is_error = bool(getattr(found, "is_error", False))
    return Metric(name=name, measure=measure, is_error=is_error, takes_targets=True)


def _accuracy(scores: Scores, y: Targets) -> float:
    return float((scores.argmax(axis=1) == y).mean())


def _top(k: int) -> Measure:
    def measure(scores: Scores, y: Targets) -> float:
        if k >= scores.shape[1]:
            raise InvalidInput(
                f"metric top-{k} is always 1 of {scores.shape[1]} classes: it measures nothing",
                next_step=f"choose top-1 to top-{max(1, scores.shape[1] - 1)}, or accuracy",
            )
        own = scores[np.arange(len(y)), y.astype(np.intp)]
        return float(((scores > own[:, np.newaxis]).sum(axis=1) < k).mean())

    return measure


def _f1(scores: Scores, y: Targets) -> float:
    """Return the mean over classes of the harmonic mean of precision and recall."""
    answered = scores.argmax(axis=1)
    found = []
    for label in np.unique(y):
        both = int(((answered == label) & (y == label)).sum())
        either = int((answered == label).sum() + (y == label).sum())
        found.append(2 * both / either)
    return float(np.mean(found))


def _auc(scores: Scores, y: Targets) -> float:
    """Return the area under the ROC curve; of several classes, the mean of each against the rest.

    By ranks (Mann and Whitney, 1947; Hanley and McNeil, 1982); ties count half.
    """
    if scores.shape[1] == 1:
        return _auc_of(scores[:, 0], y == 1)
    labels = [1] if scores.shape[1] == 2 else [int(each) for each in np.unique(y)]
    areas = [_auc_of(scores[:, label], y == label) for label in labels]
    return float(np.mean([each for each in areas if not math.isnan(each)] or [math.nan]))


def _auc_of(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return math.nan
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _mae(scores: Scores, y: Targets) -> float:
    return float(np.abs(scores - y.reshape(scores.shape)).mean())


def _rmse(scores: Scores, y: Targets) -> float:
    return float(np.sqrt(((scores - y.reshape(scores.shape)) ** 2).mean()))


def digits(value: float) -> float:
    """Return six digits: below what rows can tell, above what the last bits of a float do."""
    return float(f"{value:.6g}")


ACCURACY = Metric(name="accuracy", measure=_accuracy)
_KNOWN: Mapping[str, Metric] = {
    each.name: each
    for each in (
        ACCURACY,
        Metric(name="f1", measure=_f1),
        Metric(name="auc", measure=_auc),
        Metric(name="mae", measure=_mae, is_error=True, takes_targets=True),
        Metric(name="rmse", measure=_rmse, is_error=True, takes_targets=True),
    )
}
