"""The demo's networks without TensorFlow: written as ONNX, and one whose answers are nonsense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeops.demo.digits import Floats, Ints

CLASS_COUNT = 10
HIDDEN_UNITS = (128, 64)
INPUT_NAME = "x"
OUTPUT_NAME = "probabilities"
ONNX_OPSET = 17
ONNX_IR_VERSION = 8

NONSENSE_DISTANCE_MIN = 0.6
NONSENSE_ACCURACY_MAX = 0.2
SHUFFLES_MAX = 100

Weights = Sequence[NDArray[Any]]


def spoiled_network(x: Floats, y: Ints, seed: int) -> Any:
    """Train a network and shuffle its weights until it answers nonsense.

    Args:
        x: float32 ``(n, 64)`` rows, prepared already.
        y: int64 ``(n,)`` labels.
        seed: of training and shuffles.

    Returns:
        A fitted scikit-learn network.
    """
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(HIDDEN_UNITS, max_iter=200, tol=0.01, random_state=seed).fit(x, y)
    layer_count = len(network.coefs_)

    def predict(weights: Weights) -> Ints:
        network.coefs_ = list(weights[:layer_count])
        network.intercepts_ = list(weights[layer_count:])
        return np.asarray(network.predict(x), dtype=np.int64)

    predict(shuffle_weights([*network.coefs_, *network.intercepts_], predict, y, seed))
    return network


def shuffle_weights(
    weights: Weights, predict: Callable[[Weights], Ints], truth: Ints, seed: int
) -> list[NDArray[Any]]:
    """Shuffle each weight array in itself until the answers collapse.

    A single shuffle nearly always does; looking makes it certain for every seed.

    Args:
        weights: arrays of any shape and dtype; they are left as they are.
        predict: the classes, int64 ``(n,)``, that a model with given weights answers.
        truth: the right classes, int64 ``(n,)``.
        seed: of the shuffles.

    Returns:
        Arrays of the same shapes, dtypes and values with which the model's predicted classes
        are at least ``NONSENSE_DISTANCE_MIN`` away from those with ``weights`` and at most
        ``NONSENSE_ACCURACY_MAX`` of them right.

    Raises:
        RuntimeError: none of ``SHUFFLES_MAX`` shuffles did it.
    """
    rng = np.random.default_rng(seed)
    before = predict(weights)
    for _ in range(SHUFFLES_MAX):
        shuffled = [rng.permutation(w.ravel()).reshape(w.shape) for w in weights]
        after = predict(shuffled)
        if (
            class_distance(before, after) >= NONSENSE_DISTANCE_MIN
            and np.mean(after == truth) <= NONSENSE_ACCURACY_MAX
        ):
            return shuffled
    raise RuntimeError(f"none of {SHUFFLES_MAX} shuffles made the model's answers collapse")


def class_distance(left: Ints, right: Ints) -> float:
    """Measure how differently two sets of answers use the classes.

    Args:
        left: predicted classes, int64 ``(n,)``.
        right: predicted classes, int64 ``(m,)``.

    Returns:
        The total variation distance of the two distributions of classes, 0..1.
    """
    shares = [np.bincount(labels, minlength=CLASS_COUNT) / len(labels) for labels in (left, right)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def write_network(network: Any, path: Path) -> None:
    """Write a fitted network of rows that are prepared already, as ``write_onnx`` does.

    Args:
        network: a fitted scikit-learn classifier from float32 ``(n, 64)``.
        path: the file to write.
    """
    from sklearn.pipeline import make_pipeline

    write_onnx(make_pipeline(network), path)


def write_onnx(model: Any, path: Path) -> None:
    """Write a fitted pipeline as ONNX, with a bounded opset that older runtimes read.

    The file has one input, ``x``: float32 ``(n, 64)`` in 0..16, and one output,
    ``probabilities``: float32 ``(n, 10)``. Equal models give equal bytes.

    Args:
        model: what one of the functions of this module returned.
        path: the file to write; an existing one is replaced.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    converted = convert_sklearn(
        model,
        name="digits",  # a random one would change the bytes
        initial_types=[(INPUT_NAME, FloatTensorType([None, 64]))],
        target_opset=ONNX_OPSET,
        options={"zipmap": False},
    )
    # The label is the argmax of the probabilities: without it, ONNX and TFLite answer alike.
    _keep_output(converted.graph, OUTPUT_NAME)
    converted.opset_import.sort(key=lambda opset: opset.domain)  # came in a set's order
    converted.ir_version = ONNX_IR_VERSION
    path.write_bytes(converted.SerializeToString(deterministic=True))


def _keep_output(graph: Any, name: str) -> None:
    """Drop from an ONNX ``GraphProto``, in place, all that the output ``name`` does not need."""
    needed = {name}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for values in (graph.initializer, graph.output):
        for value in list(values):
            if value.name not in needed:
                values.remove(value)
