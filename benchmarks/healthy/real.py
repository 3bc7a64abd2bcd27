"""Models of others with their rows, labelled by the float model's own answers.

Rows of which the float model is not sure have no right answer: they are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.healthy.materials import Material, split
from benchmarks.quantizers import rows
from benchmarks.quantizers.rows import Rows
from benchmarks.quantizers.signals import keyword_features, speech
from device_agent.runtimes.available import get_runtime

SURE = 0.6
"""Labels are answers that the float model gives more than this share."""
ROWS = 600
FILES = 700
_INPUTS: Mapping[str, Callable[[], Rows]] = {
    "kws": lambda: rows.keywords(ROWS),
    "resnet8": lambda: rows.photographs(32, 1.0, 3 * ROWS),
    "vww": lambda: rows.people(ROWS),
    "ad01": lambda: rows.machines(200),
}
_TRAINED = {
    "kws": "kws_ref_model",
    "resnet8": "pretrainedResnet.h5",
    "vww": "vww_96.h5",
    "ad01": "ad01.h5",
}
_AS_THEY_ARE = {
    "vww-int8.tflite": "mlperf_tiny/vww_96_int8.tflite",
    "ad01-int8.tflite": "mlperf_tiny/ad01_int8.tflite",
    "hello-world.tflite": "tflm/hello_world_float.tflite",
    "micro-speech-int8.tflite": "tflm/micro_speech_quantized.tflite",
    "lstm.tflite": "tflm/trained_lstm.tflite",
}


def real(name: str, models: Path, floats: Mapping[str, Path]) -> Material:
    """Return a model of others with its rows.

    Args:
        name: of the model.
        models: folder with ``mlperf_tiny`` and ``tflm``.
        floats: float files by model: they answer the rows.
    """
    if name == "magika.onnx":
        return _labelled(floats["magika"], floats["magika"], rows.files(FILES))
    if name in _AS_THEY_ARE:
        path = models / _AS_THEY_ARE[name]
        return Material(path=path, x=_fitted(path, _for_file(name)), y=None)
    path, given = models / "mlperf_tiny" / _TRAINED[name], _INPUTS[name]()
    if name == "ad01":
        return Material(path=path, x=given.evaluation, y=None)
    return _labelled(path, floats[name], given)


def _labelled(path: Path, float_model: Path, given: Rows) -> Material:
    said = _answers(float_model, given.evaluation)
    sure = said.max(axis=1) > SURE
    return Material(
        path=path,
        x=given.evaluation[sure],
        y=said[sure].argmax(axis=1),
        calibration=given.calibration,
    )


def _answers(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    runtime = {".tflite": "litert", ".onnx": "onnxruntime"}[path.suffix]
    model = get_runtime(runtime).load(path, 1)
    return np.stack([model.run([row[None]])[0].reshape(-1) for row in x])


def _for_file(name: str) -> NDArray[Any]:
    """Return rows in floats for a file that is packaged as it is."""
    chance = np.random.default_rng(rows.SEED)
    if name in ("vww-int8.tflite", "ad01-int8.tflite"):
        return _INPUTS[name.partition("-")[0]]().evaluation[:200]
    if name == "hello-world.tflite":
        return np.linspace(0, 2 * np.pi, 100, dtype=np.float32)[:, None]
    if name == "lstm.tflite":
        x = split("digits")[2][:200].reshape(-1, 8, 8)
        return np.pad(np.kron(x, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))) / 16
    sounds = [keyword_features(speech(chance), coefficients=40) for _ in range(100)]
    return np.stack(sounds).reshape(100, 1960)


def _fitted(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    """Return rows as the input takes them; integers by its scale, or else over their range."""
    from ai_edge_litert.interpreter import Interpreter

    (given,) = Interpreter(str(path)).get_input_details()
    if given["dtype"] == np.float32:
        return x.astype(np.float32)
    limits = np.iinfo(given["dtype"])
    scale, zero = given["quantization"]
    if path.name.startswith("micro_speech"):  # what it takes is not what we have: fill its range
        scale, zero = float(np.ptp(x)) / 255, -128 - float(x.min()) / (float(np.ptp(x)) / 255)
    whole = np.clip(np.round(x / scale + zero), limits.min, limits.max)
    return whole.astype(given["dtype"])
