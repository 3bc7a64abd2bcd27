"""What differs between two packages: data, recipe, evidence, graph, serving, tools, gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.codec import encode
from device_agent.protocol.evidence import Evidence, MetricEvidence
from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Manifest, Variant
from edgeops.packaging.files.model_file import AS_IS
from edgeops.packaging.package import Package
from edgeops.packaging.record.anatomy import Anatomy, Operation
from edgeops.packaging.record.build_record import BUILD_KEY, ArtifactRecord, BuildRecord

SECTIONS = ("data", "recipe", "evidence", "graph", "serving", "tools", "gates", "lineage")
DATA = ("source.", "calibration.", "evaluation", "golden", "data", "parent")
TOOLS = ("converter.", "runtime.", "packager")
RECIPE = ("recipe.", "excluded.")
MAX_OPERATIONS = 20
"""Operators that are named; of more only their number is told."""
NOTHING = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs; empty text stands for what one of both does not have."""

    section: str
    what: str
    before: str
    after: str


Facts = Mapping[tuple[str, str], str]


def compare(
    before: Package,
    after: Package,
    before_record: BuildRecord | None,
    after_record: BuildRecord | None,
) -> tuple[Change, ...]:
    """Return what differs, section by section.

    Args:
        before: one package.
        after: the other one.
        before_record: the first one's build record, None if it has none.
        after_record: the other one's.
    """
    changes = _changed(
        dict(_facts(before.manifest, before_record)), dict(_facts(after.manifest, after_record))
    )
    graphs = [*changes, *_operations(before_record, after_record)]
    return tuple(sorted(graphs, key=lambda each: SECTIONS.index(each.section)))


def _changed(before: Facts, after: Facts) -> list[Change]:
    return [
        Change(section=key[0], what=key[1], before=one, after=other)
        for key in dict.fromkeys((*before, *after))
        if (one := before.get(key, NOTHING)) != (other := after.get(key, NOTHING))
    ]


def _facts(manifest: Manifest, record: BuildRecord | None) -> Iterator[tuple[tuple[str, str], str]]:
    yield from _lineage(manifest)
    for variant in manifest.variants:
        yield from _variant(variant)
    yield ("serving", "labels"), ", ".join(manifest.labels)
    yield ("serving", "thresholds"), ", ".join(f"{each:g}" for each in manifest.thresholds)
    yield ("serving", "oldest agent"), manifest.min_agent
    if manifest.preprocessing is not None:
        for name, value in manifest.preprocessing.to_document().items():
            yield ("serving", f"preprocessing {name}"), str(value)
    for waiver in manifest.waivers:
        yield ("gates", f"{waiver.gate} waived"), waiver.reason
    yield ("gates", "accuracy asked of golden rows"), _number(manifest.min_accuracy)
    for each in record.artifacts if record is not None else ():
        yield from _artifact(each)


def _lineage(manifest: Manifest) -> Iterator[tuple[tuple[str, str], str]]:
    for key, value in manifest.lineage.items():
        if key == BUILD_KEY:
            continue
        section = "lineage"
        for name, beginnings in (("data", DATA), ("tools", TOOLS), ("recipe", RECIPE)):
            # golden.litert is what was measured on golden rows, golden itself their digest
            if key.startswith(beginnings) and not key.startswith("golden."):
                section = name
        if not key.startswith("golden."):
            yield (section, key), value


def _variant(variant: Variant) -> Iterator[tuple[tuple[str, str], str]]:
    on = variant.runtime
    yield ("serving", f"{on}: profiles"), ", ".join(sorted(variant.profiles))
    yield ("serving", f"{on}: inputs"), _tensors(variant.inputs)
    yield ("serving", f"{on}: outputs"), _tensors(variant.outputs)
    yield ("serving", f"{on}: memory budget"), _number(variant.budget.memory_mib, " MiB")
    yield ("serving", f"{on}: latency budget"), _number(variant.budget.latency_ms_p95, " ms")
    yield ("graph", f"{on}: artifact"), _short(variant.artifact.ref.digest)
    yield ("evidence", f"{on}: bytes"), str(variant.artifact.ref.size_bytes)
    yield ("evidence", f"{on}: right on golden rows"), _number(variant.golden_accuracy)
    if variant.evidence is not None:
        for what, value in _evidence(variant.evidence):
            yield ("evidence", f"{on}: {what}"), value
    if variant.metric is not None:
        for what, value in _metric(variant.metric):
            yield ("evidence", f"{on}: {what}"), value


