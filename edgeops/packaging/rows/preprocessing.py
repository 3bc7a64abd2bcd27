"""Preprocessing as people bring it: a JSON file, read more strictly than what devices read."""

from __future__ import annotations

from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

from device_agent.protocol.audio import AudioStep
from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.image import ImageStep
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.tabular import Feature, TabularStep
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.files.regular import check_regular

_HOW = (
    'write what is needed of {"scale": 1, "mean": [], "std": [], "shape": [], "layout": "as-is"}, '
    "and one of image, audio, tabular: docs/packages.md says what they hold"
)
_STEPS = {"image": ImageStep, "audio": AudioStep, "tabular": TabularStep}


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a JSON file.

    Raises:
        InvalidInput: no such file, no JSON, a field that is unknown (a misspelt one would be
            left out in silence), of a wrong type or out of range.
    """
    check_regular(path)
    try:
        document = decode(path.read_bytes())
        _check_names(document, path)
        return Preprocessing.from_fields(Fields(document, "preprocessing"))
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror or error}",
            next_step="name the .json file of the preprocessing",
        ) from error
    except ProtocolError as error:
        raise InvalidInput(f"{path}: {error}", next_step=error.next_step or _HOW) from error


def _check_names(document: dict[str, Any], path: Path) -> None:
    """Refuse fields of unknown names; of wrong types the reader of the document says more."""
    _check_known(document, Preprocessing, path, "")
    for name, step in _STEPS.items():
        _check_known(document.get(name), step, path, f"{name}.")
    tabular = document.get("tabular")
    features = tabular.get("features") if isinstance(tabular, dict) else None
    for at, feature in enumerate(features if isinstance(features, list) else []):
        _check_known(feature, Feature, path, f"tabular.features[{at}].")


def _check_known(document: object, kind: type[Any], path: Path, prefix: str) -> None:
    known = [field.name for field in fields_of(kind)]
    unknown = sorted(document.keys() - set(known)) if isinstance(document, dict) else []
    if unknown:
        how = f"{prefix.rstrip('.')} has: {', '.join(known)}" if prefix else _HOW
        raise InvalidInput(
            f"{path} has the unknown field {prefix + unknown[0][:40]!r}", next_step=how
        )
