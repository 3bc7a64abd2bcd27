"""Files that run without an error and answer nonsense: none becomes a package unnoticed.

Each is made by the best tools as they come, on a small model. What was first seen on real models is
told with the benchmark ``packaging``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.recipe_manager import RecipeManager
from onnx import TensorProto, helper, numpy_helper

from edgeops.domain.errors import EdgeopsError, GateFailed
from edgeops.packaging.build import build_package
from edgeops.packaging.convert.locate import first_that_differs
from edgeops.packaging.convert.onnx_run import run_rows
from edgeops.packaging.convert.tflite_anatomy import tflite_anatomy
from edgeops.packaging.convert.tflite_engines import run_rows as run_rows_tflite
from edgeops.packaging.convert.tflite_file import load
from edgeops.packaging.convert.tflite_quantize import TfliteBench
from edgeops.packaging.gates.effect import bloated, check_effect
from edgeops.packaging.package import Package
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.convolution_tflite import convolution_tflite
from tests.environments import CACHE

pytestmark = pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")

ALL = TFLOperationName.ALL_SUPPORTED
FLOAT = convolution_tflite()
BENCH = TfliteBench(FLOAT)
ROWS = np.random.default_rng(1).random((600, 8, 8, 1)).astype(np.float32)
LABELS = run_rows_tflite(load(FLOAT), BENCH.fit(ROWS)).argmax(axis=1)


def quantized(rules: RecipeManager, *, statistics: bool = False) -> bytes:
    """Quantize with ai-edge-quantizer alone, as its users do."""
    found = None
    if statistics:
        extremes = BENCH.observe(BENCH.fit(ROWS[:100]), counts=False).extremes
        found = {
            name: {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
            for name, (low, high) in extremes.items()
        }
    signed = BENCH.make(RECIPES["tflite-float32"], None, frozenset())
    made = quantizer.Quantizer(signed, rules.get_quantization_recipe()).quantize(
        found, enable_progress_bar=False, enable_progress_report=False
    )
    return bytes(made.quantized_model)


def dynamic(bits: int) -> bytes:
    rules = RecipeManager()
    rules.add_dynamic_config(".*", ALL, bits)
    return quantized(rules)


def static(algorithm: str, scope: str = ".*") -> bytes:
    rules = RecipeManager()
    rules.add_static_config(scope, ALL, 8, 8, algorithm_key=AlgorithmName(algorithm))
    return quantized(rules, statistics=True)


def packaged(folder: Path, data: bytes, *profiles: str, **more: Any) -> Package:
    model, held = folder / "model", folder / "held.npz"
    model.write_bytes(data)
    np.savez(held, x=ROWS[100:], y=LABELS[100:])
    given: dict[str, Any] = {"evaluation": held, "golden": held, "max_drop": 0.1, **more}
    request = PackageRequest(
        models=(model,), name="shapes", version=1, profiles=profiles, cache=CACHE, **given
    )
    return build_package(request, SigningKey.generate(), lambda _: None)


@pytest.mark.parametrize(
    "make",
    [lambda: dynamic(8), lambda: dynamic(4), lambda: static("OSCAR")],
    ids=["dynamic8", "dynamic4", "oscar"],
)
def test_what_the_old_runtime_misreads_is_for_new_boards_only(make: Any, tmp_path: Path) -> None:
    data = make()
    assert packaged(tmp_path, data, "raspberry-pi-zero-2w").manifest.variants
    with pytest.raises(GateFailed, match=r"gate 'runtime'.*differs is (CONV_2D|FULLY_CONNECTED) '"):
        packaged(tmp_path, data, "raspberry-pi-zero-2w", "raspberry-pi-32-bit")


@pytest.mark.parametrize("recipe", ["dynamic", "int8"])
def test_our_own_recipes_for_both_boards_are_right_on_both_or_not_made(
    recipe: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "calibration.npz", x=ROWS[:100])
    calibration = tmp_path / "calibration.npz" if recipe == "int8" else None
    profiles = ("raspberry-pi-zero-2w", "raspberry-pi-32-bit")
    try:
        package = packaged(tmp_path, FLOAT, *profiles, recipes=(recipe,), calibration=calibration)
    except EdgeopsError as error:
        assert recipe == "dynamic" and "tflite-runtime 2.14.0" in str(error)
    else:
        evidence = [each.evidence for each in package.manifest.variants]
        assert len(evidence) == 2
        assert all(each is not None and each.agreement > 0.95 for each in evidence)


def test_a_quantizer_that_reports_success_and_did_nothing_is_noticed() -> None:
    promise = BENCH.promise(RECIPES["tflite-int8"], ())
    untouched = static("min_max_uniform_quantize", "^no_operator_is_called_so$")
    with pytest.raises(GateFailed, match="only 0 of 5904 weights became int8"):
        check_effect(promise, tflite_anatomy(untouched), name="m.tflite", recipe="tflite-int8")


def test_a_quantizer_that_ruins_the_model_and_leaves_the_floats_in_it_is_noticed(
    tmp_path: Path,
) -> None:
    data = static("GPTQ")
    assert len(data) > len(FLOAT)
    assert bloated(BENCH.promise(RECIPES["tflite-int8"], ()), len(data), len(FLOAT)) is not None
    with pytest.raises(EdgeopsError, match="gate 'golden'"):
        packaged(tmp_path, data, "raspberry-pi-zero-2w")


def layer_norm_onnx() -> bytes:
    """A network with a LayerNorm of simple operators, as transformers are exported."""
    chance = np.random.default_rng(5)
    weights = {
        "w1": chance.normal(size=(64, 96)) / 8,
        "w2": chance.normal(size=(96, 96)) / 10,
        "w3": chance.normal(size=(96, 10)) / 3,
    }
    constants = {
        "tiny": np.array([1e-6]),
        "gain": np.exp(chance.normal(size=96)),
        "share": np.array([1 / 96]),
    }

    def node(kind: str, inputs: str, output: str, **more: Any) -> Any:
        return helper.make_node(kind, inputs.split(), [output], **more)

    nodes = [
        node("MatMul", "x w1", "a"),
        node("ReduceMean", "a", "mean", axes=[1], keepdims=1),
        node("Sub", "a mean", "centred"),
        node("Mul", "centred centred", "squares"),
        node("ReduceMean", "squares", "variance", axes=[1], keepdims=1),
        node("Add", "variance tiny", "above_zero"),
        node("Sqrt", "above_zero", "deviation"),
        node("Reciprocal", "deviation", "inverse"),
        node("Mul", "centred inverse", "normed"),
        node("Mul", "normed gain", "scaled"),
        node("MatMul", "scaled w2", "b"),
        node("Relu", "b", "c"),
        node("MatMul", "c w3", "d"),
        node("Softmax", "d", "scores"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in {**weights, **constants}.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


@pytest.fixture(scope="module")
def loud_and_quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Rows from whisper to shout, labelled by the float model itself."""
    folder = tmp_path_factory.mktemp("layer-norm")
    chance = np.random.default_rng(6)
    x = chance.normal(size=(900, 64)) * np.exp(chance.normal(size=(900, 1)) * 2)
    x = x.astype(np.float32)
    model = folder / "model.onnx"
    model.write_bytes(layer_norm_onnx())
    onnx.checker.check_model(onnx.load(model))
    y = run_rows(model.read_bytes(), [row[None] for row in x], optimized=True).argmax(axis=1)
    np.savez(folder / "calibration.npz", x=x[:300])
    np.savez(folder / "evaluation.npz", x=x[300:], y=y[300:])
    yield {"model": model, "folder": folder}


