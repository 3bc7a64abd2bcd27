"""From model files to a signed package: evaluated, gated, and refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.processing.golden import decode_golden
from device_agent.protocol.manifest import Budget, Manifest, Waiver
from edgeops.domain.errors import (
    EdgeopsError,
    GateFailed,
    InvalidGolden,
    InvalidInput,
    InvalidModel,
    NotTrusted,
    UnknownProfile,
)
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.verify import verify_package
from edgeops.trust.keys import SigningKey, verify_signature
from tests import models

KEY = SigningKey.generate()
TRUSTED = {KEY.keyid: KEY.public}
X, Y, WEIGHTS = models.separable(300)
WRONG = np.where(np.arange(300) % 2 == 0, (Y + 1) % 4, Y)

Build = Callable[..., Package]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, said: list[str]) -> Build:
    (tmp_path / "model.onnx").write_bytes(models.linear_onnx(WEIGHTS))
    request = PackageRequest(
        models=(tmp_path / "model.onnx",),
        name="corners",
        version=1,
        profiles=("raspberry-pi-5",),
        golden=models.save_golden(tmp_path / "golden.npz", X, Y),
    )

    def make(**changes: Any) -> Package:
        return build_package(replace(request, **changes), KEY, said.append)

    return make


@pytest.fixture
def digits(tmp_path: Path) -> dict[str, Any]:
    """Digits for both runtimes, on rows that the TFLite model itself labelled."""
    x = np.random.default_rng(0).uniform(0, 16, (8, 64)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(64, 10)).astype(np.float32)
    (tmp_path / "digits.onnx").write_bytes(models.linear_onnx(weights))
    return {
        "models": (tmp_path / "digits.onnx", models.digits_tflite()),
        "golden": models.save_golden(tmp_path / "digits.npz", x),
        "profiles": ("raspberry-pi-5", "raspberry-pi-zero-2w", "x86-64-generic"),
    }


def test_a_package_holds_what_a_device_must_know(build: Build) -> None:
    package = build(labels=("a", "b", "c", "d"), lineage={"data": "corners@3"}, chunk_bytes=256)
    manifest = Manifest.from_bytes(package.manifest_bytes)
    assert package.manifest == manifest
    assert package.reference == "corners:1"
    (variant,) = manifest.variants
    assert (variant.profiles, variant.runtime) == (("raspberry-pi-5",), "onnxruntime")
    assert (variant.scores, variant.tolerance) == ("scores", 1e-3)
    assert (variant.golden_accuracy, manifest.min_accuracy) == (1.0, 0.8)
    assert variant.budget == Budget(memory_mib=512.0)
    assert variant.golden is not None and variant.golden.ref.count > 1
    assert manifest.lineage["data"] == "corners@3"
    assert manifest.lineage["source.onnx"] == variant.artifact.ref.digest
    assert manifest.lineage["golden.onnxruntime"] == "accuracy 1.0000, 300 rows"
    assert manifest.lineage["runtime.onnxruntime"].startswith("onnxruntime 1.")
    verify_package(package, TRUSTED, verify_signature)


def test_golden_rows_hold_the_answers_of_the_artifact(build: Build) -> None:
    package = build()
    golden = package.manifest.variants[0].golden
    assert golden is not None
    rows = decode_golden(package.blobs[golden.ref.digest])
    assert rows.labels is not None and rows.count == 256
    assert np.array_equal(rows.expected["scores"].argmax(axis=1), rows.labels)


def test_profiles_that_share_an_artifact_share_a_variant_with_the_strictest_budget(
    build: Build, digits: dict[str, Any]
) -> None:
    variants = build(**digits).manifest.variants
    assert [(each.runtime, each.profiles, each.budget.memory_mib) for each in variants] == [
        ("litert", ("raspberry-pi-zero-2w", "x86-64-generic"), 64.0),
        ("onnxruntime", ("raspberry-pi-5", "x86-64-generic"), 512.0),
    ]
    assert variants[0].golden != variants[1].golden


def test_a_profile_without_a_file_names_the_format_that_it_needs(build: Build) -> None:
    with pytest.raises(InvalidModel, match="raspberry-pi-zero-2w") as error:
        build(profiles=("raspberry-pi-5", "raspberry-pi-zero-2w"))
    assert ".tflite" in error.value.next_step


def test_a_file_that_no_profile_runs_is_left_out_and_said(
    build: Build, digits: dict[str, Any], said: list[str]
) -> None:
    package = build(**{**digits, "profiles": ("raspberry-pi-zero-2w",)})
    assert [each.runtime for each in package.manifest.variants] == ["litert"]
    assert any("digits.onnx is left out" in line for line in said)


def test_a_model_below_the_bar_is_not_packaged(build: Build, tmp_path: Path) -> None:
    golden = models.save_golden(tmp_path / "wrong.npz", X, WRONG)
    with pytest.raises(GateFailed, match=r"'golden': 0\.5000 of 300 rows.*0\.8 is asked"):
        build(golden=golden)
    assert build(golden=golden, min_accuracy=0.5).manifest.min_accuracy == 0.5


def test_a_waiver_is_recorded_with_its_reason_if_it_was_needed(
    build: Build, tmp_path: Path, said: list[str]
) -> None:
    waiver = Waiver(gate="golden", reason="to see a rollback")
    golden = models.save_golden(tmp_path / "wrong.npz", X, WRONG)
    assert build(golden=golden, waivers=(waiver,)).manifest.waivers == (waiver,)
    assert any(line.startswith("warning: waived: gate 'golden'") for line in said)
    assert build(waivers=(waiver,)).manifest.waivers == ()


def test_without_golden_rows_no_accuracy_is_claimed(build: Build, said: list[str]) -> None:
    manifest = build(golden=None).manifest
    variant = manifest.variants[0]
    assert (variant.golden, variant.golden_accuracy, manifest.min_accuracy) == (None, None, None)
    assert "golden" not in manifest.lineage
    assert any(line.startswith("warning: no golden rows") for line in said)


def test_without_labels_answers_are_kept_but_not_judged(
    build: Build, tmp_path: Path, said: list[str]
) -> None:
    variant = build(golden=models.save_golden(tmp_path / "x.npz", X)).manifest.variants[0]
    assert variant.golden is not None and variant.golden_accuracy is None
    assert any("without labels" in line for line in said)


def test_a_model_that_answers_labels_is_packaged_too(build: Build, tmp_path: Path) -> None:
    (tmp_path / "label.onnx").write_bytes(models.label_onnx(WEIGHTS))
    variant = build(models=(tmp_path / "label.onnx",)).manifest.variants[0]
    assert (variant.scores, variant.golden_accuracy) == ("label", 1.0)


def test_a_model_that_needs_more_memory_than_the_budget_is_not_packaged(build: Build) -> None:
    with pytest.raises(GateFailed, match=r"'fit'.*0\.01 MiB allowed for raspberry-pi-5"):
        build(budget=Budget(memory_mib=0.01))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (models.linear_onnx(WEIGHTS)[:-20], "cut off"),
        (models.digits_tflite().read_bytes()[:-900], "bad: LiteRT cannot load the model"),
        (models.two_inputs_onnx(4), r"2 inputs \(a, b\)"),
        (models.sequence_onnx(4), "not a tensor"),
        (models.random_onnx(4), "differently each time"),
        (models.nan_onnx(4), "NaN or infinity on 300"),
        (models.linear_onnx(WEIGHTS).replace(b"Softmax", b"Softmix"), "has the operators Softmix"),
    ],
    ids=["empty", "zip", "cut", "cut-tflite", "two-in", "sequence", "random", "nan", "operator"],
)
def test_a_model_that_cannot_serve_is_refused(
    build: Build, tmp_path: Path, data: bytes, says: str
) -> None:
    (tmp_path / "bad").write_bytes(data)
    golden = models.save_golden(tmp_path / "negative.npz", X - 10) if "NaN" in says else None
    changes = {"golden": golden} if golden or b"Random" not in data else {}
    with pytest.raises(InvalidModel, match=says) as error:
        build(models=(tmp_path / "bad",), profiles=("x86-64-generic",), **changes)
    assert "\n" not in str(error.value)


def test_a_model_that_leans_on_a_second_file_is_refused(build: Build, tmp_path: Path) -> None:
    path = models.external_onnx(WEIGHTS, tmp_path)
    with pytest.raises(InvalidModel, match=r"weights in weights\.bin: devices take one") as error:
        build(models=(path,))
    assert error.value.next_step.startswith("give --recipe float32, which writes one")


@pytest.mark.parametrize("name", ["missing.onnx", "folder"])
def test_a_path_that_is_no_file_is_refused(build: Build, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidModel, match=name):
        build(models=(tmp_path / name,))


def test_two_files_for_one_runtime_are_refused(build: Build, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(models.linear_onnx(WEIGHTS * 2))
    (tmp_path / "same.onnx").write_bytes(models.linear_onnx(WEIGHTS))
    with pytest.raises(InvalidModel, match="which one"):
        build(models=(tmp_path / "model.onnx", tmp_path / "other.onnx"))
    build(models=(tmp_path / "model.onnx", tmp_path / "same.onnx"))


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X[:, :3], Y, r"takes 4 elements.*given: 3"),
        (X.astype(np.complex64).view(np.float32), Y, "takes 4 elements"),
        (X, Y + 1, "class 4.*0 to 3"),
    ],
)
def test_golden_rows_for_another_model_are_refused(
    build: Build, tmp_path: Path, x: Any, y: Any, says: str
) -> None:
    with pytest.raises(InvalidGolden, match=says):
        build(golden=models.save_golden(tmp_path / "other.npz", x, y))


def test_labels_for_a_model_without_classes_are_refused(build: Build, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(models.linear_onnx(WEIGHTS[:, :1], softmax=False))
    with pytest.raises(InvalidGolden, match="no classes"):
        build(models=(tmp_path / "one.onnx",))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"profiles": ("raspberry-pi-6",)}, UnknownProfile),
        ({"labels": ("a", "b")}, InvalidInput),
        ({"labels": ("a" * 1000, "b", "c", "d")}, InvalidInput),
        ({"lineage": {"code": "x" * 1000}}, InvalidInput),
        ({"scores": "nothing"}, InvalidInput),
        ({"golden": Path("/nowhere.npz")}, InvalidGolden),
    ],
    ids=str,
)
def test_a_request_that_does_not_fit_the_model_is_refused(
    build: Build, changes: dict[str, Any], error: type[EdgeopsError]
) -> None:
    with pytest.raises(error):
        build(**changes)


def test_a_package_is_trusted_only_whole_and_signed_by_a_known_key(build: Build) -> None:
    package = build()
    other = SigningKey.generate()
    data = package.manifest_bytes
    altered = data.replace(b'"min_accuracy":0.8', b'"min_accuracy":0.1')
    digest, blob = next(iter(package.blobs.items()))
    forged = [
        replace(package, signature=other.sign(data)),
        replace(package, signature=replace(other.sign(data), keyid=KEY.keyid)),
        replace(package, manifest_bytes=altered),
        replace(package, blobs={**package.blobs, digest: blob[:-1] + b"!"}),
        replace(package, blobs={}),
    ]
    for each in forged:
        with pytest.raises(NotTrusted):
            verify_package(each, TRUSTED, verify_signature)
    with pytest.raises(NotTrusted, match="not signed by a key"):
        verify_package(package, {}, verify_signature)
