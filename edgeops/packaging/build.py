"""Building a package: read, convert, plan, evaluate, gate, assemble, sign.

The manifest holds no time, host, path or locale: the same request on the same machine with the
same package versions gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from device_agent import __version__
from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, ModelName, digest_of
from device_agent.protocol.manifest import (
    FIRST_AGENT_OF_RUNTIME,
    FORMAT_OF_RUNTIME,
    MAX_MANIFEST_BYTES,
    Budget,
    Manifest,
    Variant,
    Waiver,
    agent_version_key,
    class_count,
    first_agents,
)
from edgeops.domain.errors import InvalidInput
from edgeops.domain.profile import Profile
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
from edgeops.packaging.gates.evidence import FIDELITY_GATE, QUALITY_GATE, check_rows
from edgeops.packaging.gates.fit import arena_checks, arena_lineage
from edgeops.packaging.gates.metrics import read_metric
from edgeops.packaging.gates.quality import (
    Quality,
    errors_of,
    evaluate_quality,
    fidelity_checks,
    quality_checks,
    tell,
)
from edgeops.packaging.gates.verdicts import FIT_GATE, RUNTIME_GATE, Gates
from edgeops.packaging.package import Package, Signer, chunked
from edgeops.packaging.profiles import find_profiles, load_profiles
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD
from edgeops.packaging.record.measured import measured_here
from edgeops.packaging.record.provenance import examine_files, provenance_of
from edgeops.packaging.request import PackageRequest, check_request
from edgeops.packaging.rows.golden_rows import LabelledRows, read_golden_rows
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
    rows = _read_rows(request, progress)
    gates = Gates(request.waivers, progress)
    check_search(request.recipes, rows.evaluation, request.waivers)
    files = read_models(request, profiles, rows.calibration, progress)
    anatomies = examine_files(files, request.cache, progress)
    planned = plan_variants(profiles, files.keys())
    _tell_what_is_not_checked(files, planned, rows.golden, progress)
    files = {form: files[form] for form in dict.fromkeys(each.format for each in planned)}
    gates.hold(QUALITY_GATE, [partial(check_measured, files, rows.evaluation)])
    engines = _engines(planned, request, progress)
    arenas: dict[str, Arena] = {}
    gates.hold(FIT_GATE, arena_checks(planned, files, engines, arenas))
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
    budgets = [_budget(request, each) for each in planned]
    gates.hold(FIT_GATE, memory_checks(planned, budgets, evaluations))
    gates.close()
    variants = [
        _variant(
            request,
            each,
            files[each.format],
            evaluations[each.runtime],
            qualities.get(each.runtime),
            budget,
        )
        for each, budget in zip(planned, budgets, strict=True)
    ]
    provenance = provenance_of(
        files, anatomies, gates.verdicts, errors_of(qualities), keep_float=request.keep_float
    )
    lineage = {**_lineage(request, files, rows, evaluations), **arena_lineage(arenas)}
    lineage[BUILD_KEY] = digest_of(provenance[BUILD_RECORD])
    manifest = _manifest(request, variants, gates.waivers, lineage)
    return _signed(manifest, files, evaluations, qualities, provenance, key)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The rows that a request names; None where it names none."""

    golden: LabelledRows | None
    evaluation: LabelledRows | None
    calibration: LabelledRows | None

    @property
    def any(self) -> LabelledRows | None:
        """Rows to compare answers on, whatever they are."""
        return next(
            (each for each in (self.evaluation, self.golden, self.calibration) if each is not None),
            None,
        )


def _read_rows(request: PackageRequest, progress: Progress) -> _Rows:
    """Read all rows before any model: what cannot be is said before minutes of conversion."""
    filled = request.preprocessing.filled if request.preprocessing is not None else ()
    takes_targets = read_metric(request.metric).takes_targets
    golden, evaluation, calibration = (
        read_golden_rows(path, filled, targets=takes_targets) if path is not None else None
        for path in (request.golden, request.evaluation, request.calibration)
    )
    if evaluation is not None:
        check_rows(evaluation, calibration)
        evaluation = _each_once(evaluation, progress)
    return _Rows(golden=golden, evaluation=evaluation, calibration=calibration)


def _each_once(rows: LabelledRows, progress: Progress) -> LabelledRows:
    """Leave repetitions out: they would narrow intervals without showing anything."""
    distinct = rows.distinct()
    if left_out := len(rows.x) - len(distinct.x):
        progress(f"note: {left_out} of {len(rows.x)} evaluation rows repeat others: left out")
    return distinct


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


