"""Model files on which runtimes are held to their promises (``tests/runtime_promises.py``)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgeops.packaging.convert.tflite_file import load, pack, unpack
from tests.micro_models import digits_8_bit, digits_as
from tests.models import digits_tflite, eight_bit_onnx, linear_onnx

SCALE, ZERO = 16 / 255, -128
"""How the 8-bit ONNX model takes rows of 0 to 16."""


def make_case(runtime: str, folder: Path) -> Path:
    """Write the files of ``runtime_promises.Case``; return the folder."""
    onnx, tflite = _onnx(), _tflite()
    own, foreign = (onnx, tflite) if runtime == "onnxruntime" else (tflite, onnx)
    for name, data in own.items():
        (folder / name).write_bytes(data)
    (folder / "foreign").write_bytes(foreign["one"])
    detail = load(tflite["eight"]).get_input_details()[0]
    scale, zero = (SCALE, ZERO) if own is onnx else detail["quantization"]
    (folder / "quantization.json").write_text(json.dumps([float(scale), int(zero)]))
    return folder


def _onnx() -> dict[str, bytes]:
    chance = np.random.default_rng(5)
    one, two = (chance.normal(size=(64, 10)).astype(np.float32) / 4 for _ in range(2))
    return {
        "one": linear_onnx(one),
        "two": linear_onnx(two),
        "eight": eight_bit_onnx(two, SCALE, ZERO),
        "nan": linear_onnx(np.full((64, 10), np.nan, np.float32)),
    }


def _tflite() -> dict[str, bytes]:
    """Return the committed classifiers as every TFLite runtime takes them."""
    return {
        "one": digits_tflite(1).read_bytes(),
        "two": digits_as("float32"),
        "eight": digits_8_bit(),
        "nan": with_nan_weights(digits_as("float32")),
    }


def with_nan_weights(data: bytes) -> bytes:
    """Return a classifier whose last layer has the bias NaN."""
    model = unpack(data)
    graph = model.subgraphs[0]
    layer = [each for each in graph.operators if len(each.inputs) == 3][-1]
    buffer = model.buffers[graph.tensors[layer.inputs[2]].buffer]
    bias = np.full(len(bytes(buffer.data)) // 4, np.nan, np.float32)
    buffer.data = np.frombuffer(bias.tobytes(), np.uint8)
    return pack(model)
