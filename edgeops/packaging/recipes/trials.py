"""Trials: what a search for a recipe tried, and which of it is worth having."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.evidence import MAX_SQNR_DB
from device_agent.protocol.fields import Fields
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.recipes.schema import Recipe

SIZE, LATENCY, ACCURACY = "size", "latency", "accuracy"
OBJECTIVES = (SIZE, LATENCY, ACCURACY)
SAME_SIZE = 1.03
"""Sizes, and SAME_LATENCY latencies, within this factor are taken for equal: fidelity decides."""
SAME_LATENCY = 1.15
TOO_SLOW = 2.0
"""Of files of about the same size, one that takes so many times longer than another is not taken;
and for the objective size one that takes so many times longer than the float model comes after the
others; for the objective latency all that are slower than it do."""
TOO_SLOW_MS = 0.05
"""Longer by less is not slow: of models that take microseconds the factor would be chance."""
MARGIN = 0.5
"""Share of the drop that is allowed by which answers may differ on the rows that judge. A search
has few rows, and the best of many candidates is also the luckiest."""
MAX_SHARE = 0.6
"""Of the float model's bytes, for the objective accuracy: more would be no quantization."""
DEFAULT_SECONDS = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to search for.

    Attributes:
        objective: what is to be least (``size``, ``latency``) or best (``accuracy``).
        min_sqnr_db: bar of the gate fidelity, for the scores.
        min_agreement: bar of the gate fidelity, for the answers.
        max_drop: bar of the gate quality. Answers that are the same lose nothing: candidates
            that answer more than ``MARGIN`` of it otherwise come last.
        seconds: after so many no new candidate is tried.
    """

    objective: str
    min_sqnr_db: float
    min_agreement: float
    max_drop: float
    seconds: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        """Refuse an unknown objective.

        Raises:
            InvalidInput: it is none.
        """
        if self.objective not in OBJECTIVES:
            raise InvalidInput(
                f"objective {self.objective[:40]!r} is unknown",
                next_step=f"choose one of: {', '.join(OBJECTIVES)}",
            )

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "objective": self.objective,
            "min_sqnr_db": self.min_sqnr_db,
            "min_agreement": self.min_agreement,
            "max_drop": self.max_drop,
            "seconds": self.seconds,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Search:
        """Read the JSON form."""
        return cls(
            objective=fields.text("objective"),
            min_sqnr_db=fields.number("min_sqnr_db", minimum=-MAX_SQNR_DB, maximum=MAX_SQNR_DB),
            min_agreement=fields.number("min_agreement", maximum=1.0),
            max_drop=fields.number("max_drop", maximum=1.0),
            seconds=fields.number("seconds"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate.

    Attributes:
        recipe: what was made.
        size_bytes: of the file.
        sqnr_db: likeness of its scores to the float model's, on rows that no range was taken from.
        agreement: share of these rows that it answers as the float model does.
        latency_ms: median of one row on this host, None where it is not told.
        why_not: why it cannot be taken, empty if it can.
    """

    recipe: Recipe
    size_bytes: int
    sqnr_db: float
    agreement: float
    latency_ms: float | None = None
    why_not: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "recipe": self.recipe.to_document(),
            "size_bytes": self.size_bytes,
            "sqnr_db": self.sqnr_db,
            "agreement": self.agreement,
            "latency_ms": self.latency_ms,
            "why_not": self.why_not,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Trial:
        """Read the JSON form."""
        return cls(
            recipe=Recipe.from_fields(fields.fields("recipe")),
            size_bytes=fields.integer("size_bytes"),
            sqnr_db=fields.number("sqnr_db", minimum=-MAX_SQNR_DB, maximum=MAX_SQNR_DB),
            agreement=fields.number("agreement", maximum=1.0),
            latency_ms=fields.number("latency_ms") if fields.has("latency_ms") else None,
            why_not=fields.text("why_not", max_length=1000),
        )


def ranked(
    trials: Sequence[Trial], asked: Search, float_bytes: int, float_ms: float | None = None
) -> list[Trial]:
    """Return the candidates that can be taken, the best one first.

    Args:
        trials: all that were tried.
        asked: what counts.
        float_bytes: size of the float model.
        float_ms: median of one row of it on this host; None if it is not known.
    """
    usable = [each for each in trials if not each.why_not]
    least = 1.0 - MARGIN * asked.max_drop
    near = [each for each in usable if each.agreement >= least]
    rest = sorted((each for each in usable if each not in near), key=lambda each: -each.agreement)
    quick = [each for each in near if not _is_slow(each, asked, float_ms)]
    slow = [each for each in near if each not in quick]
    ordered = [_by_objective(part, asked.objective, float_bytes) for part in (quick, slow)]
    return [*ordered[0], *ordered[1], *rest]


def _is_slow(trial: Trial, asked: Search, float_ms: float | None) -> bool:
    if float_ms is None or asked.objective == ACCURACY:
        return False
    if asked.objective == LATENCY:  # what is slower than the float model is no gain in latency
        return is_slower(trial, float_ms)
    return _latency_ms(trial) > _slowest_ms(float_ms)


def is_slower(trial: Trial, float_ms: float) -> bool:
    """Tell whether a candidate takes longer than the float model, by more than chance does."""
    return _latency_ms(trial) > SAME_LATENCY * float_ms


def _slowest_ms(than_ms: float) -> float:
    return max(TOO_SLOW * than_ms, than_ms + TOO_SLOW_MS)


def _by_objective(near: Sequence[Trial], objective: str, float_bytes: int) -> list[Trial]:
    if objective == ACCURACY:
        small = [each for each in near if each.size_bytes <= MAX_SHARE * float_bytes]
        return sorted(small or near, key=lambda each: -each.sqnr_db)
    left, order = list(near), []
    while left:
        order.append(_best(left, objective))
        left.remove(order[-1])
    return order


def _best(usable: Sequence[Trial], objective: str) -> Trial:
    """Return the cheapest; of those that cost about the same the nearest to the float model."""
    if objective == LATENCY:
        equal = _within(usable, SAME_LATENCY, _latency_ms)
    else:
        equal = _within(usable, SAME_SIZE, _size)
        fastest_ms = min(map(_latency_ms, equal))
        equal = [each for each in equal if _latency_ms(each) <= _slowest_ms(fastest_ms)]
    return max(equal, key=lambda each: each.sqnr_db)


def _within(
    trials: Sequence[Trial], factor: float, cost: Callable[[Trial], float]
) -> Sequence[Trial]:
    allowed = factor * min(map(cost, trials))
    return [each for each in trials if cost(each) <= allowed]


def _latency_ms(trial: Trial) -> float:
    return trial.latency_ms or 0.0


def _size(trial: Trial) -> float:
    return trial.size_bytes


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the candidates than which none is both smaller and nearer to the float model.

    Smallest first.
    """
    front: list[Trial] = []
    for each in sorted(trials, key=lambda each: (each.size_bytes, -each.sqnr_db)):
        if not front or each.sqnr_db > front[-1].sqnr_db:
            front.append(each)
    return front
