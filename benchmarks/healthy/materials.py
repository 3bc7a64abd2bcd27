"""Models that can be made from the project and scikit-learn's data sets, each with its rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION_ROWS = 150
_SEED = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """A model with rows that it was not trained on.

    Attributes:
        path: of the model.
        x: rows ``[n, ...]``.
        y: their classes, or None.
        calibration: other rows, or None.
    """

    path: Path
    x: NDArray[Any]
    y: NDArray[np.int64] | None
    calibration: NDArray[Any] | None = None


def split(name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return one of scikit-learn's data sets, halved: rows and labels to train, and the others."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    load = {"cancer": "breast_cancer"}.get(name, name)
    x, y = getattr(datasets, f"load_{load}")(return_X_y=True)
    x, y = x.astype(np.float32), y.astype(np.int64)
    train_x, held_x, train_y, held_y = train_test_split(
        x, y, test_size=0.5, stratify=y, random_state=_SEED
    )
    return train_x, train_y, held_x, held_y


def _scikit_learn(name: str, data: str, classifier: Any, folder: Path) -> Material:
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train_x, train_y, x, y = split(data)
    model = make_pipeline(StandardScaler(), classifier).fit(train_x, train_y)
    made = to_onnx(model, x[:1], options={"zipmap": False}, target_opset=17)
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return Material(path=path, x=x, y=y, calibration=train_x[:CALIBRATION_ROWS])


def scikit_learn(name: str, folder: Path) -> Material:
    """Train and export ``DATA-KIND.onnx``."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    kinds: dict[str, Callable[[], Any]] = {
        "logistic": lambda: LogisticRegression(max_iter=2000),
        "network": lambda: MLPClassifier((64, 32), max_iter=800, random_state=_SEED),
        "forest": lambda: RandomForestClassifier(30, random_state=_SEED),
    }
    data, kind = name.removesuffix(".onnx").split("-")
    return _scikit_learn(name, data, kinds[kind](), folder)


def digits_tflite(folder: Path) -> Material:
    """Return the committed reader of digits, by TensorFlow."""
    from tests.digits_models import digits, tflite_path

    rows = digits(0)
    path = folder / "digits.tflite"
    path.write_bytes(tflite_path(2).read_bytes())
    return Material(
        path=path, x=rows.stream_x, y=rows.stream_y, calibration=rows.train_x[:CALIBRATION_ROWS]
    )


def convolution_tflite(folder: Path) -> Material:
    """Return a small convolution of random weights, its rows labelled by its own answers."""
    from device_agent.runtimes.available import get_runtime
    from tests.convolution_tflite import convolution_tflite as made

    path = folder / "convolution.tflite"
    path.write_bytes(made())
    x = np.random.default_rng(1).random((700, 8, 8, 1)).astype(np.float32)
    model = get_runtime("litert").load(path, 1)
    y = np.array([int(model.run([row[None]])[0].argmax()) for row in x])
    return Material(path=path, x=x[150:], y=y[150:], calibration=x[:150])


def keras(name: str, folder: Path) -> Material:
    """Train ``DATA-KIND.keras`` with Keras."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras as k

    data, kind = name.removesuffix(".keras").split("-")
    train_x, train_y, x, y = split(data)
    k.utils.set_random_seed(_SEED)
    layers: list[Any] = [k.layers.Input(train_x.shape[1:]), k.layers.Normalization()]
    layers[1].adapt(train_x)
    if kind == "convolution":
        layers += [
            k.layers.Reshape((8, 8, 1)),
            k.layers.Conv2D(16, 3, activation="relu"),
            k.layers.DepthwiseConv2D(3, activation="relu"),
            k.layers.Flatten(),
        ]
    layers += [
        k.layers.Dense(48, activation="relu"),
        k.layers.Dense(int(y.max()) + 1, activation="softmax"),
    ]
    model = k.Sequential(layers)
    model.compile(optimizer=k.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy")
    model.fit(train_x, train_y, epochs=30, batch_size=32, verbose=0)
    model.save(folder / name)
    return Material(path=folder / name, x=x, y=y, calibration=train_x[:CALIBRATION_ROWS])


def small(name: str, folder: Path) -> Material:
    """Make a model that needs nothing but the project, or TensorFlow for ``.keras``."""
    ready = {"digits.tflite": digits_tflite, "convolution.tflite": convolution_tflite}
    if name in ready:
        return ready[name](folder)
    return keras(name, folder) if name.endswith(".keras") else scikit_learn(name, folder)
