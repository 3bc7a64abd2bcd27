"""Zip archives gone wrong: in what they hold, in what they say of it, and bombs.

Checksums are made anew after entries were spoiled, so that what reads the entries is reached.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from random import Random

from tests.fuzz.spoil_bytes import MAGIC, ROUNDS, TOKENS, spoil_bytes
from tests.fuzz.spoil_json import spoil_json

BOMB_BYTES = 192 * 1024 * 1024
"""Of zeros: more than any bound of memory here, and less than a machine has."""
MAX_ENTRIES = 300
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BOMB_METHODS = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
HEADERS = (
    *("<f4", "<f8", "<i8", "|O", "<U3", "<U200000000", "|V9", "<M8[s]", "<c16", "|b1", ">u2"),
    *("|S0", "f4,f4", "x"),
)
SHAPES = (
    *("()", "(0,)", "(-1,)", "(3,)", "(0, 4)", "(1099511627776,)", "(400000000,)", "(3, 0)"),
    *("(9223372036854775807, 9223372036854775807)", "(True,)", "(1.5,)", "(3L, 4L)", "[3, 4]"),
    *(
        "(" + "1, " * 40 + ")",
        "(" * 300 + ")" * 300,
        "-" * 3000 + "1",
        "x",
        "(99999999999999999999,)",
    ),
)
SIGNATURES = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06")
_NPY = b"\x93NUMPY"

Entries = list[tuple[str, bytes, int]]


def spoil_zip(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return an archive whose entries, their names, methods or sizes are spoiled.

    Args:
        data: a valid archive.
        chance: decides all.
        others: archives to take entries from.
    """
    if chance.random() < 0.15:
        return spoil_bytes(data, chance, others)
    if chance.random() < 0.05:
        name = "x.npy" if b"x.npy" in data else "config.json"
        made = bomb(name, chance.choice(BOMB_METHODS))
        return _belittled(made) if chance.random() < 0.5 else made
    entries = _entries(data)
    for _ in range(chance.choice(ROUNDS)):
        _spoil(entries, chance, others)
        del entries[MAX_ENTRIES:]
    written = _written(entries, chance)
    return _lying(written, chance) if chance.random() < 0.3 else written


def make_bombs(name: str) -> None:
    """Make the bombs of that name, before a worker forks: each takes a second."""
    for method in BOMB_METHODS:
        bomb(name, method)


