"""From a float .tflite to float16 and int8, without TensorFlow; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeops.domain.errors import EdgeopsError, InvalidInput, InvalidModel
from edgeops.packaging.convert import Limits
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.tflite_file import contents, pack, unpack
from edgeops.packaging.recipes import RECIPES
from tests.conversions import CALIBRATION, MAX_DROP, Door, accuracy, load
from tests.models import digits_tflite

DIGITS = digits_tflite(2)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("recipe", "most"),
    [("tflite-float16", 0.6), ("tflite-int8", 0.4), ("tflite-int8-percentile", 0.4)],
)
def test_a_quantized_model_is_smaller_and_as_good(door: Door, recipe: str, most: float) -> None:
    made = door(DIGITS, recipe)
    assert made.path.stat().st_size < most * DIGITS.stat().st_size
    assert accuracy(made.path) >= accuracy(DIGITS) - MAX_DROP
    before, after = load(DIGITS), load(made.path)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert made.recipe == RECIPES[recipe]
    assert made.tools["ai-edge-quantizer"]
    assert any("SQNR" in note for note in made.notes)


def test_int8_is_int8_inside(door: Door) -> None:
    made = door(DIGITS, "tflite-int8")
    found = contents(unpack(made.path.read_bytes()))
    assert found.share("int8") == 1.0
    assert found.activations == {"int8": 3}
    assert made.making.ranges is not None
    assert made.making.ranges["serving_default_x:0"] == (0.0, 16.0)
    assert not any("MatMul" in name and name.endswith("MatMul") for name in made.making.ranges)


def test_float32_is_the_file_as_it_was(door: Door) -> None:
    made = door(DIGITS, "tflite-float32", None)
    assert made.path.read_bytes() == DIGITS.read_bytes()
    assert made.making.ranges is None
    assert "ai-edge-quantizer" not in made.tools


@pytest.mark.parametrize("recipe", ["tflite-float16", "tflite-int8", "tflite-int8-percentile"])
def test_the_same_inputs_give_the_same_bytes(door: Door, recipe: str, tmp_path: Path) -> None:
    again = Door(tmp_path)(DIGITS, recipe)
    assert again.path.read_bytes() == door(DIGITS, recipe).path.read_bytes()
    assert again.making.ranges == door(DIGITS, recipe).making.ranges


def test_a_conversion_is_made_once_and_a_damaged_one_anew(tmp_path: Path) -> None:
    door = Door(tmp_path)
    made = door(DIGITS, "tflite-int8")
    whole = made.path.read_bytes()
    assert door(DIGITS, "tflite-int8") == made
    assert len(door.said) == 1
    for damage in (b"", whole[:-1], b"x" + whole[1:]):
        made.path.write_bytes(damage)
        assert door(DIGITS, "tflite-int8").path.read_bytes() == whole
    (made.path.parent / "report.json").write_text("{")
    assert door(DIGITS, "tflite-int8") == made
    assert len(door.said) == 5
    assert [each.name for each in tmp_path.iterdir()] == [made.path.parent.name]


def test_other_rows_are_another_conversion(door: Door) -> None:
    assert (
        door(DIGITS, "tflite-int8", CALIBRATION[::-1] / 2).path != door(DIGITS, "tflite-int8").path
    )


def test_few_rows_are_taken_but_said(door: Door) -> None:
    made = door(DIGITS, "tflite-int8", CALIBRATION[:8])
    assert any("only 8 calibration rows" in note for note in made.notes)


def test_a_missing_signature_is_made(door: Door, tmp_path: Path) -> None:
    model = unpack(DIGITS.read_bytes())
    model.signatureDefs = []
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(pack(model))
    made = door(bare, "tflite-int8")
    assert any("no signature" in note for note in made.notes)
    assert accuracy(made.path) >= accuracy(DIGITS) - MAX_DROP


def test_operator_codes_of_old_files_are_understood(door: Door, tmp_path: Path) -> None:
    model = unpack(DIGITS.read_bytes())
    for code in model.operatorCodes:
        code.builtinCode = 0
    old = tmp_path / "old.tflite"
    old.write_bytes(pack(model))
    assert accuracy(door(old, "tflite-int8").path) >= accuracy(DIGITS) - MAX_DROP
    assert door(old, "tflite-float16").path.stat().st_size < 0.6 * DIGITS.stat().st_size


def test_weights_lie_where_vector_instructions_want_them(door: Door) -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = door(DIGITS, "tflite-float16").path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    vectors = [model.Buffers(at) for at in range(model.BuffersLength())]
    starts = [each._tab.Vector(each._tab.Offset(4)) for each in vectors if each.DataLength() > 64]
    assert starts
    assert all(start % 16 == 0 for start in starts)


@pytest.mark.parametrize("recipe", ["tflite-float32", "tflite-float16", "tflite-int8"])
@pytest.mark.parametrize("first", ["tflite-float16", "tflite-int8"])
def test_what_is_quantized_already_is_refused(door: Door, first: str, recipe: str) -> None:
    once = door(DIGITS, first)
    with pytest.raises(InvalidModel, match="already"):
        door(once.path, recipe)


def rows(kind: str) -> Any:
    x = CALIBRATION.copy()
    if kind == "nan":
        x[3, 5] = np.nan
    if kind == "infinite":
        x[7] = np.inf
    return {
        "none": None,
        "no rows": x[:0],
        "another shape": x[:, :63],
        "one row": x[:1],
        "equal rows": np.repeat(x[:1], 50, axis=0),
        "zeros": np.zeros_like(x),
        "text": np.array([["a", "b"]]),
        "one dimension": x[0],
        "complex": x.astype(complex),
    }.get(kind, x)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("none", "none are given"),
        ("no rows", "no calibration rows"),
        ("nan", "NaN or infinity, first in row 3"),
        ("infinite", "NaN or infinity, first in row 7"),
        ("another shape", "64 elements"),
        ("one row", "only one calibration row"),
        ("equal rows", "only equal calibration rows"),
        ("zeros", "only equal calibration rows"),
        ("text", "not numbers"),
        ("one dimension", "no calibration rows"),
        ("complex", "not numbers"),
    ],
)
def test_bad_calibration_rows_are_refused_with_the_reason(door: Door, kind: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        door(DIGITS, "tflite-int8", rows(kind))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("recipe", ["tflite-float32", "tflite-int8"])
@pytest.mark.parametrize("keep", [16, 1000, 40_000, -4])
def test_a_cut_model_is_refused(door: Door, tmp_path: Path, recipe: str, keep: int) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(DIGITS.read_bytes()[:keep])
    with pytest.raises(InvalidModel):
        door(cut, recipe)


def test_no_byte_changed_at_random_takes_more_than_the_child(door: Door, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    whole = np.frombuffer(DIGITS.read_bytes(), np.uint8)
    for number in range(6):
        data = whole.copy()
        where = chance.integers(8, len(data), 40)
        where[:20] %= 3000  # the tables, not only the weights
        data[where + 8] = chance.integers(0, 256, 40)
        file = tmp_path / f"{number}.tflite"
        file.write_bytes(data.tobytes())
        try:
            door(file, "tflite-float16", None)
        except EdgeopsError as error:
            assert str(error)


def test_no_way_leads_from_one_format_to_the_other(door: Door) -> None:
    with pytest.raises(InvalidInput, match="makes .onnx") as refused:
        door(DIGITS, "onnx-int8")
    assert "Keras" in refused.value.next_step


def test_a_conversion_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="took more than"):
        Door(tmp_path)(DIGITS, "tflite-int8", limits=Limits(timeout_s=0.01))
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed):
        Door(tmp_path)(DIGITS, "tflite-int8", limits=Limits(memory_mib=8))
    assert list(tmp_path.iterdir()) == []
