"""Building a package: read, convert, plan, evaluate, gate, assemble, sign.

The manifest holds no time, host, path or locale: the same request on the same machine with the
same package versions gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol.manifest import (
    FORMAT_OF_RUNTIME,
    class_count,
)
from edgeops.domain.errors import InvalidInput
from edgeops.domain.profile import Profile
from edgeops.packaging.assemble import Judged, assembled, budget_of
from edgeops.packaging.candidates import Refusals, refuse
from edgeops.packaging.engines import Engine, engine_for
from edgeops.packaging.evaluate import Evaluation, evaluate
from edgeops.packaging.files.model_file import ModelFile, on_trial
from edgeops.packaging.gates.arena import Arena
from edgeops.packaging.gates.checks import (
    check_measured,
    check_search,
    effect_checks,
    golden_checks,
    memory_checks,
    runtime_checks,
)
from edgeops.packaging.gates.effect import EFFECT_GATE
from edgeops.packaging.gates.evidence import FIDELITY_GATE, QUALITY_GATE
from edgeops.packaging.gates.fit import arena_checks
from edgeops.packaging.gates.metrics import read_metric
from edgeops.packaging.gates.quality import (
    Quality,
    evaluate_quality,
    fidelity_checks,
    quality_checks,
    tell,
)
from edgeops.packaging.gates.verdicts import FIT_GATE, RUNTIME_GATE, ArtifactRefused, Gates
from edgeops.packaging.package import Package, Signer
from edgeops.packaging.profiles import find_profiles, load_profiles
from edgeops.packaging.record.provenance import examine_files
from edgeops.packaging.request import PackageRequest, check_request
from edgeops.packaging.rows.given import GivenRows, read_rows
from edgeops.packaging.rows.golden_rows import LabelledRows
from edgeops.packaging.sources import read_models
from edgeops.packaging.variants import PlannedVariant, plan_variants

Progress = Callable[[str], None]


def build_package(
    request: PackageRequest,
    key: Signer,
    progress: Progress,
    *,
    known_profiles: Mapping[str, Profile] | None = None,
) -> Package:
    """Make a signed package.

    Args:
        request: what to package.
        key: the targets key.
        progress: told one line about each step, and about everything that was not checked.
        known_profiles: profiles by id; those on the search path by default.

    Raises:
        InvalidInput: the request cannot be (also its kinds ``InvalidModel``,
            ``InvalidGolden``).
        UnknownProfile: a profile that is not known.
        GateFailed: a gate was missed and not waived.
    """
    check_request(request)
    known = load_profiles() if known_profiles is None else known_profiles
    profiles = find_profiles(sorted(request.profiles), known)
    rows = read_rows(request, progress)
    check_search(request.recipes, rows.evaluation, request.waivers)
    refusals: Refusals = {}
    while True:
        files = read_models(request, profiles, rows.calibration, progress, refusals)
        try:
            return assembled(request, _judged(request, profiles, rows, files, progress), key)
        except ArtifactRefused as error:
            refusals = refuse(refusals, files[error.form], error)
            progress(f"refused: {error}")
            progress("going on with the next candidate of the search, held to a narrower error")
            progress = _once(progress)


def _once(progress: Progress) -> Progress:
    """Return a teller that says each line once: what is done again need not be told again."""
    said: set[str] = set()

    def tell_new(line: str) -> None:
        if line not in said:
            said.add(line)
            progress(line)

    return tell_new


def _judged(
    request: PackageRequest,
    profiles: Sequence[Profile],
    rows: GivenRows,
    files: dict[str, ModelFile],
    progress: Progress,
) -> Judged:
    """Hold the artifacts to every gate.

    Raises:
        EdgeopsError: as ``build_package``; ``ArtifactRefused`` says by which gate.
    """
    gates = Gates(request.waivers, progress)
    planned = plan_variants(profiles, files.keys())
    anatomies = examine_files(files, request.cache, progress)
    _tell_what_is_not_checked(files, planned, rows.golden, progress)
    files = {form: files[form] for form in dict.fromkeys(each.format for each in planned)}
    gates.hold(QUALITY_GATE, [partial(check_measured, files, rows.evaluation)])
    engines = _engines(planned, request, progress)
    arenas: dict[str, Arena] = {}
    gates.hold(FIT_GATE, arena_checks(planned, files, engines, arenas, anatomies))
    evaluations = {
        runtime: _evaluate(_file(files, runtime), engine, rows.golden, request, progress)
        for runtime, engine in engines.items()
    }
    _check_labels(request, evaluations)
    gates.hold(EFFECT_GATE, effect_checks(files, anatomies))
    gates.hold(RUNTIME_GATE, runtime_checks(files, evaluations, rows.any, request.cache))
    gates.hold(GOLDEN_GATE, golden_checks(evaluations, request.min_accuracy))
    qualities = _qualities(request, rows.evaluation, files, evaluations)
    tell(qualities, files, progress)
    gates.hold(QUALITY_GATE, quality_checks(qualities, files, read_metric(request.metric)))
    gates.hold(FIDELITY_GATE, fidelity_checks(qualities, files, request.fidelity))
    budgets = [budget_of(request, each) for each in planned]
    gates.hold(FIT_GATE, memory_checks(planned, budgets, evaluations, files, anatomies))
    gates.close()
    return Judged(
        rows=rows,
        planned=tuple(planned),
        files=files,
        anatomies=anatomies,
        evaluations=evaluations,
        qualities=qualities,
        arenas=arenas,
        waivers=gates.waivers,
        verdicts=tuple(gates.verdicts),
    )


def _tell_what_is_not_checked(
    files: Mapping[str, ModelFile],
    planned: Sequence[PlannedVariant],
    rows: LabelledRows | None,
    progress: Progress,
) -> None:
    for form in files.keys() - {each.format for each in planned}:
        progress(f"warning: {files[form].name} is left out, no profile runs it")
    if rows is None:
        progress("warning: no golden rows: nothing proves that this model answers right")
    elif rows.y is None:
        progress("warning: golden rows without labels (y): answers are compared, not judged")


def _engines(
    planned: Sequence[PlannedVariant], request: PackageRequest, progress: Progress
) -> dict[str, Engine]:
    """Return what runs the variants, by runtime."""
    runtimes = dict.fromkeys(each.runtime for each in planned)
    return {runtime: engine_for(runtime, request.cache, progress) for runtime in runtimes}


def _file(files: Mapping[str, ModelFile], runtime: str) -> ModelFile:
    return files[FORMAT_OF_RUNTIME[runtime]]


def _evaluate(
    file: ModelFile,
    engine: Engine,
    rows: LabelledRows | None,
    request: PackageRequest,
    progress: Progress,
) -> Evaluation:
    progress(f"evaluating {file.name} on {engine.name}")
    with on_trial(file, engine) as trial:
        found = evaluate(trial, rows, scores=request.scores, tolerance=request.tolerance)
    if found.accuracy is not None:
        progress(f"accuracy {found.accuracy:.4f} on {found.rows} rows")
    memory = "" if engine.runtime == "tflm" else f"memory {found.memory_mib:.1f} MiB, "
    progress(
        f"{memory}latency {found.latency_ms_p50:.3f} ms, p95 {found.latency_ms_p95:.3f} ms on this "
        "host, by one thread"
    )
    return found


def _qualities(
    request: PackageRequest,
    rows: LabelledRows | None,
    files: Mapping[str, ModelFile],
    evaluations: Mapping[str, Evaluation],
) -> dict[str, Quality]:
    """Return what the evaluation rows show of each artifact; nothing without such rows."""
    if rows is None:
        return {}
    metric = read_metric(request.metric)
    return {
        runtime: evaluate_quality(
            _file(files, runtime), found, rows, max_drop=request.max_drop, metric=metric
        )
        for runtime, found in evaluations.items()
    }


def _check_labels(request: PackageRequest, evaluations: Mapping[str, Evaluation]) -> None:
    for runtime, found in evaluations.items():
        scores = next(spec for spec in found.outputs if spec.name == found.scores)
        classes = class_count(scores)
        if request.labels and classes and classes != len(request.labels):
            raise InvalidInput(
                f"{len(request.labels)} labels are given, the model for {runtime} has "
                f"{classes} classes",
                next_step="give one label for each class, in the order of the scores",
            )
