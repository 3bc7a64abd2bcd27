"""Rows are taken in any shape of the right size, and never lose their kind."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.processing.rows import RowFit, fit_row
from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec

IMAGE = TensorSpec(name="image", dtype="float32", shape=(-1, 2, 2, 1))
BYTES = TensorSpec(name="bytes", dtype="int8", shape=(1, 4))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4), (1, 2, 2, 1), (2, 2, 1)])
def test_any_shape_with_the_right_number_of_elements_fits(shape: tuple[int, ...]) -> None:
    row = fit_row(np.arange(4, dtype=np.float32).reshape(shape), IMAGE)
    assert (row.shape, row.dtype, row.ravel().tolist()) == ((1, 2, 2, 1), np.float32, [0, 1, 2, 3])


def test_a_plain_list_fits() -> None:
    assert fit_row([0.5, 1, 2, 3], IMAGE).ravel().tolist() == [0.5, 1, 2, 3]


def test_elements_keep_their_logical_order_whatever_their_layout() -> None:
    assert fit_row(np.asfortranarray([[0.0, 1.0], [2.0, 3.0]]), IMAGE).ravel().tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_a_row_that_fits_already_is_not_copied() -> None:
    row = np.zeros((1, 2, 2, 1), np.float32)
    assert np.shares_memory(fit_row(row, IMAGE), row)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "int64", "uint8", "bool"])
def test_what_can_be_cast_within_its_kind_is_cast(dtype: str) -> None:
    assert fit_row(np.ones(4, dtype), IMAGE).dtype == np.float32


def test_integers_fit_a_narrower_input_if_their_values_do() -> None:
    assert fit_row([-128, 127, 0, 1], BYTES).tolist() == [[-128, 127, 0, 1]]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (np.zeros(5, np.float32), r"4 elements.*5 of shape \[5\]"),
        ([], "4 elements"),
        (3.0, "4 elements"),
        (np.zeros(4, np.complex64), "float32.*complex64"),
        (["a", "b", "c", "d"], "float32"),
        ([None] * 4, "float32.*object"),
        ([[1, 2], [3]], "no array"),
    ],
)
def test_what_does_not_fit_is_said(row: object, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        fit_row(row, IMAGE)


@pytest.mark.parametrize("row", [[0.5] * 4, [128, 0, 0, 0], np.full(4, 200, np.uint8)])
def test_an_integer_input_takes_no_fractions_and_nothing_beyond_its_range(row: object) -> None:
    with pytest.raises(BadInput, match="int8"):
        fit_row(row, BYTES)


@pytest.mark.parametrize(
    "row",
    [
        np.ones((1, 2, 2), np.float32),
        np.ones((1, 2, 2), ">f4"),
        np.asfortranarray(np.arange(4, dtype=np.float32).reshape(1, 2, 2)),
        np.arange(8, dtype=np.float32).reshape(1, 2, 4)[:, :, ::2],
        np.arange(4),
        [1, 2, 3, 4],
        np.ma.array(np.ones((1, 2, 2), np.float32)),
    ],
)
def test_a_fit_looked_up_once_gives_what_fit_row_gives(row: object) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(-1, 2, 2))
    fitted, expected = RowFit(spec)(row), fit_row(row, spec)
    assert fitted.tolist() == expected.tolist()
    assert (type(fitted), fitted.dtype, fitted.shape) == (np.ndarray, np.float32, (1, 2, 2))
    assert fitted.flags.c_contiguous


def test_a_row_that_fits_is_given_on_as_it_is_and_one_that_does_not_is_refused() -> None:
    fit = RowFit(BYTES)
    row = np.zeros((1, 4), np.int8)
    assert fit(row) is row
    with pytest.raises(BadInput, match="4 elements"):
        fit(np.zeros((1, 5), np.int8))
    with pytest.raises(BadInput, match="int8"):
        fit(np.full((1, 4), 0.5, np.float32))
