"""What goes wrong is told with its real cause, and with a step that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from edgeops.cli.main import main
from edgeops.domain.errors import EdgeopsError, GateFailed, InvalidModel, StoreFailed
from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import KeyFolder, SigningKey
from tests import hostile_models as hostile
from tests import models
from tests.digits_models import digits

SPLIT = digits(0)


def packaged(folder: Path, data: bytes, **more: Any) -> Package:
    (folder / "m.onnx").write_bytes(data)
    request = PackageRequest(
        models=(folder / "m.onnx",),
        name="m",
        version=1,
        profiles=("raspberry-pi-5",),
        cache=folder / "cache",
        **more,
    )
    return build_package(request, SigningKey.generate(), lambda _: None)


def logarithm() -> bytes:
    """Return a model that answers log(x - x): minus infinity on every runtime."""
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Log", ["zero"], ["scores"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in ("x", "scores")]
    graph = helper.make_graph(nodes, "log", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def test_a_model_that_answers_infinity_is_not_blamed_on_a_runtime(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="to 64 of 64 random rows, on every runtime") as caught:
        packaged(tmp_path, logarithm())
    assert "the model does it" in caught.value.next_step


def halves() -> bytes:
    """Return a classifier whose weights and inner values are half floats."""
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "w"], ["out"]),
        helper.make_node("Cast", ["out"], ["scores"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in ("x", "scores")]
    graph = helper.make_graph(nodes, "halves", ends[:1], ends[1:], [weights])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_half_floats_are_named_as_what_cannot_be_quantized(tmp_path: Path) -> None:
    x, y, _ = models.separable(200)
    np.savez(tmp_path / "rows.npz", x=x[:50])
    np.savez(tmp_path / "held.npz", x=x[50:], y=y[50:])
    rows = {"calibration": tmp_path / "rows.npz", "evaluation": tmp_path / "held.npz"}
    with pytest.raises(InvalidModel, match="half floats") as caught:
        packaged(tmp_path, halves(), recipes=("int8",), **rows)
    assert caught.value.next_step.startswith("give the float32 model")


def test_a_model_that_asks_for_far_too_much_memory_is_told_so(tmp_path: Path) -> None:
    data = hostile.onnx_file(lambda model: hostile.fills(model, 2**34))
    with pytest.raises(EdgeopsError) as caught:
        packaged(tmp_path, data)
    assert "memory" in caught.value.next_step, caught.value.next_step


def test_a_folder_that_cannot_be_made_is_told_so(tmp_path: Path) -> None:
    package = packaged(tmp_path, models.linear_onnx(np.eye(4, dtype=np.float32)))
    with pytest.raises(StoreFailed, match="/proc/x cannot be made") as caught:
        write_layout(package, Path("/proc/x"))
    assert "--out" in caught.value.next_step


def test_two_inputs_and_rows_of_another_shape_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="2 inputs") as inputs:
        packaged(tmp_path, models.two_inputs_onnx(4))
    assert "one input" in inputs.value.next_step
    x, y, weights = models.separable(200)
    np.savez(tmp_path / "rows.npz", x=x[:50, :3])
    np.savez(tmp_path / "held.npz", x=x[50:], y=y[50:])
    rows = {"calibration": tmp_path / "rows.npz", "evaluation": tmp_path / "held.npz"}
    with pytest.raises(EdgeopsError, match="calibration rows do not fit the model") as shape:
        packaged(tmp_path, models.linear_onnx(weights), recipes=("int8",), **rows)
    assert shape.value.next_step


def test_the_command_shows_two_lines_and_no_traceback(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "keys").init()
    (tmp_path / "m.onnx").write_bytes(logarithm())
    done = CliRunner().invoke(
        main,
        ["--home", str(tmp_path), "package", str(tmp_path / "m.onnx"), "--name", "m"]
        + ["--profile", "raspberry-pi-5", "--no-publish"],
    )
    assert done.exit_code == 3
    assert "Traceback" not in done.output and "the model does it" in done.output


@pytest.mark.parametrize("recipes", [(), ("int8",)], ids=["as it is", "int8"])
def test_a_profile_that_no_file_fits_is_told_before_anything_is_made(
    tmp_path: Path, recipes: tuple[str, ...]
) -> None:
    (tmp_path / "m.onnx").write_bytes(models.linear_onnx(np.eye(4, dtype=np.float32)))
    x, y, _ = models.separable(200)
    np.savez(tmp_path / "rows.npz", x=x[:50])
    np.savez(tmp_path / "held.npz", x=x[50:], y=y[50:])
    request = PackageRequest(
        models=(tmp_path / "m.onnx",),
        name="m",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        cache=tmp_path / "cache",
        recipes=recipes,
        evaluation=tmp_path / "held.npz",
        calibration=tmp_path / "rows.npz" if recipes else None,
    )
    with pytest.raises(EdgeopsError, match="raspberry-pi-zero-2w"):
        build_package(request, SigningKey.generate(), print)
    assert not (tmp_path / "cache").exists()


def test_without_golden_rows_verify_runs_none(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "keys").init()
    (tmp_path / "m.onnx").write_bytes(models.linear_onnx(np.eye(4, dtype=np.float32)))
    start = ["--home", str(tmp_path)]
    done = CliRunner().invoke(
        main,
        [*start, "package", str(tmp_path / "m.onnx"), "--name", "m", "--no-publish"]
        + ["--profile", "raspberry-pi-5"],
    )
    assert done.exit_code == 0, done.output
    verified = CliRunner().invoke(main, [*start, "verify", "m:1"])
    assert verified.exit_code == 0, verified.output
    assert "running its golden rows" not in verified.output
