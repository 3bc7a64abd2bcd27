"""Packaging by a recipe: what is given is converted, measured against its float model, gated."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from device_agent.protocol.manifest import Manifest
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
