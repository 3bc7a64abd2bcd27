"""Facts of one package, from its manifest and its build record; whoever asks draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from device_agent.protocol.ids import Digest
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Manifest, Variant
from edgeops.domain.errors import NotFound, NotTrusted
from edgeops.packaging.convert.job import Report
from edgeops.packaging.files.model_file import AS_IS
from edgeops.packaging.gates.score_errors import HIGHEST, LOWEST, ScoreErrors
from edgeops.packaging.gates.verdicts import FIT_GATE, GATES, RUNTIME_GATE, Verdict
from edgeops.packaging.package import Package
from edgeops.packaging.recipes.trials import Trial, pareto_front
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.record.build_record import ArtifactRecord, BuildRecord
from edgeops.packaging.record.measured import Measured, RunMeasured
from edgeops.packaging.record.rebuild import record_of
from edgeops.packaging.verify import check_blobs, verify_package
from edgeops.reports.facts import VariantFacts
from edgeops.reports.package_facts import (
    MODEL_INPUT,
    ArtifactFacts,
    ErrorFacts,
    GateFacts,
    OperationFacts,
    PackageFacts,
    RunFacts,
    SensitivityFacts,
    SupportFacts,
    TrialFacts,
    VerdictFacts,
)
from edgeops.trust.keys import KeyFolder, verify_signature

TRUSTED, NOT_TRUSTED, NOT_CHECKED = "trusted", "not trusted", "not checked"


def gather(package: Package, keys: Path) -> PackageFacts:
    """Return the facts of a package.

    Args:
        package: as it was read.
        keys: folder with ``root.json``, which says whom to trust; there may be none.

    Raises:
        NotTrusted: its bytes are not those that its manifest names.
        InvalidPackage: its build record, or what was measured of it, is damaged.
    """
    check_blobs(package)
    record = record_of(package)
    manifest, measured = package.manifest, _measured(package)
    signature, found = _whose(package, keys)
    return PackageFacts(
        model=manifest.model,
        number=manifest.version,
        digest=package.digest,
        key=package.signature.keyid,
        signature=signature,
        found=found,
        min_agent=manifest.min_agent,
        labels=manifest.labels,
        lineage=tuple(sorted(manifest.lineage.items())),
        has_record=record is not None,
        gates=tuple(_gates(manifest, record)),
        variants=tuple(_variant(each) for each in manifest.variants),
        artifacts=tuple(_timed(each, measured) for each in _artifacts(manifest, record)),
        errors=() if record is None else tuple(_errors(each) for each in record.errors),
        host="" if measured is None else measured.host,
        runs=() if measured is None else tuple(_run(each) for each in measured.runs),
    )


def _measured(package: Package) -> Measured | None:
    """Return what was measured of a package; None if that is of another one, or not here."""
    found = None if package.measured is None else Measured.from_bytes(package.measured)
    return found if found is not None and found.package == package.digest else None


def _run(run: RunMeasured) -> RunFacts:
    return RunFacts(
        runtime=run.runtime,
        package=run.package,
        threads=run.threads,
        latency_ms=run.latency_ms,
        latency_ms_p95=run.latency_ms_p95,
        memory_mib=run.memory_mib,
    )


def _timed(artifact: ArtifactFacts, measured: Measured | None) -> ArtifactFacts:
    """Return an artifact with the latencies of its search, if they are here."""
    searches = () if measured is None else measured.searches
    found = next((each for each in searches if each.format == artifact.format), None)
    if found is None or not artifact.trials:
        return artifact
    took_ms = {each.recipe: each.latency_ms for each in found.trials}
    trials = tuple(replace(each, latency_ms=took_ms.get(each.recipe)) for each in artifact.trials)
    return replace(artifact, trials=trials, float_ms=found.float_ms)


def _whose(package: Package, keys: Path) -> tuple[str, str]:
    """Return whether a key that is trusted here signed it, and what was found."""
    try:
        root = KeyFolder(keys).root()
    except NotFound:
        return NOT_CHECKED, "there is no root of trust here"
    try:
        verify_package(package, root.keys_of("targets"), verify_signature)
    except NotTrusted as error:
        return NOT_TRUSTED, str(error)
    return TRUSTED, f"by a targets key of root version {root.version}"


def _gates(manifest: Manifest, record: BuildRecord | None) -> Iterator[GateFacts]:
    """Yield every gate that there is, those that this code does not know at the end."""
    verdicts = record.verdicts if record is not None else ()
    reasons = {each.gate: each.reason for each in manifest.waivers}
    for name in dict.fromkeys([*GATES, *(each.gate for each in verdicts), *reasons]):
        found = [
            VerdictFacts(holds=each.holds, found=each.found)
            for each in verdicts
            if each.gate == name
        ]
        if name == FIT_GATE and not found and record is not None:
            found += _fits(manifest)
        yield GateFacts(name=name, verdicts=tuple(found), waived=reasons.get(name, ""))


def _fits(manifest: Manifest) -> Iterator[VerdictFacts]:
    """Yield what a package with a memory budget shows by being there: it was not refused."""
    budgets = {each.budget.memory_mib for each in manifest.variants}
    for budget in sorted(each for each in budgets if each is not None):
        said = f"memory grew by no more than {budget:g} MiB; how much, depends on the machine"
        yield VerdictFacts(holds=True, found=said)


def _variant(variant: Variant) -> VariantFacts:
    return VariantFacts(
        runtime=variant.runtime,
        profiles=variant.profiles,
        size_bytes=variant.artifact.ref.size_bytes,
        golden_accuracy=variant.golden_accuracy,
        evidence=variant.evidence,
        metric=variant.metric,
    )


def _artifacts(manifest: Manifest, record: BuildRecord | None) -> Iterator[ArtifactFacts]:
    variants: dict[Digest, list[Variant]] = {}
    for each in manifest.variants:
        variants.setdefault(each.artifact.ref.digest, []).append(each)
    for digest, found in variants.items():
        made = record.of(digest) if record is not None else None
        yield _artifact(digest, found, made, record.verdicts if record is not None else ())


def _artifact(
    digest: Digest,
    variants: Sequence[Variant],
    made: ArtifactRecord | None,
    verdicts: Sequence[Verdict],
) -> ArtifactFacts:
    form = FORMAT_OF_RUNTIME[variants[0].runtime]
    supports = tuple(_supports(variants, form, verdicts))
    size_bytes = variants[0].artifact.ref.size_bytes
    runtimes = tuple(dict.fromkeys(each.runtime for each in variants))
    if made is None:
        recipes = [each.evidence.recipe for each in variants if each.evidence is not None]
        return ArtifactFacts(
            digest=digest,
            format=form,
            size_bytes=size_bytes,
            runtimes=runtimes,
            supports=supports,
            recipe=recipes[0] if recipes else "",
        )
    making = made.making or Report()
    operations = () if made.anatomy is None else tuple(_operations(made.anatomy))
    return ArtifactFacts(
        digest=digest,
        format=form,
        size_bytes=size_bytes,
        runtimes=runtimes,
        supports=supports,
        recipe=AS_IS if made.recipe is None else made.recipe.name,
        source=made.source,
        float_model=made.float_model or "",
        calibration=made.calibration or "",
        ranges=None if making.ranges is None else len(making.ranges),
        excluded=making.excluded,
        notes=making.notes,
        tools=tuple(sorted(made.tools.items())),
        operations=operations,
        trials=tuple(_trials(making)),
        stopped=making.stopped,
        objective=making.objective,
        sensitivity=tuple(_sensitivity(making, operations)),
    )


def _supports(
    variants: Sequence[Variant], form: str, verdicts: Sequence[Verdict]
) -> Iterator[SupportFacts]:
    """Yield whether each profile's runtime was seen to run the file: the gate runs it on all."""
    said = [each for each in verdicts if each.gate == RUNTIME_GATE]
    held = [each for each in said if each.holds and each.found.startswith(f".{form}:")]
    missed = [each for each in said if not each.holds]
    runs, found = None, ""
    if held:
        runs, found = True, held[0].found
    elif missed:  # of which file, if there are several, the verdict tells in words only
        runs, found = False, missed[0].found
    for variant in variants:
        for profile in variant.profiles:
            yield SupportFacts(profile=profile, runtime=variant.runtime, runs=runs, found=found)


