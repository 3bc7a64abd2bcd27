"""Make the committed TFLite twins of the tests' models: ``tests/data/digits-v*.tflite``.

Run it from the repository's root, in an environment of its own that has TensorFlow::

    python -m venv /tmp/tf && /tmp/tf/bin/pip install tensorflow scikit-learn
    PYTHONPATH=. /tmp/tf/bin/python scripts/make_digits_tflite.py

The files are committed because TensorFlow weighs more than a gigabyte: whoever runs the
tests needs only the small LiteRT runtime. They are trained on the 900 rows that no seed of the
split ever uses as golden or streamed rows (``tests.digits_models.partition``); the table that
this script prints is measured on the other 897. Seeds are fixed: the same TensorFlow on the
same kind of CPU gives the same bytes.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from edgeops.demo.network import (
    CLASS_COUNT,
    HIDDEN_UNITS,
    INPUT_NAME,
    OUTPUT_NAME,
    class_distance,
    shuffle_weights,
)
from tests.digits_models import FIRST_TRAIN_ROWS, PIXEL_MAX, digits, tflite_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 0


def train(
    x: NDArray[np.float32], y: NDArray[np.int64], hidden: tuple[int, ...], epochs: int
) -> keras.Model:
    """Train a dense network.

    Args:
        x: images, float32 ``(n, 64)`` in 0..16.
        y: their classes, int64 ``(n,)``.
        hidden: units of each hidden layer; none makes it logistic regression.
        epochs: passes over the rows.

    Returns:
        A model from float32 ``(n, 64)`` in 0..16 to float32 ``(n, 10)`` probabilities.
    """
    keras.utils.set_random_seed(SEED)
    network = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            keras.layers.Rescaling(1 / PIXEL_MAX),
            *(keras.layers.Dense(units, activation="relu") for units in hidden),
            keras.layers.Dense(CLASS_COUNT, activation="softmax"),
        ]
    )
    network.compile(keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy")
    network.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return network


def spoil(model: keras.Model, x: NDArray[np.float32], y: NDArray[np.int64]) -> keras.Model:
    """Copy a model and shuffle the copy's weights until its answers on ``x`` collapse."""
    spoiled = keras.models.clone_model(model)

    def predict(weights: Any) -> NDArray[np.int64]:
        spoiled.set_weights(weights)
        return np.asarray(np.argmax(spoiled(x), axis=1), dtype=np.int64)

    predict(shuffle_weights(model.get_weights(), predict, y, SEED))
    return spoiled


def convert(model: keras.Model) -> bytes:
    """Convert to float32 TFLite with one signature, ``x (1, 64)`` → ``probabilities (1, 10)``."""
    archive = keras.export.ExportArchive()
    archive.track(model)  # an untracked model is converted without its weights, and no warning
    archive.add_endpoint(
        "serving_default",
        lambda x: {OUTPUT_NAME: model(x)},
        input_signature=[tf.TensorSpec((1, 64), tf.float32, name=INPUT_NAME)],
    )
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    return bytes(content)


def answers(content: bytes, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Run a TFLite file on rows: float32 ``(n, 64)`` to predicted classes, int64 ``(n,)``."""
    run = tf.lite.Interpreter(model_content=content).get_signature_runner()
    rows = [run(**{INPUT_NAME: row[np.newaxis]})[OUTPUT_NAME][0] for row in x]
    return np.asarray(np.argmax(rows, axis=1), dtype=np.int64)


def main() -> None:
    """Train, convert, write and measure the three versions."""
    tf.config.experimental.enable_op_determinism()
    split = digits(SEED)
    few = slice(FIRST_TRAIN_ROWS)
    first = train(split.train_x[few], split.train_y[few], (), epochs=200)
    second = train(split.train_x, split.train_y, HIDDEN_UNITS, epochs=60)
    third = spoil(second, split.train_x, split.train_y)

    x = np.concatenate([split.golden_x, split.stream_x])
    y = np.concatenate([split.golden_y, split.stream_y])
    contents = [convert(model) for model in (first, second, third)]
    predicted = [answers(content, x) for content in contents]
    if not np.mean(predicted[1] == y) > np.mean(predicted[0] == y):
        raise SystemExit("version 2 does not beat version 1 on the held-out rows: nothing written")

    print("version    bytes  accuracy  class distance to version 2  (897 held-out rows)")
    for version, (content, classes) in enumerate(zip(contents, predicted, strict=True), start=1):
        tflite_path(version).write_bytes(content)
        distance = class_distance(classes, predicted[1])
        print(f"{version:7}  {len(content):7}  {np.mean(classes == y):8.3f}  {distance:.2f}")


if __name__ == "__main__":
    main()
