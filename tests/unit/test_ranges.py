"""Ranges of activations: every value by min-max, nearly every one by percentile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.ranges import MIN_WIDTH, find_ranges, narrow_count
from edgeops.packaging.recipes import RECIPES

MIN_MAX, PERCENTILE = RECIPES["tflite-int8"], RECIPES["tflite-int8-percentile"]


def same(row: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"t": row}


def test_min_max_holds_every_value_and_zero() -> None:
    rows = [np.array([1.0, 2.0], np.float32), np.array([5.0, 3.0], np.float32)]
    assert find_ranges(same, rows, MIN_MAX) == {"t": (0.0, 5.0)}
    assert find_ranges(same, [-row for row in rows], MIN_MAX) == {"t": (-5.0, 0.0)}


def test_a_percentile_leaves_an_outlier_out() -> None:
    values = np.linspace(-1.0, 1.0, 9999, dtype=np.float32)
    rows = [values, np.append(values[:-1], np.float32(1.5))]
    low, high = find_ranges(same, rows, PERCENTILE)["t"]
    assert low == pytest.approx(-0.999, abs=2e-3)
    assert high == pytest.approx(0.999, abs=2e-3)


def test_without_outliers_a_percentile_is_nearly_the_extremes() -> None:
    rows = [np.array([0.0, 1.0, 2.0, 4.0], np.float32)] * 3
    assert find_ranges(same, rows, PERCENTILE)["t"] == pytest.approx((0.0, 4.0), abs=2e-3)


@pytest.mark.parametrize("value", [0.0, 1e-9, -1e-9])
@pytest.mark.parametrize("recipe", [MIN_MAX, PERCENTILE], ids=lambda each: each.name)
def test_a_constant_tensor_gets_a_range_that_can_be_divided_by(value: float, recipe: Any) -> None:
    ranges = find_ranges(same, [np.full(4, value, np.float32)] * 2, recipe)
    low, high = ranges["t"]
    assert low <= 0.0 <= high
    assert high - low == pytest.approx(MIN_WIDTH, rel=1e-3)
    assert narrow_count(ranges) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(bad: float) -> None:
    with pytest.raises(ConversionFailed, match="'t' is NaN or infinite"):
        find_ranges(same, [np.array([1.0, bad], np.float32)], MIN_MAX)


def test_the_error_of_answers_is_measured_in_decibels() -> None:
    expected = np.array([1.0, -1.0])
    assert sqnr_db(relative_error(expected * 1.1, expected)) == pytest.approx(20.0)
    assert sqnr_db(relative_error(expected, expected)) == 200.0
    assert sqnr_db(relative_error(np.array([np.nan, 1.0]), expected)) == -200.0
    assert sqnr_db(relative_error(expected, np.zeros(2))) == -200.0
