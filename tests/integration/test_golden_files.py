"""Golden files as people bring them: each mistake has its own sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeops.domain.errors import InvalidGolden
from edgeops.packaging.rows.golden_rows import MAX_EVALUATED_ROWS, read_golden_rows

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 2, 1])


def test_rows_and_labels_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "g.npz", x=X, y=Y.astype(np.uint8))
    rows = read_golden_rows(tmp_path / "g.npz")
    assert rows.y is not None
    assert np.array_equal(rows.x, X) and np.array_equal(rows.y, Y) and rows.y.dtype == np.int64


def test_labels_may_be_unknown(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", x=X)
    assert read_golden_rows(tmp_path / "g.npz").y is None


def test_of_too_many_rows_an_evenly_spaced_part_is_taken(tmp_path: Path) -> None:
    count = MAX_EVALUATED_ROWS * 2
    np.savez(tmp_path / "g.npz", x=np.arange(count), y=np.arange(count))
    rows = read_golden_rows(tmp_path / "g.npz")
    assert rows.x.tolist() == list(range(0, count, 2))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X, "Y": Y}, "holds Y, x, not x and y"),
        ({"a": X, "b": Y}, "holds a, b"),
        ({"y": Y}, "holds y"),
        ({}, "holds nothing"),
        ({"x": X, "y": Y[:3]}, "4 rows in x and 3 labels"),
        ({"x": X, "y": np.eye(4)}, "one class number a row"),
        ({"x": X, "y": Y.astype(float)}, "not integers"),
        ({"x": X, "y": Y - 1}, "has the class -1, first in row 0"),
        ({"x": X[:0], "y": Y[:0]}, "no rows"),
        ({"x": np.float32(1), "y": Y}, "no rows"),
        ({"x": np.array(["a"] * 4), "y": Y}, "not numbers"),
        ({"x": np.array([{}] * 4, dtype=object), "y": Y}, "Python objects"),
        ({"x": np.where(X == 7, np.nan, X), "y": Y}, "NaN or infinity, first in row 2"),
        ({"x": np.where(X == 0, np.inf, X), "y": Y}, "NaN or infinity, first in row 0"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "g.npz", **arrays)
    with pytest.raises(InvalidGolden, match=says):
        read_golden_rows(tmp_path / "g.npz")


def test_what_may_be_missing_is_taken_where_it_is_filled_and_nowhere_else(tmp_path: Path) -> None:
    missing = X.copy()
    missing[1, 1] = missing[3, 1] = np.nan
    np.savez(tmp_path / "g.npz", x=missing, y=Y)
    rows = read_golden_rows(tmp_path / "g.npz", (False, True, False))
    np.testing.assert_array_equal(rows.x, missing)
    assert len(rows.distinct().x) == 4
    for filled in ((), (True, False, True), (True, True)):
        with pytest.raises(InvalidGolden, match="first in row 1 at element 1"):
            read_golden_rows(tmp_path / "g.npz", filled)
    missing[0, 1] = np.inf
    np.savez(tmp_path / "g.npz", x=missing.reshape(4, 3, 1), y=Y)
    with pytest.raises(InvalidGolden, match="first in row 0 at element 1"):
        read_golden_rows(tmp_path / "g.npz", (False, True, False))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(InvalidGolden, match="npz"):
        read_golden_rows(tmp_path / "g.npz")


def test_a_damaged_byte_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", x=X, y=Y)
    data = bytearray((tmp_path / "g.npz").read_bytes())
    data[data.index(X.tobytes())] ^= 0xFF
    (tmp_path / "g.npz").write_bytes(data)
    with pytest.raises(InvalidGolden, match="whole"):
        read_golden_rows(tmp_path / "g.npz")


def test_a_lone_array_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "g.npy", X)
    with pytest.raises(InvalidGolden, match="one array"):
        read_golden_rows(tmp_path / "g.npy")
    with pytest.raises(InvalidGolden, match="No such file"):
        read_golden_rows(tmp_path / "nothing.npz")
