"""Model files: the bytes that will be an artifact, and the float model that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.protocol.ids import Digest, digest_of
from device_agent.protocol.preprocessing import Preprocessing
from edgeops.packaging.convert import Converted
from edgeops.packaging.engines import Engine
from edgeops.packaging.evaluate import Trial
from edgeops.packaging.files.scratch import scratch_folder, write_scratch

MAX_LINEAGE = 500
AS_IS = "as-is"
"""The recipe of a file that was packaged as it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One artifact to be.

    Attributes:
        name: how errors and progress name it.
        data: its bytes.
        format: ``tflite`` or ``onnx``.
        source: digest of the model that a person named; None if that is ``data`` itself.
        made: how it was converted, None if it was not.
        float_data: the float model that it was made from, in the same format; None if it is
            that model itself.
        calibration: digest of the rows that its ranges were taken from, None without.
        preprocessing: what is done to each row first, also for its float model.
        thresholds: how sure it must be of a class, also its float model.
        refused: candidates of its search that gates refused before it.
    """

    name: str
    data: bytes
    format: str
    source: Digest | None = None
    made: Converted | None = None
    float_data: bytes | None = None
    calibration: Digest | None = None
    preprocessing: Preprocessing | None = None
    thresholds: tuple[float, ...] = ()
    refused: int = 0

    @property
    def label(self) -> str:
        """Its file's name alone: what is recorded says nothing of somebody's folders."""
        return Path(self.name).name

    @property
    def recipe(self) -> str:
        """The name of its recipe, ``AS_IS`` if it was packaged as it was given."""
        return AS_IS if self.made is None else self.made.recipe.name

    @property
    def lineage(self) -> dict[str, str]:
        """What a manifest's lineage says of it, without the format at the end of the keys."""
        said: dict[str, str] = {"source": self.source or digest_of(self.data)}
        if self.made is not None:
            said["recipe"] = self.recipe
            if self.made.making.excluded:
                said["excluded"] = ", ".join(self.made.making.excluded)[:MAX_LINEAGE]
            said["converter"] = ", ".join(f"{k} {v}" for k, v in sorted(self.made.tools.items()))
        if self.calibration is not None:
            said["calibration"] = self.calibration
        return said


@contextmanager
def on_trial(file: ModelFile, engine: Engine, data: bytes | None = None) -> Iterator[Trial]:
    """Lay a model alone into a folder of its own: just what a device has.

    Args:
        file: the model file.
        engine: what runs it.
        data: other bytes of the same format, e.g. its float model.

    Raises:
        StoreFailed: the disk of temporary files said no.
    """
    with scratch_folder("edgeops-package-") as folder:
        artifact = folder / f"model.{file.format}"
        write_scratch(artifact, file.data if data is None else data)
        yield Trial(
            name=file.name,
            engine=engine,
            artifact=artifact,
            folder=folder,
            preprocessing=file.preprocessing,
            thresholds=file.thresholds,
        )
