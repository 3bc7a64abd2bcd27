"""The model card of a package: Markdown, with the front matter that model hubs read.

https://huggingface.co/docs/hub/model-cards (metadata, ``model-index``); its sections follow
Mitchell et al., Model Cards for Model Reporting, 2019, as far as a package knows them. What only
people know is left for them to fill in, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from device_agent.protocol.evidence import Evidence, MetricEvidence
from edgeops.reports.before_after import AS_IS
from edgeops.reports.facts import VariantFacts
from edgeops.reports.package_facts import ArtifactFacts, PackageFacts
from edgeops.reports.wording import percent, points, size, visible

TAGS = ("edgeops", "edge", "quantized")
MAX_CLASSES = 64
MAX_FOUND = 300
_TO_FILL_IN = "*Nobody has said so yet; whoever trained the model knows.*"


def model_card(facts: PackageFacts) -> str:
    """Return the card of a package.

    Args:
        facts: all that is known of it.
    """
    parts = (
        _front_matter(facts),
        [f"# {_text(facts.model)}:{facts.number}", ""],
        _description(facts),
        _evaluation(facts),
        _measured(facts),
        _gates(facts),
        _making(facts),
        ["## Intended use and limits", "", _TO_FILL_IN, ""],
        _origin(facts),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _front_matter(facts: PackageFacts) -> Iterator[str]:
    """Yield YAML whose values are written as JSON, which YAML contains."""
    yield "---"
    yield f"model_name: {_json(facts.model)}"
    yield f"version: {_json(str(facts.number))}"
    yield "library_name: edgeops"
    yield f"tags: {_json(list(TAGS))}"
    results = [result for each in facts.variants for result in _results(facts, each)]
    if results:
        yield "model-index:"
        yield f"  - name: {_json(f'{facts.model}:{facts.number}')}"
        yield f"    results: {_json(results)}"
    yield "---"
    yield ""


def _results(facts: PackageFacts, variant: VariantFacts) -> Iterator[dict[str, object]]:
    measured: list[tuple[str, float]] = []
    if variant.evidence is not None:
        measured.append(("accuracy", variant.evidence.accuracy))
    if variant.metric is not None:
        measured.append((variant.metric.name, variant.metric.value))
    digest = dict(facts.lineage).get("evaluation", "")
    for kind, value in measured:
        yield {
            "task": {"type": "classification" if variant.evidence is not None else "regression"},
            "dataset": {"name": f"evaluation rows {digest[:19]}", "type": "npz"},
            "metrics": [{"type": kind, "value": value, "name": f"{kind} on {variant.runtime}"}],
        }


def _description(facts: PackageFacts) -> Iterator[str]:
    made = [f"`.{each.format}` {_made(each)}" for each in facts.artifacts]
    yield f"One version of the model {_text(facts.model)}, as devices get it: {'; '.join(made)}."
    yield ""
    if facts.labels:
        yield f"Classes: {', '.join(_text(each) for each in facts.labels[:MAX_CLASSES])}."
        yield ""
    yield from _table(
        ("for", "runtime", "size", "multiplications", "values in memory, at least"),
        [_variant_row(facts, each) for each in facts.variants],
    )


def _made(artifact: ArtifactFacts) -> str:
    if artifact.recipe == AS_IS:
        return "as it was given"
    return f"by the recipe `{_text(artifact.recipe)}`" if artifact.recipe else ""


def _variant_row(facts: PackageFacts, variant: VariantFacts) -> tuple[str, ...]:
    artifact = facts.artifact_on(variant.runtime)
    is_known = artifact is not None and artifact.operations
    return (
        ", ".join(variant.profiles),
        variant.runtime,
        size(variant.size_bytes),
        str(artifact.macs) if artifact is not None and is_known else "",
        size(artifact.peak_bytes) if artifact is not None and is_known else "",
    )


def _evaluation(facts: PackageFacts) -> Iterator[str]:
    yield "## Evaluation"
    yield ""
    measured = [each for each in facts.variants if each.evidence or each.metric]
    if not measured:
        yield "Nothing was measured on evaluation rows."
        yield ""
        return
    yield "The float model and the artifact answered the same rows, which neither was made with."
    yield ""
    rows = []
    for variant in measured:
        if variant.evidence is not None:
            rows.append(_accuracy_row(variant.runtime, variant.evidence))
        if variant.metric is not None:
            rows.append(_metric_row(variant.runtime, variant.metric))
    yield from _table(("on", "measure", "float model", "artifact", "lost", "rows"), rows)
    for variant in measured:
        if variant.evidence is not None and len(variant.evidence.classes) > 1:
            yield from _classes(variant.evidence, facts.labels, variant.runtime)
        yield from _slices(variant)


def _accuracy_row(runtime: str, evidence: Evidence) -> tuple[str, ...]:
    lost = f"{points(evidence.drop_low)} to {points(evidence.drop_high)} points"
    return (
        runtime,
        "accuracy",
        percent(evidence.float_accuracy),
        percent(evidence.accuracy),
        "" if evidence.recipe == AS_IS else f"{lost} ({percent(evidence.confidence, 0)} interval)",
        str(evidence.rows),
    )


def _metric_row(runtime: str, metric: MetricEvidence) -> tuple[str, ...]:
    lost = f"{metric.drop_low:.4f} to {metric.drop_high:.4f}"
    return (
        runtime,
        metric.name,
        f"{metric.float_value:.4g}",
        f"{metric.value:.4g}",
        f"{lost} ({percent(metric.confidence, 0)} interval)",
        str(metric.rows),
    )


def _classes(evidence: Evidence, labels: Sequence[str], runtime: str) -> Iterator[str]:
    rows = [
        (
            _text(labels[at]) if at < len(labels) else str(at),
            str(each.rows),
            percent(each.float_correct / each.rows),
            percent(each.correct / each.rows),
        )
        for at, each in enumerate(evidence.classes)
        if each.rows
    ]
    yield f"By class, on {runtime}:"
    yield ""
    yield from _table(("class", "rows", "float model", "artifact"), rows[:MAX_CLASSES])


def _slices(variant: VariantFacts) -> Iterator[str]:
    """Yield the parts of the rows that somebody named."""
    rows = [
        (each.name, str(each.rows), _number(each.float_value), _number(each.value))
        for each in (variant.metric.slices if variant.metric is not None else ())
    ]
    named = variant.metric.name if variant.metric is not None else ""
    if not rows and variant.evidence is not None:
        named = "accuracy"
        rows = [
            (
                each.name,
                str(each.rows),
                percent(each.float_correct / each.rows),
                percent(each.correct / each.rows),
            )
            for each in variant.evidence.slices
        ]
    if rows:
        yield f"By slice, {_text(named)} on {variant.runtime}:"
        yield ""
        yield from _table(("slice", "rows", "float model", "artifact"), rows[:MAX_CLASSES])


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _measured(facts: PackageFacts) -> Iterator[str]:
    """Yield what the host that packaged measured; it says nothing of a board."""
    if not facts.runs:
        return
    yield "## Latency and memory on the host that packaged"
    yield ""
    yield f"On {_text(facts.host)}, by a single thread; not signed, and no figure of a board."
    yield ""
    rows = [
        (
            each.package,
            f"{each.latency_ms:.3f} ms",
            f"{each.latency_ms_p95:.3f} ms",
            "" if each.memory_mib is None else f"{each.memory_mib:.1f} MiB",
        )
        for each in facts.runs
    ]
    yield from _table(("runtime", "median", "95th percentile", "memory grew by"), rows)


def _gates(facts: PackageFacts) -> Iterator[str]:
    told = [each for each in facts.gates if each.verdicts or each.waived]
    if not told:
        return
    yield "## Gates"
    yield ""
    rows = []
    for gate in told:
        verdict = "waived: " + gate.waived if gate.waived else "held"
        found = "; ".join(each.found for each in gate.verdicts)
        rows.append((gate.name, verdict, found[:MAX_FOUND]))
    yield from _table(("gate", "verdict", "found"), rows)


def _making(facts: PackageFacts) -> Iterator[str]:
    notes = [note for each in facts.artifacts for note in each.notes]
    excluded = [name for each in facts.artifacts for name in each.excluded]
    if not notes and not excluded:
        return
    yield "## Making"
    yield ""
    for note in notes:
        yield f"- {_text(note)}"
    for name in excluded:
        yield f"- stays in floats: {_text(name[:MAX_FOUND])}"
    yield ""


def _origin(facts: PackageFacts) -> Iterator[str]:
    yield "## Origin"
    yield ""
    yield f"Package `{facts.digest}`, signed by the key `{facts.key}` ({facts.signature})."
    yield ""
    yield from _table(("", ""), [(key, value) for key, value in facts.lineage])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_text(each) for each in row)} |"
    yield ""


def _text(text: str) -> str:
    """Return a text as Markdown shows it, whoever wrote it: on one line, with nothing active."""
    line = visible(" ".join(text.split()))
    for mark in ("\\", "|", "`", "*", "_", "[", "]", "<", ">"):
        line = line.replace(mark, f"\\{mark}")
    return line


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)
