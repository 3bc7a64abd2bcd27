"""What the parent asks of a probe, and what the child reports: two bounded JSON documents.

The child runs a model that nobody trusts yet, so its report is read like anything else that
comes from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reasons import Reason
from device_agent.protocol.thresholds import read_thresholds
from device_agent.protocol.values import dataclass
from device_agent.runtimes.contract import Array

MAX_SPEC_BYTES = 60 * 1024
"""Below the 64 KiB that a pipe holds, so that writing a spec never waits for the child."""
MAX_REPORT_BYTES = 64 * 1024 * 1024
MAX_TENSORS = 16
MAX_NUMBER = 1e15
MAX_CAUSE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """What to try.

    Attributes:
        runtime: name of the runtime.
        artifact: path of the model file.
        golden: path of a golden document to run and compare with, or None.
        parent_golden: path of the parent's golden document: only its labelled
            accuracy is measured, if its rows fit this model at all.
        scores: name of the output that holds the scores; empty: none is read.
        preprocessing: what is done to each row first, or None.
        thresholds: how sure the scores must be of a class, see ``protocol.thresholds``.
        threads: threads of the runtime.
        optimized: False leaves out what the runtime does for speed.
        return_outputs: send the answers to the golden rows back too.
        warmup: inferences before the clock runs.
        repeats: timed inferences, at least 1.
        memory_mib: MiB that loading and running may take beyond what the process has, or None.
    """

    runtime: str
    artifact: str
    golden: str | None = None
    parent_golden: str | None = None
    scores: str = ""
    preprocessing: Preprocessing | None = None
    thresholds: tuple[float, ...] = ()
    threads: int = 1
    optimized: bool = True
    return_outputs: bool = False
    warmup: int = 3
    repeats: int = 30
    memory_mib: int | None = None

    def to_bytes(self) -> bytes:
        """Return the JSON form.

        Raises:
            ProtocolError: a path that cannot be, or is far too long.
        """
        prepared = self.preprocessing and self.preprocessing.to_document()
        data = encode({**asdict(replace(self, preprocessing=None)), "preprocessing": prepared})
        if len(data) > MAX_SPEC_BYTES:
            raise ProtocolError(f"probe spec of {len(data)} bytes")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> ProbeSpec:
        """Read the JSON form."""
        fields = Fields(decode(data, max_bytes=MAX_SPEC_BYTES), "probe")
        return cls(
            runtime=fields.text("runtime"),
            artifact=fields.text("artifact", max_length=4096),
            golden=_path(fields, "golden"),
            parent_golden=_path(fields, "parent_golden"),
            scores=fields.text("scores"),
            preprocessing=fields.optional("preprocessing", Preprocessing.from_fields),
            thresholds=read_thresholds(fields, "thresholds"),
            threads=fields.integer("threads", minimum=1, maximum=1024),
            optimized=fields.boolean("optimized"),
            return_outputs=fields.boolean("return_outputs"),
            warmup=fields.integer("warmup", maximum=100_000),
            repeats=fields.integer("repeats", minimum=1, maximum=100_000),
            memory_mib=(
                fields.integer("memory_mib", minimum=1) if fields.has("memory_mib") else None
            ),
        )


def _path(fields: Fields, key: str) -> str | None:
    return fields.text(key, max_length=4096) if fields.has(key) else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeReport:
    """What came of it: measurements, or ``reason`` and ``cause`` of the failure.

    Attributes:
        reason: why the model failed, None if it did not: the rest is then measured.
        cause: one line for people.
        inputs: the model's inputs.
        outputs: the model's outputs.
        load_ms: milliseconds to load the file.
        memory_mib: growth of resident memory by loading and one run, in MiB; 0 where the
            system does not tell.
        latency_ms_p50: median of the timed inferences, in milliseconds.
        latency_ms_p95: their 95th percentile, in milliseconds.
        rows: golden rows that were run.
        nonfinite: golden rows with NaN or infinity in any output.
        max_abs_difference: largest absolute difference to the expected answers over all float
            outputs, and over 8-bit scores in units of 1/256; None if nothing was expected.
        label_mismatches: rows whose other integer outputs differ from the expected ones.
        accuracy: share of labelled golden rows answered right, None without labels.
        parent_accuracy: the same on the parent's golden rows, None if they do not fit.
        outputs_data: output name → answers ``[n, ...]``, if they were asked for.
    """

    reason: Reason | None = None
    cause: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    load_ms: float = 0.0
    memory_mib: float = 0.0
    latency_ms_p50: float = 0.0
    latency_ms_p95: float = 0.0
    rows: int = 0
    nonfinite: int = 0
    max_abs_difference: float | None = None
    label_mismatches: int = 0
    accuracy: float | None = None
    parent_accuracy: float | None = None
    outputs_data: Mapping[str, Array] | None = None

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        if self.reason is not None:
            return encode({"error": {"reason": self.reason.value, "cause": self.cause}})
        document: dict[str, object] = {name: getattr(self, name) for name in _MEASURES}
        document["inputs"] = [spec.to_document() for spec in self.inputs]
        document["outputs"] = [spec.to_document() for spec in self.outputs]
        data = self.outputs_data
        document["outputs_data"] = None if data is None else _encoded(data)
        return encode(document)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProbeReport:
        """Read the JSON form.

        Raises:
            ProtocolError: not a report.
        """
        fields = Fields(decode(data, max_bytes=MAX_REPORT_BYTES), "report")
        if fields.has("error"):
            return _failure_from(fields.fields("error"))
        return cls(
            inputs=fields.list_of("inputs", TensorSpec.from_fields, max_items=MAX_TENSORS),
            outputs=fields.list_of("outputs", TensorSpec.from_fields, max_items=MAX_TENSORS),
            load_ms=fields.number("load_ms"),
            memory_mib=fields.number("memory_mib"),
            latency_ms_p50=fields.number("latency_ms_p50"),
            latency_ms_p95=fields.number("latency_ms_p95"),
            rows=fields.integer("rows"),
            nonfinite=fields.integer("nonfinite"),
            max_abs_difference=_number(fields, "max_abs_difference", MAX_NUMBER),
            label_mismatches=fields.integer("label_mismatches"),
            accuracy=_number(fields, "accuracy", 1.0),
            parent_accuracy=_number(fields, "parent_accuracy", 1.0),
            outputs_data=_decoded(fields) if fields.has("outputs_data") else None,
        )


_MEASURES = (
    "load_ms",
    "memory_mib",
    "latency_ms_p50",
    "latency_ms_p95",
    "rows",
    "nonfinite",
    "max_abs_difference",
    "label_mismatches",
    "accuracy",
    "parent_accuracy",
)


# Imported on use: the agent reads reports also where there is no numpy, but then without data.
def _encoded(data: Mapping[str, Array]) -> dict[str, object]:
    from device_agent.processing.golden import encode_array

    return {name: encode_array(value) for name, value in data.items()}


def _decoded(fields: Fields) -> dict[str, Array]:
    from device_agent.processing.golden import decode_array

    return fields.mapping("outputs_data", decode_array, max_items=MAX_TENSORS)


def _number(fields: Fields, key: str, maximum: float) -> float | None:
    return fields.number(key, maximum=maximum) if fields.has(key) else None


def _failure_from(fields: Fields) -> ProbeReport:
    try:
        reason = Reason(fields.text("reason", max_length=64))
    except ValueError as error:
        raise ProtocolError("report.error.reason is unknown") from error
    return ProbeReport(reason=reason, cause=fields.text("cause", max_length=MAX_CAUSE))


def failure(reason: Reason, cause: Any) -> ProbeReport:
    """Return the report of a failure; the cause is cut to one bounded line."""
    return ProbeReport(reason=reason, cause=" ".join(str(cause).split())[:MAX_CAUSE])
