"""Evidence: the float model and the artifact on the same rows, and the gate on their difference.

The gate asks for proof that little was lost: not the estimated drop but the *upper* end of its
interval must be under the bar. With too few rows nothing can be proven, and that is said with
the number of rows that it takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import (
    MAX_CONFUSION_CLASSES,
    MAX_SLICE_NAME,
    MAX_SLICES,
    MAX_SQNR_DB,
    ClassEvidence,
    Evidence,
    SliceEvidence,
)
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.rows.golden_rows import MAX_EVALUATED_ROWS, LabelledRows
from edgeops.packaging.rows.predictions import NO_CLASS, Predictions
from edgeops.statistics.intervals import PairedDrop, paired_drop, rows_needed

QUALITY_GATE = "quality"
MAX_DROP = 0.02
CONFIDENCE = 0.95
LABEL_ORDERS = 999
LABEL_CONFIDENCE = 0.99
"""With which the float model must be better than chance: of a hundred wrong orders one passes."""
FIDELITY_GATE = "fidelity"
MIN_SQNR_DB = 8.0
"""Healthy packages of 8 bits had 13 dB and more, collapsed ones 4 and less."""
MIN_AGREEMENT = 0.85
_SEED = 0
MAX_SHARED_ROWS = 0.01
"""Share of the evaluation rows that may also be calibration rows: data sets repeat themselves."""


def confidence_after(refused: int) -> float:
    """Return the confidence to ask of an artifact after so many others failed on the same rows.

    Half the error is left each time, so that all together have at most twice that of one.
    """
    return 1.0 - (1.0 - CONFIDENCE) / (1 << refused)


def measure(
    *,
    recipe: str,
    truth: NDArray[np.int64],
    float_predicted: Predictions,
    predicted: Predictions,
    sizes: tuple[int, int],
    max_drop: float,
    slices: Mapping[str, NDArray[np.str_]] | None = None,
    confidence: float = CONFIDENCE,
) -> Evidence:
    """Return the evidence of an artifact.

    Up to ``MAX_CONFUSION_CLASSES`` classes it holds both confusion matrices, and ``classes`` then
    also counts those that the model knows and no row is of: with no rows.

    Args:
        recipe: how it was made.
        truth: ``[n]`` true classes of the evaluation rows.
        float_predicted: answers of the float model to these rows.
        predicted: answers of the artifact to these rows.
        sizes: bytes of the float model and of the artifact.
        max_drop: the bar, kept with the evidence.
        slices: by kind, the name of the part that each row belongs to, ``[n]``.
        confidence: of the interval of the drop.

    Raises:
        InvalidGolden: more than ``MAX_SLICES`` slices, or a name that is too long.
    """
    float_right = float_predicted.classes == truth
    right = predicted.classes == truth
    drop = paired_drop(float_right, right, confidence=confidence)
    classes = max(_classes_in(truth), _known(float_predicted), _known(predicted))
    few = classes <= MAX_CONFUSION_CLASSES
    return Evidence(
        recipe=recipe,
        rows=len(truth),
        float_accuracy=float(float_right.mean()),
        accuracy=float(right.mean()),
        drop_low=_rounded(drop.low),
        drop_high=_rounded(drop.high),
        confidence=confidence,
        max_drop=max_drop,
        agreement=float((float_predicted.classes == predicted.classes).mean()),
        float_size_bytes=sizes[0],
        size_bytes=sizes[1],
        classes=_by_class(truth, float_right, right, classes if few else _classes_in(truth)),
        float_confusion=_confusion(truth, float_predicted, classes) if few else (),
        confusion=_confusion(truth, predicted, classes) if few else (),
        sqnr_db=_sqnr_db(float_predicted, predicted),
        slices=_by_slice(slices or {}, float_right, right),
    )


def check_quality(evidence: Evidence, drop: PairedDrop, name: str) -> None:
    """Hold the upper end of the drop's interval against the bar.

    Raises:
        GateFailed: the drop is, or may be, larger than allowed; if more rows could prove
            otherwise, the next step says how many.
    """
    if evidence.drop_high < evidence.max_drop:
        return
    lost = evidence.float_accuracy - evidence.accuracy
    said = (
        f"gate {QUALITY_GATE!r}: {name} by {evidence.recipe} loses {lost:.4f} "
        f"(between {evidence.drop_low:.4f} and {evidence.drop_high:.4f}) of accuracy on "
        f"{evidence.rows} rows; less than {evidence.max_drop:g} must be shown"
    )
    if lost >= evidence.max_drop:
        raise GateFailed(said, next_step="use another recipe, or better calibration rows")
    discordance = max((drop.only_first + drop.only_second) / drop.n, 1 / drop.n)
    needed = rows_needed(evidence.max_drop, discordance, confidence=evidence.confidence)
    how = f"evaluate on about {needed} rows, or ask for less with --max-drop"
    if needed > MAX_EVALUATED_ROWS:
        how = (
            f"about {needed} rows would show it, and {MAX_EVALUATED_ROWS} are looked at: use "
            "another recipe, or ask for less with --max-drop"
        )
    raise GateFailed(said, next_step=how)


def check_labels(truth: NDArray[np.int64], float_predicted: Predictions, name: str) -> None:
    """Refuse rows to whose labels the float model's answers are not shown to agree.

    Then they measure nothing: the labels are in another order than the model's scores, the model
    is one of something else, or it always answers the same. A test by permutation (Fisher, 1935)
    shows it: the float model must be right on more rows than with the labels in any of
    ``LABEL_ORDERS`` random orders, but for a share of ``1 - LABEL_CONFIDENCE``. It keeps how often
    each class is true and is answered, so a rare class that is found counts as much as it should,
    which a binomial test of the share that is right would not see.

    Raises:
        GateFailed: how often it is right, and how often it would be by chance.
    """
    answered = float_predicted.classes
    right = int((answered == truth).sum())
    chance = np.random.default_rng(_SEED)
    orders = [int((answered == chance.permutation(truth)).sum()) for _ in range(LABEL_ORDERS)]
    by_luck = (1 + sum(each >= right for each in orders)) / (1 + LABEL_ORDERS)
    if by_luck <= 1.0 - LABEL_CONFIDENCE:
        return
    share = right / len(truth)
    usual = float(sum((truth == one).mean() * (answered == one).mean() for one in set(truth)))
    how = "check that y numbers the classes as the model's scores are, and that x is what it takes"
    if share > usual:
        how += f"; if they are right, evaluate on more than {len(truth)} rows"
    raise GateFailed(
        f"gate {QUALITY_GATE!r}: the float model of {name} is right on {share:.4f} of "
        f"{len(truth)} rows, by chance it would be on {usual:.4f}: that it knows these labels is "
        "not shown",
        next_step=how,
    )


def check_fidelity(
    evidence: Evidence, name: str, *, min_sqnr_db: float, min_agreement: float
) -> None:
    """Hold the artifact's answers against the float model's, whatever is true.

    Raises:
        GateFailed: they are too different.
    """
    sqnr_db = MAX_SQNR_DB if evidence.sqnr_db is None else evidence.sqnr_db
    if evidence.agreement >= min_agreement and sqnr_db >= min_sqnr_db:
        return
    raise GateFailed(
        f"gate {FIDELITY_GATE!r}: {name} by {evidence.recipe} answers {evidence.agreement:.3f} of "
        f"{evidence.rows} rows as its float model does, scores differ by {sqnr_db:.1f} dB (SQNR); "
        f"{min_agreement:g} and {min_sqnr_db:g} dB are asked",
        next_step="use another recipe, or better calibration rows",
    )


def drop_of(truth: NDArray[np.int64], first: Predictions, second: Predictions) -> PairedDrop:
    """Return the paired drop of accuracy from the first to the second."""
    return paired_drop(first.classes == truth, second.classes == truth, confidence=CONFIDENCE)


def check_rows(evaluation: LabelledRows, calibration: LabelledRows | None) -> None:
    """Refuse evaluation rows that cannot tell: unlabelled, all alike, or calibrated on.

    Raises:
        InvalidGolden: which of these it is, and what to do.
    """
    if evaluation.y is None and evaluation.targets is None:
        raise InvalidGolden(
            "the evaluation rows have no labels (y)", next_step="evaluation needs true classes"
        )
    if evaluation.y is not None and len(np.unique(evaluation.y)) < 2:
        raise InvalidGolden(
            f"all evaluation rows are of class {evaluation.y[0]}",
            next_step="evaluate on rows of every class",
        )
    if evaluation.targets is not None and not np.ptp(evaluation.targets, axis=0).any():
        raise InvalidGolden(
            "all evaluation rows have the same target", next_step="evaluate on rows that differ"
        )
    if calibration is None:
        return
    known = {row.tobytes() for row in _comparable(calibration.x)}
    shared = sum(row.tobytes() in known for row in _comparable(evaluation.x))
    if shared > MAX_SHARED_ROWS * len(evaluation.x):
        raise InvalidGolden(
            f"{shared} of {len(evaluation.x)} evaluation rows are calibration rows too",
            next_step="hold evaluation rows out: what was calibrated on proves nothing",
        )


def _comparable(rows: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.reshape(len(rows), -1).astype(np.float32))


def _known(predicted: Predictions) -> int:
    """Return how many classes a model tells apart: as many as scores, or the highest answered."""
    answered = 1 + int(predicted.classes.max())
    if predicted.scores is None:
        return answered
    width = math.prod(predicted.scores.shape[1:])
    return max(answered, width if width > 1 else 0)


def _classes_in(truth: NDArray[np.int64]) -> int:
    return int(truth.max()) + 1


def _by_class(
    truth: NDArray[np.int64],
    float_right: NDArray[np.bool_],
    right: NDArray[np.bool_],
    classes: int,
) -> tuple[ClassEvidence, ...]:
    return tuple(
        ClassEvidence(
            rows=int((truth == label).sum()),
            float_correct=int(float_right[truth == label].sum()),
            correct=int(right[truth == label].sum()),
        )
        for label in range(classes)
    )


def slice_members(
    slices: Mapping[str, NDArray[np.str_]],
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield every slice as ``kind=name`` with the rows that are in it."""
    for kind, names in sorted(slices.items()):
        for each in np.unique(names):
            yield f"{kind}={each}", names == each


