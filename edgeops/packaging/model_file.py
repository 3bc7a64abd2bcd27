"""Model files: the bytes that will be an artifact, and the float model that they came from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeops.packaging.evaluate import Trial
from edgeops.packaging.variants import FORMAT_OF_RUNTIME

AS_IS = "as-is"
"""The recipe of a file that was packaged as it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One artifact to be.

    Attributes:
        name: how errors and progress name it.
        data: its bytes.
        runtime: what will run it.
        recipe: how it was made, ``AS_IS`` if it was not.
        float_data: the float model that it was made from, in the same format; None if it is
            that model itself.
    """

    name: str
    data: bytes
    runtime: str
    recipe: str = AS_IS
    float_data: bytes | None = None


@contextmanager
def on_trial(file: ModelFile, data: bytes | None = None) -> Iterator[Trial]:
    """Lay a model alone into a folder of its own: just what a device has.

    Args:
        file: the model file.
        data: other bytes of the same format, e.g. its float model.
    """
    with tempfile.TemporaryDirectory(prefix="edgeops-package-") as name:
        folder = Path(name)
        artifact = folder / f"model.{FORMAT_OF_RUNTIME[file.runtime]}"
        artifact.write_bytes(file.data if data is None else data)
        yield Trial(name=file.name, runtime=file.runtime, artifact=artifact, folder=folder)
