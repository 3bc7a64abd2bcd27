"""Table rows: what is missing, bounds, logarithms and categories, by hand and as scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from device_agent.processing.prepare import prepare_row, prepare_rows
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.preprocessing import MAX_DOCUMENT_BYTES, Preprocessing
from device_agent.protocol.tabular import (
    MAX_CATEGORIES,
    MAX_CATEGORY,
    MAX_FEATURES,
    Feature,
    TabularStep,
)

NAN = math.nan
F32 = np.float32
EVERYTHING = (
    Feature(name="age", fill=40.0, clip=(0.0, 120.0)),
    Feature(name="income", fill=0.0, clip=(0.0, 1e6), log1p=True),
    Feature(),
    Feature(name="colour", fill=-1.0, categories=(3.0, 1.0, 7.0)),
    Feature(name="site", categories=(10.0, 20.0), encoding="index"),
)


def read(document: object) -> Preprocessing:
    return Preprocessing.from_fields(Fields(document, "preprocessing"))


def steps(*features: Feature) -> Preprocessing:
    return Preprocessing(tabular=TabularStep(features=features))


def made(row: Any, *features: Feature) -> list[float]:
    preprocessing = steps(*features)
    spec = TensorSpec(name="x", dtype="float32", shape=(1, *preprocessing.made_shape))
    result = prepare_row(row, preprocessing, spec)
    assert result.dtype == F32
    return result[0].tolist()


# ---- values


def test_every_step_by_hand() -> None:
    row = [150.0, math.e - 1, -2.5, 1.0, 20.0]
    assert made(row, *EVERYTHING) == [120.0, 1.0, -2.5, 0, 1, 0, 0, 1.0]
    missing = [NAN, NAN, 0.5, NAN, 99.0]
    assert made(missing, *EVERYTHING) == [40.0, 0.0, 0.5, 0, 0, 0, 1, 2.0]


def test_what_is_filled_is_clipped_and_logged_as_any_number() -> None:
    feature = Feature(fill=-5.0, clip=(0.0, 10.0), log1p=True)
    assert made([NAN], feature) == made([-7.0], feature) == [0.0]
    assert made([NAN], Feature(fill=3.0, log1p=True)) == [F32(math.log(4.0))]


def test_infinity_is_held_within_the_bounds_and_fills_nothing() -> None:
    feature = Feature(fill=1.0, clip=(-2.0, 3.0))
    assert made([math.inf], feature) == [3.0]
    assert made([-math.inf], feature) == [-2.0]


@pytest.mark.parametrize(
    ("unknown", "encoding", "wanted"),
    [
        ("last", "one-hot", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("first", "one-hot", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("zeros", "one-hot", [[1, 0], [0, 1], [0, 0]]),
        ("last", "index", [[0], [1], [2]]),
        ("first", "index", [[1], [2], [0]]),
    ],
)
def test_a_known_number_has_its_place_and_an_unknown_one_its_own(
    unknown: str, encoding: str, wanted: list[list[float]]
) -> None:
    feature = Feature(categories=(5.0, -2.0), encoding=encoding, unknown=unknown)
    assert [made([value], feature) for value in (5, -2, 4)] == wanted


def test_one_hot_without_a_place_for_the_unknown_is_scikit_learns() -> None:
    values = np.array([[2.0], [0.0], [9.0], [1.0]], F32)
    encoder = OneHotEncoder(categories=[[0.0, 1.0, 2.0]], handle_unknown="ignore")
    feature = Feature(categories=(0.0, 1.0, 2.0), unknown="zeros")
    np.testing.assert_array_equal(
        prepare_rows(values, steps(feature)), encoder.fit_transform(values).toarray()
    )


def test_filling_is_scikit_learns_imputation() -> None:
    values = np.array([[1.0, NAN], [NAN, 4.0], [3.0, 8.0]], F32)
    imputer = SimpleImputer(strategy="mean").fit(values)
    features = [Feature(fill=float(each)) for each in imputer.statistics_]
    np.testing.assert_array_equal(prepare_rows(values, steps(*features)), imputer.transform(values))


def test_log1p_is_exact_to_the_last_bit_of_float32() -> None:
    values = np.array([1e-9, 1e-7, 0.5, 3.0, 1e11], F32)
    found = prepare_rows(values[:, np.newaxis], steps(Feature(log1p=True)))[:, 0]
    wanted = [F32(math.log1p(float(value))) for value in values]
    np.testing.assert_array_max_ulp(found, np.array(wanted), maxulp=1)


def test_numbers_are_compared_in_float32_however_a_row_is_given() -> None:
    feature = Feature(categories=(0.1, 0.2), encoding="index")
    assert made([0.1], feature) == made(np.array([0.1], F32), feature) == [0.0]
    assert made(np.array([MAX_CATEGORY + 1]), Feature(categories=(MAX_CATEGORY, 0.0))) == [0, 0, 1]


def test_zero_is_zero_whatever_its_sign() -> None:
    assert made([-0.0], Feature(categories=(0.0, 1.0), encoding="index")) == [0.0]


def test_scaling_is_by_the_numbers_that_are_made() -> None:
    preprocessing = read(
        {
            "tabular": {"features": [{"fill": 0}, {"categories": [1, 2]}]},
            "mean": [10, 0, 0, 0],
            "std": [5, 1, 1, 1],
        }
    )
    spec = TensorSpec(name="x", dtype="float32", shape=(4,))
    assert prepare_row([20, 2], preprocessing, spec).tolist() == [2.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_rows_are_prepared_as_each_by_itself(dtype: str) -> None:
    chance = np.random.default_rng(5)
    rows = chance.uniform(0, 30, (40, len(EVERYTHING)))
    rows[:, 3] = chance.integers(0, 8, 40)
    rows[::3, 0] = NAN
    rows[::4, 3] = NAN
    rows = rows.astype(dtype)
    preprocessing = steps(*EVERYTHING)
    spec = TensorSpec(name="x", dtype="float32", shape=(1, *preprocessing.made_shape))
    one_by_one = [prepare_row(row, preprocessing, spec)[0] for row in rows]
    np.testing.assert_array_equal(prepare_rows(rows, preprocessing), np.stack(one_by_one))


def test_a_row_is_never_changed_in_place() -> None:
    row = np.array([NAN, NAN, 0.5, 1.0, 10.0], F32)
    made(row, *EVERYTHING)
    np.testing.assert_array_equal(row, np.array([NAN, NAN, 0.5, 1.0, 10.0], F32))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1, 1, NAN, 1, 10], r"feature 2 is missing \(NaN\), and nothing fills it"),
        ([1, 1, 1, 1, NAN], r"feature 4 \(site\) is missing"),
        ([1, 1, 1, 1], "5 elements"),
        (["1"] * 5, "takes numbers"),
    ],
)
def test_a_row_that_lacks_what_nothing_fills_is_refused(row: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        made(row, *EVERYTHING)


def test_a_number_without_a_logarithm_is_refused_by_its_feature() -> None:
    features = Feature(), Feature(name="rain", log1p=True)
    with pytest.raises(BadInput, match=r"feature 1 \(rain\) is -1 or less") as raised:
        made([-3.0, -1.0], *features)
    assert "clip" in raised.value.next_step
    assert made([-3.0, -0.5], *features) == [-3.0, F32(math.log(0.5))]


# ---- documents


def test_what_is_left_out_has_its_default() -> None:
    preprocessing = read({"tabular": {"features": [{}, {"categories": [1]}]}})
    assert preprocessing == steps(Feature(), Feature(categories=(1.0,)))
    assert (preprocessing.row_shape, preprocessing.made_shape) == ((2,), (3,))
    assert preprocessing.filled == (False, False)


def test_a_document_says_it_all_and_nothing_twice() -> None:
    every = (*EVERYTHING, Feature(categories=(1.0,), encoding="one-hot", unknown="zeros"))
    assert read(decode(encode(steps(*every).to_document()))) == steps(*every)
    assert Feature().to_document() == {}
    assert steps(*every).filled == (True, True, False, True, False, False)


def test_what_is_filled_before_a_clip_may_be_anything() -> None:
    document = {"fill": -5.0, "clip": [0.0, 9.0], "log1p": True}
    assert read({"tabular": {"features": [document]}}).filled == (True,)


def test_steps_that_differ_are_not_taken_for_each_other() -> None:
    one, other = steps(Feature(fill=1.0)), steps(Feature(fill=2.0))
    assert one != other
    spec = TensorSpec(name="x", dtype="float32", shape=(1,))
    assert [prepare_row([NAN], each, spec).item() for each in (one, other)] == [1.0, 2.0]


HOSTILE: list[tuple[Any, str]] = [
    ([], r"tabular\.features is empty"),
    ({}, r"tabular\.features is not list"),
    ([{}] * (MAX_FEATURES + 1), r"tabular\.features has more than 512"),
    ([1], r"tabular\.features\[0\] is not an object"),
    ([{}, {"fill": "0"}], r"features\[1\]\.fill is not a number"),
    ([{"fill": NAN}], r"features\[0\]\.fill is nan"),
    ([{"fill": 1e13}], r"features\[0\]\.fill is"),
    ([{"fill": None}], r"features\[0\]\.fill is not a number"),
    ([{"clip": [1]}], r"features\[0\]\.clip is \[1\.0\]"),
    ([{"clip": [2, 1]}], r"features\[0\]\.clip"),
    ([{"clip": [0, math.inf]}], r"features\[0\]\.clip"),
    ([{"clip": [NAN, 1]}], r"features\[0\]\.clip"),
    ([{"clip": [0, 1, 2]}], r"features\[0\]\.clip has more than 2"),
    ([{"log1p": 1}], r"features\[0\]\.log1p is not bool"),
    ([{"name": "a" * 65}], r"features\[0\]\.name is longer"),
    ([{"name": "a"}, {"name": "a"}], "features has the name 'a' twice"),
    ([{"categories": [1, 1]}], r"features\[0\]\.categories has a number twice"),
    ([{"categories": [0.0, -0.0]}], r"features\[0\]\.categories has a number twice"),
    ([{"categories": [0.1, 0.1 + 1e-12]}], "twice"),
    ([{"categories": [MAX_CATEGORY + 1]}], r"features\[0\]\.categories has"),
    ([{"categories": [NAN]}], r"features\[0\]\.categories has nan"),
    ([{"categories": ["red"]}], r"features\[0\]\.categories is not an array of numbers"),
    ([{"categories": [*range(MAX_CATEGORIES + 1)]}], r"categories has more than 256"),
    ([{"categories": [1], "clip": [0, 1]}], "categories cannot be clipped"),
    ([{"categories": [1], "log1p": True}], "nor have a logarithm"),
    ([{"log1p": True, "clip": [-1, 5]}], r"features\[0\]\.clip begins at -1, log1p needs"),
    ([{"log1p": True, "clip": [-1 + 1e-12, 5]}], r"features\[0\]\.clip begins at -1"),
    ([{"log1p": True, "fill": -3}], r"features\[0\]\.fill begins at -3, log1p needs"),
    ([{"categories": [1], "encoding": "hash"}], r"encoding is 'hash'"),
    ([{"encoding": "index"}], r"features\[0\]\.encoding needs categories"),
    ([{"unknown": "last"}], r"features\[0\]\.unknown needs categories"),
    ([{"categories": [1], "encoding": "index", "unknown": "zeros"}], "unknown zeros needs"),
    ([{"categories": [*range(256)]}] * 16, "features become 4112 numbers"),
]


@pytest.mark.parametrize(("features", "says"), HOSTILE)
def test_what_cannot_be_is_refused_by_its_field(features: Any, says: str) -> None:
    with pytest.raises(ProtocolError, match=f"preprocessing.*{says}"):
        read({"tabular": {"features": features}})


def test_as_many_features_as_the_shape_has_elements_are_needed() -> None:
    shaped = {"tabular": {"features": [{}, {}]}, "shape": [3]}
    with pytest.raises(ProtocolError, match=r"tabular\.features are 2, the shape \[3\] has 3"):
        read(shaped)
    assert read({**shaped, "shape": [2, 1]}).row_shape == (2, 1)


def test_a_document_that_no_pipe_would_take_is_refused() -> None:
    many = [{"name": f"{at:064}", "clip": [-1.234567890123, 1.234567890123]} for at in range(500)]
    with pytest.raises(ProtocolError, match=f"preprocessing takes .* {MAX_DOCUMENT_BYTES} are"):
        read({"tabular": {"features": many}})
