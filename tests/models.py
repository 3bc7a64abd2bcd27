"""Tiny models and golden rows for tests, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def linear_onnx(weights: NDArray[np.float32], *, softmax: bool = True) -> bytes:
    """Return a linear classifier: ``x`` float32 ``[n, features]`` to ``scores`` ``[n, classes]``.

    Args:
        weights: float32 ``[features, classes]``.
        softmax: answer probabilities, else logits.
    """
    nodes = [helper.make_node("MatMul", ["x", "w"], ["logits" if softmax else "scores"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"]))
    features, classes = weights.shape
    return _onnx(nodes, [("x", ["n", features])], [("scores", ["n", classes])], w=weights)


def eight_bit_onnx(weights: NDArray[np.float32], scale: float, zero: int) -> bytes:
    """Return a linear classifier: ``x`` int8 ``[n, features]`` to ``scores`` int8 ``[n, classes]``.

    Args:
        weights: float32 ``[features, classes]``.
        scale: of the input, whose numbers stand for (x - zero) * scale.
        zero: of the input.
    """
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"]),
        helper.make_node("QuantizeLinear", ["shares", "step", "least"], ["scores"]),
    ]
    features, classes = weights.shape
    given = helper.make_tensor_value_info("x", TensorProto.INT8, ["n", features])
    answered = helper.make_tensor_value_info("scores", TensorProto.INT8, ["n", classes])
    constants = {
        "w": weights,
        "scale": np.array(scale, np.float32),
        "zero": np.array(zero, np.int8),
        "step": np.array(1 / 256, np.float32),
        "least": np.array(-128, np.int8),
    }
    return _onnx(nodes, [given], [answered], **constants)


def label_onnx(weights: NDArray[np.float32]) -> bytes:
    """Return a linear classifier that answers only ``label``, int64 ``[n]``."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"])]
    return _onnx(nodes, [("x", ["n", len(weights)])], outputs, w=weights)


def nan_onnx(features: int) -> bytes:
    """Return a model that answers NaN to negative rows."""
    node = helper.make_node("Sqrt", ["x"], ["scores"])
    return _onnx([node], [("x", ["n", features])], [("scores", ["n", features])])


def random_onnx(features: int) -> bytes:
    """Return a model that answers something else each time."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Softmax", ["noise"], ["scores"]),
    ]
    return _onnx(nodes, [("x", ["n", features])], [("scores", ["n", features])])


def two_inputs_onnx(features: int) -> bytes:
    """Return a model with the inputs ``a`` and ``b``."""
    node = helper.make_node("Add", ["a", "b"], ["scores"])
    inputs = [("a", ["n", features]), ("b", ["n", features])]
    return _onnx([node], inputs, [("scores", ["n", features])])


def sequence_onnx(features: int) -> bytes:
    """Return a model whose output is a sequence, not a tensor (as scikit-learn's ZipMap)."""
    node = helper.make_node("SequenceConstruct", ["x"], ["scores"])
    output = helper.make_tensor_sequence_value_info("scores", TensorProto.FLOAT, None)
    return _onnx([node], [("x", ["n", features])], [output])


def external_onnx(weights: NDArray[np.float32], folder: Path) -> Path:
    """Write a classifier whose weights are in a second file beside it; return its path."""
    path = folder / "external.onnx"
    model = onnx.load_from_string(linear_onnx(weights))
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    return path


def digits_tflite(version: int = 1) -> Path:
    """Return a committed TFLite classifier: float32 ``[1, 64]`` to ten probabilities."""
    return Path(__file__).parent / "data" / f"digits-v{version}.tflite"


def separable(
    count: int, features: int = 4, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return rows, labels, and the weights that tell them apart without a mistake.

    Returns:
        ``x`` float32 ``[count, features]`` and ``y`` int64 ``[count]``, the feature that is
        largest; weights float32 ``[features, features]``.
    """
    chance = np.random.default_rng(seed)
    y = chance.integers(0, features, count).astype(np.int64)
    x = chance.uniform(0.0, 0.5, (count, features)).astype(np.float32)
    x[np.arange(count), y] += 1.0
    return x, y, np.eye(features, dtype=np.float32) * 4


def save_golden(path: Path, x: NDArray[Any], y: NDArray[Any] | None = None) -> Path:
    """Write golden rows; return the path."""
    np.savez(path, **({"x": x} if y is None else {"x": x, "y": y}))
    return path


def _onnx(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: NDArray[Any]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [_value(each) for each in inputs],
        [_value(each) for each in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _value(what: Any) -> Any:
    if isinstance(what, tuple):
        return helper.make_tensor_value_info(what[0], TensorProto.FLOAT, what[1])
    return what
