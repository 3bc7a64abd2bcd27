"""Score errors: how far an artifact's scores are from its float model's, row by row.

The mean over all rows (SQNR) hides a few rows that went far off; a histogram shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from edgeops.packaging.rows.predictions import Predictions

BINS = 32
LOWEST, HIGHEST = 1e-6, 1e2
"""Ends of the histogram: four bins for each power of ten. What lies outside is in the end bins."""
MAX_ERROR = 1e15
"""Larger errors are written as this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreErrors:
    """The distribution of the errors of an artifact's scores on one runtime.

    The error of a row is the root mean square of the difference between its scores and the float
    model's, as a share of the root mean square of the float scores of all rows. So the mean of
    its squares is the SQNR.

    Attributes:
        runtime: what ran the artifact.
        rows: evaluation rows.
        same: those of them whose scores are the float model's, bit by bit; they are in no bin.
        counts: the other rows by their error: ``BINS`` counts between ``LOWEST`` and ``HIGHEST``,
            on a logarithmic scale.
        median: error that half of all rows do not exceed.
        p95: error that 95 % of all rows do not exceed.
        worst: the largest error.
    """

    runtime: str
    rows: int
    same: int
    counts: tuple[int, ...]
    median: float
    p95: float
    worst: float

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "runtime": self.runtime,
            "rows": self.rows,
            "same": self.same,
            "counts": list(self.counts),
            "median": self.median,
            "p95": self.p95,
            "worst": self.worst,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> ScoreErrors:
        """Read the JSON form."""
        counts = fields.integers("counts", max_items=BINS)
        if len(counts) != BINS:
            raise ProtocolError(f"{fields.path}.counts has {len(counts)} counts, not {BINS}")
        return cls(
            runtime=fields.text("runtime", max_length=64),
            rows=fields.integer("rows", minimum=1),
            same=fields.integer("same"),
            counts=counts,
            median=fields.number("median"),
            p95=fields.number("p95"),
            worst=fields.number("worst"),
        )


def score_errors(
    runtime: str, float_predicted: Predictions, predicted: Predictions
) -> ScoreErrors | None:
    """Return the errors of an artifact's scores against its float model's on the same rows.

    Args:
        runtime: what ran the artifact.
        float_predicted: answers of the float model, scores ``[n, ...]``.
        predicted: answers of the artifact, likewise.

    Returns:
        None if the scores are not two kinds of finite floats, or the float model's are all zero:
        then there is nothing to compare with.
    """
    expected, given = float_predicted.scores, predicted.scores
    if expected is None or given is None or expected.shape != given.shape or not len(expected):
        return None
    if expected.dtype.kind != "f" or given.dtype.kind != "f":
        return None
    wanted = expected.reshape(len(expected), -1).astype(np.float64)
    found = given.reshape(len(given), -1).astype(np.float64)
    if not wanted.size or not np.isfinite(wanted).all() or not np.isfinite(found).all():
        return None
    with np.errstate(over="ignore"):  # what overflows is as large as an error can be
        power, noise = np.mean(wanted**2), np.mean((found - wanted) ** 2, axis=1)
        if not 0.0 < power < np.inf:
            return None
        errors = np.minimum(np.sqrt(noise / power), MAX_ERROR)
    differ = errors[errors > 0.0]
    edges = np.linspace(np.log10(LOWEST), np.log10(HIGHEST), BINS + 1)
    places = np.searchsorted(edges, np.log10(differ), side="right") - 1
    counts = np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)
    return ScoreErrors(
        runtime=runtime,
        rows=len(errors),
        same=len(errors) - len(differ),
        counts=tuple(counts.tolist()),
        median=_rounded(np.quantile(errors, 0.5, method="inverted_cdf")),
        p95=_rounded(np.quantile(errors, 0.95, method="inverted_cdf")),
        worst=_rounded(errors.max()),
    )


def _rounded(error: Any) -> float:
    """Four digits: more would tell the last bits of a machine's floats."""
    return float(f"{float(error):.4g}")
