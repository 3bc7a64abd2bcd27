"""From Keras, HDF5 and SavedModel to .tflite and .onnx. Skipped where TensorFlow is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.tflite_file import unpack
from tests.conversions import CALIBRATION, HELD_OUT, MAX_DROP, Door, accuracy, load

pytestmark = [
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed"),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parent.parent.parent
IMAGES, HELD_OUT_IMAGES = CALIBRATION.reshape(-1, 8, 8, 1), HELD_OUT.reshape(-1, 8, 8, 1)

TRAIN = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras, numpy as np
from tests.conversions import SPLIT

folder = sys.argv[1]
keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential([
    keras.Input((8, 8, 1), name="pixels"), layers.Rescaling(1 / 16),
    layers.Conv2D(12, 3, padding="same", use_bias=False), layers.BatchNormalization(),
    layers.ReLU(), layers.MaxPooling2D(), layers.Conv2D(24, 3, activation="relu"),
    layers.Dropout(0.1), layers.Flatten(), layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(SPLIT.train_x.reshape(-1, 8, 8, 1), SPLIT.train_y, batch_size=32, epochs=20, verbose=0)
model.save(f"{folder}/cnn.keras")
model.save(f"{folder}/cnn.h5")
model.export(f"{folder}/cnn_saved", verbose=False)

code = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda v: v * 2), layers.Dense(2)])
code.save(f"{folder}/lambda.keras")
code.save(f"{folder}/lambda.h5")
free = keras.Sequential([keras.Input((None, 4)), layers.GlobalAveragePooling1D(), layers.Dense(2)])
free.save(f"{folder}/free.keras")
scale = layers.Normalization()
scale.adapt(SPLIT.train_x)
scaled = keras.Sequential([keras.Input((64,)), scale, layers.Dense(10, activation="softmax")])
scaled.save(f"{folder}/scaled.keras")
sick = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
sick.set_weights([np.full((4, 2), np.nan), np.zeros(2)])
sick.save(f"{folder}/sick.keras")
"""

OLD = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import numpy as np, tf_keras

folder, layers = sys.argv[1], tf_keras.layers
tf_keras.utils.set_random_seed(0)
model = tf_keras.Sequential([
    layers.InputLayer((8, 8, 1), name="pixels"),
    layers.Conv2D(6, 3, use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0),
    layers.DepthwiseConv2D(3, padding="same"), layers.GlobalAveragePooling2D(),
    layers.Dense(10, activation="softmax"),
])
model.save(f"{folder}/old.h5")
model.save(f"{folder}/old.keras")
row = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1) / 64
np.save(f"{folder}/old.npy", model(row, training=False).numpy())
code = tf_keras.Sequential([layers.InputLayer((4,)), layers.Lambda(lambda v: v * 2)])
code.save(f"{folder}/old_lambda.h5")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for script in (TRAIN, OLD):
        subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment)
    return path


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("source", ["cnn.keras", "cnn.h5", "cnn_saved"])
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_network_is_converted_and_quantized(
    door: Door, folder: Path, source: str, form: str
) -> None:
    whole = door(folder / source, f"{form}-float32", None)
    small = door(folder / source, f"{form}-int8", IMAGES)
    best = accuracy(whole.path, HELD_OUT_IMAGES)
    assert best > 0.9
    assert accuracy(small.path, HELD_OUT_IMAGES) >= best - MAX_DROP
    assert small.path.stat().st_size < 0.6 * whole.path.stat().st_size
    for each in (whole, small):
        model = load(each.path)
        assert [(spec.name, spec.dtype, spec.shape) for spec in model.inputs] == [
            ("pixels", "float32", (1, 8, 8, 1))
        ]
        assert [spec.name for spec in model.outputs] == ["output_0"]
        assert each.tools["tensorflow"]


