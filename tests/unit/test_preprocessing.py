"""Preprocessing: one formula for one row and for many, and documents that are not one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.processing.prepare import counted_row, prepare_row, prepare_rows
from device_agent.processing.rows import fit_row
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import Manifest, TensorSpec
from device_agent.protocol.preprocessing import MAX_CHANNELS, Preprocessing
from device_agent.runtimes.probe_report import ProbeSpec
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.request import PackageRequest, check_request
from edgeops.packaging.rows.preprocessing import read_preprocessing
from tests import agent_values as valid

IMAGE = TensorSpec(name="x", dtype="float32", shape=(-1, 2, 3, 3))
CHW = TensorSpec(name="x", dtype="float32", shape=(1, 3, 2, 3))
FLAT = TensorSpec(name="x", dtype="float32", shape=(1, 18))
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
F32 = np.float32

COLOURS = Preprocessing(scale=1 / 255, mean=MEAN, std=STD, shape=(2, 3, 3))
CASES = {
    "nothing": (Preprocessing(), PIXELS.astype(F32)),
    "scale": (Preprocessing(scale=1 / 255), PIXELS.astype(F32) * F32(1 / 255)),
    "a negative scale": (Preprocessing(scale=-2.0), PIXELS.astype(F32) * F32(-2)),
    "one mean": (Preprocessing(mean=(7.5,)), PIXELS.astype(F32) - F32(7.5)),
    "one std": (Preprocessing(std=(3.0,)), PIXELS.astype(F32) / F32(3)),
    "a mean for each channel": (
        Preprocessing(mean=MEAN, shape=(2, 3, 3)),
        PIXELS.astype(F32) - np.array(MEAN, F32),
    ),
    "a std for each channel": (
        Preprocessing(std=STD, shape=(2, 3, 3)),
        PIXELS.astype(F32) / np.array(STD, F32),
    ),
    "all": (
        COLOURS,
        (PIXELS.astype(F32) * F32(1 / 255) - np.array(MEAN, F32)) / np.array(STD, F32),
    ),
}


def read(document: object) -> Preprocessing:
    return Preprocessing.from_fields(Fields(document, "preprocessing"))


# ---- values


@pytest.mark.parametrize("case", CASES)
def test_a_row_is_scaled_shifted_and_divided_in_float32(case: str) -> None:
    preprocessing, wanted = CASES[case]
    row = prepare_row(PIXELS, preprocessing, IMAGE)
    assert (row.dtype, row.shape) == (F32, (1, 2, 3, 3))
    assert row.flags.c_contiguous
    np.testing.assert_array_equal(row[0], wanted)


@pytest.mark.parametrize("case", CASES)
def test_many_rows_are_prepared_as_each_by_itself(case: str) -> None:
    preprocessing, _ = CASES[case]
    rows = np.stack([PIXELS, PIXELS[::-1], PIXELS // 3])
    one_by_one = [prepare_row(row, preprocessing, IMAGE)[0] for row in rows]
    np.testing.assert_array_equal(prepare_rows(rows, preprocessing), np.stack(one_by_one))


def test_channels_first_is_a_transposition_after_all_else() -> None:
    chw = Preprocessing(scale=1 / 255, mean=MEAN, std=STD, shape=(2, 3, 3), layout="hwc-to-chw")
    as_is = prepare_row(PIXELS, COLOURS, IMAGE)[0]
    np.testing.assert_array_equal(prepare_row(PIXELS, chw, CHW)[0], as_is.transpose(2, 0, 1))
    np.testing.assert_array_equal(
        prepare_rows(PIXELS.reshape(1, -1), chw)[0], as_is.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("given", [(18,), (1, 2, 3, 3), (6, 3), (2, 9)])
def test_with_a_shape_a_row_means_the_same_however_it_is_given(given: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(
        prepare_row(PIXELS.reshape(given), COLOURS, FLAT), prepare_row(PIXELS, COLOURS, FLAT)
    )
    assert prepare_row(PIXELS.ravel().tolist(), COLOURS, FLAT).shape == (1, 18)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "int64", "uint64", "bool"])
def test_any_numbers_are_taken_as_float32(dtype: str) -> None:
    row = np.array([0, 1, 1, 0, 1, 0] * 3, dtype)
    wanted = row.astype(F32) * F32(0.3)
    np.testing.assert_array_equal(prepare_row(row, Preprocessing(scale=0.3), FLAT)[0], wanted)


def test_a_row_is_never_changed_in_place() -> None:
    row = np.ones(18, F32)
    prepare_row(row, Preprocessing(scale=2.0, mean=(1.0,), std=(4.0,)), FLAT)
    assert row.tolist() == [1.0] * 18


def test_without_preprocessing_nothing_is_done_nor_copied() -> None:
    row = np.ones((1, 18), F32)
    assert np.shares_memory(prepare_row(row, None, FLAT), row)
    assert prepare_rows(row, None) is row
    np.testing.assert_array_equal(prepare_row(PIXELS, None, FLAT), fit_row(PIXELS, FLAT))


def test_an_input_of_half_floats_takes_what_was_prepared() -> None:
    half = TensorSpec(name="x", dtype="float16", shape=(18,))
    assert prepare_row(PIXELS, COLOURS, half).dtype == np.float16


def test_rows_are_counted_in_the_precision_of_the_reference() -> None:
    assert counted_row([0.1, 2]).tolist() == [float(F32(0.1)), 2.0]


@pytest.mark.parametrize(
    ("row", "preprocessing", "says"),
    [
        (np.zeros(17), COLOURS, r"18 elements of shape \[2, 3, 3\].*17 of shape \[17\]"),
        (np.zeros(17), Preprocessing(), "18 elements"),
        (["a"] * 18, COLOURS, "takes numbers, given: str"),
        (["1"] * 18, Preprocessing(), "takes numbers"),
        ([None] * 18, COLOURS, "object"),
        (np.zeros(18, np.complex64), COLOURS, "complex64"),
        ([[1, 2], [3]], COLOURS, "no array"),
    ],
)
def test_what_is_no_row_is_said(row: Any, preprocessing: Preprocessing, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        prepare_row(row, preprocessing, FLAT)


def test_an_input_of_integers_takes_no_prepared_rows() -> None:
    with pytest.raises(BadInput, match="int8, given: float32"):
        prepare_row(PIXELS, COLOURS, TensorSpec(name="x", dtype="int8", shape=(18,)))


def test_many_rows_of_another_size_are_refused() -> None:
    with pytest.raises(BadInput, match=r"18 elements.*given: 4 of shape \[4\]"):
        prepare_rows(np.zeros((3, 4)), COLOURS)


# ---- documents


@pytest.mark.parametrize("each", [each for each, _ in CASES.values()])
def test_a_document_says_it_all(each: Preprocessing) -> None:
    assert read(decode(encode(each.to_document()))) == each


def test_what_is_left_out_has_its_default_and_integers_become_floats() -> None:
    assert read({}) == Preprocessing()
    assert read({"scale": 2, "newer": 1}) == Preprocessing(scale=2.0)
    assert Preprocessing(scale=2).to_document() == Preprocessing(scale=2.0).to_document()


HOSTILE = [
    ({"scale": 0}, "scale is 0.0, too close to 0"),
    ({"scale": 1e-300}, "scale"),
    ({"scale": 1e300}, "scale"),
    ({"scale": float("nan")}, "scale"),
    ({"scale": float("inf")}, "scale"),
    ({"scale": "1"}, "scale is not a number"),
    ({"scale": True}, "scale is not a number"),
    ({"scale": None}, "scale is not a number"),
    ({"mean": 0.5}, "mean is not list"),
    ({"mean": [True]}, "mean"),
    ({"mean": [float("nan")]}, "mean has nan"),
    ({"mean": [1e13]}, "mean has"),
    ({"mean": [0.1, 0.2]}, "mean has 2 numbers, but no shape"),
    ({"mean": [0.1, 0.2], "shape": [2, 3]}, "mean has 2 numbers, the shape"),
    ({"mean": [0.0] * (MAX_CHANNELS + 1), "shape": [MAX_CHANNELS + 1]}, "mean has more than"),
    ({"std": [0.0]}, "std has 0.0"),
    ({"std": [-1.0]}, "std has -1.0"),
    ({"std": [float("inf")]}, "std has inf"),
    ({"std": [1e-30]}, "std has"),
    ({"std": [1.0] * 3, "shape": [2]}, "std has 3 numbers"),
    ({"shape": [0]}, "shape"),
    ({"shape": [-1, 3]}, "shape"),
    ({"shape": [2.0]}, "shape"),
    ({"shape": [1] * 9}, "shape has more than 8"),
    ({"shape": [1 << 20, 1 << 20]}, "shape has more than"),
    ({"shape": "22"}, "shape"),
    ({"layout": "nchw"}, "layout is 'nchw'"),
    ({"layout": 1}, "layout"),
    ({"layout": "hwc-to-chw"}, "layout hwc-to-chw needs a shape"),
    ({"layout": "hwc-to-chw", "shape": [4, 4]}, "needs a shape of height, width, channels"),
    ([], "is not an object"),
]


@pytest.mark.parametrize(("document", "says"), HOSTILE)
def test_what_cannot_be_is_refused_by_its_field(document: object, says: str) -> None:
    with pytest.raises(ProtocolError, match=f"preprocessing.*{says}"):
        read(document)


def test_the_longest_preprocessing_fits_into_a_probes_spec() -> None:
    many = (-123456789012.34567,) * MAX_CHANNELS
    longest = Preprocessing(mean=many, std=tuple(-each for each in many), shape=(MAX_CHANNELS,))
    spec = ProbeSpec(
        runtime="litert",
        artifact="é" * 2048,
        golden="é" * 2048,
        parent_golden="é" * 2048,
        preprocessing=longest,
    )
    assert ProbeSpec.from_bytes(spec.to_bytes()) == spec


# ---- the manifest


def test_a_manifest_without_preprocessing_has_the_bytes_that_it_always_had() -> None:
    data = valid.manifest().to_bytes()
    assert b"preprocessing" not in data
    assert digest_of(data) == (
        "sha256:2e1422ab995293fced327604d9e467da831afbd03a6fc3feaaf87f2b10824df1"
    )


def test_a_manifest_with_preprocessing_is_not_for_agents_that_would_ignore_it() -> None:
    told = valid.manifest(preprocessing=COLOURS, min_agent="0.2.0")
    assert Manifest.from_bytes(told.to_bytes()) == told
    silent = valid.manifest(preprocessing=COLOURS, min_agent="0.1.9")
    with pytest.raises(ProtocolError, match=r"min_agent is 0\.1\.9, preprocessing needs 0\.2\.0"):
        Manifest.from_bytes(silent.to_bytes())


# ---- what people bring


def test_a_file_says_what_is_needed_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"scale": 0.0625, "mean": [0.5]}')
    assert read_preprocessing(path) == Preprocessing(scale=0.0625, mean=(0.5,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"means": [1]}', "unknown field 'means'"),
        ('{"image": {"size": [1]}, "shape": [1, 1, 3]}', "unknown field 'image.size'"),
        ('{"audio": {"mels": 1}}', "unknown field 'audio.mels'"),
        ('{"tabular": {"feature": []}}', "unknown field 'tabular.feature'"),
        ('{"tabular": {"features": [{}, {"fil": 1}]}}', r"field 'tabular.features\[1\].fil'"),
        ('{"image": 1}', r"preprocessing\.image is not an object"),
        ('{"tabular": {"features": {"a": 1}}}', r"tabular\.features is not list"),
        ('{"scale": NaN}', "NaN is not a JSON number"),
        ('{"scale": 1e999}', "not finite"),
        ('{"scale": "a"}', r"preprocessing\.scale is not a number"),
        ('{"std": [0]}', r"preprocessing\.std has 0"),
        ('{"scale": 1, "scale": 2}', "given twice"),
        ("[1]", "not a JSON object"),
        ("scale: 1", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_a_file_that_is_wrong_is_said_with_the_next_step(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=says) as raised:
        read_preprocessing(path)
    assert str(path) in str(raised.value)
    assert raised.value.next_step


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.json cannot be read: No such file"):
        read_preprocessing(tmp_path / "none.json")


@pytest.mark.parametrize(
    "wrong",
    [Preprocessing(std=(0.0,)), Preprocessing(mean=(float("nan"),)), Preprocessing(scale=0)],
)
def test_a_request_is_held_to_the_same_bounds(wrong: Preprocessing) -> None:
    request = PackageRequest(
        models=(Path("m.onnx"),), name="m", version=1, profiles=("p",), preprocessing=wrong
    )
    with pytest.raises(InvalidInput, match="preprocessing"):
        check_request(request)
