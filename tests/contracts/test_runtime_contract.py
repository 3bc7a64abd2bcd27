"""What every runtime promises, proven on each of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from device_agent.protocol.errors import (
    BadInput,
    InferenceFailed,
    ModelRefused,
    RuntimeMissing,
)
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.available import available_runtimes, get_runtime
from device_agent.runtimes.contract import Array, LoadedModel, Runtime
from tests.models import digits_tflite, linear_onnx


@dataclass(frozen=True)
class Case:
    """A runtime with two of its model files and one of another runtime."""

    runtime: Runtime
    path: Path
    other: Path
    foreign: Path

    def load(self) -> LoadedModel:
        """Load the first model on one thread."""
        return self.runtime.load(self.path, 1)


@pytest.fixture(params=["litert", "onnxruntime"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    chance = np.random.default_rng(5)
    onnx = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for path in onnx:
        path.write_bytes(linear_onnx(chance.normal(size=(64, 10)).astype(np.float32)))
    tflite = [digits_tflite(1), digits_tflite(2)]
    own, foreign = (tflite, onnx) if request.param == "litert" else (onnx, tflite)
    return Case(get_runtime(request.param), own[0], own[1], foreign[0])


def rows(count: int) -> list[Array]:
    return list(np.random.default_rng(1).uniform(0, 16, (count, 1, 64)).astype(np.float32))


def test_a_runtime_has_the_name_that_manifests_use(case: Case) -> None:
    assert case.runtime.name in available_runtimes()
    assert get_runtime(case.runtime.name).name == case.runtime.name


def test_specs_say_what_run_takes_and_returns(case: Case) -> None:
    model = case.load()
    (taken,), (given,) = model.inputs, model.outputs
    assert (taken.dtype, taken.shape[1:]) == ("float32", (64,))
    (answer,) = model.run(rows(1))
    assert (
        (answer.dtype.name, answer.shape)
        == (given.dtype, (1, *given.shape[1:]))
        == (
            "float32",
            (1, 10),
        )
    )
    assert answer.sum() == pytest.approx(1.0, abs=1e-4)


def test_the_same_row_gets_the_same_answer(case: Case) -> None:
    model = case.load()
    assert np.array_equal(model.run(rows(1))[0], model.run(rows(1))[0])


def test_an_answer_belongs_to_the_caller(case: Case) -> None:
    model = case.load()
    first, second = rows(2)
    answer = model.run([first])[0]
    kept = answer.copy()
    model.run([second])
    model.close()
    assert np.array_equal(answer, kept)


def test_the_given_row_is_not_changed(case: Case) -> None:
    (row,) = rows(1)
    case.load().run([row])
    assert np.array_equal(row, rows(1)[0])


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [np.zeros((1, 64), np.float32)] * 2,
        [np.zeros((1, 64), np.float64)],
        [np.zeros((1, 64), np.int8)],
        [np.zeros((1, 63), np.float32)],
        [np.zeros(64, np.float32)],
        [np.zeros((1, 8, 8), np.float32)],
    ],
    ids=["none", "two", "double", "int8", "short", "flat", "image"],
)
def test_a_wrong_input_is_refused_and_the_model_goes_on(case: Case, inputs: list[Array]) -> None:
    model = case.load()
    before = model.run(rows(1))[0]
    with pytest.raises(BadInput):
        model.run(inputs)
    assert np.array_equal(model.run(rows(1))[0], before)


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "end", "text", "foreign"])
def test_a_file_that_is_no_whole_model_is_refused(case: Case, damage: str, tmp_path: Path) -> None:
    path, data = tmp_path / "bad", case.path.read_bytes()
    contents = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "end": data[:-64],
        "text": b"not a model\n" * 100,
        "foreign": case.foreign.read_bytes(),
    }
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(ModelRefused) as refused:
        case.runtime.load(path, 1)
    assert refused.value.reason is Reason.LOAD_FAILED
    assert "\n" not in str(refused.value)


def test_two_models_do_not_disturb_each_other(case: Case) -> None:
    one, two = case.load(), case.runtime.load(case.other, 1)
    alone = [model.run(rows(1))[0] for model in (one, two)]
    assert not np.array_equal(*alone)
    mixed = [(one.run([row])[0], two.run([row])[0]) for row in rows(5)][0]
    assert np.array_equal(mixed, alone)
    one.close()
    assert np.array_equal(two.run(rows(1))[0], alone[1])


def test_threads_that_share_a_lock_get_the_answers_of_their_rows(case: Case) -> None:
    model, lock, given = case.load(), threading.Lock(), rows(40)
    expected = [model.run([row])[0] for row in given]
    answers: dict[int, Array] = {}

    def work(numbers: range) -> None:
        for number in numbers:
            with lock:
                answers[number] = model.run([given[number]])[0]

    threads = [threading.Thread(target=work, args=(range(at, 40, 2),)) for at in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers[number], expected[number]) for number in range(40))


def test_more_threads_of_its_own_give_the_same_class(case: Case) -> None:
    answers = [case.runtime.load(case.path, threads).run(rows(1))[0] for threads in (1, 2)]
    assert answers[0].argmax() == answers[1].argmax()


def test_a_closed_model_fails_and_the_file_can_be_loaded_again(case: Case) -> None:
    model = case.load()
    before = model.run(rows(1))[0]
    model.close()
    model.close()
    with pytest.raises(InferenceFailed):
        model.run(rows(1))
    assert np.array_equal(case.load().run(rows(1))[0], before)


def test_an_unknown_runtime_is_missing() -> None:
    with pytest.raises(RuntimeMissing, match="tensorrt"):
        get_runtime("tensorrt")
