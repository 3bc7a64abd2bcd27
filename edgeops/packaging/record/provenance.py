"""Provenance: the files of a package that tell how it was made, and nothing that devices fetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.errors import ConverterMissing
from edgeops.packaging.convert.examine import examine
from edgeops.packaging.convert.job import Report
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.files.scratch import scratch_folder
from edgeops.packaging.gates.effect import said_counts
from edgeops.packaging.gates.score_errors import ScoreErrors
from edgeops.packaging.gates.verdicts import Verdict
from edgeops.packaging.record.anatomy import QUANTIZED_DTYPES, Anatomy
from edgeops.packaging.record.build_record import BUILD_RECORD, ArtifactRecord, BuildRecord

MOSTLY = 0.5
"""Share of the weights from which on a file counts as quantized without a warning."""


def examine_files(
    files: Mapping[str, ModelFile], cache: Path | None, progress: Callable[[str], None]
) -> dict[str, Anatomy]:
    """Run artifacts once on zeros, in bounds; return their anatomies by format.

    What is not looked into, for nothing here reads its format, is left out, and that is said.

    Args:
        files: the artifacts by format.
        cache: folder in which anatomies are kept, or None.
        progress: told what else was seen.

    Raises:
        InvalidModel, ConversionFailed, StoreFailed: as ``examine``, with the file's name.
    """
    if cache is None:
        with scratch_folder("edgeops-examine-") as folder:
            return examine_files(files, folder, progress)
    found: dict[str, Anatomy] = {}
    for form, file in files.items():
        try:
            found[form] = examine(file.data, form, cache, progress=progress)
        except ConverterMissing as error:
            progress(f"warning: {file.name} is not looked into: {error} ({error.next_step})")
            continue
        except InvalidModel as error:
            raise InvalidModel(f"{file.name}: {error}", next_step=error.next_step) from error
        if file.made is None:
            _tell_of_quantized(file.name, found[form], progress)
    return found


def _tell_of_quantized(name: str, found: Anatomy, progress: Callable[[str], None]) -> None:
    """Say that a file is quantized, whatever it is called; warn if only a part of it is."""
    if not (dtype := found.quantized):
        return
    progress(f"note: {name} is quantized already: it has {dtype} weights")
    count = sum(n for each, n in found.weights.items() if each in QUANTIZED_DTYPES)
    share = count / max(1, sum(found.weights.values()))
    if share < MOSTLY:
        progress(
            f"warning: only {100 * share:.0f} % of its weights are ({said_counts(found.weights)}): "
            "whoever quantized it may not know"
        )


def float_name(form: str) -> str:
    """Return the name that a float model has in a package."""
    return f"float.{form}"


def provenance_of(
    files: Mapping[str, ModelFile],
    anatomies: Mapping[str, Anatomy],
    verdicts: Sequence[Verdict],
    errors: Sequence[ScoreErrors] = (),
    *,
    keep_float: bool = True,
) -> dict[str, bytes]:
    """Return the build record and, unless their owner keeps them, the float models, by name."""
    record = BuildRecord(
        artifacts=tuple(_recorded(file, anatomies.get(form)) for form, file in files.items()),
        verdicts=tuple(verdicts),
        errors=tuple(errors),
    )
    floats = {
        float_name(form): file.float_data
        for form, file in files.items()
        if file.float_data is not None and keep_float
    }
    return {BUILD_RECORD: record.to_bytes(), **floats}


def _recorded(file: ModelFile, anatomy: Anatomy | None) -> ArtifactRecord:
    made = file.made
    return ArtifactRecord(
        artifact=digest_of(file.data),
        format=file.format,
        source=file.source or digest_of(file.data),
        recipe=None if made is None else made.recipe,
        making=None if made is None else _repeatable(made.making),
        float_model=None if file.float_data is None else digest_of(file.float_data),
        calibration=file.calibration,
        tools={} if made is None else made.tools,
        anatomy=anatomy,
    )


def _repeatable(making: Report) -> Report:
    """Leave out what a clock told: the same request shall give the same record."""
    trials = tuple(replace(each, latency_ms=None) for each in making.trials)
    return replace(making, trials=trials, float_ms=None)
