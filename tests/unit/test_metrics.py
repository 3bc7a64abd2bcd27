"""Metrics: each against scikit-learn's, and what a user's own may and may not do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from device_agent.protocol.evidence import MetricEvidence
from device_agent.protocol.fields import Fields
from edgeops.domain.errors import GateFailed, InvalidInput
from edgeops.packaging.gates.metrics import (
    check_metric,
    check_targets,
    measure_metric,
    read_metric,
)

CHANCE = np.random.default_rng(3)
Y = CHANCE.integers(0, 5, 300)
SCORES = CHANCE.normal(size=(300, 5)) + 2 * np.eye(5)[Y]
PROBABLE = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
NUMBERS = CHANCE.normal(size=300) * 10
ANSWERS = (NUMBERS + CHANCE.normal(size=300)).reshape(-1, 1)


def test_metrics_of_classes_are_those_of_scikit_learn() -> None:
    answered = SCORES.argmax(axis=1)
    assert read_metric("accuracy")(SCORES, Y) == reference.accuracy_score(Y, answered)
    top = reference.top_k_accuracy_score(Y, SCORES, k=3)
    assert read_metric("top-3")(SCORES, Y) == pytest.approx(top)
    f1 = reference.f1_score(Y, answered, average="macro")
    assert read_metric("f1")(SCORES, Y) == pytest.approx(f1)
    auc = reference.roc_auc_score(Y, PROBABLE, multi_class="ovr")
    assert read_metric("auc")(PROBABLE, Y) == pytest.approx(auc)


def test_auc_of_two_classes_takes_one_column_or_two_and_counts_ties_half() -> None:
    y, two = (Y > 2).astype(int), np.round(PROBABLE[:, 3:], 1)
    expected = reference.roc_auc_score(y, two[:, 1])
    assert read_metric("auc")(two, y) == pytest.approx(expected)
    assert read_metric("auc")(two[:, 1:], y) == pytest.approx(expected)


def test_metrics_of_numbers_are_those_of_scikit_learn() -> None:
    mae, rmse = read_metric("mae"), read_metric("rmse")
    answers = ANSWERS[:, 0]
    assert mae(ANSWERS, NUMBERS) == pytest.approx(reference.mean_absolute_error(NUMBERS, answers))
    expected = reference.root_mean_squared_error(NUMBERS, answers)
    assert rmse(ANSWERS, NUMBERS) == pytest.approx(expected)


def test_a_drop_is_positive_when_the_artifact_is_worse() -> None:
    assert read_metric("f1").drop(0.9, 0.8) == pytest.approx(0.1)
    assert read_metric("rmse").drop(2.0, 2.2) == pytest.approx(0.1)


def test_the_interval_holds_the_drop_and_is_the_same_each_time() -> None:
    worse = SCORES + np.random.default_rng(1).normal(size=SCORES.shape)
    metric = read_metric("f1")
    one = measure_metric(metric, SCORES, worse, Y, max_drop=0.02)
    assert one == measure_metric(metric, SCORES, worse, Y, max_drop=0.02)
    assert one.drop_low < metric.drop(one.float_value, one.value) < one.drop_high
    assert MetricEvidence.from_fields(Fields(one.to_document(), "metric")) == one
    with pytest.raises(GateFailed, match=r"gate 'quality': m: f1 0\.\d+, float 0\.\d+, drop"):
        check_metric(metric, one, "m")
    same = measure_metric(metric, SCORES, SCORES, Y, max_drop=0.02)
    assert check_metric(metric, same, "m").startswith("f1 0.")


def test_errors_may_grow_by_a_share() -> None:
    worse = ANSWERS + np.random.default_rng(1).normal(size=ANSWERS.shape) * 2
    found = measure_metric(read_metric("mae"), ANSWERS, worse, NUMBERS, max_drop=0.1)
    with pytest.raises(GateFailed, match="a share of the error below 0.1 must be shown"):
        check_metric(read_metric("mae"), found, "m")


def test_targets_in_another_unit_measure_nothing() -> None:
    rmse = read_metric("rmse")
    check_targets(rmse, ANSWERS, NUMBERS, "m")
    with pytest.raises(GateFailed, match="that of always|of always answering the median"):
        check_targets(rmse, ANSWERS * 1000, NUMBERS, "m")


def test_few_rows_are_refused() -> None:
    with pytest.raises(GateFailed, match="20 rows are too few for an interval of f1"):
        measure_metric(read_metric("f1"), SCORES[:20], SCORES[:20], Y[:20], max_drop=0.02)


@pytest.mark.parametrize("name", ["beauty", "top-0", "top-", "f1:", "os.path", ":f", "a b:c"])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="there is no metric") as refused:
        read_metric(name)
    assert "MODULE:FUNCTION" in refused.value.next_step


OWN = """
def share(scores, y):
    return float((scores.argmax(axis=1) == y).mean())

