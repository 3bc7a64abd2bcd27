"""A training script of the demo: a small convolutional network by Keras.

``python train_keras.py REQUEST.json OUT`` as docs/retraining.md says; writes ``model.keras``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np

from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.fields import Fields
from device_agent.protocol.preprocessing import Preprocessing

EPOCHS = 40
BATCH = 32


def network() -> keras.Model:
    """Return the network: 64 prepared pixels to ten probabilities."""
    return keras.Sequential(
        [
            keras.layers.Input((64,), name="x"),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(48, activation="relu"),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )


def main(request_path: str, out: str) -> None:
    """Train, and write model and metrics."""
    request = json.loads(Path(request_path).read_text())
    keras.utils.set_random_seed(request["seed"])
    parts = [np.load(path) for path in request["data"]["train"]]
    x = np.concatenate([part["x"] for part in parts])
    y = np.concatenate([part["y"] for part in parts])
    done = request["preprocessing"]
    preprocessing = Preprocessing.from_fields(Fields(done, "preprocessing")) if done else None
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    kept = model.fit(prepare_rows(x, preprocessing), y, BATCH, EPOCHS, verbose=0)
    loss, accuracy = kept.history["loss"][-1], kept.history["accuracy"][-1]
    print(f"{EPOCHS} epochs over {len(x)} rows, loss {loss:.4f}, accuracy {accuracy:.4f}")
    folder = Path(out)
    model.save(folder / "model.keras")
    metrics = {"rows": len(x), "loss": float(loss), "accuracy": float(accuracy)}
    (folder / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