def _metric(metric: MetricEvidence) -> Iterator[tuple[str, str]]:
    yield f"{metric.name} rows", str(metric.rows)
    yield metric.name, _number(metric.value)
    yield f"{metric.name} of the float model", _number(metric.float_value)
    yield f"{metric.name} drop", f"{metric.drop_low:.4f} to {metric.drop_high:.4f}"
    for part in metric.slices:
        yield f"slice {part.name} {metric.name}", _number(part.value)


def _evidence(evidence: Evidence) -> Iterator[tuple[str, str]]:
    yield "rows", str(evidence.rows)
    yield "accuracy", _number(evidence.accuracy)
    yield "accuracy of the float model", _number(evidence.float_accuracy)
    if evidence.recipe != AS_IS:
        yield "drop", f"{evidence.drop_low:.4f} to {evidence.drop_high:.4f}"
        yield "same answer as the float model", _number(evidence.agreement)
        yield "SQNR", _number(evidence.sqnr_db, " dB")
    for label, each in enumerate(evidence.classes):
        yield f"class {label} right", f"{each.correct} of {each.rows}"
    for part in evidence.slices:
        yield f"slice {part.name} right", f"{part.correct} of {part.rows}"


def _short(digest: str) -> str:
    """Return the beginning of a digest: whether two are one is seen from it."""
    return f"{digest[:19]}…"


def _ranges(record: ArtifactRecord) -> str:
    """Return how many ranges an artifact was made with, and a name for their values."""
    ranges = None if record.making is None else record.making.ranges
    if ranges is None:
        return NOTHING
    values = [[name, low, high] for name, (low, high) in sorted(ranges.items())]
    return f"{len(ranges)}, {_short(digest_of(encode({'ranges': values})))}"


def _artifact(record: ArtifactRecord) -> Iterator[tuple[tuple[str, str], str]]:
    form = f".{record.format}"
    if record.recipe is not None:
        for name, value in record.recipe.to_document().items():
            if name not in ("schema_version", "name") and value not in (None, []):
                yield ("recipe", f"{form}: {name}"), str(value)
    yield ("recipe", f"{form}: ranges of activations"), _ranges(record)
    if record.anatomy is not None:
        for what, value in _anatomy(record.anatomy):
            yield ("graph", f"{form}: {what}"), value


def _anatomy(anatomy: Anatomy) -> Iterator[tuple[str, str]]:
    yield "operators", str(len(anatomy.operations))
    for kind, count in anatomy.operators.items():
        yield f"{kind} operators", str(count)
    for dtype, count in anatomy.weights.items():
        yield f"{dtype} weights", str(count)
    for dtype, count in anatomy.activations.items():
        yield f"operators with {dtype or 'unknown'} activations", str(count)
    yield "multiplications", str(anatomy.macs)
    yield "bytes alive at most", str(anatomy.peak_bytes)
    yield "opset", str(anatomy.opset or NOTHING)


def _operations(before: BuildRecord | None, after: BuildRecord | None) -> Iterator[Change]:
    """Yield the operators of one name that became others, and those that came or went."""
    for form in dict.fromkeys(FORMAT_OF_RUNTIME.values()):
        one, other = _operations_of(before, form), _operations_of(after, form)
        if not one or not other:
            continue  # all of it came or went, which is told already
        names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
        for name in names[:MAX_OPERATIONS]:
            yield Change(
                section="graph",
                what=f".{form}: {name}",
                before=one.get(name, NOTHING),
                after=other.get(name, NOTHING),
            )
        if len(names) > MAX_OPERATIONS:
            left = str(len(names) - MAX_OPERATIONS)
            what = f".{form}: more operators that differ"
            yield Change(section="graph", what=what, before=NOTHING, after=left)


def _operations_of(record: BuildRecord | None, form: str) -> dict[str, str]:
    for each in record.artifacts if record is not None else ():
        if each.format == form and each.anatomy is not None:
            return {operation.name: _operation(operation) for operation in each.anatomy.operations}
    return {}


def _operation(operation: Operation) -> str:
    weights = f", {operation.weights} {operation.weight_dtype} weights" if operation.weights else ""
    takes = f" of {operation.activation_dtype}" if operation.activation_dtype else ""
    return f"{operation.type}{takes}{weights}"


def _tensors(specs: Any) -> str:
    return ", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in specs)


def _number(value: float | None, unit: str = "") -> str:
    return NOTHING if value is None else f"{value:.4g}{unit}"