@cache
def bomb(name: str, method: int) -> bytes:
    """Return an archive whose one entry unpacks to many zeros; its headers may say less."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, archive.open(name, "w") as entry:
        entry.write(_npy("<f4", f"({BOMB_BYTES // 4},)"))
        for _ in range(BOMB_BYTES // (1 << 20)):
            entry.write(bytes(1 << 20))
    return buffer.getvalue()


def _belittled(data: bytes) -> bytes:
    """Let a bomb say that it unpacks to a few bytes."""
    spoiled = bytearray(data)
    for signature, at in ((SIGNATURES[0], 22), (SIGNATURES[1], 24)):
        begin = data.rindex(signature) + at
        spoiled[begin : begin + 4] = (300).to_bytes(4, "little")
    return bytes(spoiled)


def _entries(data: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            (each.filename, archive.read(each), each.compress_type) for each in archive.infolist()
        ]


def _spoil(entries: Entries, chance: Random, others: Sequence[bytes]) -> None:
    at = chance.randrange(len(entries)) if entries else 0
    kind = chance.randrange(7)
    if kind == 0 or not entries:
        entries += _entries(chance.choice(others))
    elif kind == 1:
        del entries[at]
    elif kind == 2:
        name, held, method = entries[at]
        entries[at] = (
            chance.choice(
                (chance.choice(TOKENS), name * 2, f"../{name}", name.upper(), "slice.x.npy")
            ),
            held,
            method,
        )
    elif kind == 3:
        name, held, _ = entries[at]
        entries[at] = name, held, chance.choice(METHODS)
    elif kind == 4:
        entries.extend(entries[at : at + 1] * chance.choice((1, 2, 50)))
    else:
        name, held, method = entries[at]
        entries[at] = name, _spoiled_entry(held, chance, others), method


def _spoiled_entry(held: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    if held.startswith(_NPY) and chance.random() < 0.7:
        end = 10 + int.from_bytes(held[8:10], "little")
        shown = re.search(rb"\([^)]*\)", held[:end])
        shape = shown[0].decode("latin-1") if shown else "()"
        header = _npy(chance.choice(HEADERS), chance.choice((shape, *SHAPES)))
        return header + held[end : chance.choice((end, end + 8, len(held)))]
    if held.startswith(b"{") and chance.random() < 0.8:
        with suppress(ValueError, RecursionError):  # it may be spoiled already
            return spoil_json(held, chance, (held,))
    return spoil_bytes(held, chance, others)


def _npy(dtype: str, shape: str) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    padded = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return _NPY + b"\x01\x00" + len(padded).to_bytes(2, "little") + padded


def _written(entries: Entries, chance: Random) -> bytes:
    """Write an archive by hand: ``zipfile`` refuses to write what it must refuse to read."""
    body, listed = bytearray(), bytearray()
    for name, held, method in entries:
        packed = _packed(held, method)
        flags = chance.choice((0,) * 16 + (0x800, 0x8, 0x1, 0x41))
        shared = b"".join(
            number.to_bytes(width, "little")
            for number, width in (
                (20, 2), (flags, 2), (method, 2), (0, 2), (33, 2),
                (zlib.crc32(held), 4), (len(packed), 4), (len(held), 4),
            )
        )  # fmt: skip
        named = name.encode("utf-8", "replace")[:0xFFFF]
        at = len(body)
        length = len(named).to_bytes(2, "little")
        body += SIGNATURES[0] + shared + length + bytes(2) + named + packed
        attributes = chance.choice((0,) * 8 + (0o120777 << 16, 0xFFFFFFFF)).to_bytes(4, "little")
        listed += SIGNATURES[1] + b"\x14\x03" + shared + length + bytes(8) + attributes
        listed += at.to_bytes(4, "little") + named
    count = min(len(entries), 0xFFFF).to_bytes(2, "little")
    sizes = len(listed).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return bytes(body + listed + SIGNATURES[2] + bytes(4) + count * 2 + sizes + bytes(2))


def _packed(held: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_DEFLATED:
        return zlib.compress(held, 1, -15)
    if method == zipfile.ZIP_BZIP2:
        return bz2.compress(held, 1)
    if method == zipfile.ZIP_LZMA:
        options = {"id": lzma.FILTER_LZMA1, "preset": 0}
        properties = b"\x5d\x00\x00\x04\x00"
        return (
            b"\x09\x04\x05\x00"
            + properties
            + lzma.compress(held, lzma.FORMAT_RAW, filters=[options])
        )
    return held


def _lying(data: bytes, chance: Random) -> bytes:
    """Change one number in a header: a size, a method, an offset, a count."""
    places = [each.start() for each in re.finditer(b"PK(?:\x03\x04|\x01\x02|\x05\x06)", data)]
    at = chance.choice(places) + chance.choice((6, 8, 10, 14, 18, 20, 22, 24, 26, 28, 30, 42))
    width = chance.choice((2, 4))
    spoiled = bytearray(data)
    spoiled[at : at + width] = (chance.choice(MAGIC) % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(spoiled)


def config_archive(config: object) -> bytes:
    """Return a ``.keras`` whose config is a document."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, held in (
            ("metadata.json", b"{}"),
            ("config.json", json.dumps(config).encode()),
            ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
        ):
            archive.writestr(zipfile.ZipInfo(name), held)  # by itself it has a fixed date
    return buffer.getvalue()
