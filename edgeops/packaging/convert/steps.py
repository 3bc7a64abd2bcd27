"""The one door: from a model in any format and a recipe to an artifact.

A TensorFlow or scikit-learn model is first converted to a float model of the recipe's format, then
quantized like any other. Both steps run in children and are cached one by one, so that the same
model is converted once for all recipes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.convert import tools
from edgeops.packaging.convert.cache import CONVERTER_VERSION, Kept, cached
from edgeops.packaging.convert.calibration import calibration_rows, rows_digest
from edgeops.packaging.convert.examine import as_file
from edgeops.packaging.convert.job import Job, Report, Task
from edgeops.packaging.convert.process import DEFAULT_LIMITS, Limits, run_job
from edgeops.packaging.convert.source import Source, SourceKind, read_source
from edgeops.packaging.engines import Engine
from edgeops.packaging.files.scratch import save_scratch, scratch_folder
from edgeops.packaging.recipes import RECIPES, Recipe
from edgeops.packaging.recipes.trials import Search

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """An artifact.

    Attributes:
        path: the file, inside the cache: copy it, do not change it.
        recipe: how it was made; if it was searched for, what was found.
        making: what its making told: ranges, excluded operators, promise, trials.
        tools: versions of the packages that took part, by name.
        notes: what a person should know, a line each.
    """

    path: Path
    recipe: Recipe
    making: Report
    tools: Mapping[str, str]
    notes: tuple[str, ...]


def convert(
    source: Path,
    recipe: Recipe,
    *,
    calibration: NDArray[Any] | None,
    cache: Path,
    trust_code: bool,
    progress: Progress,
    engines: Sequence[Engine] = (),
    limits: Limits = DEFAULT_LIMITS,
    search: Search | None = None,
) -> Converted:
    """Make the artifact of a recipe, or of one that is searched for.

    The same source, recipe, rows and tools give the same bytes.

    Args:
        source: ``.keras``, ``.h5``, ``.skops``, SavedModel folder, ``.tflite`` or ``.onnx``.
        recipe: what to make.
        calibration: real inputs of the model ``[n, ...]`` after preprocessing, for recipes
            that need them; ignored by others.
        cache: folder of conversions; made if it is missing.
        trust_code: take models that hold code (Lambda layers, custom objects).
        progress: told one line about each step.
        engines: what runs it on devices; all of them must answer alike.
        limits: time and memory of one step.
        search: find a recipe of the format of ``recipe`` for this objective.

    Raises:
        InvalidModel: the model is damaged, unsafe, quantized already, or not convertible.
        InvalidInput: the rows are missing, bad, or do not fit; or no way leads from the
            model's format to the recipe's.
        ConverterMissing: a package is not installed; the next step says which extra.
        ConversionFailed: a converter crashed, hung, or did not do what the recipe promises.
        StoreFailed: the disk said no.
    """
    rows = None
    if search is not None:
        rows = calibration_rows(calibration, "a search")
    elif recipe.needs_calibration:
        rows = calibration_rows(calibration)
    found = read_source(source, trust_code=trust_code)
    _check_way(found, recipe)
    used: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    if not found.kind.is_artifact:
        found, notes, used = _to_float(
            found, recipe.format, cache, progress, limits, trust_code=trust_code
        )
    is_float = recipe.precision == "float32" and search is None
    needed = tools.CHECKING if is_float else tools.QUANTIZING
    versions = tools.versions(needed[recipe.format], f"recipe {recipe.name}")
    others = tuple(engine for engine in engines if engine.python != sys.executable)
    both = tuple(each for engine in others for each in engine.kinds)
    step = _Step(
        source=found, recipe=recipe, rows=rows, versions=versions, others=both, search=search
    )
    what = f"making {recipe.name} of {source}"
    if search is not None:
        what = f"searching a .{recipe.format} recipe for {source}, by {search.objective}"
    kept = _do(step, cache, lambda: progress(what), limits, progress)
    return Converted(
        path=kept.path,
        recipe=kept.report.recipe or recipe,
        making=kept.report,
        tools={**used, **versions},
        notes=(*notes, *kept.report.notes),
    )


def rebuild(
    float_data: bytes, recipe: Recipe, making: Report, cache: Path, limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """Make an artifact again, from its float model and the ranges of its first making.

    Args:
        float_data: in the recipe's format.
        recipe: as it was then.
        making: ranges and exclusions of then.
        cache: a folder for files in between.
        limits: time and memory.

    Raises:
        EdgeopsError: as ``convert``.
    """
    with as_file(float_data, recipe.format, cache) as source:
        said = source.path.with_name("making.json")
        said.write_bytes(making.to_bytes())
        target = source.path.with_name(f"again.{recipe.format}")
        job = Job(
            task=Task.REBUILD,
            source=str(source.path),
            digest=source.digest,
            kind=source.kind,
            target=str(target),
            recipe=recipe,
            calibration=None,
            trust_code=False,
            memory_mib=limits.memory_mib,
            making=str(said),
        )
        run_job(job, limits)
        return target.read_bytes()


def _check_way(source: Source, recipe: Recipe) -> None:
    if recipe.format in source.kind.formats:
        return
    kind = source.kind.value
    raise InvalidInput(
        f"{source.path} is .{kind}, recipe {recipe.name} makes .{recipe.format}",
        next_step="give the Keras model or SavedModel, or a recipe for "
        f".{' or .'.join(source.kind.formats)}",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """One conversion in a child, and all that its result depends on."""

    source: Source
    recipe: Recipe
    rows: NDArray[Any] | None
    versions: Mapping[str, str]
    trust_code: bool = False
    others: tuple[Engine, ...] = ()
    search: Search | None = None

    @property
    def key(self) -> dict[str, object]:
        return {
            "converter": CONVERTER_VERSION,
            "source": self.source.digest,
            "kind": self.source.kind.value,
            "recipe": self.recipe.to_document(),
            "calibration": None if self.rows is None else rows_digest(self.rows),
            "tools": dict(self.versions),
            "trust_code": self.trust_code,
            "engines": [engine.name for engine in self.others],
            "search": None if self.search is None else self.search.to_document(),
        }


def _to_float(
    source: Source,
    form: str,
    cache: Path,
    progress: Progress,
    limits: Limits,
    *,
    trust_code: bool,
) -> tuple[Source, tuple[str, ...], dict[str, str]]:
    """Convert a model of TensorFlow or scikit-learn to a float model of a format."""
    is_tensorflow = source.kind.needs_tensorflow
    needed = tools.TENSORFLOW[form] if is_tensorflow else tools.SCIKIT_LEARN
    versions = tools.versions(needed, f"{source.path.name} ({source.kind})")
    step = _Step(
        source=source,
        recipe=RECIPES[f"{form}-float32"],
        rows=None,
        versions=versions,
        trust_code=trust_code,
    )
    by = ("TensorFlow", "tensorflow") if is_tensorflow else ("skl2onnx", "skl2onnx")
    said = f"converting {source.path} with {by[0]} {versions[by[1]]}"
    kept = _do(step, cache, lambda: progress(said), limits)
    float_source = Source(path=kept.path, kind=SourceKind(form), digest=kept.digest)
    return float_source, kept.report.notes, versions


def _do(
    step: _Step,
    cache: Path,
    announce: Callable[[], None],
    limits: Limits,
    progress: Progress = lambda _: None,
) -> Kept:
    """Return a step's result, from the cache or from a child."""

    def make(target: Path) -> Report:
        announce()
        with scratch_folder("edgeops-convert-") as folder:
            rows_file = folder / "rows.npy"
            if step.rows is not None:
                save_scratch(rows_file, step.rows)
            job = Job(
                task=Task.CONVERT if step.search is None else Task.SEARCH,
                source=str(step.source.path.absolute()),
                digest=step.source.digest,
                kind=step.source.kind,
                target=str(target.absolute()),
                recipe=step.recipe,
                calibration=None if step.rows is None else str(rows_file),
                trust_code=step.trust_code,
                memory_mib=limits.memory_mib,
                others=step.others,
                search=step.search,
            )
            return run_job(job, limits, progress, folder)

    return cached(cache, step.key, f"model.{step.recipe.format}", make)
