"""Recipes: how an artifact is made from a float model, as data.

A recipe's name says what it does: ``onnx-int8-percentile-channel`` is an ``.onnx`` in int8 whose
activation ranges are percentiles and whose weights have one scale a channel. The parts that
``DEFAULTS`` gives are left out of names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from edgeops.domain.errors import InvalidInput

PRECISIONS = {"tflite": ("float32", "float16", "int8"), "onnx": ("float32", "int8")}
"""What can be made, by format."""
MIN_MAX, PERCENTILE = "min-max", "percentile"
CHANNEL, TENSOR = "channel", "tensor"
ALL_OPERATORS = "*"
MIN_PERCENTILE = 50.0
MAX_OPERATORS = 64

_FIELDS = {
    "calibration",
    "format",
    "granularity",
    "name",
    "operators",
    "percentile",
    "precision",
    "schema_version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one artifact.

    Attributes:
        name: decodable; see the module.
        format: ``tflite`` or ``onnx``.
        precision: of the weights: ``float32``, ``float16`` or ``int8``. With int8 the
            activations are int8 too; inputs and outputs of the model stay as they are.
        calibration: how ranges of activations are taken from calibration rows: ``min-max``,
            ``percentile``, or None for floats.
        percentile: share of the values, in percent, that lie within a range by
            ``percentile``: the rest is cut off, half of it at each end. None otherwise.
        operators: types of operators whose weights are quantized; ``*`` is every type that
            the format's quantizer knows. Empty for floats.
        granularity: one scale a ``channel`` or a ``tensor`` of weights; None for floats.
    """

    name: str
    format: str
    precision: str
    calibration: str | None = None
    percentile: float | None = None
    operators: tuple[str, ...] = ()
    granularity: str | None = None

    def __post_init__(self) -> None:
        """Refuse a combination that cannot be.

        Raises:
            InvalidInput: the first thing that does not fit.
        """
        _check_choice("format", self.format, PRECISIONS)
        _check_choice("precision", self.precision, PRECISIONS[self.format])
        if self.precision == "int8":
            _check_int8(self)
        elif (self.calibration, self.percentile, self.operators, self.granularity) != _FLOAT:
            raise InvalidInput(f"recipe {self.name!r}: {self.precision} takes no calibration")
        expected = _name_of(self)
        if self.name != expected:
            raise InvalidInput(
                f"recipe {self.name!r} does not say what it does", next_step=f"name it {expected}"
            )

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration rows are needed."""
        return self.calibration is not None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "format": self.format,
            "precision": self.precision,
            "calibration": self.calibration,
            "percentile": self.percentile,
            "operators": list(self.operators),
            "granularity": self.granularity,
        }

    @classmethod
    def from_document(cls, document: object) -> Recipe:
        """Read the JSON form, strictly: a field that nobody knows would change nothing silently.

        Raises:
            InvalidInput: unknown or missing fields, wrong types, a combination that cannot be.
        """
        try:
            fields = Fields(document, "recipe")
            unknown = set(fields.names()) - _FIELDS
            if unknown:
                raise InvalidInput(f"recipe has unknown fields: {', '.join(sorted(unknown))}")
            fields.check_schema()
            return cls(
                name=fields.text("name"),
                format=fields.text("format"),
                precision=fields.text("precision"),
                calibration=fields.text("calibration") if fields.has("calibration") else None,
                percentile=fields.number("percentile") if fields.has("percentile") else None,
                operators=fields.texts("operators", max_items=MAX_OPERATORS),
                granularity=fields.text("granularity") if fields.has("granularity") else None,
            )
        except ProtocolError as error:
            raise InvalidInput(str(error), next_step=error.next_step) from error


_FLOAT: tuple[None, None, tuple[str, ...], None] = (None, None, (), None)
_DEFAULT_PERCENTILE = 99.9
_WEIGHTED = ("Conv", "Gemm", "MatMul")
DEFAULTS: Mapping[str, tuple[str, str]] = {"tflite": (MIN_MAX, CHANNEL), "onnx": (MIN_MAX, TENSOR)}
"""Calibration and granularity that an int8 recipe's name leaves out, by format."""


