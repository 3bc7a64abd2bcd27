"""The checks of the gates that look at artifacts, each ready to be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Budget, Waiver
from edgeops.domain.errors import GateFailed
from edgeops.domain.profile import MCU
from edgeops.packaging.evaluate import Evaluation
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.gates.effect import EFFECT_GATE, Promise, check_effect
from edgeops.packaging.gates.evidence import QUALITY_GATE
from edgeops.packaging.gates.fit import told_cost
from edgeops.packaging.gates.runtime import check_runtimes
from edgeops.packaging.gates.verdicts import FIT_GATE, RUNTIME_GATE, Check, of_artifact
from edgeops.packaging.recipes import AUTO, Recipe
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.rows.golden_rows import LabelledRows
from edgeops.packaging.variants import PlannedVariant


def check_measured(files: Mapping[str, ModelFile], evaluation: LabelledRows | None) -> str | None:
    """Refuse a converted model of which nothing shows what it lost.

    Raises:
        GateFailed: it is lossy, and there are no evaluation rows.
    """
    lossy = [file for file in files.values() if file.float_data is not None]
    if evaluation is None and lossy:
        raise GateFailed(
            f"gate {QUALITY_GATE!r}: nothing shows what {lossy[0].label} lost by {lossy[0].recipe}",
            next_step="give held-out labelled rows with --evaluation, or waive 'quality': say why",
        )
    return None


def check_search(
    recipes: Sequence[Recipe | str],
    evaluation: LabelledRows | None,
    waivers: Sequence[Waiver],
) -> None:
    """Refuse a search that nothing would confirm, before it takes its time.

    Raises:
        GateFailed: there are no evaluation rows, and nobody waived the gate.
    """
    is_waived = any(each.gate == QUALITY_GATE for each in waivers)
    if AUTO in recipes and evaluation is None and not is_waived:
        raise GateFailed(
            f"gate {QUALITY_GATE!r}: nothing would confirm what a search chooses",
            next_step="give held-out labelled rows with --evaluation, or waive 'quality': say why",
        )


def effect_checks(
    files: Mapping[str, ModelFile], anatomies: Mapping[str, Anatomy]
) -> Iterator[Check]:
    """Yield a check for each converted artifact: did the recipe do what it promises?"""
    for form, file in files.items():
        if file.made is not None:
            promise = file.made.making.promise
            yield of_artifact(
                EFFECT_GATE, form, partial(_check_effect, file, promise, anatomies.get(form))
            )


def _check_effect(file: ModelFile, promise: Promise, found: Anatomy | None) -> str:
    if found is None:
        raise GateFailed(
            f"gate {EFFECT_GATE!r}: nothing shows what {file.recipe} made",
            next_step="install what reads the format: edgeops doctor says what is missing",
        )
    sizes = len(file.float_data or file.data), len(file.data)
    return check_effect(promise, found, name=file.label, recipe=file.recipe, sizes=sizes)


def runtime_checks(
    files: Mapping[str, ModelFile],
    evaluations: Mapping[str, Evaluation],
    rows: LabelledRows | None,
    cache: Path | None,
) -> Iterator[Check]:
    """Yield a check for each artifact: do all its runtimes answer alike?"""
    for form, file in files.items():
        found = {each: e for each, e in evaluations.items() if FORMAT_OF_RUNTIME[each] == form}
        yield of_artifact(RUNTIME_GATE, form, partial(check_runtimes, file, found, rows, cache))


def golden_checks(evaluations: Mapping[str, Evaluation], min_accuracy: float) -> Iterator[Check]:
    """Yield a check of all golden rows, and of the kept ones alone: a device sees only those."""
    for runtime, found in evaluations.items():
        for share, what in (
            (found.accuracy, f"{found.rows} rows"),
            (found.golden_accuracy, "the rows kept for devices"),
        ):
            if share is not None:
                check = partial(_check_golden, share, what, runtime, min_accuracy)
                yield of_artifact(GOLDEN_GATE, FORMAT_OF_RUNTIME[runtime], check)


def _check_golden(share: float, what: str, runtime: str, min_accuracy: float) -> str:
    said = f"{share:.4f} of {what} right on {runtime}, {min_accuracy:g} is asked"
    if share < min_accuracy:
        raise GateFailed(
            f"gate {GOLDEN_GATE!r}: {said}",
            next_step=f"package a better model, or waive {GOLDEN_GATE!r} and say why",
        )
    return said


def memory_checks(
    planned: Sequence[PlannedVariant],
    budgets: Sequence[Budget],
    evaluations: Mapping[str, Evaluation],
    files: Mapping[str, ModelFile],
    anatomies: Mapping[str, Anatomy],
) -> Iterator[Check]:
    """Yield a check of what each variant for Linux costs; microcontrollers have arenas instead.

    Latency is for the device to judge: this machine is another one.
    """
    for each, budget in zip(planned, budgets, strict=True):
        if each.profiles[0].device_class != MCU:
            cost = told_cost(files[each.format], anatomies.get(each.format))
            used_mib = evaluations[each.runtime].memory_mib
            check = partial(_check_memory, each, cost, used_mib, budget.memory_mib)
            yield of_artifact(FIT_GATE, each.format, check)


def _check_memory(
    planned: PlannedVariant, cost: str, used_mib: float, allowed_mib: float | None
) -> str:
    """Hold growth of memory against the budget; the figure itself is another each time."""
    if allowed_mib is None:
        return f"{planned.runtime}: {cost}; no budget limits its memory"
    if used_mib > allowed_mib:
        raise GateFailed(
            f"gate {FIT_GATE!r}: {used_mib:.1f} MiB on {planned.runtime}, {allowed_mib:g} MiB "
            f"allowed for {', '.join(profile.id for profile in planned.profiles)}",
            next_step="make the model smaller, leave the profile out, or set a budget",
        )
    return f"{planned.runtime}: {cost}; memory grows by less than the {allowed_mib:g} MiB allowed"
