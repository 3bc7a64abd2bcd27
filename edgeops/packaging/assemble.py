"""Assembling a package from what was judged: variants, lineage, manifest, signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_agent import __version__
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
    first_agents,
)
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.evaluate import Evaluation
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.gates.arena import Arena
from edgeops.packaging.gates.fit import arena_lineage
from edgeops.packaging.gates.quality import Quality, errors_of
from edgeops.packaging.gates.verdicts import Verdict
from edgeops.packaging.package import Package, Signer, chunked
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD
from edgeops.packaging.record.measured import measured_here
from edgeops.packaging.record.provenance import provenance_of
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.rows.given import GivenRows
from edgeops.packaging.variants import PlannedVariant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Artifacts that passed every gate, and what was found of them.

    Attributes:
        rows: that the request names.
        planned: the variants.
        files: the artifacts by format.
        anatomies: theirs, by format.
        evaluations: by runtime.
        qualities: by runtime; empty without evaluation rows.
        arenas: by runtime, of microcontrollers.
        waivers: that were needed.
        verdicts: of all gates.
    """

    rows: GivenRows
    planned: tuple[PlannedVariant, ...]
    files: Mapping[str, ModelFile]
    anatomies: Mapping[str, Anatomy]
    evaluations: Mapping[str, Evaluation]
    qualities: Mapping[str, Quality]
    arenas: Mapping[str, Arena]
    waivers: tuple[Waiver, ...]
    verdicts: tuple[Verdict, ...]


def assembled(request: PackageRequest, judged: Judged, key: Signer) -> Package:
    """Return the signed package.

    Args:
        request: what was asked.
        judged: what passed the gates.
        key: the targets key.

    Raises:
        InvalidInput: the manifest is too large, or devices would refuse it.
    """
    variants = [
        _variant(
            request,
            each,
            judged.files[each.format],
            judged.evaluations[each.runtime],
            judged.qualities.get(each.runtime),
        )
        for each in judged.planned
    ]
    provenance = provenance_of(
        judged.files,
        judged.anatomies,
        judged.verdicts,
        errors_of(judged.qualities),
        keep_float=request.keep_float,
    )
    lineage = {
        **_lineage(request, judged.files, judged.rows, judged.evaluations),
        **arena_lineage(judged.arenas),
        BUILD_KEY: digest_of(provenance[BUILD_RECORD]),
    }
    manifest = _manifest(request, variants, judged.waivers, lineage)
    return _signed(manifest, judged, provenance, key)


def budget_of(request: PackageRequest, planned: PlannedVariant) -> Budget:
    """Return what the model may cost: as asked, or the least of what the profiles allow."""
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
        budget=budget_of(request, planned),
        reference=chunked(quality.reference, size) if quality is not None else None,
        evidence=quality.evidence if quality is not None else None,
        metric=quality.metric if quality is not None else None,
    )


def _file(files: Mapping[str, ModelFile], runtime: str) -> ModelFile:
    return files[FORMAT_OF_RUNTIME[runtime]]


def _lineage(
    request: PackageRequest,
    files: Mapping[str, ModelFile],
    rows: GivenRows,
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
    manifest: Manifest, judged: Judged, provenance: Mapping[str, bytes], key: Signer
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
        raise InvalidInput(
            f"devices would refuse this: {error}",
            next_step=error.next_step or "make shorter what it names, or leave it out",
        ) from error
    blobs: dict[Digest, bytes] = {}
    for runtime, found in judged.evaluations.items():
        quality = judged.qualities.get(runtime)
        reference = quality.reference if quality is not None else None
        for blob in (_file(judged.files, runtime).data, found.golden, reference):
            if blob is not None:
                blobs[digest_of(blob)] = blob
    measured = measured_here(digest_of(data), judged.files, judged.evaluations)
    return Package(
        manifest=parsed,
        manifest_bytes=data,
        signature=key.sign(data),
        blobs=blobs,
        provenance=provenance,
        measured=measured.to_bytes(),
    )