def normed(given: dict[str, Path], recipe: Any, **more: Any) -> Package:
    folder = given["folder"]
    more.setdefault("calibration", folder / "calibration.npz")
    request = PackageRequest(
        models=(given["model"],),
        name="normed",
        version=1,
        profiles=("raspberry-pi-5",),
        evaluation=folder / "evaluation.npz",
        recipes=(recipe,),
        cache=folder / "cache",
        max_drop=0.1,
        **more,
    )
    return build_package(request, SigningKey.generate(), lambda _: None)


def test_everything_quantized_is_repaired_or_refused_never_shipped(
    loud_and_quiet: dict[str, Path],
) -> None:
    everything = replace(RECIPES["onnx-int8"], name="everything", operators=("*",))
    try:
        package = normed(loud_and_quiet, everything)
    except EdgeopsError as error:
        assert "everything" in str(error)
    else:
        assert package.manifest.lineage["excluded.onnx"]
        evidence = package.manifest.variants[0].evidence
        assert evidence is not None and evidence.agreement > 0.9


def test_the_search_finds_operators_by_itself(loud_and_quiet: dict[str, Path]) -> None:
    package = normed(loud_and_quiet, "auto")
    evidence = package.manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.agreement > 0.9
    assert evidence.size_bytes < 0.65 * evidence.float_size_bytes


def test_ranges_from_rows_of_another_kind_are_refused(loud_and_quiet: dict[str, Path]) -> None:
    weak = loud_and_quiet["folder"] / "weak.npz"
    chance = np.random.default_rng(7)
    np.savez(weak, x=(chance.normal(size=(200, 64)) * 1e-3).astype(np.float32))
    with pytest.raises(GateFailed, match="gate '(quality|fidelity)'"):
        normed(loud_and_quiet, "int8", calibration=weak)


def test_the_first_operator_that_differs_is_found_by_cutting() -> None:
    cuts: list[int] = []

    def cut(number: int) -> bytes:
        cuts.append(number)
        return bytes([number])

    def run(data: bytes) -> dict[str, np.ndarray]:
        wrong = 1.0 if data[0] >= 77 else 0.0
        return {"one": np.ones((4, 3)), "other": np.ones((4, 3)) + np.eye(4, 3) * wrong}

    assert first_that_differs(100, cut, run) == 77
    assert len(cuts) <= 8
    assert first_that_differs(70, cut, run) is None


def test_a_file_of_which_a_part_is_quantized_is_packaged_with_a_warning(tmp_path: Path) -> None:
    rules = RecipeManager()
    rules.add_static_config("^convolved;", ALL, 8, 8)
    (tmp_path / "model").write_bytes(quantized(rules, statistics=True))
    said: list[str] = []
    request = PackageRequest(
        models=(tmp_path / "model",),
        name="shapes",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        cache=CACHE,
    )
    build_package(request, SigningKey.generate(), said.append)
    assert any(line.endswith("is quantized already: it has int8 weights") for line in said)
    assert any(line.startswith("warning: only 2 % of its weights are (") for line in said)
