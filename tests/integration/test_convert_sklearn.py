"""From a scikit-learn model, saved by skops, to .onnx; and which types are not built."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from device_agent.protocol.manifest import Manifest
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.build import build_package
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.source import SourceKind, read_source
from edgeops.packaging.evaluate import choose_scores
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import CALIBRATION, HELD_OUT, LABELS, MAX_DROP, SPLIT, Door, accuracy, load

X, Y = SPLIT.train_x, SPLIT.train_y
TRUST = "if you trust whoever made it, give --trust-code"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("cache"))


def saved(folder: Path, model: Any, x: Any = X, y: Any = Y) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        skops.io.dump(model.fit(x, y), folder / "model.skops")
    return folder / "model.skops"


MODELS = [
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    MLPClassifier((24,), max_iter=30, random_state=0),
    RandomForestClassifier(10, max_depth=8, random_state=0),
    GradientBoostingClassifier(n_estimators=5, random_state=0),
    SVC(random_state=0),
    LinearSVC(random_state=0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_classifier_answers_as_it_did_by_one_output_of_scores(
    door: Door, tmp_path: Path, model: Any
) -> None:
    made = door(saved(tmp_path, model), "onnx-float32", None)
    artifact = load(made.path)
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.inputs] == [
        ("x", "float32", (-1, 64))
    ]
    assert [(spec.name, spec.shape) for spec in artifact.outputs] == [("probabilities", (-1, 10))]
    assert choose_scores(artifact.outputs, None).name == "probabilities"
    said = [int(artifact.run([row])[0].argmax()) for row in HELD_OUT[:100, np.newaxis]]
    assert np.mean(said == model.predict(HELD_OUT[:100])) >= 0.97
    assert made.tools["skl2onnx"]
    assert made.tools["skops"]


def test_the_same_model_gives_the_same_bytes_of_bounded_versions(
    door: Door, tmp_path: Path
) -> None:
    import onnx

    source = saved(tmp_path, MODELS[0])
    made = door(source, "onnx-float32", None)
    again = Door(tmp_path / "other")(source, "onnx-float32", None)
    assert made.path.read_bytes() == again.path.read_bytes()
    model = onnx.load(made.path)
    assert model.ir_version <= 9
    assert all(each.version <= 17 for each in model.opset_import)


def test_it_is_quantized_like_any_other(door: Door, tmp_path: Path) -> None:
    source = saved(tmp_path, make_pipeline(StandardScaler(), MODELS[1]))
    whole = door(source, "onnx-float32", None)
    small = door(source, "onnx-int8", CALIBRATION)
    assert small.path.stat().st_size < 0.7 * whole.path.stat().st_size
    assert accuracy(small.path) >= accuracy(whole.path) - MAX_DROP


def test_numbers_and_components_are_given_as_they_are(door: Door, tmp_path: Path) -> None:
    ridge = Ridge().fit(X, Y)
    artifact = load(door(saved(tmp_path, ridge), "onnx-float32", None).path)
    np.testing.assert_allclose(
        artifact.run([HELD_OUT[:1]])[0].ravel(), ridge.predict(HELD_OUT[:1]), rtol=1e-4
    )
    pca = PCA(3).fit(X)
    artifact = load(door(saved(tmp_path, pca), "onnx-float32", None).path)
    np.testing.assert_allclose(
        artifact.run([HELD_OUT[:1]])[0], pca.transform(HELD_OUT[:1]), rtol=1e-3
    )


def test_classes_by_name_become_an_order_that_is_said(door: Door, tmp_path: Path) -> None:
    names = np.array(["low", "high"])[(Y > 4).astype(int)]
    made = door(saved(tmp_path, LogisticRegression(max_iter=200), X, names), "onnx-float32", None)
    assert "scores are in the order of the classes high,low: number y so, and give --labels" in (
        made.notes
    )
    assert load(made.path).outputs[0].shape == (-1, 2)


def test_a_package_is_made_of_it_for_boards_that_run_onnx(tmp_path: Path) -> None:
    golden = tmp_path / "golden.npz"
    np.savez(golden, x=HELD_OUT, y=LABELS)
    request = PackageRequest(
        models=(saved(tmp_path, MODELS[0]),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-5", "x86-64-generic"),
        golden=golden,
        cache=tmp_path / "cache",
    )
    package = build_package(request, SigningKey.generate(), print)
    manifest = Manifest.from_bytes(package.manifest_bytes)
    (variant,) = manifest.variants
    assert (variant.runtime, variant.scores) == ("onnxruntime", "probabilities")
    assert variant.golden_accuracy is not None and variant.golden_accuracy > 0.8
    assert manifest.lineage["recipe.onnx"] == "onnx-float32"
    assert "skops" in manifest.lineage["converter.onnx"]


def test_a_board_without_onnx_is_refused_by_name(tmp_path: Path) -> None:
    request = PackageRequest(
        models=(saved(tmp_path, MODELS[0]),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        cache=tmp_path / "cache",
    )
    with pytest.raises(InvalidModel, match="no file is for profile raspberry-pi-zero-2w"):
        build_package(request, SigningKey.generate(), print)


def test_no_way_leads_to_tflite(door: Door, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is \.skops, recipe tflite-int8 makes \.tflite") as no:
        door(saved(tmp_path, MODELS[0]), "tflite-int8")
    assert no.value.next_step.endswith("a recipe for .onnx")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (KNeighborsClassifier().fit(X[:, :8], Y), "sklearn.neighbors._kd_tree.KDTree"),
        (FunctionTransformer(np.ma.anom), "numpy.ma"),
        (make_pipeline(FunctionTransformer(json.dumps), LogisticRegression()), "json.dumps"),
    ],
    ids=["C code", "function of numpy", "function"],
)
def test_types_that_may_run_code_are_named_and_not_built(
    tmp_path: Path, model: Any, named: str
) -> None:
    skops.io.dump(model, tmp_path / "model.skops")
    door = Door(tmp_path / "cache")
    with pytest.raises(InvalidModel, match="needs types that may run code") as refused:
        door(tmp_path / "model.skops", "onnx-float32", None)
    assert named in str(refused.value)
    assert refused.value.next_step == TRUST
    assert list(door.cache.iterdir()) == []


def test_a_trusted_file_is_built(door: Door, tmp_path: Path) -> None:
    source = saved(tmp_path, KNeighborsClassifier(3), X[:200], Y[:200])
    made = door(source, "onnx-float32", None, trust_code=True)
    assert load(made.path).run([X[:1]])[0].argmax() == Y[0]


def altered(source: Path, change: Any) -> Path:
    """Write the archive anew with ``change`` done to each entry's name and bytes."""
    with zipfile.ZipFile(source) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(source, "w") as new:
        for name, data in entries.items():
            new.writestr(name, change(name, data))
    return source


