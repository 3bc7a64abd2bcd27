"""Valid values of the device's protocol and journal, for tests that then bend them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from device_agent.core.counts import Counts
from device_agent.core.deployment import Deployment
from device_agent.core.records import ModelRecord, Slot
from device_agent.core.states import State
from device_agent.protocol.audio import AudioStep
from device_agent.protocol.chunks import BlobRef, chunk_hashes
from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import DeviceId, Digest, ModelName, digest_of
from device_agent.protocol.image import ImageStep
from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.manifest import (
    Budget,
    ChunkedBlob,
    Manifest,
    TensorSpec,
    Variant,
    Waiver,
)
from device_agent.protocol.orders import Ack, Command, Desired, DesiredModel, Epoch
from device_agent.protocol.outcomes import CommandOutcome, ModelVerdict
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import (
    GaveWay,
    Need,
    Reported,
    ReportedDeployment,
    ReportedModel,
    ReportedVersion,
)
from device_agent.protocol.sketch import CONFIDENCE_BINS, LATENCY_BINS, confidence_bin, latency_bin
from device_agent.protocol.tabular import Feature, TabularStep

PREPROCESSINGS = {
    "images": Preprocessing(
        shape=(4, 4, 3), image=ImageStep(resize=(2, 2), method="nearest", channels="rgb-to-grey")
    ),
    "sound": Preprocessing(
        shape=(64,),
        audio=AudioStep(
            sample_rate_hz=16000,
            frame_length=32,
            frame_step=16,
            mel_bins=4,
            fft_size=32,
            upper_hz=8000,
            coefficients=2,
        ),
    ),
    "table rows": Preprocessing(
        tabular=TabularStep(
            features=(
                Feature(name="age", fill=1.0, clip=(0.0, 9.0), log1p=True),
                Feature(categories=(1.0, 2.0), encoding="index", unknown="first"),
            )
        )
    ),
}
"""One of each kind of row."""

DEVICE = DeviceId("cam-1")
MODEL = ModelName("digits")


def digest(number: int = 1) -> Digest:
    """Return one of many digests."""
    return digest_of(b"%d" % number)


def ref(number: int = 1, size_bytes: int = 900) -> BlobRef:
    return BlobRef(digest=digest(number), size_bytes=size_bytes)


def signature() -> Signature:
    return Signature(keyid="k" * 64, value=b"s" * 64)


def order(version: int = 1, *, rollout: str = "r1", **fields: Any) -> DesiredModel:
    """Return an order of a version; its package's digest depends on the version only."""
    fields = {"manifest": ref(version), "signature": signature(), **fields}
    return DesiredModel(version=version, rollout=rollout, **fields)


def deployment(state: State = State.ADMISSION, version: int = 1, **fields: Any) -> Deployment:
    fields = {"model": MODEL, "generation": 1, "order": order(version), **fields}
    return Deployment(state=state, **fields)


def desired(generation: int = 1, **models: DesiredModel) -> Desired:
    named = {ModelName(name): model for name, model in (models or {MODEL: order()}).items()}
    return Desired(device=DEVICE, generation=generation, models=named)


def slot(version: int = 1, *, committed: bool = True) -> Slot:
    return Slot(version=version, manifest=ref(version), committed=committed)


def record(**fields: Any) -> ModelRecord:
    return ModelRecord(name=MODEL, **fields)


def full_record() -> ModelRecord:
    """Return a record with every field filled."""
    return record(
        slots={"A": slot(1), "B": slot(2, committed=False)},
        floor=1,
        quarantine={digest(7): Reason.GOLDEN_MISMATCH, digest(8): Reason.LOAD_FAILED},
        deployment=deployment(
            State.PROBATION, 2, slot="B", transitions=7, trials_left=2, reason=Reason.DISK_FULL
        ),
    )


def chunked(data: bytes = b"artifact" * 100, chunk_bytes: int = 256) -> ChunkedBlob:
    blob = BlobRef(digest=digest_of(data), size_bytes=len(data), chunk_bytes=chunk_bytes)
    return ChunkedBlob(ref=blob, hashes=chunk_hashes(data, chunk_bytes))


