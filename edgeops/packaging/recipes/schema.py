"""The recipe's document: format, precision, calibration, and rules for parts of the model.

``docs/recipe.schema.json`` says the same for other programs; a test asks both about many documents.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from edgeops.domain.errors import InvalidInput

FLOAT32, FLOAT16, INT8, INT16 = "float32", "float16", "int8", "int16"
DYNAMIC, WEIGHTS8 = "dynamic", "weights8"
PRECISIONS = {
    "tflite": (FLOAT32, FLOAT16, INT8, INT16, DYNAMIC, WEIGHTS8),
    "onnx": (FLOAT32, INT8, INT16),
}
"""What can be made, by format."""
STATIC = (INT8, INT16)
"""Precisions whose activations are quantized too, by ranges from calibration rows."""
MIN_MAX, PERCENTILE, MSE = "min-max", "percentile", "mse"
CALIBRATIONS = (MIN_MAX, PERCENTILE, MSE)
CHANNEL, TENSOR = "channel", "tensor"
ALL_OPERATORS = "*"
MIN_PERCENTILE = 50.0
MAX_OPERATORS = 64
MAX_RULES = 512
MAX_PATTERN = 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_OPERATOR = re.compile(r"\*|[A-Za-z][A-Za-z0-9_]{0,63}")
_HOW = "compare it with a ready one: edgeops recipes show onnx-int8"
_RULE_FIELDS = frozenset(("name", "operator", "precision"))
_FIELDS = frozenset(
    (
        *("calibration", "format", "granularity", "name", "operators", "percentile"),
        *("precision", "rules", "schema_version"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Another precision for some operators; of the rules that fit one, the last counts.

    Attributes:
        precision: theirs. ``float32`` excludes them from quantization.
        operator: their type as the format calls it (``CONV_2D``, ``Conv``), ``*`` for any.
        name: a regular expression (Python's ``re``) that is found in the name of their first
            output; empty for any.
    """

    precision: str
    operator: str = ALL_OPERATORS
    name: str = ""

    def fits(self, operator: str, name: str) -> bool:
        """Tell whether the rule is for an operator of this type and name."""
        is_type = self.operator in (ALL_OPERATORS, operator)
        return is_type and re.search(self.name, name) is not None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"precision": self.precision, "operator": self.operator, "name": self.name}

    @classmethod
    def from_fields(cls, fields: Fields) -> Rule:
        """Read the JSON form."""
        _check_known(fields, _RULE_FIELDS, "a rule")
        return cls(
            precision=fields.text("precision"),
            operator=(
                fields.text("operator", pattern=_OPERATOR)
                if fields.has("operator")
                else ALL_OPERATORS
            ),
            name=fields.text("name", max_length=MAX_PATTERN) if fields.has("name") else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one artifact.

    Attributes:
        name: those of ready recipes say what they do.
        format: ``tflite`` or ``onnx``.
        precision: of the weights. ``float32`` and ``float16`` compute in floats. ``int8`` and
            ``int16`` have 8-bit weights and activations of 8 and 16 bits, by ranges from
            calibration rows. ``dynamic`` has 8-bit weights and quantizes activations as they
            come, ``weights8`` has 8-bit weights that are made floats again before they are
            used. Inputs and outputs of the model stay as they are.
        calibration: how ranges are taken from calibration rows: ``min-max``, ``percentile`` or
            ``mse`` (the range with the least mean squared error). None where none are needed.
        percentile: share of the values, in percent, that lie within a range by
            ``percentile``: the rest is cut off, half of it at each end. None otherwise.
        operators: types of operators that are quantized; ``*`` is every type that the format's
            quantizer knows. Empty for floats.
        granularity: one scale a ``channel`` or a ``tensor`` of weights; None for floats.
        rules: other precisions for parts of the model.
    """

    name: str
    format: str
    precision: str
    calibration: str | None = None
    percentile: float | None = None
    operators: tuple[str, ...] = ()
    granularity: str | None = None
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a combination that cannot be.

        Raises:
            InvalidInput: the first thing that does not fit.
        """
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"recipe name {self.name[:60]!r} cannot be",
                next_step="up to 64 of a-z, 0-9, - and ., for example kws-int8",
            )
        _check_choice("format", self.format, PRECISIONS)
        _check_choice("precision", self.precision, PRECISIONS[self.format])
        _check_calibration(self)
        _check_weights(self)
        _check_rules(self)

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration rows are needed."""
        return self.calibration is not None

    @property
    def is_float(self) -> bool:
        """Whether nothing is made integers."""
        return self.precision in (FLOAT32, FLOAT16)

    def precision_of(self, operator: str, name: str) -> str:
        """Return the precision of an operator, by its type and the name of its first output."""
        is_meant = {ALL_OPERATORS, operator} & set(self.operators)
        precision = self.precision if is_meant or self.is_float else FLOAT32
        for rule in self.rules:
            if rule.fits(operator, name):
                precision = rule.precision
        return precision

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
            "rules": [rule.to_document() for rule in self.rules],
        }

    @classmethod
    def from_document(cls, document: object) -> Recipe:
        """Read the JSON form, strictly: a field that nobody knows would change nothing silently.

        Raises:
            InvalidInput: unknown or missing fields, wrong types, a combination that cannot be.
        """
        try:
            return cls.from_fields(Fields(document, "recipe"))
        except ProtocolError as error:
            raise InvalidInput(str(error), next_step=error.next_step or _HOW) from error

    @classmethod
    def from_fields(cls, fields: Fields) -> Recipe:
        """Read the JSON form as a part of another document.

        Raises:
            ProtocolError: wrong types; InvalidInput: as ``from_document``.
        """
        _check_known(fields, _FIELDS, "recipe")
        fields.check_schema()
        rules = fields.has("rules")
        return cls(
            name=fields.text("name"),
            format=fields.text("format"),
            precision=fields.text("precision"),
            calibration=fields.text("calibration") if fields.has("calibration") else None,
            percentile=fields.number("percentile") if fields.has("percentile") else None,
            operators=fields.texts("operators", max_items=MAX_OPERATORS),
            granularity=fields.text("granularity") if fields.has("granularity") else None,
            rules=fields.list_of("rules", Rule.from_fields, max_items=MAX_RULES) if rules else (),
        )


def exactly(name: str) -> str:
    """Return the pattern that fits one name and no other."""
    return f"^{re.escape(name)}$"


def _check_choice(what: str, value: str | None, choices: Collection[str]) -> None:
    if value not in choices:
        raise InvalidInput(
            f"{what} {str(value)[:40]!r} is unknown",
            next_step=f"choose one of: {', '.join(choices)}",
        )


def _check_known(fields: Fields, known: frozenset[str], what: str) -> None:
    unknown = set(fields.names()) - known
    if unknown:
        raise InvalidInput(
            f"{what} has unknown fields: {', '.join(sorted(unknown))[:200]}",
            next_step=f"it may have: {', '.join(sorted(known))}",
        )


def _check_calibration(recipe: Recipe) -> None:
    precisions = {recipe.precision, *(rule.precision for rule in recipe.rules)}
    if precisions & set(STATIC):
        _check_choice("calibration", recipe.calibration, CALIBRATIONS)
    elif recipe.calibration is not None:
        raise InvalidInput(
            f"recipe {recipe.name!r}: {recipe.precision} takes no calibration",
            next_step="leave calibration out, or choose the precision int8 or int16",
        )
    if (recipe.calibration == PERCENTILE) != (recipe.percentile is not None):
        raise InvalidInput(
            f"recipe {recipe.name!r}: percentile belongs to calibration percentile",
            next_step='"calibration": "percentile", "percentile": 99.9; or leave percentile out',
        )
    if recipe.percentile is not None and not MIN_PERCENTILE <= recipe.percentile < 100.0:
        raise InvalidInput(
            f"percentile is {recipe.percentile}, not in {MIN_PERCENTILE:g}..100",
            next_step="give the share of the values that is kept, for example 99.9",
        )


def _check_weights(recipe: Recipe) -> None:
    if recipe.is_float:
        if recipe.operators or recipe.granularity is not None:
            raise InvalidInput(
                f"recipe {recipe.name!r}: {recipe.precision} takes no operators or scales",
                next_step='"operators": [], and leave granularity out',
            )
        return
    _check_choice("granularity", recipe.granularity, (CHANNEL, TENSOR))
    if recipe.format == "tflite" and recipe.granularity == TENSOR:
        raise InvalidInput(
            f"recipe {recipe.name!r}: tflite weights have a scale a channel",
            next_step='"granularity": "channel"',
        )
    if not recipe.operators:
        raise InvalidInput(
            f"recipe {recipe.name!r} quantizes no operator",
            next_step='"operators": ["*"] is all that can be, or name their types',
        )
    for operator in recipe.operators:
        if not _OPERATOR.fullmatch(operator):
            raise InvalidInput(
                f"operator {operator[:40]!r} is no operator's type",
                next_step="as the format calls it: CONV_2D in .tflite, Conv in .onnx; * for all",
            )


def _check_rules(recipe: Recipe) -> None:
    allowed = set(PRECISIONS[recipe.format])
    if recipe.format == "onnx" or recipe.is_float:  # one kind beside floats, or none
        allowed = {FLOAT32, recipe.precision}
    for rule in recipe.rules:
        _check_choice("a rule's precision", rule.precision, sorted(allowed))
        try:
            re.compile(rule.name)
        except re.error as error:
            raise InvalidInput(
                f"a rule's name {rule.name[:60]!r} is no regular expression: {error}",
                next_step="escape what is meant literally with a backslash, or mend it",
            ) from error
