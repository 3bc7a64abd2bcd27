"""Recipes: names that say what they do, and documents that are read strictly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.recipes import RECIPES, Recipe, parse_recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda each: each.name)
def test_a_recipe_is_the_same_after_writing_and_reading(recipe: Recipe) -> None:
    assert Recipe.from_document(recipe.to_document()) == recipe
    assert parse_recipe(recipe.name) is recipe


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tflite-float16", ("tflite", "float16", None, None, (), None)),
        ("tflite-int8", ("tflite", "int8", "min-max", None, ("*",), "channel")),
        ("tflite-int8-percentile", ("tflite", "int8", "percentile", 99.9, ("*",), "channel")),
        ("onnx-float32", ("onnx", "float32", None, None, (), None)),
        ("onnx-int8", ("onnx", "int8", "min-max", None, ("Conv", "Gemm", "MatMul"), "tensor")),
        (
            "onnx-int8-channel",
            ("onnx", "int8", "min-max", None, ("Conv", "Gemm", "MatMul"), "channel"),
        ),
    ],
)
def test_a_name_says_what_the_recipe_does(name: str, expected: tuple[Any, ...]) -> None:
    made = RECIPES[name]
    assert (
        made.format,
        made.precision,
        made.calibration,
        made.percentile,
        made.operators,
        made.granularity,
    ) == expected
    assert made.needs_calibration == ("int8" in name)


@pytest.mark.parametrize(
    ("short", "form", "name"),
    [
        ("float32", "tflite", "tflite-float32"),
        ("float16", "tflite", "tflite-float16"),
        ("int8", "tflite", "tflite-int8"),
        ("float32", "onnx", "onnx-float32"),
        ("int8", "onnx", "onnx-int8"),
        ("onnx-int8-channel", "onnx", "onnx-int8-channel"),
    ],
)
def test_a_precision_alone_means_a_recipe_of_each_format(short: str, form: str, name: str) -> None:
    assert parse_recipe(short, form).name == name


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("int8", None),
        ("int4", "tflite"),
        ("float16", "onnx"),
        ("tflite-int8", "onnx"),
        ("", None),
        ("x" * 999, None),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str, form: str | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_recipe(name, form)
    assert len(str(refused.value)) < 120
    assert f"{form or 'tflite'}-float32" in refused.value.next_step


def test_another_percentile_is_part_of_the_name() -> None:
    ready = RECIPES["tflite-int8-percentile"]
    assert replace(ready, name="tflite-int8-percentile99.99", percentile=99.99).percentile == 99.99
    with pytest.raises(InvalidInput) as refused:
        replace(ready, percentile=99.99)
    assert "tflite-int8-percentile99.99" in refused.value.next_step


@pytest.mark.parametrize(
    "change",
    [
        {"format": "coreml"},
        {"format": None},
        {"precision": "int4"},
        {"calibration": "entropy"},
        {"calibration": None},
        {"percentile": 99.9},
        {"granularity": "block"},
        {"operators": []},
        {"operators": ["Softmax"]},
        {"operators": "Conv"},
        {"name": "onnx-float32"},
        {"precision": "float32"},
        {"schema_version": 2},
        {"schema_version": None},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_a_document_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Recipe.from_document({**RECIPES["onnx-int8"].to_document(), **change})


@pytest.mark.parametrize("document", [None, [], "onnx-int8", {}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(InvalidInput):
        Recipe.from_document(document)


@pytest.mark.parametrize("percentile", [0.0, 49.9, 100.0, float("nan")])
def test_a_percentile_keeps_most_values(percentile: float) -> None:
    with pytest.raises(InvalidInput):
        replace(
            RECIPES["tflite-int8-percentile"],
            name=f"tflite-int8-percentile{percentile:g}",
            percentile=percentile,
        )
