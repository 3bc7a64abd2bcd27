"""Two models of scikit-learn's handwritten digits, and the rows to package them with.

Writes into the current folder: ``digits.keras`` (a small convolutional network; it needs
TensorFlow), ``digits.onnx`` (a dense network by scikit-learn), ``calibration.npz`` and
``evaluation.npz`` (rows that neither was trained on).
"""

from __future__ import annotations

import importlib.util
import os

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

x, y = load_digits(return_X_y=True)
x = x.astype(np.float32)
is_held_out = np.arange(len(x)) % 2 == 0
train_x, train_y = x[~is_held_out], y[~is_held_out]
np.savez("calibration.npz", x=train_x[:300])
np.savez("evaluation.npz", x=x[is_held_out], y=y[is_held_out])

dense = make_pipeline(MinMaxScaler(), MLPClassifier((64, 32), random_state=0, max_iter=600))
dense.fit(train_x, train_y)
onnx = to_onnx(dense, x[:1], options={"zipmap": False}, target_opset=17)
with open("digits.onnx", "wb") as file:
    file.write(onnx.SerializeToString())
print("wrote digits.onnx, calibration.npz, evaluation.npz")

if importlib.util.find_spec("tensorflow") is None:
    print("TensorFlow is not installed: no digits.keras")
    raise SystemExit(0)

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", KERAS_BACKEND="tensorflow")
import keras  # noqa: E402 - it reads the environment when it is imported

keras.utils.set_random_seed(0)
layers = keras.layers
convolutional = keras.Sequential(
    [
        layers.Input((64,), name="pixels"),
        layers.Rescaling(1 / 16),
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax", name="probabilities"),
    ]
)
convolutional.compile("adam", "sparse_categorical_crossentropy")
convolutional.fit(train_x, train_y, batch_size=32, epochs=30, verbose=0)
convolutional.save("digits.keras")
print("wrote digits.keras")
