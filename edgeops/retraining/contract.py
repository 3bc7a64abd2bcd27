"""The contract of a training script: what it is given, what it must leave behind.

::

    python train.py REQUEST.json OUT

``REQUEST.json`` holds ``id``, ``model``, ``seed``, ``labels``, ``preprocessing`` (what the package
does to each row before the model sees it, or null), ``parent`` (``version``, and
``files``: format → path of its artifact, or null) and ``data.train``: paths of ``.npz`` files
with rows ``x`` as applications give them and classes ``y``. ``OUT`` is an empty folder. The
script writes there ``model.keras``, ``model.h5``, a SavedModel folder ``model``, or
``model.onnx`` and/or ``model.tflite``; and ``metrics.json``, an object of finite numbers. It
ends with 0. What it prints is kept in a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.preprocessing import Preprocessing
from edgeops.retraining.errors import TrainingFailed

MODELS = ("model.keras", "model.h5", "model", "model.onnx", "model.tflite")
FOLDER_MODEL = "model"
"""A SavedModel is a folder; the others are files."""
METRICS = "metrics.json"
MAX_METRICS = 64
_LARGEST = 1e15
_HOW = "see the contract of training scripts in docs/retraining.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What a training script is given.

    Attributes:
        id: of the retraining.
        model: name of the model.
        seed: for everything random.
        labels: names of the classes, in the order of the scores.
        preprocessing: what is done to each row before the model sees it, None for nothing.
        parent: number of the version that serves.
        parent_files: format → path of an artifact of the parent.
        train: paths of ``.npz`` files with rows and classes.
    """

    id: str
    model: str
    seed: int
    labels: tuple[str, ...]
    parent: int
    parent_files: Mapping[str, str]
    train: tuple[str, ...]
    preprocessing: Preprocessing | None = None

    def to_bytes(self) -> bytes:
        """Return the JSON form, ``REQUEST.json``."""
        return encode(
            {
                "schema_version": SCHEMA_VERSION,
                "id": self.id,
                "model": self.model,
                "seed": self.seed,
                "labels": list(self.labels),
                "preprocessing": (self.preprocessing.to_document() if self.preprocessing else None),
                "parent": {"version": self.parent, "files": dict(self.parent_files)},
                "data": {"train": list(self.train)},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training script left behind.

    Attributes:
        models: its model files, one kind of source, or one file for each format.
        metrics: what it measured, as it says.
    """

    models: tuple[Path, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_output(folder: Path) -> Trained:
    """Return what a script wrote.

    Raises:
        TrainingFailed: no model, an empty one, models of several sources, or metrics that are
            no object of finite numbers.
    """
    found = [folder / name for name in MODELS if (folder / name).exists()]
    odd = [path.name for path in found if not (path.is_file() or path.name == FOLDER_MODEL)]
    odd += [path.name for path in found if path.name == FOLDER_MODEL and not path.is_dir()]
    if odd:
        raise TrainingFailed(f"{', '.join(odd)} is no file of a model", next_step=_HOW)
    if not found:
        raise TrainingFailed(f"it wrote no model (none of {', '.join(MODELS)})", next_step=_HOW)
    empty = [path.name for path in found if path.is_file() and path.stat().st_size == 0]
    if empty:
        raise TrainingFailed(f"{', '.join(empty)} is empty", next_step=_HOW)
    _check_sources(found)
    return Trained(models=tuple(found), metrics=_metrics(folder / METRICS))


def _check_sources(found: Sequence[Path]) -> None:
    sources = [path.name for path in found if path.suffix not in (".onnx", ".tflite")]
    if len(sources) > 1 or (sources and len(found) > 1):
        names = ", ".join(path.name for path in found)
        raise TrainingFailed(f"it wrote {names}: which one is meant?", next_step=_HOW)


def _metrics(path: Path) -> dict[str, float]:
    try:
        if path.exists() and not path.is_file():
            raise TrainingFailed(f"{METRICS} is no file", next_step=_HOW)
        fields = Fields(decode(path.read_bytes()), METRICS)
        names = fields.names()
        if len(names) > MAX_METRICS:
            raise TrainingFailed(f"{METRICS} has more than {MAX_METRICS} numbers", next_step=_HOW)
        return {name: fields.number(name, minimum=-_LARGEST, maximum=_LARGEST) for name in names}
    except OSError as error:
        raise TrainingFailed(f"it wrote no {METRICS}: {error.strerror}", next_step=_HOW) from error
    except ProtocolError as error:
        raise TrainingFailed(
            f"{METRICS} is no object of finite numbers: {error}", next_step=_HOW
        ) from error
