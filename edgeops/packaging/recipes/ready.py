"""The ready recipes, whose names say what they do, and how people name one.

``onnx-int8-percentile-channel`` is an ``.onnx`` in int8 whose activation ranges are percentiles
and whose weights have one scale a channel. What ``DEFAULTS`` gives is left out of names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.files.regular import check_regular
from edgeops.packaging.recipes.schema import (
    ALL_OPERATORS,
    CALIBRATIONS,
    CHANNEL,
    DYNAMIC,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    MIN_MAX,
    PERCENTILE,
    PRECISIONS,
    STATIC,
    TENSOR,
    WEIGHTS8,
    Recipe,
)

AUTO = "auto"
"""Stands for the recipe that a search finds."""
DEFAULT_PERCENTILE = 99.9
WEIGHTED = ("Conv", "Gemm", "MatMul")
DEFAULTS: Mapping[str, tuple[str, str]] = {"tflite": (MIN_MAX, CHANNEL), "onnx": (MIN_MAX, TENSOR)}
"""Calibration and granularity that a name leaves out, by format.

min-max: by percentile a model gained up to 3 dB on rows like its training data, but lost 0.4 to
2.3 dB on others, and a range that holds every value never clips one. A tensor's scale, not a
channel's, for ONNX: some versions of its runtime break the latter.
"""
MAX_FILE_BYTES = 1024 * 1024
_WIDENED = re.compile(r"(?P<base>[a-z0-9-]+?)(-all)?-(?P<count>\d+)-(?P<precision>[a-z]+\d+)")
"""Names that searches make: a ready recipe, and how many operators are in which precision."""


def _static(form: str, precision: str, calibration: str, granularity: str) -> Recipe:
    names = [form, precision]
    names += [calibration] if calibration != DEFAULTS[form][0] else []
    names += [granularity] if granularity != DEFAULTS[form][1] else []
    return Recipe(
        name="-".join(names),
        format=form,
        precision=precision,
        calibration=calibration,
        percentile=DEFAULT_PERCENTILE if calibration == PERCENTILE else None,
        operators=(ALL_OPERATORS,) if form == "tflite" else WEIGHTED,
        granularity=granularity,
    )


def _weights(precision: str) -> Recipe:
    return Recipe(
        name=f"tflite-{precision}",
        format="tflite",
        precision=precision,
        operators=(ALL_OPERATORS,),
        granularity=CHANNEL,
    )


_READY = (
    Recipe(name="tflite-float32", format="tflite", precision=FLOAT32),
    Recipe(name="tflite-float16", format="tflite", precision=FLOAT16),
    _weights(DYNAMIC),
    _weights(WEIGHTS8),
    *(_static("tflite", *each, CHANNEL) for each in product(STATIC, CALIBRATIONS)),
    Recipe(name="onnx-float32", format="onnx", precision=FLOAT32),
    *(_static("onnx", INT8, *each) for each in product(CALIBRATIONS, (TENSOR, CHANNEL))),
    *(_static("onnx", INT16, each, TENSOR) for each in CALIBRATIONS),
)
RECIPES: Mapping[str, Recipe] = {each.name: each for each in _READY}
"""The ready recipes by name."""

SHORT_NAMES: Mapping[tuple[str, str], str] = {
    (form, precision): f"{form}-{precision}"
    for form, precisions in PRECISIONS.items()
    for precision in precisions
}
"""What a precision alone means for a format."""


def parse_recipe(name: str, form: str | None = None) -> Recipe:
    """Return a ready recipe.

    Args:
        name: a recipe's name, or with ``form`` just a precision: ``int8``.
        form: the format that the artifact must have, or None for any.

    Raises:
        InvalidInput: there is none of that name, or it is for another format; the next step
            lists what there is.
    """
    known = [each for each in RECIPES.values() if form is None or each.format == form]
    recipe = RECIPES.get(SHORT_NAMES.get((form or "", name), name)) or _of_every_operator(name)
    if recipe is None and (found := _WIDENED.fullmatch(name)) and found["base"] in RECIPES:
        raise InvalidInput(
            f"{name[:60]} is what a search made: {found['base']} with the {found['count']} "
            f"operators that cost most in {found['precision']}; which, depends on the model",
            next_step="build.json of a package that has it holds the recipe with its rules",
        )
    if recipe is None or (form is not None and recipe.format != form):
        what = f"for .{form} " if form else ""
        raise InvalidInput(
            f"there is no recipe {what}{name[:60]!r}",
            next_step=f"choose one of: {', '.join(each.name for each in known)}; or a .json file",
        )
    return recipe


def _of_every_operator(name: str) -> Recipe | None:
    """Return the recipe of a name that searches make by ``-all``: a ready one for all operators."""
    base = RECIPES.get(name.removesuffix("-all"))
    if base is None or not name.endswith("-all") or base.is_float:
        return None
    if base.operators == (ALL_OPERATORS,):
        return None
    return replace(base, name=name, operators=(ALL_OPERATORS,))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe that somebody wrote.

    Raises:
        InvalidInput: no such file, no JSON, no recipe, or the name of another, ready one.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror or error}",
            next_step="name the .json file of the recipe, or a ready one: edgeops recipes list",
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} is no JSON: {str(error)[:200]}",
            next_step="begin with: edgeops recipes show tflite-int8",
        ) from error
    recipe = Recipe.from_document(document)
    if RECIPES.get(recipe.name, recipe) != recipe:
        raise InvalidInput(
            f"{path}: {recipe.name} is the name of another, ready recipe",
            next_step="give yours another name",
        )
    return recipe
