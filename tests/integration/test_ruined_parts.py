"""What a mean hides: a class or a slice that quantization ruins is refused, however few its rows.

The model is made so that one scale for all weights rounds those of a rare kind of input to zero, and
the calibration rows have none of that kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from device_agent.protocol.manifest import Manifest
from edgeops.domain.errors import GateFailed
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.record.rebuild import record_of, verify_rebuilds
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.models import linear_onnx

COMMON, RARE = 30, 250
"""Features that tell the common classes, and those that only together tell the rare one."""


def weights() -> NDArray[np.float32]:
    """Thirty classes by one large weight each; one more by many that one step of 8 bits hides."""
    made = np.zeros((COMMON + RARE, COMMON + 1), np.float32)
    made[:COMMON, :COMMON] = np.eye(COMMON) * 3
    made[COMMON:, COMMON] = 0.01
    return made


def rows(count: int, rare: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    x = chance.uniform(0, 1, (count, COMMON + RARE)).astype(np.float32)
    y = chance.integers(0, COMMON, count)
    x[np.arange(count), y] += 4
    y[:rare] = COMMON
    x[:rare, :COMMON] = chance.uniform(0, 1, (rare, COMMON))
    x[:rare, COMMON:] = chance.uniform(14, 16, (rare, RARE))
    return x, y


def packaged(folder: Path, rare: int, count: int = 600, **more: Any) -> tuple[Package, list[str]]:
    (folder / "m.onnx").write_bytes(linear_onnx(weights()))
    x, y = rows(count, rare)
    np.savez(folder / "held.npz", x=x, y=y)
    np.savez(folder / "cal.npz", x=rows(200, 0, seed=1)[0])
    return built(folder, **more)


def built(folder: Path, **more: Any) -> tuple[Package, list[str]]:
    request = PackageRequest(
        models=(folder / "m.onnx",),
        name="rare",
        version=1,
        profiles=("raspberry-pi-5",),
        evaluation=folder / "held.npz",
        calibration=folder / "cal.npz",
        cache=folder / "cache",
        **{"recipes": ("int8",), **more},
    )
    said: list[str] = []
    return build_package(request, SigningKey.generate(), said.append), said


def test_a_class_of_five_rows_that_quantization_ruined_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"ruins class 30: of the 5 rows .* 5 are wrong"):
        packaged(tmp_path, 5)


def test_a_class_of_two_rows_that_quantization_ruined_is_named(tmp_path: Path) -> None:
    _, said = packaged(tmp_path, 2)
    (line,) = [each for each in said if "class 30" in each]
    assert line.startswith("warning: m.onnx: class 30 loses 2 of the 2 rows")


def numbers(folder: Path, winter: int, loss: float) -> tuple[Package, list[str]]:
    """Package a model of one number, which in winter comes from inputs that 8 bits lose."""
    made = np.zeros((COMMON + RARE, 1), np.float32)
    made[:COMMON], made[COMMON:] = 3, 0.01
    (folder / "m.onnx").write_bytes(linear_onnx(made, softmax=False))
    chance = np.random.default_rng(0)
    x = chance.uniform(0, 1, (800, COMMON + RARE)).astype(np.float32)
    x[:, COMMON:] = 0
    x[:winter, COMMON:] = loss / (RARE * 0.01)
    y = (x.astype(np.float64) @ made)[:, 0] + chance.normal(0, 1.5, len(x))
    season = np.where(np.arange(len(x)) < winter, "winter", "summer")
    np.savez(folder / "held.npz", x=x[:600], y=y[:600], **{"slice.season": season[:600]})
    np.savez(folder / "cal.npz", x=x[600:])
    return built(folder, metric="rmse", max_drop=0.1)


@pytest.mark.parametrize(("winter", "loss", "asked"), [(6, 3.5, 1.0), (14, 2.5, 0.5)])
def test_a_slice_of_a_model_of_numbers_that_is_ruined_is_refused(
    winter: int, loss: float, asked: float, tmp_path: Path
) -> None:
    with pytest.raises(GateFailed, match=rf"rmse on slice season=winter is .*than {asked:g} is"):
        numbers(tmp_path, winter, loss)


def test_a_slice_of_a_model_of_numbers_that_lost_little_is_in_the_evidence(tmp_path: Path) -> None:
    package, said = numbers(tmp_path, 14, 0.2)
    metric = Manifest.from_bytes(package.manifest_bytes).variants[0].metric
    assert metric is not None
    summer, winter = metric.slices
    assert (summer.name, summer.rows, winter.name, winter.rows) == (
        "season=summer", 586, "season=winter", 14,
    )  # fmt: skip
    assert winter.value is not None and 1.0 < winter.value < 2.0
    assert not [line for line in said if "on slice" in line]


def test_a_slice_that_a_metric_says_nothing_of_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(linear_onnx(weights()[:COMMON, :COMMON]))
    x, y = rows(600, 0)
    side = np.where(y == 0, "left", "right")
    np.savez(tmp_path / "held.npz", x=x[:, :COMMON], y=y, **{"slice.side": side})
    np.savez(tmp_path / "cal.npz", x=rows(200, 0, seed=1)[0][:, :COMMON])
    package, said = built(tmp_path, metric="auc")
    assert any("auc alone says nothing of slice side=left" in line for line in said)
    metric = Manifest.from_bytes(package.manifest_bytes).variants[0].metric
    assert metric is not None and metric.slices[0].value is None


def test_a_search_goes_on_until_the_gates_hold(tmp_path: Path) -> None:
    package, said = packaged(tmp_path, 40, recipes=("auto",))
    (variant,) = package.manifest.variants
    assert variant.evidence is not None and "-channel" in variant.evidence.recipe
    record = record_of(package)
    assert record is not None
    making = record.artifacts[0].making
    assert making is not None
    refused = [each.recipe.name for each in making.trials if "refused by gate" in each.why_not]
    assert refused and not [name for name in refused if "-channel" in name]
    # Each further candidate is held to half of the error of the one before.
    assert variant.evidence.confidence == 1 - 0.05 / 2 ** len(refused)
    assert making.recipe is not None and making.recipe.name == variant.evidence.recipe
    assert all(f"{name} (refused by gate 'quality')" in making.stopped for name in refused)
    assert sum(line.startswith("refused: gate 'quality'") for line in said) == len(refused)
    (again,) = verify_rebuilds(package, tmp_path / "cache")
    assert again.state == "ok", again.what


def test_a_search_without_a_candidate_that_holds_ends_and_says_how_many_failed(
    tmp_path: Path,
) -> None:
    with pytest.raises(GateFailed, match="so were 4 better candidates of the search") as caught:
        packaged(tmp_path, 40, recipes=("auto",), max_drop=1e-6)
    assert "--recipe float32" in caught.value.next_step


def test_a_recipe_that_somebody_named_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(GateFailed) as caught:
        packaged(tmp_path, 40)
    assert "candidates" not in str(caught.value)


def test_a_rare_class_among_many_rows_keeps_its_rows_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"loses 1\.000 of accuracy on class 30 \(12 rows"):
        packaged(tmp_path, 12, 9000)


def test_what_is_looked_at_of_many_rows_is_said_and_counted(tmp_path: Path) -> None:
    package, said = packaged(tmp_path, 2, 5000)
    assert "note: 2048 of 5000 evaluation rows are looked at, evenly drawn; " in "\n".join(said)
    evidence = package.manifest.variants[0].evidence
    assert evidence is not None and evidence.rows == 2048
    assert evidence.classes[30].rows == 2
    assert sum(evidence.confusion) == 2048


def test_no_more_rows_are_asked_for_than_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(GateFailed) as caught:
        packaged(tmp_path, 2, 5000, max_drop=0.0012)
    assert "rows would show it, and 2048 are looked at" in caught.value.next_step
