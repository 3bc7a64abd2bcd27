"""The program that makes one file with one tool, and says what it took.

It runs in the environment of the tool: ``python maker.py JOB.json`` with the keys ``tool``,
``source`` (the trainer's model), ``float_model``, ``classes`` (are answers classes?), ``rows``
(calibration rows, ``.npy``), ``target``, ``cache`` (an empty folder) and ``said`` (file for the
findings). Nothing of this project is imported but for edgeops' own tools.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np

Job = Mapping[str, Any]
_KIB = 1024


def tensorflow_int8(job: Job) -> str:
    """TensorFlow's converter, 8 bits by a representative data set, inputs and outputs floats."""
    import tensorflow as tf

    rows = np.load(job["rows"])
    source, keeps = Path(job["source"]), None
    if source.is_dir():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    else:
        import tf_keras

        keeps = tf_keras.models.load_model(source, compile=False)
        spec = tf.TensorSpec((1, *keeps.input_shape[1:]), tf.float32, name="x")
        call = tf.function(keeps.call).get_concrete_function(spec)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([call], keeps)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in rows)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(job["target"]).write_bytes(converter.convert())
    return f"tensorflow {tf.__version__}"


def ai_edge_int8(job: Job) -> str:
    """ai-edge-quantizer's ready recipe for 8 bits, with its own calibrator."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    rows = np.load(job["rows"])
    interpreter = Interpreter(job["float_model"])
    (signature,) = interpreter.get_signature_list()
    (name,) = interpreter.get_signature_list()[signature]["inputs"]
    tool = quantizer.Quantizer(job["float_model"], recipe.static_wi8_ai8())
    found = tool.calibrate({signature: [{name: row[None]} for row in rows]})
    Path(job["target"]).write_bytes(tool.quantize(found).quantized_model)
    return f"ai-edge-quantizer {version('ai-edge-quantizer')}"


def onnxruntime_static(job: Job) -> str:
    """ONNX Runtime's ``quantize_static`` with its defaults: QDQ, every operator, min and max."""
    from onnxruntime.quantization import quantize_static

    quantize_static(job["float_model"], job["target"], _Reader(job))
    return f"onnxruntime {version('onnxruntime')}"


def onnxruntime_dynamic(job: Job) -> str:
    """ONNX Runtime's ``quantize_dynamic`` with its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(job["float_model"], job["target"])
    return f"onnxruntime {version('onnxruntime')}"


class _Reader:
    """Calibration rows one by one, as ONNX Runtime asks for them."""

    def __init__(self, job: Job) -> None:
        self._rows: Iterator[dict[str, Any]] = _fed(job)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


def _fed(job: Job) -> Iterator[dict[str, Any]]:
    import onnx

    name = onnx.load(job["float_model"]).graph.input[0].name
    return ({name: row[None]} for row in np.load(job["rows"]))


def nncf_int8(job: Job) -> str:
    """NNCF's post-training quantization of an ONNX model with its defaults."""
    import nncf
    import onnx

    rows = list(_fed(job))
    made = nncf.quantize(onnx.load(job["float_model"]), nncf.Dataset(rows), subset_size=len(rows))
    onnx.save(made, job["target"])
    return f"nncf {version('nncf')}"


def float_model(job: Job) -> str:
    """The float model of a format, from the trainer's file, by edgeops' use of TensorFlow."""
    return _edgeops(job, "float32")


def edgeops_int8(job: Job) -> str:
    """``edgeops package --recipe int8``."""
    return _edgeops(job, "int8")


def edgeops_auto(job: Job) -> str:
    """``edgeops package --recipe auto``."""
    return _edgeops(job, "auto")


def _edgeops(job: Job, wanted: str) -> str:
    from edgeops import __version__
    from edgeops.packaging.convert import convert
    from edgeops.packaging.gates.evidence import MAX_DROP, MIN_AGREEMENT, MIN_SQNR_DB
    from edgeops.packaging.recipes import RECIPES
    from edgeops.packaging.recipes.trials import SIZE, Search

    target = Path(job["target"])
    form, search = target.suffix[1:], None
    if wanted == "auto":
        # The same class means nothing for answers that are no classes: fidelity alone counts.
        search = Search(
            objective=SIZE,
            min_sqnr_db=MIN_SQNR_DB,
            min_agreement=MIN_AGREEMENT if job["classes"] else 0.0,
            max_drop=MAX_DROP if job["classes"] else 1.0,
        )
    made = convert(
        Path(job["source"] if wanted == "float32" else job["float_model"]),
        RECIPES[f"{form}-{'float32' if search else wanted}"],
        calibration=None if wanted == "float32" else np.load(job["rows"]),
        cache=Path(job["cache"]),
        trust_code=False,
        progress=lambda line: print(line, flush=True),
        search=search,
    )
    target.write_bytes(made.path.read_bytes())
    excluded = (
        f", {len(made.making.excluded)} operators left in floats" if made.making.excluded else ""
    )
    chosen = f" ({made.recipe.name}{excluded})" if search or excluded else ""
    return f"edgeops {__version__}{chosen}"


TOOLS: Mapping[str, Callable[[Job], str]] = {
    each.__name__: each
    for each in (
        *(tensorflow_int8, ai_edge_int8, onnxruntime_static, onnxruntime_dynamic, nncf_int8),
        *(float_model, edgeops_int8, edgeops_auto),
    )
}


def peak_rss_mib() -> float:
    """Return the most memory that this process, or one that it waited for, had."""
    import resource

    with open("/proc/self/status", encoding="ascii") as file:
        own = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / _KIB


def main() -> int:
    """Do the job; the findings say ``error`` if the tool failed."""
    job = json.loads(Path(sys.argv[1]).read_text())
    begun_s = time.monotonic()
    found: dict[str, Any] = {}
    try:
        found["by"] = TOOLS[job["tool"]](job)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    # From the first import of the tool to the file; starting Python is not counted.
    found["seconds"] = time.monotonic() - begun_s
    found["peak_rss_mib"] = peak_rss_mib()
    Path(job["said"]).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