@pytest.mark.parametrize("source", ["old.h5", "old.keras"])
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_what_keras_2_saved_is_converted_by_tf_keras_and_that_is_said(
    door: Door, folder: Path, source: str, form: str
) -> None:
    made = door(folder / source, f"{form}-float32", None)
    assert made.notes[0].startswith("loaded by tf_keras 2.")
    assert "Keras 3 refuses this file" in made.notes[0]
    row = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1) / 64
    np.testing.assert_allclose(
        load(made.path).run([row])[0], np.load(folder / "old.npy"), atol=1e-5
    )


def test_a_lambda_layer_of_keras_2_is_refused(door: Door, folder: Path) -> None:
    with pytest.raises(InvalidModel, match="Lambda") as refused:
        door(folder / "old_lambda.h5", "tflite-float32", None)
    assert refused.value.next_step == "if you trust whoever made it, give --trust-code"


def test_every_way_to_save_a_model_gives_the_same_network(door: Door, folder: Path) -> None:
    made = [door(folder / name, "onnx-float32", None) for name in ("cnn.keras", "cnn.h5")]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    saved = load(door(folder / "cnn_saved", "tflite-float32", None).path)
    model = load(door(folder / "cnn.keras", "tflite-float32", None).path)
    row = [HELD_OUT_IMAGES[:1]]
    np.testing.assert_allclose(saved.run(row)[0], model.run(row)[0], atol=1e-6)


def test_the_file_has_a_signature_and_bounded_versions(door: Door, folder: Path) -> None:
    tflite = unpack(door(folder / "cnn.keras", "tflite-float32", None).path.read_bytes())
    assert [each.signatureKey for each in tflite.signatureDefs] == [b"serving_default"]
    model = onnx.load(door(folder / "cnn.keras", "onnx-float32", None).path)
    onnx.checker.check_model(model)
    assert model.ir_version <= 9
    assert {each.domain: each.version for each in model.opset_import} == {"": 17}


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_the_same_model_gives_the_same_bytes_in_another_process(
    door: Door, folder: Path, form: str, tmp_path: Path
) -> None:
    again = Door(tmp_path)(folder / "cnn.keras", f"{form}-int8", IMAGES)
    assert (
        again.path.read_bytes()
        == door(folder / "cnn.keras", f"{form}-int8", IMAGES).path.read_bytes()
    )


def test_a_model_is_converted_once_for_all_recipes(tmp_path: Path, folder: Path) -> None:
    door = Door(tmp_path)
    for recipe in ("tflite-float16", "tflite-int8", "tflite-int8-percentile"):
        door(folder / "cnn.keras", recipe, IMAGES)
    assert sum("TensorFlow" in line for line in door.said) == 1


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_lambda_layer_runs_only_if_it_is_trusted(door: Door, folder: Path, name: str) -> None:
    with pytest.raises(InvalidModel, match="Lambda"):
        door(folder / name, "tflite-float32", None)
    made = door(folder / name, "tflite-float32", None, trust_code=True)
    assert load(made.path).run([np.ones((1, 4), np.float32)])[0].shape == (1, 2)


def test_a_free_dimension_is_refused(door: Door, folder: Path) -> None:
    with pytest.raises(InvalidModel, match="free shape"):
        door(folder / "free.keras", "tflite-float32", None)


def test_a_model_that_answers_nan_is_refused(door: Door, folder: Path) -> None:
    with pytest.raises(InvalidModel, match="NaN"):
        door(folder / "sick.keras", "tflite-float32", None)


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5"])
def test_a_cut_file_is_refused(door: Door, folder: Path, tmp_path: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for keep in (len(data) // 2, len(data) - 9):
        cut = tmp_path / name
        cut.write_bytes(data[:keep])
        with pytest.raises(InvalidModel):
            door(cut, "tflite-float32", None)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_what_a_normalization_layer_learnt_is_a_weight(door: Door, folder: Path, form: str) -> None:
    made = load(door(folder / "scaled.keras", f"{form}-float32").path)
    assert len(made.inputs) == 1
    assert made.run([HELD_OUT[:1]])[0].sum() == pytest.approx(1.0, abs=1e-5)
