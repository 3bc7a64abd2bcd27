"""Preprocessing end to end: what the packager measured is what the device answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.core.states import State
from device_agent.processing.features import bins_of, features_of
from device_agent.processing.golden import decode_golden
from device_agent.protocol.errors import BadInput
from device_agent.protocol.ids import ModelName
from device_agent.protocol.manifest import Manifest, Waiver
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reference import ReferenceProfile
from device_agent.shell.identity import adopt_identity
from device_agent.shell.storage import FolderStorage
from edgeops.domain.errors import GateFailed, InvalidGolden, InvalidInput
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.device_harness import FEATURES, Device, Hub, Workshop
from tests.digits_models import digits
from tests.models import digits_tflite, linear_onnx, save_golden

KEY = SigningKey.generate()
SPLIT = digits(0)
PIXELS = SPLIT.stream_x / np.float32(16)
"""The digits as a camera gives them, 0 to 1; the models were trained on 0 to 16."""
TO_16 = Preprocessing(scale=16.0)

CENTRED = Preprocessing(
    scale=0.5, mean=(1.0, -3.0, 0.5, 40.0), std=(0.25, 2.0, 1.0, 8.0), shape=(FEATURES,)
)


def request(folder: Path, **more: Any) -> PackageRequest:
    return PackageRequest(
        **{
            "models": (digits_tflite(2),),
            "name": "digits",
            "version": 1,
            "profiles": ("raspberry-pi-zero-2w",),
            "golden": save_golden(folder / "golden.npz", PIXELS, SPLIT.stream_y),
            **more,
        }
    )


def build(made: PackageRequest) -> Package:
    return build_package(made, KEY, lambda line: None)


def golden_of(package: Package) -> Any:
    (variant,) = package.manifest.variants
    assert variant.golden is not None
    return decode_golden(package.blobs[variant.golden.ref.digest])


# ---- packaging


def test_rows_of_another_scale_miss_the_gate_until_the_package_says_the_scale(
    tmp_path: Path,
) -> None:
    with pytest.raises(GateFailed, match="golden"):
        build(request(tmp_path))
    scaled = build(request(tmp_path, preprocessing=TO_16))
    right = save_golden(tmp_path / "right.npz", SPLIT.stream_x, SPLIT.stream_y)
    plain = build(request(tmp_path, golden=right))
    assert scaled.manifest.variants[0].golden_accuracy == plain.manifest.variants[0].golden_accuracy
    raw, fed = golden_of(scaled), golden_of(plain)
    np.testing.assert_array_equal(raw.x * 16, fed.x)
    for name, answers in fed.expected.items():
        np.testing.assert_array_equal(raw.expected[name], answers)


def test_a_package_says_itself_which_agent_it_needs(tmp_path: Path) -> None:
    manifest = Manifest.from_bytes(build(request(tmp_path, preprocessing=TO_16)).manifest_bytes)
    assert (manifest.min_agent, manifest.preprocessing) == ("0.2.0", TO_16)
    newer = build(request(tmp_path, preprocessing=TO_16, min_agent="1.0.0"))
    assert newer.manifest.min_agent == "1.0.0"


def test_without_preprocessing_nothing_in_the_manifest_says_so(tmp_path: Path) -> None:
    right = save_golden(tmp_path / "right.npz", SPLIT.stream_x, SPLIT.stream_y)
    package = build(request(tmp_path, golden=right))
    assert package.manifest.min_agent == "0.1.0"
    assert b"preprocessing" not in package.manifest_bytes


def test_evidence_and_reference_are_of_raw_rows(tmp_path: Path) -> None:
    evaluation = save_golden(tmp_path / "evaluation.npz", PIXELS, SPLIT.stream_y)
    (variant,) = build(
        request(tmp_path, preprocessing=TO_16, evaluation=evaluation)
    ).manifest.variants
    fed = save_golden(tmp_path / "fed.npz", SPLIT.stream_x, SPLIT.stream_y)
    (plain,) = build(request(tmp_path, golden=fed, evaluation=fed)).manifest.variants
    assert variant.evidence == plain.evidence
    assert variant.evidence is not None and variant.evidence.accuracy > 0.95
    assert variant.reference != plain.reference


def test_calibration_rows_are_prepared_before_ranges_are_taken(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    raw = save_golden(tmp_path / "raw.npz", SPLIT.train_x[:100] / np.float32(16))
    fed = save_golden(tmp_path / "fed.npz", SPLIT.train_x[:100])
    right = save_golden(tmp_path / "right.npz", SPLIT.stream_x, SPLIT.stream_y)
    unmeasured = (Waiver(gate="quality", reason="artifacts are compared byte by byte"),)
    int8 = {"recipes": ("int8",), "cache": cache, "waivers": unmeasured}
    scaled = build(request(tmp_path, preprocessing=TO_16, calibration=raw, **int8))
    plain = build(request(tmp_path, golden=right, calibration=fed, **int8))
    assert scaled.manifest.variants[0].artifact == plain.manifest.variants[0].artifact
    assert scaled.manifest.variants[0].golden_accuracy == plain.manifest.variants[0].golden_accuracy


@pytest.mark.parametrize("golden", [True, False])
def test_a_shape_that_is_no_input_of_the_model_is_said_at_packaging(
    tmp_path: Path, golden: bool
) -> None:
    wrong = request(tmp_path, preprocessing=Preprocessing(shape=(8, 9)))
    with pytest.raises(InvalidInput, match="64 elements.*given: 72") as raised:
        build(wrong if golden else replace(wrong, golden=None))
    assert "as many elements" in raised.value.next_step


def test_rows_that_do_not_fit_the_shape_are_said(tmp_path: Path) -> None:
    small = save_golden(tmp_path / "small.npz", PIXELS[:, :63], SPLIT.stream_y)
    shaped = replace(TO_16, shape=(8, 8))
    with pytest.raises(InvalidGolden, match="64 elements"):
        build(request(tmp_path, preprocessing=shaped, golden=small))
    with pytest.raises(InvalidGolden, match="calibration rows do not fit"):
        build(
            request(
                tmp_path,
                preprocessing=shaped,
                calibration=small,
                recipes=("int8",),
                cache=tmp_path / "cache",
            )
        )


# ---- the device


def raw_rows(workshop: Workshop) -> np.ndarray:
    """Return rows that only the preprocessing turns into what the model tells apart."""
    mean, std = np.array(CENTRED.mean, np.float32), np.array(CENTRED.std, np.float32)
    return (workshop.rows * std + mean) * np.float32(2)


@pytest.fixture(scope="module")
def package(workshop: Workshop) -> Package:
    folder = workshop.folder
    (folder / "model.onnx").write_bytes(linear_onnx(workshop.weights))
    rows = save_golden(folder / "golden.npz", raw_rows(workshop), workshop.labels)
    return workshop.package(
        *("digits", 1, folder / "model.onnx", rows),
        preprocessing=CENTRED,
        evaluation=rows,
        max_drop=0.1,  # forty rows show no more
    )


@pytest.fixture
def device(hub: Hub, tmp_path: Path) -> Device:
    return Device(tmp_path / "state", hub)


def test_a_device_answers_raw_rows_exactly_as_the_packager_did(
    device: Device, package: Package, workshop: Workshop
) -> None:
    device.order(package)
    device.settle()
    assert device.outcome() == (State.COMMITTED, None), device.describe()
    golden = golden_of(package)
    np.testing.assert_array_equal(golden.x, raw_rows(workshop))
    for row, label, expected in zip(
        golden.x, golden.labels, golden.expected["scores"], strict=True
    ):
        answer = device.infer(row=row)
        np.testing.assert_array_equal(answer.outputs["scores"][0], expected)
        assert answer.class_index == label
    device.restart()
    again = device.infer(row=golden.x[0].tolist())
    np.testing.assert_array_equal(again.outputs["scores"][0], golden.expected["scores"][0])
    with pytest.raises(BadInput, match="4 elements"):
        device.infer(row=golden.x[0, :3])
    with pytest.raises(BadInput, match="numbers"):
        device.infer(row=["1", "2", "3", "4"])


def test_drift_is_counted_on_raw_rows(device: Device, package: Package, workshop: Workshop) -> None:
    device.order(package)
    device.settle()
    live = device.live.get(ModelName("digits"))
    assert live is not None and live.inputs is not None
    live.inputs.take()
    rows = raw_rows(workshop)
    # As an application that computes in doubles gives them: the same in float32, but beside
    # the edges, which are of float32 reference rows.
    beside = rows.astype(np.float64) * (1 - 1e-9)
    np.testing.assert_array_equal(beside.astype(np.float32), rows)
    for row in beside:
        device.infer(row=row)
    (variant,) = package.manifest.variants
    assert variant.reference is not None
    reference = ReferenceProfile.from_bytes(package.blobs[variant.reference.ref.digest])
    values = np.stack([features_of("elements", row) for row in rows])
    wanted = [
        int(count)
        for number, feature in enumerate(reference.plan.features)
        for count in np.bincount(bins_of(feature, values[:, number]), minlength=feature.bins)
    ]
    assert live.inputs.take() == (len(rows), tuple(wanted))
    assert tuple(wanted) == reference.inputs


@pytest.mark.parametrize("other", [None, replace(CENTRED, scale=1.0)])
def test_a_package_that_prepares_otherwise_than_was_measured_fails_the_self_test(
    device: Device, package: Package, workshop: Workshop, other: Preprocessing | None
) -> None:
    device.order(workshop.altered(package, preprocessing=other))
    device.settle()
    assert device.outcome() == (State.FAILED, Reason.GOLDEN_MISMATCH), device.describe()


def test_a_version_that_expects_other_rows_than_its_parent_is_found(
    device: Device, package: Package, workshop: Workshop
) -> None:
    device.order(package)
    device.settle()
    device.order(workshop.linear(2, workshop.weights), rollout="r2")
    device.settle()
    assert device.reason() is Reason.PARENT_GOLDEN_ACCURACY, device.describe()
    assert device.serving() == 1


def test_device_agent_infer_takes_raw_rows(
    hub: Hub, package: Package, workshop: Workshop, tmp_path: Path
) -> None:
    adopt_identity(FolderStorage(tmp_path / "state"), hub.enrolment())
    device = Device(tmp_path / "state", hub)
    device.order(package)
    device.settle()
    device.stop()
    np.save(tmp_path / "rows.npy", raw_rows(workshop))
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "device_agent.cli", "infer", "--state", str(device.folder)),
            *("--model", "digits", "--input", str(tmp_path / "rows.npy"), "--limit", "40"),
            *("-o", "json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line)["class_index"] for line in ran.stdout.splitlines()]
    assert said == workshop.labels.tolist()