@pytest.mark.parametrize("where", ["child", "feature"])
def test_a_tree_that_leads_out_of_itself_is_refused(door: Door, tmp_path: Path, where: str) -> None:
    def spoil(name: str, data: bytes) -> bytes:
        if not name.endswith(".npy"):
            return data
        array = np.load(io.BytesIO(data))
        if array.dtype.names is None or "left_child" not in array.dtype.names:
            return data
        inner = int(np.flatnonzero(array["left_child"] != -1)[0])
        array["left_child" if where == "child" else "feature"][inner] = 1_000_000_000
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    source = saved(tmp_path, RandomForestClassifier(2, max_depth=3, random_state=0))
    with pytest.raises(InvalidModel, match="nodes lead out of it") as refused:
        door(altered(source, spoil), "onnx-float32", None)
    assert "skops.io.dump" in refused.value.next_step


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "damaged schema"),
        ("[" * 100_000, "damaged schema"),
        ("[]", "builds nothing"),
        ('{"__loader__": "NoSuchNode", "protocol": 2}', "skops cannot load"),
        (
            '{"__loader__": "TypeNode", "__class__": "system", "__module__": "os", "protocol": 2}',
            r"types that may run code: os\.system",
        ),
    ],
    ids=["empty", "deep", "list", "unknown", "system"],
)
def test_a_schema_that_is_none_is_refused(door: Door, tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", text)
    with pytest.raises(InvalidModel, match=why) as refused:
        door(path, "onnx-float32", None)
    assert refused.value.next_step


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy", "..\\evil.npy"])
def test_an_entry_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, MODELS[0])
    with zipfile.ZipFile(source, "a") as file:
        file.writestr(name, b"x")
    with pytest.raises(InvalidModel, match="leads out of it") as refused:
        read_source(source, trust_code=True)
    assert refused.value.next_step == "do not use this file; find out who made it"


@pytest.mark.parametrize("name", ["schema.json", "1.npy"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        if name != "schema.json":
            file.writestr("schema.json", "{}")
        file.writestr(name, bytes(40 * 1024 * 1024))
    with pytest.raises(InvalidModel, match="zip bomb") as refused:
        read_source(path, trust_code=True)
    assert refused.value.next_step == "do not use this file; find out who made it"


@pytest.mark.parametrize("keep", [40, 2000, -30])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    source = saved(tmp_path, MODELS[0])
    source.write_bytes(source.read_bytes()[:keep])
    with pytest.raises(InvalidModel, match="damaged zip archive") as refused:
        read_source(source, trust_code=False)
    assert refused.value.next_step == "copy or save it again"


def test_a_skops_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    source = saved(tmp_path, MODELS[0]).rename(tmp_path / "model.keras")
    assert read_source(source, trust_code=False).kind is SourceKind.SKOPS


@pytest.mark.parametrize("compress", [0, ("zlib", 3)], ids=["plain", "zlib"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_is_never_read_and_the_way_out_is_said(
    tmp_path: Path, compress: Any, protocol: int
) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression(max_iter=200).fit(X, Y), path, compress, protocol)
    with pytest.raises(InvalidModel, match="none is read here") as refused:
        read_source(path, trust_code=True)
    assert "skops.io.dump(model, 'model.skops')" in refused.value.next_step
    assert "skl2onnx" in refused.value.next_step


def test_a_model_that_was_never_fitted_is_refused(door: Door, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression(), tmp_path / "model.skops")
    with pytest.raises(InvalidModel, match="was not fitted") as refused:
        door(tmp_path / "model.skops", "onnx-float32", None)
    assert refused.value.next_step.startswith("fit it")


def test_weights_that_are_not_finite_are_refused(door: Door, tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=200).fit(X, Y)
    model.coef_[0, 0] = np.nan
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(InvalidModel, match="NaN or infinity") as refused:
        door(tmp_path / "model.skops", "onnx-float32", None)
    assert refused.value.next_step


def test_scores_that_do_not_tell_the_class_are_refused(door: Door, tmp_path: Path) -> None:
    model = SVC(decision_function_shape="ovo")
    with pytest.raises((ConversionFailed, InvalidModel), match="SVC") as refused:
        door(saved(tmp_path, model), "onnx-float32", None)
    assert refused.value.next_step