def _int8(name: str, form: str, calibration: str, granularity: str) -> Recipe:
    return Recipe(
        name=name,
        format=form,
        precision="int8",
        calibration=calibration,
        percentile=_DEFAULT_PERCENTILE if calibration == PERCENTILE else None,
        operators=(ALL_OPERATORS,) if form == "tflite" else _WEIGHTED,
        granularity=granularity,
    )


def _check_choice(what: str, value: str | None, choices: Collection[str]) -> None:
    if value not in choices:
        raise InvalidInput(
            f"{what} {str(value)[:40]!r} is unknown",
            next_step=f"choose one of: {', '.join(choices)}",
        )


def _check_int8(recipe: Recipe) -> None:
    _check_choice("calibration", recipe.calibration, (MIN_MAX, PERCENTILE))
    _check_choice("granularity", recipe.granularity, (CHANNEL, TENSOR))
    if (recipe.calibration == PERCENTILE) != (recipe.percentile is not None):
        raise InvalidInput(f"recipe {recipe.name!r}: percentile belongs to calibration percentile")
    if recipe.percentile is not None and not MIN_PERCENTILE <= recipe.percentile < 100.0:
        raise InvalidInput(f"percentile is {recipe.percentile}, not in {MIN_PERCENTILE:g}..100")
    if not recipe.operators:
        raise InvalidInput(f"recipe {recipe.name!r} quantizes no operator")
    if recipe.format == "tflite" and recipe.operators != (ALL_OPERATORS,):
        raise InvalidInput(f"recipe {recipe.name!r}: tflite quantizes all operators: '*'")
    if recipe.format == "onnx":
        for operator in recipe.operators:
            _check_choice("operator", operator, _WEIGHTED)
    if recipe.format == "tflite" and recipe.granularity == TENSOR:
        raise InvalidInput(f"recipe {recipe.name!r}: tflite weights have a scale a channel")


def _name_of(recipe: Recipe) -> str:
    """Return the name that says what a recipe does."""
    parts = [recipe.format, recipe.precision]
    if recipe.precision == "int8":
        calibration, granularity = DEFAULTS[recipe.format]
        if recipe.calibration != calibration:
            exact = recipe.percentile == _DEFAULT_PERCENTILE or recipe.percentile is None
            parts.append(f"{recipe.calibration}{'' if exact else f'{recipe.percentile:g}'}")
        if recipe.granularity != granularity:
            parts.append(str(recipe.granularity))
        if recipe.format == "onnx" and set(recipe.operators) != set(_WEIGHTED):
            parts += [operator.lower() for operator in sorted(recipe.operators)]
    return "-".join(parts)


RECIPES: Mapping[str, Recipe] = {
    each.name: each
    for each in (
        Recipe(name="tflite-float32", format="tflite", precision="float32"),
        Recipe(name="tflite-float16", format="tflite", precision="float16"),
        _int8("tflite-int8", "tflite", MIN_MAX, CHANNEL),
        _int8("tflite-int8-percentile", "tflite", PERCENTILE, CHANNEL),
        Recipe(name="onnx-float32", format="onnx", precision="float32"),
        _int8("onnx-int8", "onnx", MIN_MAX, TENSOR),
        _int8("onnx-int8-percentile", "onnx", PERCENTILE, TENSOR),
        _int8("onnx-int8-channel", "onnx", MIN_MAX, CHANNEL),
    )
}
"""The ready recipes."""

SHORT_NAMES: Mapping[tuple[str, str], str] = {
    ("tflite", "float32"): "tflite-float32",
    ("tflite", "float16"): "tflite-float16",
    ("tflite", "int8"): "tflite-int8",
    ("onnx", "float32"): "onnx-float32",
    ("onnx", "int8"): "onnx-int8",
}
"""What a precision alone means for a format.

int8 means min-max: by percentile a model gained up to 3 dB on rows like its training data, but
lost 0.4 to 2.3 dB on others, and a range that holds every value never clips one. A tensor's
scale, not a channel's, for ONNX: some versions of its runtime break the latter.
"""


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
    recipe = RECIPES.get(SHORT_NAMES.get((form or "", name), name))
    if recipe is None or recipe not in known:
        what = f"for .{form} " if form else ""
        raise InvalidInput(
            f"there is no recipe {what}{name[:60]!r}",
            next_step=f"choose one of: {', '.join(each.name for each in known)}",
        )
    return recipe