def _budget(request: PackageRequest, planned: PlannedVariant) -> Budget:
    if request.budget is not None:
        return request.budget
    budgets = [profile.budget for profile in planned.profiles]
    return Budget(
        latency_ms_p95=_strictest([each.latency_ms_p95 for each in budgets]),
        memory_mib=_strictest([each.memory_mib for each in budgets]),
    )


def _strictest(limits: Sequence[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _variant(
    request: PackageRequest,
    planned: PlannedVariant,
    file: ModelFile,
    found: Evaluation,
    quality: Quality | None,
    budget: Budget,
) -> Variant:
    size = request.chunk_bytes
    return Variant(
        profiles=tuple(profile.id for profile in planned.profiles),
        runtime=planned.runtime,
        artifact=chunked(file.data, size),
        golden=chunked(found.golden, size) if found.golden is not None else None,
        inputs=found.inputs,
        outputs=found.outputs,
        scores=found.scores,
        tolerance=found.tolerance,
        golden_accuracy=found.golden_accuracy,
        budget=budget,
        reference=chunked(quality.reference, size) if quality is not None else None,
        evidence=quality.evidence if quality is not None else None,
        metric=quality.metric if quality is not None else None,
    )


def _lineage(
    request: PackageRequest,
    files: Mapping[str, ModelFile],
    rows: _Rows,
    evaluations: Mapping[str, Evaluation],
) -> dict[str, str]:
    lineage = {**request.lineage, "packager": f"edgeops {__version__}"}
    if rows.golden is not None:
        lineage["golden"] = rows.golden.digest
    if rows.evaluation is not None:
        lineage["evaluation"] = rows.evaluation.digest
    for runtime, found in evaluations.items():
        file = _file(files, runtime)
        for what, value in file.lineage.items():
            lineage[f"{what}.{file.format}"] = value
        lineage[f"runtime.{runtime}"] = found.engine.package
        if found.accuracy is not None:
            lineage[f"golden.{runtime}"] = f"accuracy {found.accuracy:.4f}, {found.rows} rows"
    return lineage


def _manifest(
    request: PackageRequest,
    variants: Sequence[Variant],
    waivers: tuple[Waiver, ...],
    lineage: Mapping[str, str],
) -> Manifest:
    is_judged = any(variant.golden_accuracy is not None for variant in variants)
    return Manifest(
        model=ModelName(request.name),
        version=request.version,
        min_agent=_min_agent(request, variants),
        labels=request.labels,
        variants=tuple(variants),
        min_accuracy=request.min_accuracy if is_judged else None,
        waivers=waivers,
        lineage=lineage,
        preprocessing=request.preprocessing,
        thresholds=request.thresholds,
    )


def _min_agent(request: PackageRequest, variants: Sequence[Variant]) -> str:
    """Return the oldest agent that can run all of it."""
    needed = list(first_agents(request.preprocessing, request.thresholds).values())
    needed += [
        FIRST_AGENT_OF_RUNTIME[each.runtime]
        for each in variants
        if each.runtime in FIRST_AGENT_OF_RUNTIME
    ]
    return max((request.min_agent, *needed), key=agent_version_key)


def _signed(
    manifest: Manifest,
    files: Mapping[str, ModelFile],
    evaluations: Mapping[str, Evaluation],
    qualities: Mapping[str, Quality],
    provenance: Mapping[str, bytes],
    key: Signer,
) -> Package:
    data = manifest.to_bytes()
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidInput(
            f"the manifest has {len(data)} bytes, {MAX_MANIFEST_BYTES} are allowed",
            next_step="use larger chunks",
        )
    try:
        parsed = Manifest.from_bytes(data)
    except ProtocolError as error:  # a label or lineage too long, a tensor of too many ranks, …
        raise InvalidInput(f"devices would refuse this: {error}") from error
    blobs: dict[Digest, bytes] = {}
    for runtime, found in evaluations.items():
        quality = qualities.get(runtime)
        reference = quality.reference if quality is not None else None
        for blob in (_file(files, runtime).data, found.golden, reference):
            if blob is not None:
                blobs[digest_of(blob)] = blob
    measured = measured_here(digest_of(data), files, evaluations)
    return Package(
        manifest=parsed,
        manifest_bytes=data,
        signature=key.sign(data),
        blobs=blobs,
        provenance=provenance,
        measured=measured.to_bytes(),
    )
