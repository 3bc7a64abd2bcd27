"""A training script of the demo, without TensorFlow: a small network by scikit-learn.

``python train_quick.py REQUEST.json OUT`` as docs/retraining.md says; writes ``model.onnx`` and
``model.tflite``, the same network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.fields import Fields
from device_agent.protocol.preprocessing import Preprocessing
from edgeops.demo.network import write_network
from edgeops.demo.tflite_mlp import write_mlp

HIDDEN_UNITS = (96, 48)


def main(request_path: str, out: str) -> None:
    """Train, and write model and metrics."""
    request = json.loads(Path(request_path).read_text())
    parts = [np.load(path) for path in request["data"]["train"]]
    x = np.concatenate([part["x"] for part in parts])
    y = np.concatenate([part["y"] for part in parts])
    done = request["preprocessing"]
    preprocessing = Preprocessing.from_fields(Fields(done, "preprocessing")) if done else None
    network = MLPClassifier(
        HIDDEN_UNITS,
        alpha=0.01,
        learning_rate_init=0.002,
        max_iter=200,
        tol=1e-3,
        random_state=request["seed"],
    )
    network.fit(prepare_rows(x, preprocessing), y)
    print(f"{network.n_iter_} passes over {len(x)} rows, loss {network.loss_:.4f}")
    folder = Path(out)
    write_network(network, folder / "model.onnx")
    layers = list(zip(network.coefs_, network.intercepts_, strict=True))
    (folder / "model.tflite").write_bytes(write_mlp(layers))
    metrics = {"rows": len(x), "loss": float(network.loss_)}
    (folder / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
