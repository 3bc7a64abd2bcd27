"""Facts of packages: one with everything that there is to tell, and one that tells little."""

from __future__ import annotations

from edgeops.reports.facts import VariantFacts
from edgeops.reports.package_facts import (
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
from tests.report_facts import DIGEST, LABELS, evidence

FUSED = ";".join(
    f"net/{layer}"
    for layer in ("relu_1/Relu", "norm_1/FusedBatchNormV3", "conv_1/BiasAdd", "conv_1/Conv2D",
                  "conv_1/Conv2D1")
)  # fmt: skip
RUNS = ".tflite: ai-edge-litert 2.3.0 without optimizations, ai-edge-litert 2.3.0 answer alike"


def operation(number: int, kind: str, *takes: int, **more: object) -> OperationFacts:
    """Return an operation of 4 KiB of output while 8 KiB are alive."""
    given = {"name": f"net/l{number}/{kind}", "output_bytes": 4096, "live_bytes": 8192, **more}
    return OperationFacts(number=number, type=kind, takes=takes, **given)  # type: ignore[arg-type]


def weighted(number: int, kind: str, *takes: int, **more: object) -> OperationFacts:
    """Return an operation with 500 weights in 8 bits and 1,000 multiplications."""
    given = {"weights": 500, "weight_dtype": "int8", "constant_bytes": 520, "macs": 1000, **more}
    return operation(number, kind, *takes, **given)


RESIDUAL = (
    weighted(1, "CONV_2D", 0, name=FUSED),
    weighted(2, "CONV_2D", 1, live_bytes=12_288),
    weighted(3, "CONV_2D", 2, live_bytes=12_288),
    operation(4, "ADD", 1, 3),
    weighted(5, "FULLY_CONNECTED", 4, weight_dtype="float32", macs=1, output_bytes=40),
    operation(6, "SOFTMAX", 5, output_bytes=40, live_bytes=80),
)
"""A chain in which the sum takes the first output too."""


def trial(recipe: str, size_bytes: int | None, sqnr_db: float, **more: object) -> TrialFacts:
    """Return a candidate; without a size it could not be made."""
    was_made = size_bytes is not None
    return TrialFacts(
        recipe=recipe,
        size_bytes=size_bytes,
        sqnr_db=sqnr_db if was_made else None,
        agreement=0.98 if was_made else None,
        **more,  # type: ignore[arg-type]
    )


def searched_artifact() -> ArtifactFacts:
    """Return an artifact that was searched for, with operations and sensitivity."""
    return ArtifactFacts(
        digest=DIGEST,
        format="tflite",
        size_bytes=28_120,
        runtimes=("litert",),
        supports=(
            SupportFacts(profile="raspberry-pi-zero-2w", runtime="litert", runs=True, found=RUNS),
            SupportFacts(profile="x86-64-generic", runtime="litert", runs=True, found=RUNS),
        ),
        recipe="tflite-int8",
        source=DIGEST,
        float_model=DIGEST,
        calibration=DIGEST,
        ranges=11,
        excluded=(FUSED,),
        notes=("an operator stays in floats",),
        tools=(("ai-edge-quantizer", "0.10.0"),),
        operations=RESIDUAL,
        trials=(
            trial("tflite-float16", 52_000, 63.8, on_front=True, latency_ms=0.3),
            trial("tflite-int8", 28_120, 26.7, on_front=True, chosen=True),
            trial("tflite-int8-mse", 28_120, 26.1),
            trial("tflite-dynamic", 27_000, 2.0, why_not="too far from the float model"),
            trial("tflite-int16", None, 0.0, why_not="the quantizer failed: KeyError"),
        ),
        stopped="all candidates were tried: 5 candidates",
        objective="size",
        float_ms=0.5,
        sensitivity=(
            SensitivityFacts(name=FUSED, error=0.27, number=1, type="CONV_2D"),
            SensitivityFacts(name="gone/Conv2D", error=0.00021),
        ),
    )


def full_package() -> PackageFacts:
    """Return a package that was searched for, measured and waived, with one file for two boards."""
    return PackageFacts(
        model="digits",
        number=7,
        digest=DIGEST,
        key="5" * 64,
        signature="trusted",
        found="by a targets key of root version 1",
        min_agent="0.2.0",
        labels=LABELS,
        lineage=(("data", "digits.npz"), ("packager", "edgeops 0.2.0")),
        has_record=True,
        gates=(
            GateFacts(name="golden", verdicts=(VerdictFacts(holds=True, found="0.97 right"),)),
            GateFacts(
                name="quality",
                verdicts=(VerdictFacts(holds=False, found="loses 0.0240"),),
                waived="field test of the new labels",
            ),
            GateFacts(name="fit"),
        ),
        variants=(
            VariantFacts(
                runtime="litert",
                profiles=("raspberry-pi-zero-2w", "x86-64-generic"),
                size_bytes=28_120,
                golden_accuracy=0.953,
                evidence=evidence(1, 0.008),
            ),
        ),
        artifacts=(searched_artifact(),),
        host="Testing CPU, 2 cores, Linux x86_64",
        runs=(
            RunFacts(
                runtime="litert",
                package="ai-edge-litert 2.3.0",
                threads=1,
                latency_ms=0.214,
                latency_ms_p95=0.38,
                memory_mib=7.5,
            ),
        ),
        errors=(
            ErrorFacts(
                runtime="litert",
                rows=900,
                same=12,
                low=1e-6,
                high=1e2,
                counts=(0,) * 12 + (100, 500, 200, 80, 0, 6, 2) + (0,) * 13,
                median=0.0031,
                p95=0.011,
                worst=0.27,
            ),
        ),
    )


def old_package() -> PackageFacts:
    """Return a package from before there were build records and evidence."""
    return PackageFacts(
        model="digits",
        number=1,
        digest=DIGEST,
        key="5" * 64,
        signature="not checked",
        found="there is no root of trust here",
        gates=(GateFacts(name="golden", waived="no labels yet"), GateFacts(name="quality")),
        variants=(
            VariantFacts(
                runtime="onnxruntime",
                profiles=("raspberry-pi-5",),
                size_bytes=70_480,
                golden_accuracy=None,
                evidence=None,
            ),
        ),
        artifacts=(
            ArtifactFacts(
                digest=DIGEST,
                format="onnx",
                size_bytes=70_480,
                runtimes=("onnxruntime",),
                supports=(
                    SupportFacts(profile="raspberry-pi-5", runtime="onnxruntime", runs=None),
                ),
            ),
        ),
    )
