"""The edge manifest: everything a device must know of a package, in one signed document.

The package is named by the digest of these bytes; the signature of a targets key is over these
bytes. One version has variants: an artifact made for a runtime, for one or more profiles.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from device_agent.protocol.chunks import HASH_BYTES, MAX_CHUNKS, BlobRef
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import ModelName
from device_agent.protocol.sketch import MAX_CLASSES
from device_agent.protocol.thresholds import FIRST_AGENT as FIRST_AGENT_OF_THRESHOLDS
from device_agent.protocol.thresholds import check_thresholds, read_thresholds
from device_agent.protocol.values import dataclass

if TYPE_CHECKING:  # imported on use: many packages have none of them
    from device_agent.protocol.evidence import Evidence, MetricEvidence
    from device_agent.protocol.preprocessing import Preprocessing

MAX_MANIFEST_BYTES = 1024 * 1024
MAX_VERSION = 1_000_000_000
MAX_RANK = 8

FORMAT_OF_RUNTIME = {
    "litert": "tflite",
    "onnxruntime": "onnx",
    "tflite-runtime": "tflite",
    "tflm": "tflite",
}
RUNTIMES = tuple(FORMAT_OF_RUNTIME)
FIRST_AGENT_OF_RUNTIME = {"tflite-runtime": "0.2.0", "tflm": "0.2.0"}
"""Older agents cannot read a manifest that names such a runtime."""

_AGENT_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
_PROFILE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DTYPE = re.compile(r"(?:u?int(?:8|16|32|64)|float(?:16|32|64)|bool)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, numpy dtype name and shape of a tensor; -1 is a free (batch) dimension."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_fields(cls, fields: Fields) -> TensorSpec:
        """Read the JSON form."""
        return cls(
            name=fields.text("name"),
            dtype=fields.text("dtype", pattern=_DTYPE),
            shape=fields.integers("shape", max_items=MAX_RANK, minimum=-1),
        )


def class_count(scores: TensorSpec) -> int | None:
    """Return how many classes an output tells apart: 0 for none, None if that is not fixed."""
    is_row = scores.dtype.startswith("float") or scores.dtype in ("int8", "uint8")
    if not is_row or len(scores.shape) != 2 or scores.shape[1] in (0, 1):
        return 0
    return scores.shape[1] if scores.shape[1] > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedBlob:
    """A blob and the SHA-256 of each of its chunks, so that each is verified on arrival."""

    ref: BlobRef
    hashes: bytes

    def hash_of(self, index: int) -> bytes:
        """Return the SHA-256 (32 bytes) of chunk ``index``."""
        return self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**self.ref.to_document(), "chunks": base64.b64encode(self.hashes).decode()}

    @classmethod
    def from_fields(cls, fields: Fields) -> ChunkedBlob:
        """Read the JSON form; the number of hashes must be the number of chunks."""
        ref = BlobRef.from_fields(fields)
        hashes = fields.data("chunks", max_bytes=min(ref.count, MAX_CHUNKS) * HASH_BYTES)
        if len(hashes) != ref.count * HASH_BYTES:
            raise ProtocolError(f"{fields.path}.chunks does not hold {ref.count} hashes")
        return cls(ref=ref, hashes=hashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the model may cost on the device; None is no limit."""

    latency_ms_p95: float | None = None
    memory_mib: float | None = None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"latency_ms_p95": self.latency_ms_p95, "memory_mib": self.memory_mib}

    @classmethod
    def from_fields(cls, fields: Fields) -> Budget:
        """Read the JSON form."""
        return cls(
            latency_ms_p95=fields.number("latency_ms_p95")
            if fields.has("latency_ms_p95")
            else None,
            memory_mib=fields.number("memory_mib") if fields.has("memory_mib") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One artifact, for the profiles and the runtime that it was made for.

    ``golden`` holds rows with the outputs that this artifact gave at packaging and, if known,
    their labels; ``tolerance`` is the largest absolute difference to those outputs that a
    device may show; ``golden_accuracy`` is the share of labelled rows answered right.
    ``reference`` is the profile of "normal" that devices count by; ``evidence`` what was
    measured against the float model, ``metric`` another measure than accuracy.
    """

    profiles: tuple[str, ...]
    runtime: str
    artifact: ChunkedBlob
    golden: ChunkedBlob | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scores: str
    tolerance: float
    golden_accuracy: float | None
    budget: Budget = field(default_factory=Budget)
    reference: ChunkedBlob | None = None
    evidence: Evidence | None = None
    metric: MetricEvidence | None = None

    @property
    def classes(self) -> int | None:
        """How many classes its scores tell apart, None if that is not fixed."""
        return class_count(next(each for each in self.outputs if each.name == self.scores)) or None

    @property
    def blobs(self) -> tuple[ChunkedBlob, ...]:
        """Everything that a device must fetch for this variant."""
        every = (self.artifact, self.golden, self.reference)
        return tuple(blob for blob in every if blob is not None)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; what the package does not have is left out."""
        more: dict[str, object] = {}
        if self.reference is not None:
            more["reference"] = self.reference.to_document()
        if self.evidence is not None:
            more["evidence"] = self.evidence.to_document()
        if self.metric is not None:
            more["metric"] = self.metric.to_document()
        return {
            **more,
            "profiles": list(self.profiles),
            "runtime": self.runtime,
            "artifact": self.artifact.to_document(),
            "golden": self.golden.to_document() if self.golden else None,
            "inputs": [spec.to_document() for spec in self.inputs],
            "outputs": [spec.to_document() for spec in self.outputs],
            "scores": self.scores,
            "tolerance": self.tolerance,
            "golden_accuracy": self.golden_accuracy,
            "budget": self.budget.to_document(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Variant:
        """Read the JSON form."""
        runtime = fields.text("runtime")
        if runtime not in RUNTIMES:
            raise ProtocolError(f"{fields.path}.runtime {runtime[:40]!r} is unknown")
        has_accuracy = fields.has("golden_accuracy")
        variant = cls(
            profiles=fields.texts("profiles", max_items=64, max_length=64),
            runtime=runtime,
            artifact=ChunkedBlob.from_fields(fields.fields("artifact")),
            golden=fields.optional("golden", ChunkedBlob.from_fields),
            inputs=fields.list_of("inputs", TensorSpec.from_fields, max_items=16),
            outputs=fields.list_of("outputs", TensorSpec.from_fields, max_items=16),
            scores=fields.text("scores"),
            tolerance=fields.number("tolerance"),
            golden_accuracy=fields.number("golden_accuracy", maximum=1.0) if has_accuracy else None,
            budget=Budget.from_fields(fields.fields("budget")),
            reference=fields.optional("reference", ChunkedBlob.from_fields),
            evidence=fields.optional("evidence", _evidence),
            metric=fields.optional("metric", _metric_evidence),
        )
        if variant.scores not in [spec.name for spec in variant.outputs]:
            raise ProtocolError(f"{fields.path}.scores names no output")
        return variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A gate that a person waived, and why."""

    gate: str
    reason: str

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"gate": self.gate, "reason": self.reason}

    @classmethod
    def from_fields(cls, fields: Fields) -> Waiver:
        """Read the JSON form."""
        return cls(gate=fields.text("gate"), reason=fields.text("reason"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The edge manifest of a package: model, version, variants, gates, lineage.

    ``preprocessing`` is what evaluation and device do to each row, ``thresholds`` how sure they
    must be of a class, for all variants; a package that has them needs an agent that knows them,
    see ``first_agents``.
    """

    model: ModelName
    version: int
    min_agent: str
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    min_accuracy: float | None
    waivers: tuple[Waiver, ...] = ()
    lineage: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    thresholds: tuple[float, ...] = ()

    @property
    def filled(self) -> tuple[bool, ...]:
        """For each element of a row whether it may be missing (NaN); empty: none may."""
        return self.preprocessing.filled if self.preprocessing is not None else ()

    def is_waived(self, gate: str) -> bool:
        """Tell whether ``gate`` was waived at packaging."""
        return any(waiver.gate == gate for waiver in self.waivers)

    def variant_for(self, profile: str, runtimes: frozenset[str]) -> Variant | None:
        """Return the first variant for ``profile`` whose runtime is among ``runtimes``."""
        for variant in self.variants:
            if profile in variant.profiles and variant.runtime in runtimes:
                return variant
        return None

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: what is named by the digest and signed."""
        more: dict[str, object] = {}
        if self.preprocessing is not None:
            more["preprocessing"] = self.preprocessing.to_document()
        if self.thresholds:
            more["thresholds"] = [float(each) for each in self.thresholds]
        return encode(
            {
                **more,
                "schema_version": SCHEMA_VERSION,
                "model": self.model,
                "version": self.version,
                "min_agent": self.min_agent,
                "labels": list(self.labels),
                "variants": [variant.to_document() for variant in self.variants],
                "min_accuracy": self.min_accuracy,
                "waivers": [waiver.to_document() for waiver in self.waivers],
                "lineage": dict(self.lineage),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest from anybody's bytes.

        Raises:
            ProtocolError: not a manifest; the message names the field.
        """
        fields = Fields(decode(data, max_bytes=MAX_MANIFEST_BYTES), "manifest")
        fields.check_schema()
        manifest = cls(
            model=fields.model("model"),
            version=fields.integer("version", minimum=1, maximum=MAX_VERSION),
            min_agent=fields.text("min_agent", pattern=_AGENT_VERSION),
            labels=fields.texts("labels", max_items=MAX_CLASSES),
            variants=fields.list_of("variants", Variant.from_fields, max_items=64),
            min_accuracy=(
                fields.number("min_accuracy", maximum=1.0) if fields.has("min_accuracy") else None
            ),
            waivers=fields.list_of("waivers", Waiver.from_fields, max_items=32),
            lineage={key: fields.fields("lineage").text(key) for key in _keys(fields, "lineage")},
            preprocessing=fields.optional("preprocessing", _preprocessing),
            thresholds=read_thresholds(fields, "thresholds") if fields.has("thresholds") else (),
        )
        if not manifest.variants:
            raise ProtocolError("manifest.variants is empty")
        for variant in manifest.variants:
            check_thresholds("manifest.thresholds", manifest.thresholds, variant.classes)
        for what, needed in first_agents(manifest.preprocessing, manifest.thresholds).items():
            if is_older(manifest.min_agent, needed):
                raise ProtocolError(
                    f"manifest.min_agent is {manifest.min_agent}, {what} needs {needed}"
                )
        return manifest


def first_agents(
    preprocessing: Preprocessing | None, thresholds: tuple[float, ...]
) -> dict[str, str]:
    """Return the first agent that knows each of these, by the path of the field."""
    needed = dict(preprocessing.first_agents) if preprocessing is not None else {}
    if thresholds:
        needed["thresholds"] = FIRST_AGENT_OF_THRESHOLDS
    return needed


def _evidence(fields: Fields) -> Evidence:
    from device_agent.protocol.evidence import Evidence

    return Evidence.from_fields(fields)


def _metric_evidence(fields: Fields) -> MetricEvidence:
    from device_agent.protocol.evidence import MetricEvidence

    return MetricEvidence.from_fields(fields)


def _preprocessing(fields: Fields) -> Preprocessing:
    from device_agent.protocol.preprocessing import Preprocessing

    return Preprocessing.from_fields(fields)


def _keys(fields: Fields, key: str) -> list[str]:
    return fields.fields(key).names()


def parse_profile_id(text: str) -> str:
    """Return ``text`` as a profile id (lower-case letters, digits and hyphens).

    Raises:
        ProtocolError: another alphabet or length.
    """
    if not _PROFILE.fullmatch(text):
        raise ProtocolError(f"{text[:80]!r} is no profile id")
    return text


def is_older(version: str, other: str) -> bool:
    """Tell whether an agent of ``version`` is older than one of ``other``."""
    return agent_version_key(version) < agent_version_key(other)


def agent_version_key(version: str) -> tuple[int, ...]:
    """Return a sortable form of ``major.minor.patch``.

    Raises:
        ProtocolError: another form.
    """
    if not _AGENT_VERSION.fullmatch(version):
        raise ProtocolError(f"{version[:40]!r} is no agent version like 1.2.3")
    return tuple(int(part) for part in version.split("."))
