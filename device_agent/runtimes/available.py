"""Which runtimes this machine has, without importing them; and the one of a name."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from device_agent.protocol.errors import RuntimeMissing

if TYPE_CHECKING:
    from device_agent.runtimes.contract import Runtime

_PACKAGES = {
    "litert": "ai_edge_litert",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite_runtime",
    "tflm": "tflite_micro",
}
_DISTRIBUTIONS = {
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite-runtime",
    "tflm": "tflite-micro",
}
_ADAPTERS = {
    "litert": ("device_agent.runtimes.litert", "LiteRt"),
    "onnxruntime": ("device_agent.runtimes.onnxruntime", "OnnxRuntime"),
    "tflite-runtime": ("device_agent.runtimes.tflite_runtime", "TfLiteRuntime"),
    "tflm": ("device_agent.runtimes.tflm", "TfLiteMicro"),
}


def available_runtimes() -> frozenset[str]:
    """Return the names of the installed runtimes; none of them is imported."""
    return frozenset(name for name, package in _PACKAGES.items() if _is_installed(package))


def runtime_package(name: str) -> str:
    """Return the installed package of a runtime and its version, e.g. ``onnxruntime 1.32.0``.

    Raises:
        RuntimeMissing: it is not installed.
    """
    from importlib import metadata  # here: an agent never asks, and it takes 8 ms and 1 MB

    try:
        return f"{_DISTRIBUTIONS[name]} {metadata.version(_DISTRIBUTIONS[name])}"
    except (KeyError, metadata.PackageNotFoundError) as error:
        raise _missing(name, "is not installed") from error


def get_runtime(name: str) -> Runtime:
    """Return the runtime of that name, importing it.

    Raises:
        RuntimeMissing: no such runtime, not installed, or its installation is broken.
    """
    if name not in _ADAPTERS:
        raise RuntimeMissing(
            f"there is no runtime {name[:40]!r} (there are: {', '.join(_ADAPTERS)})"
        )
    module, adapter = _ADAPTERS[name]
    if not _is_installed(_PACKAGES[name]):
        raise _missing(name, "is not installed")
    try:
        runtime: Runtime = getattr(import_module(module), adapter)()
    except (ImportError, OSError) as error:
        raise _missing(name, f"cannot be imported: {error}") from error
    return runtime


def _is_installed(package: str) -> bool:
    """Say what ``importlib.util.find_spec`` does, which takes a start longer to import."""
    if package in sys.modules:
        return sys.modules[package] is not None  # None: its import is blocked
    finders = (getattr(each, "find_spec", None) for each in sys.meta_path)
    return any(find(package, None) is not None for find in finders if find is not None)


def _missing(name: str, what: str) -> RuntimeMissing:
    return RuntimeMissing(
        f"runtime {name} {what}", next_step=f"pip install 'edgeops-device-agent[{name}]'"
    )
