"""Which converters are installed, told without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from edgeops.packaging.convert.errors import ConverterMissing

TENSORFLOW = {
    "tflite": ("tensorflow", "keras", "numpy", "ai-edge-litert", "tf-keras"),
    "onnx": ("tensorflow", "keras", "numpy", "tf2onnx", "onnx", "onnxruntime", "tf-keras"),
}
"""What converts a TensorFlow model to a float model, by format."""
SCIKIT_LEARN = ("scikit-learn", "skops", "skl2onnx", "numpy", "onnx", "onnxruntime")
"""What converts a scikit-learn model to a float ``.onnx``."""
CHECKING = {"tflite": ("ai-edge-litert", "numpy"), "onnx": ("onnx", "onnxruntime", "numpy")}
"""What looks at a float model, by format."""
QUANTIZING = {"tflite": (*CHECKING["tflite"], "ai-edge-quantizer"), "onnx": CHECKING["onnx"]}
"""What quantizes a float model, by format."""
OPTIONAL = ("tf-keras",)
"""Taken where it is installed: old HDF5 files need it."""

_EXTRA = {
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf2onnx": "tensorflow",
    "scikit-learn": "scikit-learn",
    "skops": "scikit-learn",
    "skl2onnx": "scikit-learn",
    "ai-edge-quantizer": "quantization",
    "ai-edge-litert": "quantization",
    "onnx": "quantization",
    "onnxruntime": "onnxruntime",
}


def versions(distributions: Sequence[str], needed_for: str) -> dict[str, str]:
    """Return the installed versions of packages.

    Args:
        distributions: names of packages; those in ``OPTIONAL`` may be missing.
        needed_for: what errors say they are needed for.

    Raises:
        ConverterMissing: one of them is not installed.
    """
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError as error:
            if name in OPTIONAL:
                continue
            shown = "TensorFlow" if name == "tensorflow" else name
            raise ConverterMissing(
                f"{shown} is not installed, and {needed_for} needs it",
                next_step=f"pip install 'edgeops[{_EXTRA.get(name, 'quantization')}]'",
            ) from error
    return found
