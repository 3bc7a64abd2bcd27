"""Recipes: names that say what they do, and documents that are read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.recipes import RECIPES, Recipe, parse_recipe, read_recipe


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


def test_a_recipe_that_somebody_wrote_is_read_from_its_file(tmp_path: Path) -> None:
    ready = RECIPES["tflite-int8-percentile"].to_document()
    path = tmp_path / "mine.json"
    rules = [
        {"name": "^dense", "precision": "float32"},
        {"operator": "CONV_2D", "precision": "int16"},
    ]
    path.write_text(json.dumps({**ready, "name": "mine", "percentile": 99.99, "rules": rules}))
    recipe = read_recipe(path)
    assert (recipe.name, recipe.percentile) == ("mine", 99.99)
    assert recipe.precision_of("FULLY_CONNECTED", "dense_1/MatMul") == "float32"
    assert recipe.precision_of("FULLY_CONNECTED", "last/dense") == "int8"
    assert recipe.precision_of("CONV_2D", "dense_conv") == "int16"  # the last rule that fits


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("null", "recipe"),
        (json.dumps({**RECIPES["tflite-int8"].to_document(), "percentile": 7}), "percentile"),
        (
            json.dumps({**RECIPES["onnx-int8"].to_document(), "granularity": "channel"}),
            "ready recipe",
        ),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=why):
        read_recipe(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_recipe(tmp_path / "missing.json")


@pytest.mark.parametrize(
    "rule",
    [
        {"precision": "int4"},
        {"precision": "int16"},
        {"precision": "float32", "name": "("},
        {"precision": "float32", "operator": "a b"},
        {"precision": "float32", "colour": "blue"},
        {"name": "x"},
        7,
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_is_refused(rule: object) -> None:
    document = {**RECIPES["onnx-int8"].to_document(), "name": "mine", "rules": [rule]}
    with pytest.raises(InvalidInput):
        Recipe.from_document(document)


def test_an_operator_that_a_recipe_does_not_take_stays_as_it_is() -> None:
    assert RECIPES["onnx-int8"].precision_of("Softmax", "scores") == "float32"
    assert RECIPES["onnx-int8"].precision_of("Conv", "first") == "int8"
    assert RECIPES["tflite-int8"].precision_of("SOFTMAX", "scores") == "int8"
    assert RECIPES["tflite-float16"].precision_of("SOFTMAX", "scores") == "float16"


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
        {"operators": ["Soft max"]},
        {"operators": "Conv"},
        {"name": "My recipe"},
        {"precision": "float32"},
        {"schema_version": 2},
        {"schema_version": None},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_a_document_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Recipe.from_document({**RECIPES["onnx-int8"].to_document(), **change})
    assert refused.value.next_step


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


def test_names_that_searches_make_are_decoded_as_far_as_they_can_be() -> None:
    every = parse_recipe("onnx-int8-mse-channel-all")
    assert (every.calibration, every.granularity, every.operators) == ("mse", "channel", ("*",))
    assert parse_recipe("onnx-int8-all", "onnx").operators == ("*",)
    for name in ("onnx-int8-mse-channel-1-float32", "onnx-int8-all-4-float32"):
        with pytest.raises(InvalidInput, match="is what a search made: onnx-int8") as made:
            parse_recipe(name)
        assert "build.json" in made.value.next_step
    for name in ("tflite-int8-all", "onnx-float32-all", "onnx-int9-all", "mine-1-float32"):
        with pytest.raises(InvalidInput, match="there is no recipe"):
            parse_recipe(name)
