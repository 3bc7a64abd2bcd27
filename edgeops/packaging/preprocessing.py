"""Preprocessing as people bring it: a JSON file, read more strictly than what devices read."""

from __future__ import annotations

from pathlib import Path

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.preprocessing import Preprocessing
from edgeops.domain.errors import InvalidInput

_HOW = 'write what is needed of {"scale": 1, "mean": [], "std": [], "shape": [], "layout": "as-is"}'
_KNOWN = frozenset(Preprocessing().to_document())


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a JSON file.

    Raises:
        InvalidInput: no such file, no JSON, a field that is unknown (a misspelt one would be
            left out in silence), of a wrong type or out of range.
    """
    try:
        document = decode(path.read_bytes())
        unknown = sorted(document.keys() - _KNOWN)
        if unknown:
            raise InvalidInput(f"{path} has the unknown field {unknown[0][:40]!r}", next_step=_HOW)
        return Preprocessing.from_fields(Fields(document, "preprocessing"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ProtocolError as error:
        raise InvalidInput(f"{path}: {error}", next_step=error.next_step or _HOW) from error
