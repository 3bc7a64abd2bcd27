"""What a Keras file may hold: no path that leaves it, no bomb, no code.

A ``.keras`` is a zip archive (https://keras.io/api/models/model_saving_apis/); its
``config.json`` names Python classes. Keras' own safe mode stops most of what could run; this
stops it before TensorFlow is even imported, and says what it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.archive import entry, opened

CONFIG = "config.json"

CODE_CLASSES = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)
"""Layers that hold or load code."""
SAFE_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
CODE_MODULES = ("utils", "saving", "export", "datasets", "callbacks", "distribution")
"""Parts of Keras that no model needs, but whose functions a hostile config could name."""

_TRUST = "if you trust whoever made it, give --trust-code"
_AGAIN = "save it again with: model.save('model.keras')"


def check_keras_archive(data: bytes, path: Path, *, trust_code: bool) -> None:
    """Refuse a ``.keras`` file that is unsafe to open.

    Args:
        data: a file that begins like a zip archive.
        path: where it is, for errors.
        trust_code: take Lambda layers and custom objects; paths and sizes are checked anyway.

    Raises:
        InvalidModel: the message says what is wrong.
    """
    with opened(data, path, CONFIG, again=_AGAIN) as archive:
        text = entry(archive, CONFIG)
    if not trust_code:
        check_keras_config(text, str(path))


def check_keras_config(text: str | bytes, name: str) -> None:
    """Refuse a model's config that names code.

    Args:
        text: JSON, as in a ``config.json`` or in the attribute ``model_config`` of an ``.h5``.
        name: how errors name the file.

    Raises:
        InvalidModel: not JSON, or it holds code; the message names the class.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} has a damaged config: {error}", next_step=_AGAIN) from error
    if not isinstance(config, dict):
        raise InvalidModel(f"{name} has a config that is no object", next_step=_AGAIN)
    # Losses and metrics may be anything: models are loaded without compiling them.
    config = {key: value for key, value in config.items() if key != "compile_config"}
    for each in _objects(config):
        _check_object(each, name)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value, without recursion: depth is the file's choice."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_object(value: dict[str, Any], name: str) -> None:
    class_name, module = value.get("class_name"), value.get("module")
    registered = value.get("registered_name")
    if class_name is None:
        return
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        raise InvalidModel(f"{name} has a config that names no class", next_step=_AGAIN)
    if class_name in CODE_CLASSES:
        kind = "a Lambda layer" if "ambda" in class_name else f"the layer {class_name}"
        raise InvalidModel(f"{name} has {kind}: it runs code of its own", next_step=_TRUST)
    is_custom = class_name == "function" or (isinstance(registered, str) and ">" in registered)
    if is_custom or ">" in class_name or not _is_safe(module):
        shown = f"{module}." if module else ""
        raise InvalidModel(
            f"{name} has the custom object {shown}{class_name}"[:200]
            + ": it needs code of its own",
            next_step=_TRUST,
        )


def _is_safe(module: str | None) -> bool:
    if module is None:
        return True
    parts = [part for part in module.split(".") if part != "src"]
    is_keras = any(module == safe or module.startswith(f"{safe}.") for safe in SAFE_MODULES)
    return is_keras and not any(part in CODE_MODULES for part in parts)
