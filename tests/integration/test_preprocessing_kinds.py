"""Images, sound and table rows end to end: packaged, judged, and answered raw on a device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.core.states import State
from device_agent.processing.golden import decode_golden
from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reference import ReferenceProfile
from device_agent.shell.identity import adopt_identity
from device_agent.shell.storage import FolderStorage
from edgeops.domain.errors import InvalidGolden, InvalidInput
from edgeops.packaging.package import Package
from tests.device_harness import Device, Hub, Workshop
from tests.models import save_golden
from tests.raw_rows import KINDS, Raw, table


@pytest.fixture(scope="module", params=KINDS)
def raw(request: pytest.FixtureRequest) -> Raw:
    return KINDS[request.param]()


def packaged(workshop: Workshop, raw: Raw, folder: Path, **request: Any) -> Package:
    model = folder / f"model{raw.suffix}"
    model.write_bytes(raw.model)
    rows = save_golden(folder / "rows.npz", raw.x, raw.y)
    values = {
        "profiles": ("x86-64-generic", raw.profile),
        "preprocessing": raw.preprocessing,
        "evaluation": rows,
        "max_drop": 0.2,  # so few rows show no more
        **request,
    }
    return workshop.package("model", 1, model, rows, **values)


@pytest.fixture(scope="module")
def package(workshop: Workshop, raw: Raw, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packaged(workshop, raw, tmp_path_factory.mktemp("model"))


@pytest.fixture
def device(hub: Hub, raw: Raw, tmp_path: Path) -> Device:
    adopt_identity(FolderStorage(tmp_path / "state"), hub.enrolment())
    made = Device(tmp_path / "state", hub)
    made.rows = raw.x
    return made


def golden_of(package: Package) -> Any:
    (variant,) = package.manifest.variants
    assert variant.golden is not None
    return decode_golden(package.blobs[variant.golden.ref.digest])


def test_the_model_is_right_on_raw_rows_and_the_manifest_says_how(
    package: Package, raw: Raw
) -> None:
    (variant,) = package.manifest.variants
    assert variant.evidence is not None and variant.golden_accuracy is not None
    assert variant.evidence.accuracy > 0.9
    assert variant.golden_accuracy > 0.9
    read = Manifest.from_bytes(package.manifest_bytes)
    assert (read.min_agent, read.preprocessing) == ("0.2.0", raw.preprocessing)
    assert golden_of(package).x.dtype == raw.x.dtype


def test_the_reference_is_of_raw_rows(package: Package, raw: Raw) -> None:
    (variant,) = package.manifest.variants
    assert variant.reference is not None
    reference = ReferenceProfile.from_bytes(package.blobs[variant.reference.ref.digest])
    elements = raw.x[0].size
    assert len(reference.plan.features) == (elements if elements <= 128 else 7)
    parts = reference.plan.parted(reference.inputs)
    if raw.preprocessing.tabular is not None:
        assert parts[0][-1] == int(np.isnan(raw.x[:, 0]).sum()) > 0
    assert all(sum(part) == len(raw.x) for part in parts)


def test_a_device_answers_raw_rows_exactly_as_the_packager_did(
    device: Device, package: Package
) -> None:
    device.order(package)
    device.settle("model")
    assert device.outcome("model") == (State.COMMITTED, None), device.describe()
    golden = golden_of(package)
    scores = package.manifest.variants[0].scores
    for row, expected in zip(golden.x, golden.expected[scores], strict=True):
        answer = device.infer("model", row)
        np.testing.assert_array_equal(answer.outputs[scores][0], expected)
        listed = device.infer("model", row.tolist())
        np.testing.assert_array_equal(listed.outputs[scores][0], expected)
    with pytest.raises(BadInput, match="elements"):
        device.infer("model", golden.x[0].ravel()[:-1])


def test_device_agent_infer_gives_the_same_answers_on_raw_rows(
    device: Device, package: Package, raw: Raw, tmp_path: Path
) -> None:
    device.order(package)
    device.settle("model")
    device.stop()
    np.save(tmp_path / "rows.npy", raw.x)
    np.save(tmp_path / "row.npy", raw.x[0])

    def said(name: str) -> list[dict[str, Any]]:
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "device_agent.cli", "infer"),
                *("--state", str(device.folder), "--model", "model"),
                *("--input", str(tmp_path / name), "--limit", "200", "-o", "json"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    every = said("rows.npy")
    (variant,) = package.manifest.variants
    assert variant.evidence is not None
    right = np.mean([each["class_index"] == label for each, label in zip(every, raw.y)])
    assert right == pytest.approx(variant.evidence.accuracy)
    (one,) = said("row.npy")
    assert (one["class_index"], one["confidence"]) == (
        every[0]["class_index"],
        every[0]["confidence"],
    )


def other_way(made: Preprocessing) -> Preprocessing:
    """Return preprocessing that makes as many numbers of a row, but other ones."""
    if made.image is not None:
        return replace(made, image=replace(made.image, channels="bgr-to-grey"))
    if made.audio is not None:
        return replace(made, audio=replace(made.audio, window="none"))
    assert made.tabular is not None
    first, *rest = made.tabular.features
    filled = replace(first, fill=100.0)
    return replace(made, tabular=replace(made.tabular, features=(filled, *rest)))


@pytest.mark.parametrize("other", [other_way, lambda made: replace(made, scale=made.scale * 2)])
def test_a_package_that_prepares_otherwise_than_was_measured_fails_the_self_test(
    device: Device,
    package: Package,
    workshop: Workshop,
    raw: Raw,
    other: Callable[[Preprocessing], Preprocessing],
) -> None:
    device.order(workshop.altered(package, preprocessing=other(raw.preprocessing)))
    device.settle("model")
    assert device.outcome("model") == (State.FAILED, Reason.GOLDEN_MISMATCH), device.describe()


def test_an_older_agent_refuses_the_package(
    device: Device, package: Package, workshop: Workshop
) -> None:
    newer = workshop.altered(package, min_agent="9.0.0")
    device.order(newer)
    device.settle("model")
    assert device.reason("model") is Reason.AGENT_TOO_OLD


def test_what_is_made_must_be_the_models_input(
    workshop: Workshop, raw: Raw, tmp_path: Path
) -> None:
    wrong = raw.preprocessing
    if wrong.image is not None:
        wrong = replace(wrong, image=replace(wrong.image, resize=(9, 9)))
    elif wrong.audio is not None:
        wrong = replace(wrong, audio=replace(wrong.audio, coefficients=3))
    else:
        assert wrong.tabular is not None
        *first, site = wrong.tabular.features
        shorter = replace(wrong.tabular, features=(*first, replace(site, unknown="zeros")))
        wrong = Preprocessing(tabular=shorter)
    with pytest.raises(InvalidInput, match="what preprocessing makes is no input"):
        packaged(workshop, raw, tmp_path, preprocessing=wrong)


# ---- missing values


def test_a_missing_value_is_taken_exactly_where_it_is_filled(
    workshop: Workshop, tmp_path: Path
) -> None:
    raw = table()
    packaged(workshop, raw, tmp_path)
    with pytest.raises(InvalidGolden, match="NaN or infinity, first in row 2 at element 0"):
        plain = replace(raw, x=np.where(np.arange(len(raw.x))[:, None] == 2, np.nan, 0.5))
        packaged(workshop, plain, tmp_path, preprocessing=None)
    for at, value in ((1, np.nan), (0, np.inf)):
        bad = raw.x.copy()
        bad[5, at] = value
        with pytest.raises(InvalidGolden, match=f"first in row 5 at element {at}") as raised:
            packaged(workshop, replace(raw, x=bad), tmp_path)
        assert "fill" in raised.value.next_step


def test_calibration_rows_may_lack_what_is_filled_too(workshop: Workshop, tmp_path: Path) -> None:
    raw = table()
    rows = save_golden(tmp_path / "calibration.npz", raw.x[:60] * np.float32(1.001))
    package = packaged(
        workshop,
        raw,
        tmp_path,
        calibration=rows,
        recipes=("int8",),
        cache=tmp_path / "cache",
        max_drop=0.5,
    )
    (variant,) = package.manifest.variants
    assert variant.evidence is not None
    assert variant.evidence.accuracy > 0.8
    assert np.isfinite(prepare_rows(raw.x, raw.preprocessing)).all()


def test_a_device_refuses_a_row_that_lacks_what_nothing_fills(
    hub: Hub, workshop: Workshop, tmp_path: Path
) -> None:
    raw = table()
    device = Device(tmp_path / "state", hub)
    device.rows = raw.x
    device.order(packaged(workshop, raw, tmp_path))
    device.settle("model")
    with pytest.raises(BadInput, match=r"feature 1 \(flow\) is missing"):
        device.infer("model", [20.0, np.nan, 3.0])
    assert device.infer("model", [np.nan, 5.0, 3.0]).class_index == 0
    assert device.infer("model", [np.nan, 5.0, np.nan]).class_index == 0
    assert device.infer("model", [50.0, 5.0, 1234.0]).class_index == 1
