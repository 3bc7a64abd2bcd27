"""From the files that a person names to the artifacts of a package: as they are, or by a recipe.

A ``.tflite`` or ``.onnx`` is for the runtime of its format. A Keras model or SavedModel is
converted to every format that the profiles run; so one source becomes several variants. A
scikit-learn model becomes an ``.onnx``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME
from device_agent.protocol.preprocessing import Preprocessing
from edgeops.domain.errors import InvalidGolden, InvalidInput, InvalidModel
from edgeops.domain.profile import Profile
from edgeops.packaging.candidates import (
    Refusal,
    Refusals,
    next_candidate,
    none_left,
    recorded,
)
from edgeops.packaging.convert import Converted, convert
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.source import Source, SourceKind, read_source
from edgeops.packaging.engines import Engine, engine_for
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.files.onnx_header import check_versions
from edgeops.packaging.recipes import AUTO, RECIPES, Recipe, parse_recipe, read_recipe
from edgeops.packaging.recipes.trials import Search, is_slower, pareto_front
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.rows.golden_rows import LabelledRows
from edgeops.packaging.variants import plan_variants

FLOAT = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """A recipe for a format that is still to be found."""

    format: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workshop:
    """What every conversion of one package shares; ``calibration`` rows are not prepared yet.

    ``engines`` are what runs the artifacts on devices.
    """

    engines: Sequence[Engine]
    calibration: LabelledRows | None
    preprocessing: Preprocessing | None
    cache: Path | None
    trust_code: bool
    progress: Callable[[str], None]
    search: Search
    refusals: Refusals

    def make(self, source: Source, recipe: Recipe, search: Search | None = None) -> Converted:
        """Make an artifact from a source, by a recipe or by one that is searched for.

        Raises:
            EdgeopsError: as ``convert``.
        """
        if self.cache is None:
            raise InvalidInput(
                "a recipe needs a folder for conversions, none is given",
                next_step="give a cache folder",
            )
        return convert(
            source.path,
            recipe,
            calibration=self._prepared(),
            cache=self.cache,
            trust_code=self.trust_code,
            progress=self.progress,
            engines=[
                each for each in self.engines if FORMAT_OF_RUNTIME[each.runtime] == recipe.format
            ],
            search=search,
        )

    def _prepared(self) -> NDArray[Any] | None:
        if self.calibration is None:
            return None
        try:
            return prepare_rows(self.calibration.x, self.preprocessing)
        except BadInput as error:
            raise InvalidGolden(
                f"calibration rows do not fit preprocessing: {error}",
                next_step="give calibration rows raw, as the application gives them",
            ) from error


def read_models(
    request: PackageRequest,
    profiles: Sequence[Profile],
    calibration: LabelledRows | None,
    progress: Callable[[str], None],
    refusals: Refusals = MappingProxyType({}),
) -> dict[str, ModelFile]:
    """Return the artifacts by format; one for each.

    Args:
        request: names the models and recipes.
        profiles: say which formats are wanted of a model that could become several.
        calibration: rows that quantization takes its ranges from, or None.
        progress: told one line about each step.
        refusals: candidates of searches that gates refused: the next best is made.

    Raises:
        GateFailed: a search has no candidate left.
        InvalidModel: unreadable, unsafe, or two files of one format.
        InvalidInput: no recipe of that name for a format, or rows that are missing or bad.
        ConverterMissing, ConversionFailed, StoreFailed: as ``convert``.
    """
    runtimes = dict.fromkeys(name for profile in profiles for name in profile.runtimes)
    recipes = tuple(_recipe_named(name) for name in request.recipes)
    workshop = Workshop(
        engines=(
            [engine_for(each, request.cache, progress) for each in runtimes] if recipes else ()
        ),
        calibration=calibration,
        preprocessing=request.preprocessing,
        cache=request.cache,
        trust_code=request.trust_code,
        progress=progress,
        search=Search(
            objective=request.objective,
            min_sqnr_db=request.fidelity.min_sqnr_db,
            min_agreement=request.fidelity.min_agreement,
            max_drop=request.max_drop,
        ),
        refusals=refusals,
    )
    files: dict[str, ModelFile] = {}
    sources = [read_source(path, trust_code=request.trust_code) for path in request.models]
    # What no file can become is said before minutes of conversion.
    plan_variants(profiles, {form for each in sources for form in each.kind.formats})
    for path, source in zip(request.models, sources, strict=True):
        for file in _artifacts(source, recipes, profiles, workshop):
            file = replace(file, preprocessing=request.preprocessing, thresholds=request.thresholds)
            other = files.setdefault(file.format, file)
            if other.data != file.data:
                raise InvalidModel(
                    f"{other.name} and {path} are both .{file.format}: which one is meant?",
                    next_step="give one file for each format",
                )
    _check_all_used(recipes, calibration, files)
    return files


def _check_all_used(
    recipes: Sequence[Recipe | str],
    calibration: LabelledRows | None,
    files: Mapping[str, ModelFile],
) -> None:
    """Refuse what would silently do nothing.

    Raises:
        InvalidInput: a recipe that makes none of the artifacts, rows that nothing is calibrated on.
    """
    used = {file.recipe for file in files.values()}
    for each in recipes:
        if isinstance(each, Recipe) and each.name not in used:
            raise InvalidInput(
                f"recipe {each.name} makes a .{each.format}, and nothing here becomes one",
                next_step=f"artifacts are: .{', .'.join(files)}; leave the recipe out, or name a "
                "profile that runs its format",
            )
    if calibration is not None and not any(file.calibration for file in files.values()):
        raise InvalidInput(
            f"{calibration.name} is given for calibration, and nothing is calibrated",
            next_step="give a recipe with ranges, for example --recipe int8, or leave it out",
        )


def _artifacts(
    source: Source,
    recipes: Sequence[Recipe | str],
    profiles: Sequence[Profile],
    workshop: Workshop,
) -> Iterator[ModelFile]:
    if source.kind.is_artifact:
        form = source.kind.value
        recipe = _recipe_for(form, recipes)
        yield _as_is(source) if recipe is None else _made(source, recipe, workshop)
        return
    wanted = dict.fromkeys(_form_for(profile, source) for profile in profiles)
    chosen = {form: _recipe_for(form, recipes or (FLOAT,)) for form in wanted}
    if not any(chosen.values()):
        raise InvalidInput(
            f"no recipe makes .{' or .'.join(wanted)}, which is what these profiles run",
            next_step=f"for example --recipe {FLOAT}, which is for every format",
        )
    for recipe in chosen.values():
        if recipe is not None:
            yield _made(source, recipe, workshop)


def _recipe_named(name: Recipe | str) -> Recipe | str:
    """Return the recipe that a person named: a file, a ready one, or just a precision."""
    if isinstance(name, Recipe):
        return name
    if name.endswith(".json"):
        return read_recipe(Path(name))
    return RECIPES.get(name, name)


def _recipe_for(form: str, recipes: Sequence[Recipe | str]) -> Recipe | Auto | None:
    """Return the recipe for a format: the one that is for it, else the precision alone."""
    exact = [each for each in recipes if isinstance(each, Recipe) and each.format == form]
    short = [each for each in recipes if isinstance(each, str)]
    if len(exact or short) > 1:
        names = [each.name for each in exact] or short
        raise InvalidInput(
            f"{' and '.join(names)} are both for .{form}", next_step="give one of them"
        )
    if exact or not short:
        return exact[0] if exact else None
    return Auto(format=form) if short[0] == AUTO else parse_recipe(short[0], form)


def _form_for(profile: Profile, source: Source) -> str:
    """Return the format that a profile likes best of those that a source can become."""
    forms = [FORMAT_OF_RUNTIME[each] for each in profile.runtimes]
    return next((form for form in forms if form in source.kind.formats), source.kind.formats[0])


def _as_is(source: Source) -> ModelFile:
    if source.side_files:
        raise InvalidModel(
            f"{source.path} has weights in {source.side_files[0].name}: devices take one file",
            next_step="give --recipe float32, which writes one, or save it as one: "
            "onnx.save(onnx.load('model.onnx'), 'one.onnx')",
        )
    data = source.path.read_bytes()
    if source.kind is SourceKind.ONNX:
        check_versions(data, str(source.path))
    return ModelFile(
        name=str(source.path),
        data=data,
        format=source.kind.value,
        source=source.digest,
    )


def _made(source: Source, wanted: Recipe | Auto, workshop: Workshop) -> ModelFile:
    if isinstance(wanted, Auto):
        made = _found(source, wanted.format, workshop)
    else:
        made = workshop.make(source, wanted)
    recipe = made.recipe
    for note in made.notes:
        workshop.progress(f"note: {recipe.name}: {note}")
    float_data = None
    if recipe.precision != FLOAT:
        float_data = workshop.make(source, RECIPES[f"{recipe.format}-{FLOAT}"]).path.read_bytes()
    return ModelFile(
        name=str(source.path),
        data=made.path.read_bytes(),
        format=recipe.format,
        source=source.digest,
        made=made,
        float_data=float_data,
        calibration=(
            workshop.calibration.digest
            if (recipe.needs_calibration or made.making.trials) and workshop.calibration is not None
            else None
        ),
        refused=len(workshop.refusals.get(recipe.format, ())) if made.making.trials else 0,
    )


def _found(source: Source, form: str, workshop: Workshop) -> Converted:
    """Make what a search chooses, or the best of its candidates that no gate refused."""
    as_float = RECIPES[f"{form}-{FLOAT}"]
    made = workshop.make(source, as_float, workshop.search)
    refused = workshop.refusals.get(form, ())
    search, float_bytes = made.making, 0
    if refused:
        float_bytes = workshop.make(source, as_float).path.stat().st_size
    while refused:
        recipe = next_candidate(search, refused, workshop.search, float_bytes)
        if recipe is None:
            raise none_left(refused)
        try:
            again = workshop.make(source, recipe)
        except ConversionFailed as error:
            why = f"cannot be made: {str(error)[:200]}"
            refused = (*refused, Refusal(recipe=recipe, why=why, is_judged=False))
            continue
        making = recorded(search, again.making, recipe, refused)
        made = replace(again, making=making)
        break
    _tell_of_search(made, workshop)
    return made


def _tell_of_search(made: Converted, workshop: Workshop) -> None:
    """Say what was chosen, among what, and why the search ended."""
    making = made.making
    workshop.progress(f"search ended: {making.stopped}; chosen: {made.recipe.name}")
    chosen_one = next((each for each in making.trials if each.recipe == made.recipe), None)
    if chosen_one is not None and making.float_ms and is_slower(chosen_one, making.float_ms):
        workshop.progress(
            f"warning: it is slower than the float model here: {chosen_one.latency_ms:.3f} ms, "
            f"float {making.float_ms:.3f} ms"
        )
    for each in pareto_front([each for each in making.trials if each.size_bytes]):
        chosen = " <- chosen" if each.recipe == made.recipe else ""
        refused = f" ({each.why_not})" if each.why_not else ""
        workshop.progress(
            f"front: {each.recipe.name}: {each.size_bytes} bytes, {each.sqnr_db:.1f} dB, "
            f"same answer on {each.agreement:.3f}{refused}{chosen}"
        )
