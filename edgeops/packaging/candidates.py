"""Candidates: a search goes on with its next best when a gate refuses what it chose.

A search judges on a few calibration rows, the gates on evaluation rows that it never saw. Whoever
tries several candidates on the same evaluation rows takes the luckiest in the end; so each further
one must show by an interval of half the error that the one before was allowed. Of all that could
pass by luck together that is at most twice what a single recipe is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeops.domain.errors import GateFailed
from edgeops.packaging.convert.job import Report
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.gates.evidence import confidence_after
from edgeops.packaging.gates.verdicts import ArtifactRefused
from edgeops.packaging.recipes import Recipe
from edgeops.packaging.recipes.trials import Search, Trial, pareto_front, ranked

MAX_CANDIDATES = 5
"""Candidates of one search that gates look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A candidate that was passed over, and why; ``is_judged``: a gate looked at it."""

    recipe: Recipe
    why: str
    is_judged: bool = True


Refusals = Mapping[str, tuple[Refusal, ...]]
"""By format."""


def refuse(refusals: Refusals, file: ModelFile, error: ArtifactRefused) -> Refusals:
    """Return the refusals with one more.

    Args:
        refusals: so far.
        file: that was refused.
        error: why.

    Raises:
        ArtifactRefused: the file is none that was searched for.
        GateFailed: as many candidates as are looked at were refused.
    """
    if file.made is None or not file.made.making.trials:
        raise error
    known = (
        *refusals.get(file.format, ()),
        Refusal(recipe=file.made.recipe, why=f"refused by gate {error.gate!r}"),
    )
    if len(known) >= MAX_CANDIDATES:
        raise _exhausted(error, known)
    return {**refusals, file.format: known}


def next_candidate(
    making: Report, refused: tuple[Refusal, ...], search: Search, float_bytes: int
) -> Recipe | None:
    """Return the best candidate of a search that no gate refused yet, None if there is none.

    First those that are nearer to the float model than all that were refused, then those on the
    Pareto front, then the others: one that is made nearly as the refused ones fails like them.

    Args:
        making: report of the search.
        refused: its candidates that were refused.
        search: what was searched for.
        float_bytes: size of the float model.
    """
    known = [each.recipe for each in refused]
    order = ranked(making.trials, search, float_bytes, making.float_ms)
    nearest_db = max(each.sqnr_db for each in making.trials if each.recipe in known)
    front = pareto_front(order)

    def turn(trial: Trial) -> int:
        if trial.sqnr_db > nearest_db:
            return 0
        return 1 if trial in front else 2

    left = sorted((each for each in order if each.recipe not in known), key=turn)
    return left[0].recipe if left else None


def none_left(refused: tuple[Refusal, ...]) -> GateFailed:
    """Return the error of a search all of whose candidates were refused."""
    return GateFailed(
        f"no candidate of the search is left: {_listed(refused)}",
        next_step="give more calibration and evaluation rows, or package it by --recipe float32",
    )


def recorded(search: Report, made: Report, recipe: Recipe, refused: tuple[Refusal, ...]) -> Report:
    """Return how an artifact was made that was not the first choice of its search.

    Args:
        search: report of the search.
        made: report of the making of this candidate.
        recipe: of this candidate.
        refused: the candidates before it.
    """
    why = {each.recipe.name: each.why for each in refused}
    confidence = confidence_after(sum(each.is_judged for each in refused))
    trials = tuple(
        replace(each, why_not=why.get(each.recipe.name, each.why_not)) for each in search.trials
    )
    return replace(
        made,
        recipe=recipe,
        trials=trials,
        sensitivity=search.sensitivity,
        objective=search.objective,
        float_ms=search.float_ms,
        stopped=f"{search.stopped}; passed over {_listed(refused)}, so the interval of the drop is "
        f"at {100 * confidence:g} %",
    )


def _listed(refused: tuple[Refusal, ...]) -> str:
    return ", ".join(f"{each.recipe.name} ({each.why})" for each in refused)


def _exhausted(error: ArtifactRefused, refused: tuple[Refusal, ...]) -> GateFailed:
    return GateFailed(
        f"{error} (so were {len(refused) - 1} better candidates of the search)",
        next_step="give more calibration and evaluation rows, ask for less, or package it by "
        "--recipe float32",
    )