def _by_slice(
    slices: Mapping[str, NDArray[np.str_]],
    float_right: NDArray[np.bool_],
    right: NDArray[np.bool_],
) -> tuple[SliceEvidence, ...]:
    found = list(slice_members(slices))
    if len(found) > MAX_SLICES or any(len(name) > MAX_SLICE_NAME for name, _ in found):
        raise InvalidGolden(
            f"the evaluation rows have {len(found)} slices",
            next_step=f"up to {MAX_SLICES}, with names of up to {MAX_SLICE_NAME} characters",
        )
    return tuple(
        SliceEvidence(
            name=name,
            rows=int(member.sum()),
            float_correct=int(float_right[member].sum()),
            correct=int(right[member].sum()),
        )
        for name, member in found
    )


def _sqnr_db(expected: Predictions, given: Predictions) -> float | None:
    """Return the signal-to-noise ratio of the scores, None if they are not two kinds of floats."""
    a, b = expected.scores, given.scores
    if a is None or b is None or a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f":
        return None
    return sqnr_of(a, b)


def sqnr_of(expected: NDArray[np.generic], given: NDArray[np.generic]) -> float:
    """Return the signal-to-quantization-noise ratio of answers, in dB within ``MAX_SQNR_DB``."""
    signal, other = expected.astype(np.float64), given.astype(np.float64)
    noise = float(np.mean((signal - other) ** 2))
    power = float(np.mean(signal**2))
    if noise == 0.0:
        return MAX_SQNR_DB
    if power == 0.0:
        return -MAX_SQNR_DB
    return round(min(MAX_SQNR_DB, max(-MAX_SQNR_DB, 10 * math.log10(power / noise))), 2)


def _confusion(truth: NDArray[np.int64], predicted: Predictions, classes: int) -> tuple[int, ...]:
    """Return ``[C * C]`` counts, a true class a row; rows without an answered class in none."""
    told = predicted.classes != NO_CLASS
    cells = truth[told] * classes + predicted.classes[told]
    return tuple(np.bincount(cells, minlength=classes * classes).tolist())


def _rounded(value: float) -> float:
    """Six digits: below what rows can tell, above what the last bits of a float do."""
    return round(value, 6)