def cost(scores, y):
    return float((scores.argmax(axis=1) != y).mean())
cost.is_error = True

def throws(scores, y):
    raise RuntimeError("no such table")

def nothing(scores, y):
    return None

def endless(scores, y):
    return float("nan")

number = 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_metrics_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_of_the_users_own_is_a_metric(own: str) -> None:
    share, cost = read_metric(f"{own}:share"), read_metric(f"{own}:cost")
    assert share(SCORES, Y) == read_metric("accuracy")(SCORES, Y)
    assert (share.is_error, cost.is_error) == (False, True)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("throws", "failed: RuntimeError: no such table"),
        ("nothing", "failed: TypeError"),
        ("endless", "is nan on 300 rows"),
    ],
)
def test_a_metric_that_throws_or_gives_no_number_says_so(own: str, function: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        read_metric(f"{own}:{function}")(SCORES, Y)


def test_a_metric_that_is_not_there_says_so(own: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be imported: AttributeError"):
        read_metric(f"{own}:absent")
    with pytest.raises(InvalidInput, match="cannot be imported: ModuleNotFoundError"):
        read_metric("no_such_module_at_all:f")
    with pytest.raises(InvalidInput, match="is no function"):
        read_metric(f"{own}:number")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a module with a metric; return its name."""
    monkeypatch.chdir(tmp_path)

    def write(module: str, body: str) -> str:
        (tmp_path / f"{module}.py").write_text(body)
        return f"{module}:f"

    return write


def test_a_metric_that_works_in_place_changes_nothing(written: Callable[[str, str], str]) -> None:
    body = (
        "import numpy as np\n"
        "def f(scores, y):\n"
        "    scores -= scores.max(); y += 0; y *= -1\n"
        "    return float(np.abs(scores).mean() + y.sum())\n"
    )
    metric = read_metric(written("in_place_metric", body))
    scores, y = SCORES.copy(), Y.astype(np.float64)
    first = metric(scores, y)
    assert np.array_equal(scores, SCORES) and np.array_equal(y, Y)
    assert metric(scores, y) == first
    found = measure_metric(metric, SCORES, SCORES, Y, max_drop=0.02)
    assert (found.drop_low, found.drop_high) == (0.0, 0.0)


def test_a_metric_that_ends_the_program_or_speaks_in_lines_is_an_error_of_one_line(
    written: Callable[[str, str], str],
) -> None:
    for module, act in (("leaving_metric", "raise SystemExit(7)"), ("long_metric", "int('a\\nb')")):
        metric = read_metric(written(module, f"def f(scores, y):\n    {act}\n"))
        with pytest.raises(InvalidInput, match=f"metric {module}:f failed: ") as caught:
            metric(SCORES, Y.astype(np.float64))
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match="cannot be imported: SystemExit"):
        read_metric(written("leaving_module", "raise SystemExit(7)\n"))


def test_what_is_no_function_says_what_to_name(written: Callable[[str, str], str]) -> None:
    with pytest.raises(InvalidInput, match="is no function, but of type int") as caught:
        read_metric(written("number_metric", "f = 3\n"))
    assert "f(scores, y)" in caught.value.next_step


@pytest.mark.parametrize("k", [5, 6, 1000])
def test_the_best_of_all_classes_measures_nothing(k: int) -> None:
    with pytest.raises(InvalidInput, match=f"metric top-{k} is always 1 of 5 classes") as caught:
        read_metric(f"top-{k}")(SCORES, Y.astype(np.float64))
    assert "top-4" in caught.value.next_step
    assert read_metric("top-4")(SCORES, Y.astype(np.float64)) < 1