def variant(**fields: Any) -> Variant:
    values: dict[str, Any] = {
        "profiles": ("x86-64-generic",),
        "runtime": "onnxruntime",
        "artifact": chunked(),
        "golden": chunked(b"golden" * 50),
        "inputs": (TensorSpec(name="x", dtype="float32", shape=(-1, 4)),),
        "outputs": (TensorSpec(name="scores", dtype="float32", shape=(-1, 3)),),
        "scores": "scores",
        "tolerance": 1e-4,
        "golden_accuracy": 0.9,
        "budget": Budget(latency_ms_p95=5.0, memory_mib=64.0),
    }
    return Variant(**{**values, **fields})


def manifest(**fields: Any) -> Manifest:
    values: dict[str, Any] = {
        "model": MODEL,
        "version": 1,
        "min_agent": "0.1.0",
        "labels": ("a", "b", "c"),
        "variants": (variant(),),
        "min_accuracy": 0.8,
        "waivers": (Waiver(gate="golden", reason="a test"),),
        "lineage": {"data": "none"},
    }
    return Manifest(**{**values, **fields})


def window() -> Window:
    return Window(
        model=MODEL,
        version=1,
        digest=digest(),
        started_s=1.0,
        ended_s=2.0,
        inferences=10,
        failures=1,
        nonfinite=2,
        classes=(3, 5),
        confidence=(1,) * CONFIDENCE_BINS,
        latency=(1,) * LATENCY_BINS,
        labelled=5,
        labelled_correct=4,
    )


def event() -> Event:
    return Event(
        model=MODEL,
        generation=1,
        rollout="r1",
        version=1,
        digest=digest(),
        state="failed",
        reason="disk_full",
        detail="no space",
        evidence={"free": 12.0},
        at_s=3.0,
    )


def numbered(body: CommandOutcome | None = None, *, telemetry: bool = False) -> Numbered:
    body = body or ((window(),) if telemetry else event())
    return Numbered(device=DEVICE, stream="s1", sequence=4, oldest=2, body=body, age_s=7.5)


def reported() -> Reported:
    version = ReportedVersion(version=1, digest=digest())
    under_way = ReportedDeployment(
        generation=2, rollout="r2", version=2, state="fetch", reason="disk_full", chunks_have=1
    )
    model = ReportedModel(active=version, previous=version, deployment=under_way)
    return Reported(
        device=DEVICE,
        online=True,
        session=4,
        instance="i" * 32,
        agent="0.1.0",
        profile="x86-64-generic",
        runtimes=("litert", "onnxruntime"),
        generation=2,
        models={MODEL: model},
        clock_s=1.5,
        disk_free_bytes=10,
        outbox=3,
        gave_way=GaveWay(merged=4, windows=1, events=2, samples=9),
    )


def command(**fields: Any) -> Command:
    given = {"device": DEVICE, "id": "c1", "kind": "announce", "issued_s": 1.0, "expires_s": 9e9}
    return Command(**{**given, **fields})


def outcome(**fields: Any) -> CommandOutcome:
    verdict = ModelVerdict(
        model=MODEL, version=1, digest=digest(), reason="load_failed", evidence={"accuracy": 0.5}
    )
    given = {"id": "c1", "kind": "self_test", "outcome": "failed", "detail": "0 of 1", "at_s": 1.5}
    return CommandOutcome(**{**given, "log": ("a", "b"), "models": (verdict,), **fields})


def ack() -> Ack:
    return Ack(stream="s1", sequence=4)


def epoch() -> Epoch:
    return Epoch(epoch="e1", hub="0.1.0")


def need() -> Need:
    return Need(device=DEVICE, blob=ref(), ranges=((0, 3), (7, 9)))


def rules(**fields: Any) -> ProbationRules:
    return replace(ProbationRules(), **fields)


def counts(
    classes: tuple[int, ...] = (50, 50),
    *,
    confidence: float = 0.95,
    latency_us: float = 100.0,
    **fields: Any,
) -> Counts:
    """Return counts of as many inferences as ``classes`` sum to, all alike otherwise."""
    total = sum(classes)
    confidences, latencies = [0] * CONFIDENCE_BINS, [0] * LATENCY_BINS
    confidences[confidence_bin(confidence)] = latencies[latency_bin(latency_us)] = total
    values: dict[str, Any] = {
        "inferences": total,
        "classes": classes,
        "confidence": tuple(confidences),
        "latency": tuple(latencies),
    }
    return Counts(**{**values, **fields})
