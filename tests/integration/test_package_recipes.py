"""Packaging by a recipe: what is given is converted, measured against its float model, gated."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from device_agent.protocol.manifest import Manifest, Waiver
from edgeops.domain.errors import GateFailed, InvalidInput, InvalidModel
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import SPLIT
from tests.models import digits_tflite

KEY = SigningKey.generate()


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def request(folder: Path, **more: object) -> PackageRequest:
    given: dict[str, object] = {
        "models": (digits_tflite(2),),
        "evaluation": saved(folder / "evaluation.npz", x=SPLIT.stream_x, y=SPLIT.stream_y),
        "calibration": saved(folder / "calibration.npz", x=SPLIT.train_x[:200]),
        "recipes": ("int8",),
        "cache": folder / "cache",
        "max_drop": 0.03,
        **more,
    }
    return PackageRequest(
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        **given,  # type: ignore[arg-type]
    )


def build(made: PackageRequest) -> tuple[Package, list[str]]:
    said: list[str] = []
    return build_package(made, KEY, said.append), said


def test_an_int8_variant_is_measured_against_the_float_model_that_it_was_made_from(
    tmp_path: Path,
) -> None:
    package, said = build(request(tmp_path))
    manifest = Manifest.from_bytes(package.manifest_bytes)
    evidence = manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.recipe == "tflite-int8"
    assert evidence.size_bytes < evidence.float_size_bytes / 2
    assert evidence.agreement > 0.97
    assert manifest.lineage["recipe.tflite"] == "tflite-int8"
    assert "ai-edge-quantizer" in manifest.lineage["converter.tflite"]
    assert manifest.lineage["calibration.tflite"].startswith("sha256:")
    assert any("note: tflite-int8" in line for line in said)


def test_the_same_request_gives_the_same_package_and_its_conversion_is_not_done_twice(
    tmp_path: Path,
) -> None:
    first, _ = build(request(tmp_path))
    second, said = build(request(tmp_path))
    assert first.digest == second.digest
    assert not any(line.startswith("making") for line in said)


def test_a_model_calibrated_on_garbage_is_refused_by_the_quality_gate(tmp_path: Path) -> None:
    garbage = saved(tmp_path / "garbage.npz", x=SPLIT.train_x[:200] * np.float32(0.01))
    with pytest.raises(GateFailed, match="quality"):
        build(request(tmp_path, calibration=garbage))


def test_int8_without_calibration_rows_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs calibration rows") as caught:
        build(request(tmp_path, calibration=None))
    assert "few hundred" in caught.value.next_step


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (SPLIT.train_x[:200, :10], "do not fit"),
        (SPLIT.train_x[:200] * np.nan, "NaN"),
        (SPLIT.train_x[:200].astype(str), "not numbers"),
        (SPLIT.train_x[:1], "only one calibration row"),
    ],
    ids=["shape", "nan", "text", "one"],
)
def test_calibration_rows_that_tell_nothing_are_refused(
    tmp_path: Path, rows: np.ndarray, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        build(request(tmp_path, calibration=saved(tmp_path / "bad.npz", x=rows)))


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        (("int4",), "no recipe for .tflite 'int4'"),
        (("onnx-int8", "float32", "int8"), "both for .tflite"),
        (("tflite-int8", "tflite-float16"), "both for .tflite"),
    ],
)
def test_a_recipe_that_is_unknown_or_ambiguous_is_refused(
    tmp_path: Path, recipes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        build(request(tmp_path, recipes=recipes))


def test_a_keras_model_with_code_is_refused_before_anything_is_converted(tmp_path: Path) -> None:
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "code"}}
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [layer]},
    }
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(InvalidModel, match="Lambda") as caught:
        build(request(tmp_path, models=(path,)))
    assert "--trust-code" in caught.value.next_step


def test_a_recipe_needs_a_folder_for_conversions(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="folder for conversions"):
        build(request(tmp_path, cache=None))


def test_a_lossy_recipe_without_evaluation_rows_is_refused_or_waived(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"nothing shows what .* lost by tflite-int8") as refused:
        build(request(tmp_path, evaluation=None))
    assert "--evaluation" in refused.value.next_step
    waiver = Waiver(gate="quality", reason="a field test without labels")
    package, said = build(request(tmp_path, evaluation=None, waivers=(waiver,)))
    assert Manifest.from_bytes(package.manifest_bytes).waivers == (waiver,)
    assert any(line.startswith("warning: waived: gate 'quality'") for line in said)
    package, _ = build(request(tmp_path, evaluation=None, recipes=("float32",), calibration=None))
    assert Manifest.from_bytes(package.manifest_bytes).waivers == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recipes": ("int8", "onnx-int8")}, "onnx-int8 makes a .onnx, and nothing here becomes"),
        ({"recipes": ("onnx-int8",)}, "onnx-int8 makes a .onnx"),
        ({"recipes": ()}, "is given for calibration, and nothing is calibrated"),
        ({"recipes": ("float16",)}, "is given for calibration, and nothing is calibrated"),
    ],
    ids=["one-too-many", "of-another-format", "none", "without-ranges"],
)
def test_what_would_silently_do_nothing_is_refused(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        build(request(tmp_path, **changes))


def test_repeated_rows_are_no_evidence(tmp_path: Path) -> None:
    x, y = SPLIT.stream_x[:60], SPLIT.stream_y[:60]
    repeated = saved(tmp_path / "twenty.npz", x=np.tile(x, (20, 1)), y=np.tile(y, 20))
    with pytest.raises(GateFailed, match=r"of accuracy on 60 rows; less than 0\.03 must be shown"):
        build(request(tmp_path, evaluation=repeated))


def test_labels_in_another_order_measure_nothing(tmp_path: Path) -> None:
    turned = saved(tmp_path / "turned.npz", x=SPLIT.stream_x, y=(SPLIT.stream_y + 1) % 10)
    with pytest.raises(
        GateFailed, match=r"right on 0\.0\d+ of 833 rows, by chance it would be on 0\.1"
    ) as refused:
        build(request(tmp_path, evaluation=turned))
    assert "numbers the classes" in refused.value.next_step


def test_a_class_that_was_never_evaluated_is_said(tmp_path: Path) -> None:
    there = SPLIT.stream_y != 9
    rows = saved(tmp_path / "no9.npz", x=SPLIT.stream_x[there], y=SPLIT.stream_y[there])
    _, said = build(request(tmp_path, evaluation=rows))
    assert any("no evaluation rows are of class 9" in line for line in said)
