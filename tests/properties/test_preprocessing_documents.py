"""Whatever preprocessing is written is read as it was, and does as much as it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.preprocessing import Preprocessing
from tests.properties.preprocessing_strategies import preprocessings


def read(document: object) -> Preprocessing:
    return Preprocessing.from_fields(Fields(document, "preprocessing"))


@settings(max_examples=300, deadline=None)
@given(each=preprocessings())
def test_a_document_is_read_as_it_was_written(each: Preprocessing) -> None:
    document = decode(encode(each.to_document()))
    assert read(document) == each
    assert encode(read(document).to_document()) == encode(document)


@settings(max_examples=100, deadline=None)
@given(each=preprocessings(), seed=st.integers(0, 99))
def test_what_is_made_has_the_shape_that_the_document_says(each: Preprocessing, seed: int) -> None:
    shape = each.row_shape or (3,)
    rows = np.random.default_rng(seed).uniform(0, 200, (2, math.prod(shape))).astype(np.float32)
    with np.errstate(all="ignore"):  # scales of 1e12 of numbers of 1e12
        made = prepare_rows(rows, each)
        one = prepare_rows(rows[1:], each)
    wanted = each.made_shape or (3,)
    if each.layout == "hwc-to-chw":
        wanted = (wanted[2], *wanted[:2])
    assert made.shape == (2, *wanted)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made[1], one[0])


ODD = st.sampled_from(
    [None, True, -1, 0, 1, 2**53 - 1, -(2**53) + 1, 1e300, -1e-300, 0.5, "", "x" * 600, [], {}]
    + [[0, 1], [[]], [1e300], ["a"], {"features": []}, {"features": [{}]}, {"resize": [1, 1]}]
)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return every container in a document with each of its keys."""
    if isinstance(document, dict):
        keys: list[Any] = list(document)
    elif isinstance(document, list):
        keys = list(range(len(document)))
    else:
        return []
    return [(document, key) for key in keys] + [
        place for key in keys for place in places(document[key])
    ]


@settings(max_examples=400, deadline=None)
@given(each=preprocessings(), odd=ODD, at=st.integers(0, 10**6))
def test_a_bent_document_is_a_value_of_bounded_size_or_the_protocols_error(
    each: Preprocessing, odd: Any, at: int
) -> None:
    document = decode(encode(each.to_document()))
    found = places(document)
    container, key = found[at % len(found)]
    container[key] = odd
    try:
        bent = read(document)
    except ProtocolError as error:
        assert "preprocessing" in str(error)
        return
    assert read(decode(encode(bent.to_document()))) == bent
    assert math.prod(bent.made_shape) <= 1 << 26
    if bent.steps:
        assert math.prod(bent.made_shape) <= 1 << 22


@settings(max_examples=50, deadline=None)
@given(each=preprocessings())
def test_a_row_that_lacks_everything_is_filled_or_refused(each: Preprocessing) -> None:
    if each.tabular is None:
        return
    rows = np.full((1, len(each.tabular.features)), np.nan, np.float32)
    try:
        with np.errstate(all="ignore"):
            prepare_rows(rows, each)
    except BadInput:
        assert not all(each.filled)
    else:
        assert all(each.filled)
