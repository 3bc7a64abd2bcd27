"""From a float .onnx to int8, checked with optimizations on and off; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeops.demo.network import write_onnx
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.onnx_anatomy import onnx_anatomy
from edgeops.packaging.convert.onnx_file import canonical, number_anew, parse, quantized_weights
from edgeops.packaging.convert.onnx_quantize import calibrate, prepare, quantize_checked
from edgeops.packaging.convert.onnx_run import run_rows
from edgeops.packaging.recipes import RECIPES
from tests import models
from tests.conversions import CALIBRATION, HELD_OUT, MAX_DROP, SPLIT, Door, accuracy, load
from tests.digits_models import train_second

INT8 = ["onnx-int8", "onnx-int8-percentile", "onnx-int8-channel"]
ROWS = np.random.default_rng(0).uniform(-1, 1, (60, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    write_onnx(train_second(SPLIT), path)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        return path

    return to_file


def convolutions(channels: int = 8) -> bytes:
    """Return a net with convolutions and a batch normalization: ``x`` ``[n, 1, 8, 8]``."""
    chance = np.random.default_rng(3)
    weights = {
        "w1": chance.normal(0, 0.5, (channels, 1, 3, 3)),
        "w2": chance.normal(0, 0.3, (channels, channels, 3, 3)),
        "w3": chance.normal(0, 0.3, (channels, 10)),
        **{name: np.abs(chance.normal(1, 0.2, channels)) for name in ("s", "b", "m", "v")},
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["scores"]),
    ]
    return models._onnx(
        nodes,
        [("x", ["n", 1, 8, 8])],
        [("scores", ["n", 10])],
        **{name: value.astype(np.float32) for name, value in weights.items()},
    )


@pytest.mark.parametrize("recipe", INT8)
def test_a_quantized_model_is_smaller_and_as_good(door: Door, digits: Path, recipe: str) -> None:
    made = door(digits, recipe)
    assert made.path.stat().st_size < 0.4 * digits.stat().st_size
    assert accuracy(made.path) >= accuracy(digits) - MAX_DROP
    before, after = load(digits), load(made.path)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert made.making.ranges
    assert made.tools["onnxruntime"]


@pytest.mark.parametrize("recipe", INT8)
def test_the_same_inputs_give_the_same_bytes(
    door: Door, digits: Path, recipe: str, tmp_path: Path
) -> None:
    again = Door(tmp_path)(digits, recipe)
    assert again.path.read_bytes() == door(digits, recipe).path.read_bytes()
    assert again.making.ranges == door(digits, recipe).making.ranges


def test_float32_is_the_same_model_in_its_canonical_form(door: Door, digits: Path) -> None:
    made = door(digits, "onnx-float32", None)
    before, after = load(digits), load(made.path)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for row in HELD_OUT[:20, np.newaxis]:
        np.testing.assert_array_equal(after.run([row])[0], before.run([row])[0])
    model = onnx.load(made.path)
    assert model.graph.name == "model"
    assert {node.name.split("_")[0] for node in model.graph.node} >= {"MatMul"}
    assert made.making.ranges is None
    assert door(made.path, "onnx-float32", None).path.read_bytes() == made.path.read_bytes()


def test_what_exporters_write_of_the_trainers_machine_stays_there(
    door: Door, write: Callable[[bytes], Path]
) -> None:
    model = onnx.load_from_string(models.linear_onnx(np.eye(4, dtype=np.float32)))
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.initializer):
        part.metadata_props.add(key="trace", value="/home/ada/secret/train.py, line 7")
        part.doc_string = "/home/ada/secret"
    model.ir_version = 10
    made = door(write(model.SerializeToString()), "onnx-float32", None)
    assert b"ada" not in made.path.read_bytes()


@pytest.mark.parametrize("recipe", INT8)
def test_convolutions_and_folded_normalizations_are_quantized(
    door: Door, write: Callable[[bytes], Path], recipe: str
) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (150, 1, 8, 8)).astype(np.float32)
    source = write(convolutions())
    made = door(source, recipe, x[:100])
    model = onnx.load(made.path)
    onnx.checker.check_model(model)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert model.ir_version <= 9
    weights = quantized_weights(model)
    assert weights.int8 == weights.total > 0
    before, after = load(source), load(made.path)
    answers = [[each.run([row[np.newaxis]])[0] for row in x[100:]] for each in (before, after)]
    error = np.abs(np.array(answers[1]) - np.array(answers[0])).max()
    assert error < 0.05 * np.abs(np.array(answers[0])).max()


def test_an_operator_that_optimizations_break_stays_in_floats_and_that_is_said() -> None:
    prepared = prepare(parse(convolutions()))
    recipe = RECIPES["onnx-int8-channel"]
    rows = list(np.random.default_rng(0).uniform(0, 1, (20, 1, 1, 8, 8)).astype(np.float32))
    ranges = calibrate(prepared, recipe, rows)
    second = list(prepared.quantized_by(recipe).values())[1]

    def broken_second(data: bytes, rows: Any, *, optimized: bool) -> NDArray[Any]:
        given = run_rows(data, rows, optimized=optimized)
        convolutions = [n for n in onnx.load_from_string(data).graph.node if n.op_type == "Conv"]
        is_quantized = convolutions[1].input[1].endswith("_DequantizeLinear_Output")
        return given[:, ::-1] * 3 if optimized and is_quantized else given

    settled = quantize_checked(prepared, recipe, ranges, rows, broken_second)
    assert settled.excluded == (second,)
    assert settled.notes[0].startswith(f"{second} stays in floats: quantized, onnxruntime")
    model = onnx.load_from_string(settled.data)
    weights = quantized_weights(model)
    assert 0 < weights.int8 < weights.total


def test_a_runtime_that_breaks_every_quantized_file_makes_none() -> None:
    prepared = prepare(parse(convolutions()))
    rows = list(np.random.default_rng(0).uniform(0, 1, (20, 1, 1, 8, 8)).astype(np.float32))
    ranges = calibrate(prepared, RECIPES["onnx-int8"], rows)

    def broken(data: bytes, rows: Any, *, optimized: bool) -> NDArray[Any]:
        given = run_rows(data, rows, optimized=optimized)
        return np.full_like(given, np.nan) if optimized else given

    with pytest.raises(ConversionFailed, match=r"NaN or infinity; no operator alone"):
        quantize_checked(prepared, RECIPES["onnx-int8"], ranges, rows, broken)


def test_equal_models_give_equal_bytes_whatever_their_names_and_order() -> None:
    def model(names: list[str], *, turned: bool) -> Any:
        a, b, c = names
        nodes = [
            helper.make_node("Mul", ["x", "k"], [a], name=f"{a}/mul"),
            helper.make_node("Neg", ["x"], [b], name=f"{b}/neg"),
            helper.make_node("Add", [a, b], [c], name=c),
            helper.make_node("Relu", [c], ["y"], doc_string=f"made of {c}"),
        ]
        constants = [
            numpy_helper.from_array(np.ones(4, np.float32), "k"),
            numpy_helper.from_array(np.ones(4, np.float32), f"unused_{a}"),
        ]
        if turned:
            nodes[:2], constants = nodes[1::-1], constants[::-1]
        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
        graph = helper.make_graph(nodes, f"graph of {c}", value[:1], value[1:], constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets[:: -1 if turned else 1])

    models = model(["p", "q", "r"], turned=False), model(["s_7", "a_1", "x_9"], turned=True)
    names = [number_anew(each) for each in models]
    assert set(names[0].values()) >= {"p", "q"}
    one, other = map(canonical, models)
    assert one == other
    read = onnx.load_from_string(one)
    onnx.checker.check_model(read)
    assert [node.name for node in read.graph.node] == ["Mul_0", "Neg_0", "Add_0", "Relu_0"]
    assert read.ir_version <= 9


def test_old_opsets_are_taken(door: Door, write: Callable[[bytes], Path]) -> None:
    model = onnx.load_from_string(models.linear_onnx(np.eye(4, dtype=np.float32)))
    model.opset_import[0].version = 9
    model.ir_version = 4
    model.graph.input.append(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4])
    )  # as files of that time list their weights
    made = door(write(model.SerializeToString()), "onnx-int8", ROWS)
    assert load(made.path).run([ROWS[:1]])[0].argmax() == ROWS[0].argmax()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("without weights", models.nan_onnx(4), "nothing to quantize"),
        ("two inputs", models.two_inputs_onnx(4), "nothing to quantize|2 inputs"),
        ("sequence", models.sequence_onnx(4), "nothing to quantize|sequence"),
        (
            "weights that are not finite",
            models.linear_onnx(np.full((4, 4), np.nan, np.float32)),
            "NaN or infinity",
        ),
        ("cut", models.linear_onnx(np.eye(4, dtype=np.float32))[:-7], "cut off|no valid"),
    ],
)
def test_a_bad_model_is_refused_with_the_reason(
    door: Door, write: Callable[[bytes], Path], name: str, data: bytes, why: str
) -> None:
    with pytest.raises(InvalidModel, match=why):
        door(write(data), "onnx-int8", ROWS)


@pytest.mark.parametrize("recipe", ["onnx-float32", "onnx-int8"])
def test_weights_in_a_file_beside_it_are_taken_in_and_digested(
    door: Door, tmp_path: Path, recipe: str
) -> None:
    path = models.external_onnx(np.eye(4, dtype=np.float32), tmp_path)
    made = door(path, recipe, ROWS)
    row = np.array([[0, 0, 1, 0]], np.float32)
    assert load(made.path).run([row])[0].argmax() == 2
    weights = np.frombuffer((tmp_path / "weights.bin").read_bytes(), np.float32)
    turned = np.roll(weights.reshape(4, 4), 1, axis=1)
    (tmp_path / "weights.bin").write_bytes(turned.tobytes())
    assert load(door(path, recipe, ROWS).path).run([row])[0].argmax() == 3


@pytest.mark.parametrize("recipe", ["onnx-float32", "onnx-int8"])
def test_what_is_quantized_already_is_refused(door: Door, digits: Path, recipe: str) -> None:
    with pytest.raises(InvalidModel, match="quantized already"):
        door(door(digits, "onnx-int8").path, recipe)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (None, "none are given"),
        (CALIBRATION[:0], "no calibration rows"),
        (CALIBRATION[:, :60], "64 elements"),
        (np.full_like(CALIBRATION, np.nan), "NaN or infinity, first in row 0"),
        (np.ones_like(CALIBRATION), "equal calibration rows"),
    ],
    ids=["none", "empty", "shape", "nan", "constant"],
)
def test_bad_calibration_rows_are_refused(door: Door, digits: Path, rows: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        door(digits, "onnx-int8", rows)


def test_no_way_leads_from_one_format_to_the_other(door: Door, digits: Path) -> None:
    with pytest.raises(InvalidInput, match="makes .tflite"):
        door(digits, "tflite-int8")


def test_operators_behind_one_of_unknown_type_are_quantized_too(tmp_path: Path) -> None:
    """Shape inference knows nothing behind ``ai.onnx.ml``; scikit-learn's exporter begins so."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier((64, 32), max_iter=300, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(SPLIT.train_x, SPLIT.train_y)
    made = to_onnx(model, SPLIT.train_x[:1], options={"zipmap": False}, target_opset=17)
    source = tmp_path / "scaled.onnx"
    source.write_bytes(made.SerializeToString())
    converted = Door(tmp_path / "cache")(source, "onnx-int8")
    anatomy = onnx_anatomy(converted.path.read_bytes())
    assert anatomy.weights["int8"] == 64 * 64 + 64 * 32 + 32 * 10
    assert anatomy.activations["int8"] >= 3
    assert converted.path.stat().st_size < 0.6 * source.stat().st_size
