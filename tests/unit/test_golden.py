"""Golden rows as a document: same rows, same bytes; nonsense is refused."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.processing import golden
from device_agent.processing.golden import GoldenRows, decode_golden, encode_golden
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError


def example() -> GoldenRows:
    chance = np.random.default_rng(0)
    return GoldenRows(
        x=chance.normal(size=(3, 2, 2)).astype(np.float32),
        labels=np.array([0, 1, 1], np.int64),
        expected={"scores": chance.random((3, 2)).astype(np.float32), "id": np.arange(3)},
    )


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"]
)
def test_rows_of_every_dtype_come_back_as_they_were(dtype: str) -> None:
    rows = GoldenRows(x=np.arange(6).reshape(2, 3).astype(dtype))
    read = decode_golden(encode_golden(rows))
    assert read.x.dtype == dtype
    assert np.array_equal(read.x, rows.x)
    assert (read.labels, dict(read.expected), read.count) == (None, {}, 2)


def test_labels_and_answers_come_back_as_they_were() -> None:
    rows, read = example(), decode_golden(encode_golden(example()))
    assert read.labels is not None and rows.labels is not None
    assert np.array_equal(read.labels, rows.labels)
    assert read.expected.keys() == rows.expected.keys()
    assert all(np.array_equal(read.expected[name], rows.expected[name]) for name in rows.expected)


def test_equal_rows_give_equal_bytes_whatever_their_layout_in_memory() -> None:
    rows = example()
    twisted = GoldenRows(
        x=np.asfortranarray(rows.x).astype(">f4"),
        labels=rows.labels,
        expected=dict(reversed(rows.expected.items())),
    )
    assert encode_golden(twisted) == encode_golden(rows)


def test_what_was_read_may_be_written_to() -> None:
    read = decode_golden(encode_golden(example()))
    read.x[0] = 1


def changed(key: str, **fields: object) -> bytes:
    document = decode(encode_golden(example()))
    document[key] = {**document[key], **fields}
    return encode(document)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema_version":2,"x":{}}',
        changed("x", dtype="object"),
        changed("x", dtype="float33"),
        changed("x", shape=[4, 2, 2]),
        changed("x", shape=[3, 2, -2]),
        changed("x", shape=[2**40, 2**40]),
        changed("x", shape=[1] * 9),
        changed("x", shape=[]),
        changed("x", shape=[0, 4], data=""),
        changed("x", data="*"),
        changed("x", data="AAAA"),
        changed("labels", shape=[1, 3]),
        changed("labels", dtype="float64"),
        changed("expected", scores={"dtype": "float32", "shape": [1], "data": "AAAAAA=="}),
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_golden(data)


def test_rows_and_labels_of_different_number_are_refused() -> None:
    with pytest.raises(ProtocolError, match="labels"):
        encode_golden(GoldenRows(x=np.zeros((2, 1)), labels=np.zeros(3, np.int64)))


def test_more_than_the_bound_is_neither_written_nor_read() -> None:
    rows = GoldenRows(x=np.zeros((2, golden.MAX_GOLDEN_BYTES // 2), np.int8))
    with pytest.raises(ProtocolError, match="bytes"):
        encode_golden(rows)
    with pytest.raises(ProtocolError, match="bytes"):
        decode_golden(b" " * (golden.MAX_GOLDEN_BYTES + 1))
