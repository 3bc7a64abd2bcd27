"""TensorFlow Lite Micro in the environment that it lives in: what it says, and what it refuses.

That it keeps what every runtime promises is in ``tests/contracts/test_runtime_contract.py``.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.child import AGENT_FOLDER, LOAD_AGENT, spawn_probe
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from edgeops.packaging.convert.tflite_file import load
from edgeops.packaging.engines import Engine, engine_for
from tests.digits_models import digits
from tests.environments import CACHE, needs_tflm, tflm
from tests.micro_models import (
    digits_8_bit,
    digits_as,
    with_operator,
    with_tensor_out_of_range,
)

pytestmark = needs_tflm

ROWS = digits(0).stream_x[:60]
BEGIN = """
import json
from pathlib import Path
import numpy as np
from device_agent.protocol.errors import AgentError
from device_agent.runtimes.available import get_runtime
runtime = get_runtime("tflm")
def load(name): return runtime.load(Path(sys.argv[1]) / name, 1)
def rows(count): return list(
    np.random.default_rng(1).uniform(0, 16, (count, 1, 64)).astype(np.float32))
def failure(act):
    try: act()
    except AgentError as error: return [type(error).__name__, str(error)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("micro")
    (path / "float.tflite").write_bytes(digits_as("float32"))
    (path / "int8.tflite").write_bytes(digits_as("int8"))
    (path / "8-bit.tflite").write_bytes(digits_8_bit())
    return path


def there(program: str, folder: Path) -> Any:
    """Run a program in the environment of TFLM; return what it printed, read as JSON."""
    done = subprocess.run(
        [tflm().python, "-I", "-c", LOAD_AGENT + BEGIN + program, AGENT_FOLDER, folder],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(engine: Engine, data: bytes, folder: Path, x: Any = ROWS) -> ProbeReport:
    artifact, golden = folder / "asked.tflite", folder / "asked.json"
    artifact.write_bytes(data)
    golden.write_bytes(encode_golden(GoldenRows(x=x)))
    spec = ProbeSpec(
        runtime=engine.runtime, artifact=str(artifact), golden=str(golden), return_outputs=True
    )
    return spawn_probe(spec, timeout_s=60, python=engine.python)


@pytest.mark.parametrize("name", ["float.tflite", "int8.tflite", "8-bit.tflite"])
def test_its_tensors_are_called_and_shaped_as_litert_calls_them(name: str, folder: Path) -> None:
    said = there(
        f"model = load({name!r})\n"
        "print(json.dumps([[each.to_document() for each in of] "
        "for of in (model.inputs, model.outputs)]))",
        folder,
    )
    here = load((folder / name).read_bytes())
    for specs, details in zip(
        said, (here.get_input_details(), here.get_output_details()), strict=True
    ):
        assert specs == [
            {
                "name": each["name"],
                "dtype": np.dtype(each["dtype"]).name,
                "shape": each["shape"].tolist(),
            }
            for each in details
        ]


def test_a_wrong_input_is_refused_and_the_model_goes_on(folder: Path) -> None:
    wrong = there(
        "model = load('float.tflite')\n"
        "before = model.run(rows(1))[0]\n"
        "f = np.float32\n"
        "said = [failure(lambda: model.run(inputs)) for inputs in ("
        "[], [np.zeros((1, 64), f)] * 2, [np.zeros((1, 64))], [np.zeros((1, 64), np.int8)], "
        "[np.zeros((1, 63), f)], [np.zeros(64, f)], [np.zeros((1, 8, 8), f)])]\n"
        "assert (model.run(rows(1))[0] == before).all()\n"
        "eight = load('8-bit.tflite')\n"
        "said.append(failure(lambda: eight.run([np.zeros((1, 64), f)])))\n"
        "print(json.dumps(said))",
        folder,
    )
    assert [each[0] for each in wrong] == ["BadInput"] * 8
    assert "FLOAT64" in wrong[2][1]


def test_a_file_that_is_no_whole_model_is_refused_in_one_line(folder: Path) -> None:
    data = digits_as("int8")
    bad = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "end": data[:-64],
        "text": b"not a model\n" * 100,
        "head": data[:8] + bytes(1000),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    names = [*bad, "missing"]
    said = there(f"print(json.dumps([failure(lambda: load(n)) for n in {names!r}]))", folder)
    assert [each[0] for each in said] == ["ModelRefused"] * 6
    assert all("\n" not in each[1] for each in said)
    assert said[1][1].startswith("TFLM cannot load half: no whole .tflite: ")
    assert said[5][1].startswith("TFLM cannot read missing: ")


@pytest.mark.parametrize(
    ("precision", "near"), [("float32", 1e-5), ("int8", 0.03), ("int16", 0.01)]
)
def test_it_answers_our_recipes_as_litert_does(precision: str, near: float, tmp_path: Path) -> None:
    litert = engine_for("litert", CACHE, lambda _: None)
    both = [answers(each, digits_as(precision), tmp_path).outputs_data for each in (tflm(), litert)]
    assert both[0] and both[1]
    (micro,), (large,) = both[0].values(), both[1].values()
    assert np.abs(micro - large).max() < near
    assert np.array_equal(micro.argmax(axis=1), large.argmax(axis=1))
    assert len(set(micro.argmax(axis=1).tolist())) > 5


def test_8_bit_rows_get_8_bit_answers_as_on_litert(tmp_path: Path) -> None:
    detail = load(digits_8_bit()).get_input_details()[0]
    scale, zero = detail["quantization"]
    x = np.clip(np.rint(ROWS / scale) + zero, -128, 127).astype(np.int8)
    litert = engine_for("litert", CACHE, lambda _: None)
    both = [answers(each, digits_8_bit(), tmp_path, x).outputs_data for each in (tflm(), litert)]
    assert both[0] and both[1]
    (micro,), (large,) = both[0].values(), both[1].values()
    assert micro.dtype == np.int8
    assert np.abs(micro.astype(int) - large.astype(int)).max() <= 4


def test_what_is_no_number_is_answered_with_what_is_none(tmp_path: Path) -> None:
    x = ROWS[:3].copy()
    x[1, 5] = np.nan
    assert answers(tflm(), digits_as("float32"), tmp_path, x).nonfinite == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_operator(digits_as("float32"), "SOFTMAX", "ATAN2"), "opcode 'ATAN2'"),
        (lambda: digits_as("dynamic"), "filter type: INT8 not supported; Node FULLY_CONNECTED"),
        (lambda: digits_as("float16"), "Node DEQUANTIZE"),
        (lambda: digits_as("weights8"), "DEQUANTIZE has a scale for each channel"),
    ],
    ids=["no such operator", "hybrid", "half floats", "a scale a channel"],
)
def test_what_it_does_not_run_is_refused_with_the_operators_name(
    make: Any, words: str, tmp_path: Path
) -> None:
    report = answers(tflm(), make(), tmp_path)
    assert report.reason is Reason.LOAD_FAILED
    assert report.cause.startswith("TFLM cannot load asked.tflite: ")
    assert words in report.cause


def test_a_file_that_crashes_it_is_a_report(tmp_path: Path) -> None:
    report = answers(tflm(), with_tensor_out_of_range(digits_as("float32")), tmp_path)
    assert report.reason is Reason.SELF_TEST_CRASHED
    assert "SIGSEGV" in report.cause
