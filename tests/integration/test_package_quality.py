"""Evidence in a package: measured on the artifact's own runtime, gated, and sent to devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_agent.protocol.manifest import Manifest, Waiver
from device_agent.protocol.reference import ReferenceProfile
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.build import build_package
from edgeops.packaging.convert import Converted
from edgeops.packaging.convert.job import Report
from edgeops.packaging.engines import Engine
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.gates.quality import Quality, evaluate_quality, quality_checks
from edgeops.packaging.gates.verdicts import Gates
from edgeops.packaging.oci.layout import read_layout, write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.digits_models import digits, tflite_path

SPLIT = digits(0)
KEY = SigningKey.generate()
LITERT = Engine(runtime="litert", package="LiteRT")


def saved(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    np.savez(path, x=x, y=y)
    return path


def request(folder: Path, **more: object) -> PackageRequest:
    evaluation = saved(folder / "evaluation.npz", SPLIT.stream_x, SPLIT.stream_y)
    return PackageRequest(
        models=(tflite_path(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        **{"evaluation": evaluation, **more},  # type: ignore[arg-type]
    )


def build(made: PackageRequest) -> tuple[Package, list[str]]:
    said: list[str] = []
    return build_package(made, KEY, said.append), said


def quality_of(artifact: int, float_model: int, rows: int) -> tuple[ModelFile, Quality]:
    """Pretend that one version of the digits was made from another one."""
    from edgeops.packaging.evaluate import evaluate
    from edgeops.packaging.files.model_file import on_trial
    from edgeops.packaging.rows.golden_rows import LabelledRows

    file = ModelFile(
        name=f"digits-v{artifact}.tflite",
        data=tflite_path(artifact).read_bytes(),
        format="tflite",
        made=Converted(
            path=tflite_path(artifact),
            recipe=RECIPES["tflite-int8"],
            making=Report(),
            tools={},
            notes=(),
        ),
        float_data=tflite_path(float_model).read_bytes(),
    )
    with on_trial(file, LITERT) as trial:
        found = evaluate(trial, None, scores=None, tolerance=None)
    labelled = LabelledRows(
        x=SPLIT.stream_x[:rows], y=SPLIT.stream_y[:rows], digest="sha256:" + "0" * 64
    )
    return file, evaluate_quality(file, found, labelled, max_drop=0.02)


def test_a_package_carries_evidence_and_a_reference_that_devices_fetch(tmp_path: Path) -> None:
    package, said = build(request(tmp_path))
    variant = Manifest.from_bytes(package.manifest_bytes).variants[0]
    assert variant.evidence is not None and variant.reference is not None
    assert (variant.evidence.recipe, variant.evidence.rows) == ("as-is", 833)
    assert variant.evidence.accuracy == pytest.approx(0.972, abs=0.01)
    assert sum(each.correct for each in variant.evidence.classes) == round(
        variant.evidence.accuracy * 833
    )
    assert variant.reference in variant.blobs
    reference = ReferenceProfile.from_bytes(package.blobs[variant.reference.ref.digest])
    assert reference.rows == sum(reference.classes) == 833
    assert len(reference.plan.features) == 64
    assert any("1000 are wanted" in line for line in said)


def test_the_same_rows_give_the_same_package(tmp_path: Path) -> None:
    first, _ = build(request(tmp_path))
    second, _ = build(request(tmp_path))
    assert first.digest == second.digest


def test_a_package_with_a_reference_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    package, _ = build(request(tmp_path))
    write_layout(package, tmp_path / "packages")
    assert read_layout(tmp_path / "packages").blobs == package.blobs


def test_an_artifact_that_lost_its_meaning_is_refused() -> None:
    file, quality = quality_of(artifact=3, float_model=2, rows=833)
    with pytest.raises(GateFailed, match=r"digits-v3\.tflite by tflite-int8 loses 0\.8"):
        Gates((), print).hold("quality", quality_checks({"litert": quality}, {"tflite": file}))


def test_a_waiver_lets_it_pass_and_is_recorded() -> None:
    file, quality = quality_of(artifact=3, float_model=2, rows=100)
    waiver = Waiver(gate="quality", reason="shown on purpose")
    said: list[str] = []
    gates = Gates((waiver,), said.append)
    gates.hold("quality", quality_checks({"litert": quality}, {"tflite": file}))
    assert gates.waivers == (waiver,)
    assert [(each.gate, each.holds) for each in gates.verdicts] == [("quality", False)]
    assert any(line.startswith("warning: waived") for line in said)


def test_a_waiver_that_is_not_needed_is_not_recorded(tmp_path: Path) -> None:
    waiver = Waiver(gate="quality", reason="to be safe")
    package, said = build(request(tmp_path, waivers=(waiver,)))
    assert package.manifest.waivers == ()
    assert any("not needed" in line for line in said)


def test_too_few_rows_are_refused_and_the_number_that_it_takes_is_said(tmp_path: Path) -> None:
    few = saved(tmp_path / "few.npz", SPLIT.stream_x[:40], SPLIT.stream_y[:40])
    with pytest.raises(GateFailed) as caught:
        build(request(tmp_path, evaluation=few, recipes=("float16",), cache=tmp_path / "cache"))
    assert "evaluate on about" in caught.value.next_step


def test_a_file_as_it_is_loses_nothing_however_few_the_rows_are(tmp_path: Path) -> None:
    few = saved(tmp_path / "few.npz", SPLIT.stream_x[:40], SPLIT.stream_y[:40])
    evidence = build(request(tmp_path, evaluation=few))[0].manifest.variants[0].evidence
    assert evidence is not None
    assert (evidence.drop_low, evidence.drop_high, evidence.rows) == (0.0, 0.0, 40)


def test_calibration_rows_are_no_evaluation_rows(tmp_path: Path) -> None:
    same = saved(tmp_path / "calibration.npz", SPLIT.stream_x[:300], SPLIT.stream_y[:300])
    with pytest.raises(InvalidGolden, match="evaluation rows are calibration rows"):
        build(request(tmp_path, calibration=same))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (SPLIT.stream_x[:, :10], SPLIT.stream_y, "do not fit"),
        (SPLIT.stream_x * np.nan, SPLIT.stream_y, "NaN"),
        (SPLIT.stream_x, SPLIT.stream_y + 5, "knows 0 to 9"),
        (SPLIT.stream_x, SPLIT.stream_y * 0, "all evaluation rows are of class 0"),
        (SPLIT.stream_x.astype(str), SPLIT.stream_y, "not numbers"),
    ],
    ids=["shape", "nan", "label", "one-class", "text"],
)
def test_evaluation_rows_that_cannot_tell_are_refused(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, message: str
) -> None:
    bad = saved(tmp_path / "bad.npz", x, y)
    with pytest.raises(InvalidGolden, match=message):
        build(request(tmp_path, evaluation=bad))
