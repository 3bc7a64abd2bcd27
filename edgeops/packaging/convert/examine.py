"""Looking into an artifact, in a child: what it is made of, and where engines differ.

The child loads an artifact as devices do and runs it on zeros, with bounds, before anything else
here runs it. What would be refused of a model to convert is refused of one that is packaged as it
is too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import InvalidInput, InvalidModel, StoreFailed
from edgeops.packaging.convert import tools
from edgeops.packaging.convert.cache import CONVERTER_VERSION, cached
from edgeops.packaging.convert.errors import ConversionFailed, ConverterMissing
from edgeops.packaging.convert.job import Job, Report, Task
from edgeops.packaging.convert.process import DEFAULT_LIMITS, Limits, run_job
from edgeops.packaging.convert.source import Source, SourceKind
from edgeops.packaging.engines import Engine
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.record.anatomy import Anatomy

EXAMINING = Limits(timeout_s=120.0, memory_mib=4096)


def examine(
    data: bytes,
    form: str,
    cache: Path,
    limits: Limits = EXAMINING,
    progress: Callable[[str], None] = lambda _: None,
) -> Anatomy:
    """Run an artifact once on zeros, and return its anatomy.

    Args:
        data: the file.
        form: its format.
        cache: folder in which anatomies are kept.
        limits: time and memory.
        progress: told that it takes long.

    Raises:
        InvalidModel: it is hostile or damaged, or no device could run it.
        ConversionFailed: looking at it crashed, hung or took too much memory.
        ConverterMissing: what reads the format is not installed.
        StoreFailed: the disk said no, or the system gives no process.
    """
    versions = tools.versions(tools.CHECKING[form], f"looking into .{form} files")
    key = {
        "converter": CONVERTER_VERSION,
        "examined": digest_of(data),
        "tools": versions,
    }

    def make(target: Path) -> Report:
        with as_file(data, form, cache) as source:
            job = _job(Task.EXAMINE, source, limits, target=str(target.absolute()))
            return run_job(job, limits, progress)

    return Anatomy.from_bytes(cached(cache, key, "anatomy.json", make).path.read_bytes())


def locate(
    data: bytes,
    form: str,
    rows: NDArray[Any],
    engines: Sequence[Engine],
    cache: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> str | None:
    """Return the first operator that engines compute otherwise, None if that cannot be told.

    Args:
        data: an artifact.
        form: its format.
        rows: inputs of the model ``[n, ...]``, after preprocessing.
        engines: what runs it on devices.
        cache: a folder for files in between.
        limits: time and memory.
    """
    others = [each for each in engines if each.python != sys.executable]
    kinds = tuple(kind for engine in others for kind in engine.kinds)
    with as_file(data, form, cache) as source:
        file = source.path.with_name("rows.npy")
        np.save(file, rows, allow_pickle=False)
        job = _job(Task.LOCATE, source, limits, calibration=str(file), others=kinds)
        try:
            return next(iter(run_job(job, limits).notes), None)
        except (InvalidModel, InvalidInput, ConversionFailed, ConverterMissing):
            return None


@contextmanager
def as_file(data: bytes, form: str, folder: Path) -> Iterator[Source]:
    """Lay a model into a folder of its own within a folder, which is made if it is missing.

    Raises:
        StoreFailed: the disk said no.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=folder) as own:
            path = Path(own).absolute() / f"model.{form}"
            path.write_bytes(data)
            yield Source(path=path, kind=SourceKind(form), digest=digest_of(data))
    except OSError as error:
        raise StoreFailed(
            f"{folder}: {error.strerror or error}",
            next_step="make room on its disk",
        ) from error


def _job(
    task: Task,
    source: Source,
    limits: Limits,
    *,
    target: str = "",
    calibration: str | None = None,
    others: tuple[Engine, ...] = (),
) -> Job:
    return Job(
        task=task,
        source=str(source.path),
        digest=source.digest,
        kind=source.kind,
        target=target,
        recipe=RECIPES[f"{source.kind.value}-float32"],
        calibration=calibration,
        trust_code=False,
        memory_mib=limits.memory_mib,
        others=others,
    )
