"""What every runtime promises: one list, kept here and in environments that have no pytest.

``python runtime_promises.py RUNTIME FOLDER`` prints, as JSON, what became of each promise: null if
it is kept, otherwise how it was broken. The folder holds model files of the runtime (``make_case``
in ``tests/runtime_models.py``).
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.protocol.errors import AgentError, BadInput, InferenceFailed, ModelRefused
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.available import available_runtimes, get_runtime
from device_agent.runtimes.contract import Array, LoadedModel, Runtime

ROWS = 40
AGREEMENT = 0.9
"""Share of rows to which the 8-bit model gives the class of the model that it was made of."""


class Case:
    """A runtime, and model files for it.

    ``one`` and ``two`` take float32 ``[1, 64]`` and give ten probabilities; ``eight`` is ``two``
    with 8-bit numbers at both ends; ``nan`` answers nothing else; ``foreign`` is another runtime's.
    """

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.scale, self.zero = json.loads((folder / "quantization.json").read_text())

    def load(self, name: str = "one", threads: int = 1) -> LoadedModel:
        """Load a model file."""
        return self.runtime.load(self.folder / name, threads)

    def in_8_bits(self, row: Array) -> Array:
        """Return a row as ``eight`` takes it."""
        return np.clip(np.rint(row / self.scale) + self.zero, -128, 127).astype(np.int8)


Promise = Callable[[Case], None]
PROMISES: dict[str, Promise] = {}


def promise(check: Promise) -> Promise:
    """Enter a promise under the name of its function."""
    PROMISES[check.__name__] = check
    return check


def rows(count: int) -> list[Array]:
    """Return rows, always the same ones."""
    return list(np.random.default_rng(1).uniform(0, 16, (count, 1, 64)).astype(np.float32))


def refusal(act: Callable[[], object], kind: type[AgentError]) -> AgentError:
    """Return the error that an act raises; anything else breaks the promise."""
    try:
        act()
    except kind as error:
        assert "\n" not in str(error), "an error says its cause in one line"
        return error
    raise AssertionError(f"it did not raise {kind.__name__}")


def same(one: Array, two: Array) -> bool:
    """Tell whether two answers are the same to the last bit."""
    return one.dtype == two.dtype and np.array_equal(one, two)


def at_once(*acts: Callable[[], None]) -> None:
    """Do several things at once, in a thread each; what one raises is raised."""
    raised: list[BaseException] = []

    def guarded(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


# ---- names, shapes, types


@promise
def it_has_the_name_that_manifests_use(case: Case) -> None:
    assert case.runtime.name in available_runtimes()
    assert get_runtime(case.runtime.name).name == case.runtime.name


@promise
def specs_say_the_shapes_that_run_takes_and_gives(case: Case) -> None:
    model = case.load()
    (taken,), (given,) = model.inputs, model.outputs
    assert taken.shape in ((1, 64), (-1, 64)), taken
    assert given.shape in ((1, 10), (-1, 10)), given
    (answer,) = model.run(rows(1))
    assert answer.shape == (1, 10)
    assert abs(float(answer.sum()) - 1.0) < 1e-4


@promise
def specs_say_the_types_that_run_takes_and_gives(case: Case) -> None:
    model = case.load()
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["float32", "float32"]
    assert model.run(rows(1))[0].dtype == np.float32


@promise
def names_of_tensors_are_told(case: Case) -> None:
    model = case.load()
    assert all(spec.name for spec in (*model.inputs, *model.outputs))


# ---- quantized


@promise
def an_8_bit_model_takes_and_gives_8_bit_numbers(case: Case) -> None:
    model = case.load("eight")
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["int8", "int8"]
    (answer,) = model.run([case.in_8_bits(rows(1)[0])])
    assert (answer.dtype, answer.shape) == (np.int8, (1, 10))


@promise
def an_8_bit_model_gives_the_classes_of_the_model_that_it_was_made_of(case: Case) -> None:
    whole, eight = case.load("two"), case.load("eight")
    given = rows(ROWS)
    expected = [int(whole.run([row])[0].argmax()) for row in given]
    answered = [int(eight.run([case.in_8_bits(row)])[0].argmax()) for row in given]
    agreed = sum(one == two for one, two in zip(expected, answered, strict=True))
    assert agreed >= AGREEMENT * ROWS, f"{agreed} of {ROWS}"
    assert len(set(expected)) > 2


@promise
def a_float_row_is_not_made_an_8_bit_one_in_silence(case: Case) -> None:
    model = case.load("eight")
    row = case.in_8_bits(rows(1)[0])
    before = model.run([row])[0]
    refusal(lambda: model.run(rows(1)), BadInput)
    refusal(lambda: model.run([row.astype(np.uint8)]), BadInput)
    assert same(model.run([row])[0], before)


# ---- answers


@promise
def the_same_row_gets_the_same_answer(case: Case) -> None:
    model = case.load()
    assert same(model.run(rows(1))[0], model.run(rows(1))[0])


@promise
def an_answer_belongs_to_the_caller(case: Case) -> None:
    model = case.load()
    first, second = rows(2)
    answer = model.run([first])[0]
    kept = answer.copy()
    model.run([second])
    model.close()
    assert same(answer, kept)
    answer[:] = 0.0


@promise
def the_given_row_is_not_changed(case: Case) -> None:
    (row,) = rows(1)
    case.load().run([row])
    assert same(row, rows(1)[0])


# ---- errors


def _wrong_inputs() -> dict[str, Sequence[Any]]:
    return {
        "none": [],
        "two": [np.zeros((1, 64), np.float32)] * 2,
        "double": [np.zeros((1, 64), np.float64)],
        "int8": [np.zeros((1, 64), np.int8)],
        "int64": [np.zeros((1, 64), np.int64)],
        "short": [np.zeros((1, 63), np.float32)],
        "flat": [np.zeros(64, np.float32)],
        "image": [np.zeros((1, 8, 8), np.float32)],
        "nothing": [np.zeros((1, 0), np.float32)],
    }


@promise
def a_wrong_input_is_refused_and_the_model_goes_on(case: Case) -> None:
    model = case.load()
    before = model.run(rows(1))[0]
    for name, inputs in _wrong_inputs().items():
        try:
            refusal(lambda given=inputs: model.run(list(given)), BadInput)  # type: ignore[misc]
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert same(model.run(rows(1))[0], before), name


@promise
def a_file_that_is_no_whole_model_is_refused(case: Case) -> None:
    data = (case.folder / "one").read_bytes()
    contents = {
        "missing": None,
        "empty": b"",
        "half": data[: len(data) // 2],
        "end": data[:-64],
        "text": b"not a model\n" * 100,
        "foreign": (case.folder / "foreign").read_bytes(),
    }
    for name, content in contents.items():
        path = case.folder / f"bad-{name}"
        if content is not None:
            path.write_bytes(content)
        error = refusal(lambda path=path: case.runtime.load(path, 1), ModelRefused)  # type: ignore[misc]
        assert getattr(error, "reason", None) is Reason.LOAD_FAILED, name


# ---- threads


@promise
def two_threads_that_share_a_lock_get_the_answers_of_their_rows(case: Case) -> None:
    model, lock, given = case.load(), threading.Lock(), rows(ROWS)
    expected = [model.run([row])[0] for row in given]
    answers: dict[int, Array] = {}

    def work(numbers: range) -> None:
        for number in numbers:
            with lock:
                answers[number] = model.run([given[number]])[0]

    at_once(lambda: work(range(0, ROWS, 2)), lambda: work(range(1, ROWS, 2)))
    assert all(same(answers[number], expected[number]) for number in range(ROWS))


@promise
def two_threads_with_a_model_each_need_no_common_lock(case: Case) -> None:
    given = rows(ROWS)
    models = [case.load("one"), case.load("two")]
    expected = [[model.run([row])[0] for row in given] for model in models]

    def work(at: int) -> None:
        for _ in range(5):
            answers = [models[at].run([row])[0] for row in given]
            assert all(map(same, answers, expected[at]))

    at_once(lambda: work(0), lambda: work(1))


@promise
def a_model_that_was_loaded_by_one_thread_answers_and_closes_in_another(case: Case) -> None:
    model = case.load()
    before = model.run(rows(1))[0]
    answers: list[Array] = []

    def work() -> None:
        answers.append(model.run(rows(1))[0])
        model.close()

    at_once(work)
    assert same(answers[0], before)
    refusal(lambda: model.run(rows(1)), InferenceFailed)


@promise
def more_threads_of_its_own_give_the_same_classes(case: Case) -> None:
    one, two = case.load(threads=1), case.load(threads=2)
    for row in rows(10):
        assert one.run([row])[0].argmax() == two.run([row])[0].argmax()


@promise
def without_what_it_does_for_speed_it_gives_the_same_classes(case: Case) -> None:
    fast = case.load()
    plain = case.runtime.load(case.folder / "one", 1, optimized=False)
    for row in rows(10):
        assert fast.run([row])[0].argmax() == plain.run([row])[0].argmax()


# ---- two models, closing, loading again


@promise
def two_models_do_not_disturb_each_other(case: Case) -> None:
    one, two = case.load("one"), case.load("two")
    alone = [model.run(rows(1))[0] for model in (one, two)]
    assert not same(*alone)
    mixed = [[model.run([row])[0] for model in (one, two)] for row in rows(5)]
    assert all(map(same, mixed[0], alone))
    one.close()
    assert same(two.run(rows(1))[0], alone[1])


@promise
def one_file_loaded_twice_is_two_models(case: Case) -> None:
    one, again = case.load(), case.load()
    before = again.run(rows(1))[0]
    one.close()
    assert same(again.run(rows(1))[0], before)


@promise
def a_closed_model_fails_and_closing_again_is_no_harm(case: Case) -> None:
    model = case.load()
    model.run(rows(1))
    model.close()
    model.close()
    refusal(lambda: model.run(rows(1)), InferenceFailed)


@promise
def a_file_can_be_loaded_again_and_again(case: Case) -> None:
    before = case.load().run(rows(1))[0]
    for _ in range(20):
        model = case.load()
        assert same(model.run(rows(1))[0], before)
        model.close()


@promise
def what_is_loaded_is_what_the_file_holds_now(case: Case) -> None:
    path = case.folder / "changing"
    answers = []
    for name in ("one", "two"):
        path.unlink(missing_ok=True)
        path.write_bytes((case.folder / name).read_bytes())
        model = case.runtime.load(path, 1)
        answers.append(model.run(rows(1))[0])
        model.close()
    assert not same(*answers)
    assert same(answers[1], case.load("two").run(rows(1))[0])


# ---- NaN


@promise
def a_row_with_nan_is_answered_and_does_not_spoil_the_next(case: Case) -> None:
    model = case.load()
    (row,) = rows(1)
    before = model.run([row])[0]
    for value in (np.nan, np.inf, -np.inf):
        bad = row.copy()
        bad[0, 5] = value
        (answer,) = model.run([bad])
        assert (answer.shape, answer.dtype) == (before.shape, before.dtype)
        assert same(model.run([row])[0], before)


@promise
def nan_that_a_model_makes_is_not_hidden(case: Case) -> None:
    (answer,) = case.load("nan").run(rows(1))
    assert np.isnan(answer).any()


def outcomes(runtime: str, folder: Path) -> dict[str, str | None]:
    """Return for each promise None if it is kept, otherwise how it was broken."""
    case = Case(get_runtime(runtime), folder)
    found: dict[str, str | None] = {}
    for name, check in PROMISES.items():
        try:
            check(case)
        except Exception:  # noqa: BLE001 - whatever it is, the promise is broken
            found[name] = traceback.format_exc(limit=-3)
        else:
            found[name] = None
    return found


if __name__ == "__main__":
    print(json.dumps(outcomes(sys.argv[1], Path(sys.argv[2]))))
