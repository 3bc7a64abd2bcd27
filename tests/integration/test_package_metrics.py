"""Quality by another metric than accuracy, in a real package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from device_agent.protocol.manifest import Manifest
from edgeops.domain.errors import GateFailed, InvalidGolden, InvalidInput
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import SPLIT
from tests.models import digits_tflite

KEY = SigningKey.generate()


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network that predicts a number, with rows to judge it by."""
    folder = tmp_path_factory.mktemp("diabetes")
    x, y = load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    model = make_pipeline(
        StandardScaler(),
        MLPRegressor(
            hidden_layer_sizes=(32, 16), random_state=0, early_stopping=True, max_iter=3000
        ),
    ).fit(x[:250], y[:250])
    (folder / "model.onnx").write_bytes(to_onnx(model, x[:1], target_opset=17).SerializeToString())
    return {
        "model": folder / "model.onnx",
        "calibration": saved(folder / "calibration.npz", x=x[:250]),
        "evaluation": saved(folder / "evaluation.npz", x=x[250:], y=y[250:]),
        "cache": folder / "cache",
    }


def numbers(given: dict[str, Path], **more: Any) -> tuple[Package, list[str]]:
    said: list[str] = []
    request = PackageRequest(
        models=(given["model"],),
        name="diabetes",
        version=1,
        profiles=("raspberry-pi-5",),
        **{
            "golden": given["evaluation"],
            "evaluation": given["evaluation"],
            "calibration": given["calibration"],
            "recipes": ("int8",),
            "cache": given["cache"],
            "metric": "rmse",
            "max_drop": 0.05,
            **more,
        },
    )
    return build_package(request, KEY, said.append), said


def test_a_model_that_predicts_a_number_is_held_to_its_error(diabetes: dict[str, Path]) -> None:
    package, said = numbers(diabetes)
    variant = Manifest.from_bytes(package.manifest_bytes).variants[0]
    assert variant.evidence is None and variant.metric is not None
    assert (variant.metric.name, variant.metric.rows) == ("rmse", 192)
    assert 40 < variant.metric.float_value < 80
    assert abs(variant.metric.value - variant.metric.float_value) < 5
    assert variant.metric.drop_high < 0.05
    assert variant.metric.sqnr_db > 20
    assert variant.reference is not None
    assert any("rmse" in line for line in said)


def test_an_error_that_may_grow_too_much_is_refused(diabetes: dict[str, Path]) -> None:
    with pytest.raises(GateFailed, match="gate 'quality'.*rmse.*must be shown"):
        numbers(diabetes, max_drop=1e-6)


def test_targets_that_the_model_does_not_predict_are_refused(
    diabetes: dict[str, Path], tmp_path: Path
) -> None:
    with np.load(diabetes["evaluation"]) as file:
        rows = dict(file)
    other = saved(tmp_path / "other.npz", x=rows["x"], y=rows["y"] / 1000)
    with pytest.raises(GateFailed, match="always answering the median"):
        numbers(diabetes, evaluation=other, golden=None)


@pytest.mark.parametrize(
    ("y", "why"),
    [
        (np.full(192, 3.0), "all evaluation rows have the same target"),
        (np.full(192, np.nan), "must be finite"),
        (np.zeros(191), "192 rows in x and 191"),
    ],
)
def test_targets_that_tell_nothing_are_refused(
    diabetes: dict[str, Path], tmp_path: Path, y: np.ndarray, why: str
) -> None:
    with np.load(diabetes["evaluation"]) as file:
        rows = dict(file)
    bad = saved(tmp_path / "bad.npz", x=rows["x"], y=y)
    with pytest.raises(InvalidGolden, match=why):
        numbers(diabetes, evaluation=bad, golden=None)


def test_numbers_are_no_classes_without_such_a_metric(diabetes: dict[str, Path]) -> None:
    with pytest.raises(InvalidGolden, match="is float64, not integers"):
        numbers(diabetes, metric="accuracy")


def digits(folder: Path, metric: str, **more: Any) -> Package:
    request = PackageRequest(
        models=(digits_tflite(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        evaluation=saved(folder / "held.npz", x=SPLIT.stream_x, y=SPLIT.stream_y),
        calibration=saved(folder / "cal.npz", x=SPLIT.train_x[:200]),
        recipes=("int8",),
        cache=folder / "cache",
        metric=metric,
        **{"max_drop": 0.03, **more},
    )
    return build_package(request, KEY, lambda _: None)


@pytest.mark.parametrize("metric", ["top-2", "f1", "auc"])
def test_classifiers_have_the_metric_beside_the_evidence(metric: str, tmp_path: Path) -> None:
    variant = digits(tmp_path, metric).manifest.variants[0]
    assert variant.metric is not None and variant.evidence is not None
    assert variant.metric.name == metric
    assert 0.9 < variant.metric.value <= 1.0


def test_a_metric_that_throws_stops_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "throwing_metric.py").write_text("def f(scores, y):\n    raise KeyError('table')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="metric throwing_metric:f failed: KeyError"):
        digits(tmp_path, "throwing_metric:f")