def _operations(anatomy: Anatomy) -> Iterator[OperationFacts]:
    """Yield operations with the numbers of those whose outputs they take."""
    makers: dict[str, int] = {}
    alive = anatomy.live_bytes
    for number, each in enumerate(anatomy.operations, 1):
        takes = dict.fromkeys(makers.get(name, MODEL_INPUT) for name in each.inputs)
        yield OperationFacts(
            number=number,
            type=each.type,
            name=each.name,
            takes=tuple(sorted(takes)),
            weights=each.weights,
            weight_dtype=each.weight_dtype,
            activation_dtype=each.activation_dtype,
            constant_bytes=each.constant_bytes,
            output_bytes=each.output_bytes,
            macs=each.macs,
            live_bytes=alive[number - 1] if number <= len(alive) else 0,
        )
        makers.update((name, number) for name in each.outputs)


def _trials(making: Report) -> Iterator[TrialFacts]:
    front = pareto_front([each for each in making.trials if not each.why_not])
    for each in making.trials:
        was_made = each.size_bytes > 0
        yield TrialFacts(
            recipe=each.recipe.name,
            size_bytes=each.size_bytes if was_made else None,
            sqnr_db=each.sqnr_db if was_made else None,
            agreement=each.agreement if was_made else None,
            why_not=each.why_not,
            on_front=_is_among(each, front),
            chosen=each.recipe == making.recipe,
        )


def _is_among(trial: Trial, trials: Sequence[Trial]) -> bool:
    return any(trial is each for each in trials)


def _sensitivity(
    making: Report, operations: Sequence[OperationFacts]
) -> Iterator[SensitivityFacts]:
    by_name: dict[str, OperationFacts] = {}
    for each in operations:
        by_name.setdefault(each.name, each)
    for name, error in sorted(making.sensitivity.items(), key=lambda item: (-item[1], item[0])):
        found = by_name.get(name)
        yield SensitivityFacts(
            name=name,
            error=error,
            number=found.number if found is not None else None,
            type=found.type if found is not None else "",
        )


def _errors(errors: ScoreErrors) -> ErrorFacts:
    return ErrorFacts(
        runtime=errors.runtime,
        rows=errors.rows,
        same=errors.same,
        low=LOWEST,
        high=HIGHEST,
        counts=errors.counts,
        median=errors.median,
        p95=errors.p95,
        worst=errors.worst,
    )
