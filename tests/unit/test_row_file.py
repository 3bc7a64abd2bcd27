"""A file of rows takes no more memory than its due, whatever it says of itself."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.domain.row_file import FREE_BYTES, read_row_file

MIB = 1024 * 1024
X = np.arange(12, dtype=np.float32).reshape(4, 3)


def npy(shape: str = "(4, 3)", dtype: str = "<f4", data: bytes = X.tobytes()) -> bytes:
    """Return an array's entry whose header may say anything."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def peak() -> Iterator[list[int]]:
    """Count memory; give what there was before."""
    tracemalloc.start()
    yield [tracemalloc.get_traced_memory()[0]]
    tracemalloc.stop()


def grown_mib(peak: list[int]) -> float:
    return (tracemalloc.get_traced_memory()[1] - peak[0]) / MIB


def test_what_numpy_writes_is_read() -> None:
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, x=np.asfortranarray(X), y=np.arange(4), **{"slice.site": np.array(["a"] * 4)})
        found = read_row_file(buffer.getvalue(), "rows")
        assert found.y is not None
        assert np.array_equal(found.x, X) and found.y.tolist() == [0, 1, 2, 3]
        assert {kind: names.tolist() for kind, names in found.slices.items()} == {"site": ["a"] * 4}


@pytest.mark.parametrize("shape", ["(1099511627776,)", "(400000000,)", "(4, 2)", "(-4, -3)"])
def test_a_header_that_asks_for_more_or_less_than_there_is_gets_nothing(
    shape: str, peak: list[int]
) -> None:
    with pytest.raises(InvalidInput, match="whole"):
        read_row_file(archive(("x.npy", npy(shape))), "rows")
    assert grown_mib(peak) < 1


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(method: int, peak: list[int]) -> None:
    size = FREE_BYTES + MIB
    bomb = archive(("x.npy", npy(f"({size // 4},)", data=bytes(size))), method=method)
    tracemalloc.reset_peak()
    with pytest.raises(InvalidInput, match="zip bomb"):
        read_row_file(bomb, "rows")
    assert grown_mib(peak) < 2


def test_a_bomb_that_says_that_it_is_small_is_refused(peak: list[int]) -> None:
    bomb = bytearray(archive(("x.npy", npy(data=bytes(32 * MIB))), method=zipfile.ZIP_BZIP2))
    for at in (bomb.index(b"PK\x03\x04") + 22, bomb.index(b"PK\x01\x02") + 24):
        bomb[at : at + 4] = (len(npy())).to_bytes(4, "little")
    tracemalloc.reset_peak()
    with pytest.raises(InvalidInput, match="packed as numpy packs nothing"):
        read_row_file(bytes(bomb), "rows")
    assert grown_mib(peak) < 2


@pytest.mark.parametrize(
    "header",
    [
        npy("(" * 150 + ")" * 150),
        npy("-" * 3000 + "1"),
        npy("'''"),
        npy("(True, 12)"),
        npy("12"),
        npy("{}"),
        npy("(9223372036854775807, 9223372036854775807)"),
        npy("(1000000000000,)", "<U0", b""),
        npy(dtype="x"),
        npy(dtype="<V0"),
        npy().replace(b"NUMPY\x01", b"NUMPY\x03"),
        npy().replace(b"NUMPY\x01", b"NUMPY\x09"),
        npy()[:20],
        b"",
    ],
)
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidInput, match="whole"):
        read_row_file(archive(("x.npy", header)), "rows")


@pytest.mark.parametrize("flags", [0x1, 0x41])
def test_an_encrypted_archive_is_refused(flags: int) -> None:
    data = bytearray(archive(("x.npy", npy())))
    data[6] = data[data.index(b"PK\x01\x02") + 8] = flags
    with pytest.raises(InvalidInput, match="whole"):
        read_row_file(bytes(data), "rows")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        read_row_file(archive(("x.npy", npy()), ("x.npy", npy())), "rows")


def test_python_objects_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="Python objects"):
        read_row_file(archive(("x.npy", npy(dtype="|O"))), "rows")
