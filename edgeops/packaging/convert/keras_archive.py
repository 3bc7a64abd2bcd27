"""What a Keras file may hold: no path that leaves it, no bomb, no code.

A ``.keras`` is a zip archive (https://keras.io/api/models/model_saving_apis/); its
``config.json`` names Python classes. Keras' own safe mode stops most of what could run; this
stops it before TensorFlow is even imported, and says what it was.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.domain.errors import InvalidModel

CONFIG = "config.json"
MAX_ENTRIES = 10_000
MAX_CONFIG_BYTES = 32 * 1024 * 1024
MAX_CONFIG_DEPTH = 200
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What Keras writes. The others of zip unpack a block at once, whatever size they say."""
MAX_RATIO = 200
"""Times that an entry may grow by unpacking. Trained weights hardly shrink at all."""
RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Entries up to this size may shrink as they like: JSON of large models does."""

CODE_CLASSES = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)
"""Layers that hold or load code."""
SAFE_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
CODE_MODULES = ("utils", "saving", "export", "datasets", "callbacks", "distribution")
"""Parts of Keras that no model needs, but whose functions a hostile config could name."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
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
    try:
        # Not the file itself: that takes memory for what a directory claims, not for what it has.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_names(entries, path)
            _check_sizes(entries, len(data), path)
            if CONFIG not in archive.namelist():
                raise InvalidModel(
                    f"{path} is a zip archive, but no Keras model (it has no {CONFIG})",
                    next_step=_AGAIN,
                )
            with archive.open(CONFIG) as file:  # so much as it says, whatever there is
                text = file.read(archive.getinfo(CONFIG).file_size)
    except _DAMAGED as error:
        raise InvalidModel(
            f"{path} is a damaged zip archive: {error}", next_step="copy or save it again"
        ) from error
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


def _check_names(entries: list[zipfile.ZipInfo], path: Path) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidModel(f"{path} has {len(entries)} entries: that is no Keras model")
    for entry in entries:
        # The name as written: zipfile cuts what it shows at a NUL.
        name = entry.orig_filename
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or "\\" in name or ".." in parts or "\x00" in name:
            raise InvalidModel(
                f"{path} has an entry that leads out of it: {name[:80]!r}",
                next_step="do not use this file; find out who made it",
            )
        if not parts or ":" in parts[0]:
            raise InvalidModel(f"{path} has an entry without a proper name: {name[:80]!r}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InvalidModel(f"{path} has the link {name[:80]!r}, which may lead anywhere")
    twice = [name for name, n in Counter(each.filename for each in entries).items() if n > 1]
    if twice:
        raise InvalidModel(
            f"{path} has the entry {twice[0][:80]!r} twice: readers disagree which one counts",
            next_step=_AGAIN,
        )


def _check_sizes(entries: list[zipfile.ZipInfo], size_bytes: int, path: Path) -> None:
    if sum(entry.compress_size for entry in entries) > size_bytes:
        raise zipfile.BadZipFile("its entries are larger than it is")
    if any(entry.compress_type not in METHODS for entry in entries):
        raise InvalidModel(f"{path} is packed as Keras packs nothing", next_step=_AGAIN)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BLOB_BYTES:
        raise InvalidModel(
            f"{path} unpacks to {total} bytes, {MAX_BLOB_BYTES} are allowed",
            next_step="if it is a real model, it is too large for devices",
        )
    for entry in entries:
        limit = max(RATIO_FREE_BYTES, entry.compress_size * MAX_RATIO)
        if entry.filename == CONFIG:
            limit = MAX_CONFIG_BYTES
        if entry.file_size > limit:
            raise InvalidModel(
                f"{path}: entry {entry.filename[:80]!r} unpacks from {entry.compress_size} to "
                f"{entry.file_size} bytes: a zip bomb",
                next_step="do not use this file; find out who made it",
            )


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
