"""Making a package's artifacts again, and asking them the golden questions again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Manifest, Variant
from device_agent.runtimes.child import spawn_probe
from device_agent.runtimes.probe_report import ProbeSpec
from edgeops.domain.errors import EdgeopsError
from edgeops.packaging.convert import tools
from edgeops.packaging.convert.steps import rebuild
from edgeops.packaging.engines import engine_for
from edgeops.packaging.evaluate import PROBE_TIMEOUT_S
from edgeops.packaging.files.scratch import scratch_folder, write_scratch
from edgeops.packaging.package import Package
from edgeops.packaging.record.build_record import BUILD_RECORD, ArtifactRecord, BuildRecord
from edgeops.packaging.record.provenance import float_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was verified: ``state`` is ok, skipped or error."""

    subject: str
    state: str
    what: str


def record_of(package: Package) -> BuildRecord | None:
    """Return a package's build record, None if it has none.

    Raises:
        InvalidPackage: it is damaged.
    """
    data = package.provenance.get(BUILD_RECORD)
    return None if data is None else BuildRecord.from_bytes(data)


def verify_answers(package: Package, cache: Path, progress: Callable[[str], None]) -> list[Finding]:
    """Run every variant on its golden rows and compare with the answers of its making."""
    return [
        _answered(package.manifest, each, package, cache, progress)
        for each in package.manifest.variants
    ]


def _answered(
    manifest: Manifest,
    variant: Variant,
    package: Package,
    cache: Path,
    progress: Callable[[str], None],
) -> Finding:
    subject = f"answers on {variant.runtime}"
    if variant.golden is None:
        return Finding(subject=subject, state="skipped", what="packaged without golden rows")
    try:
        engine = engine_for(variant.runtime, cache, progress)
    except EdgeopsError as error:
        return Finding(subject=subject, state="skipped", what=str(error))
    with scratch_folder("edgeops-verify-") as folder:
        artifact = folder / f"model.{FORMAT_OF_RUNTIME[variant.runtime]}"
        golden = folder / "golden.json"
        write_scratch(artifact, package.blobs[variant.artifact.ref.digest])
        write_scratch(golden, package.blobs[variant.golden.ref.digest])
        spec = ProbeSpec(
            runtime=variant.runtime,
            artifact=str(artifact),
            golden=str(golden),
            scores=variant.scores,
            preprocessing=manifest.preprocessing,
            thresholds=manifest.thresholds,
            repeats=1,
        )
        report = spawn_probe(spec, timeout_s=PROBE_TIMEOUT_S, python=engine.python)
    if report.reason is not None:
        return Finding(subject=subject, state="error", what=report.cause)
    differ = report.max_abs_difference or 0.0
    said = f"{report.rows} golden rows differ by {differ:.3g}, {variant.tolerance:g} is allowed"
    is_same = differ <= variant.tolerance and not report.label_mismatches
    return Finding(subject=subject, state="ok" if is_same else "error", what=said)


def verify_rebuilds(package: Package, cache: Path) -> list[Finding]:
    """Make every artifact again from its float model and ranges, and compare the bytes.

    Raises:
        InvalidPackage: the build record is damaged.
    """
    record = record_of(package)
    if record is None:
        return [Finding(subject="rebuild", state="error", what="there is no build record")]
    return [_rebuilt(each, package, cache) for each in record.artifacts]


def _rebuilt(record: ArtifactRecord, package: Package, cache: Path) -> Finding:
    subject = f"rebuild of .{record.format}"
    if record.recipe is None or record.making is None:
        return Finding(subject=subject, state="skipped", what="packaged as it was given")
    data = package.provenance.get(float_name(record.format))
    if data is None or digest_of(data) != record.float_model:
        what = f"its source {record.source} is not in the package"
        return Finding(subject=subject, state="skipped", what=what)
    try:
        made = rebuild(data, record.recipe, record.making, cache)
    except EdgeopsError as error:
        return Finding(subject=subject, state="error", what=str(error))
    if digest_of(made) == record.artifact:
        what = f"{record.recipe.name} from its ranges gives the same {len(made)} bytes"
        return Finding(subject=subject, state="ok", what=what)
    return Finding(subject=subject, state="error", what=f"other bytes: {_why(record)}")


def _why(record: ArtifactRecord) -> str:
    """Say which tools are others than then."""
    here = tools.versions(tools.QUANTIZING[record.format], "rebuilding")
    other = [f"{k} {v}, was {record.tools[k]}" for k, v in here.items() if record.tools.get(k) != v]
    return "; ".join(other) or "with the same versions of all tools"
