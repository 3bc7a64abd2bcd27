"""The published schema of recipes and the program say the same of the same documents."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.recipes import RECIPES, Recipe, Rule, read_recipe
from edgeops.packaging.recipes.schema import CALIBRATIONS, MAX_OPERATORS, MAX_RULES, PRECISIONS

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "recipe.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
INT8 = RECIPES["onnx-int8"].to_document()
ABSENT = object()

VALUES: dict[str, list[Any]] = {
    "schema_version": [1, 2, 0, "1", True, None, ABSENT],
    "name": ["mine", "mine\n", "Mine", "", "a" * 64, "a" * 65, 3, None, ABSENT],
    "format": ["tflite", "onnx", "coreml", None, ABSENT],
    "precision": ["float32", "float16", "int8", "int16", "dynamic", "weights8", "int4", None, ABSENT],
    "calibration": ["min-max", "percentile", "mse", "entropy", "", None, ABSENT],
    "percentile": [99.9, 50, 49.9, 100, "99", None, ABSENT],
    "operators": [["*"], [], ["Conv", "Gemm"], ["Soft max"], ["Conv\n"], ["a"] * 65, "Conv", None,
                  ABSENT],
    "granularity": ["channel", "tensor", "block", "", None, ABSENT],
    "rules": [
        [], None, ABSENT, [{}], [{"precision": "float32"}], [{"precision": "int8"}],
        [{"precision": "int16"}], [{"precision": "float16"}], [{"precision": "weights8"}],
        [{"precision": "float32", "operator": None}], [{"precision": "float32", "name": None}],
        [{"precision": "float32", "operator": "Soft max"}],
        [{"precision": "float32", "operator": "Conv\n"}],
        [{"precision": "float32", "name": "a" * 1025}], [{"precision": "float32", "name": "\x00"}],
        [{"precision": "float32", "colour": "blue"}], [{"precision": "float32"}] * 513, {}, ["int8"],
    ],
    "colour": [ABSENT, "blue"],
}  # fmt: skip


def corpus() -> list[dict[str, Any]]:
    """Every ready recipe with every one and two values changed, and 2,000 of anything."""
    made = []
    for ready in (RECIPES[name].to_document() for name in sorted(RECIPES)):
        made += [{**ready, key: value} for key, values in VALUES.items() for value in values]
    for one, other in itertools.combinations(("format", "precision", "calibration", "rules"), 2):
        for ready in ("tflite-int8", "onnx-int8", "tflite-float16", "onnx-float32"):
            pairs = itertools.product(VALUES[one], VALUES[other])
            made += [{**RECIPES[ready].to_document(), one: a, other: b} for a, b in pairs]
    chance = random.Random(0)
    made += [{key: chance.choice(each) for key, each in VALUES.items()} for _ in range(2000)]
    return [{k: v for k, v in each.items() if v is not ABSENT} for each in made]


def is_taken(document: dict[str, Any]) -> bool:
    try:
        Recipe.from_document(document)
    except InvalidInput:
        return False
    return True


def test_the_schema_and_the_program_take_and_refuse_the_same_documents() -> None:
    documents = corpus()
    taken = [is_taken(each) for each in documents]
    assert 500 < sum(taken) < len(documents) - 2000
    differ = [
        (document, "program" if by_program else "schema")
        for document, by_program in zip(documents, taken, strict=True)
        if VALIDATOR.is_valid(document) != by_program
    ]
    assert differ == []


@pytest.mark.parametrize(
    "change",
    [{"rules": [{"precision": "float32", "name": "("}]}, {"schema_version": 1.0}],
    ids=["regular expression", "1.0"],
)
def test_what_a_schema_cannot_say_is_refused_by_the_program_alone(change: dict[str, Any]) -> None:
    document = {**INT8, **change}
    assert VALIDATOR.is_valid(document) and not is_taken(document)
    assert "no regular expression" in SCHEMA["description"] and "1.0" in SCHEMA["description"]


def test_the_name_of_another_ready_recipe_is_refused_when_a_file_is_read(tmp_path: Path) -> None:
    document = {**INT8, "name": "onnx-int8-channel"}
    (tmp_path / "mine.json").write_text(json.dumps(document))
    assert VALIDATOR.is_valid(document) and is_taken(document)
    with pytest.raises(InvalidInput, match="is the name of another, ready recipe"):
        read_recipe(tmp_path / "mine.json")
    assert "the name of a ready recipe" in SCHEMA["description"]


def test_the_published_schema_names_what_the_code_knows() -> None:
    properties = SCHEMA["properties"]
    assert set(properties) == set(RECIPES["tflite-int8"].to_document())
    assert set(properties["rules"]["items"]["properties"]) == set(
        Rule(precision="float32").to_document()
    )
    assert properties["format"]["enum"] == list(PRECISIONS)
    assert set(properties["precision"]["enum"]) == {x for each in PRECISIONS.values() for x in each}
    assert properties["calibration"]["enum"] == [*CALIBRATIONS, None]
    assert properties["rules"]["maxItems"] == MAX_RULES
    assert properties["operators"]["maxItems"] == MAX_OPERATORS
