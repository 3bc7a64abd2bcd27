"""Bytes and text gone wrong: flipped, cut, spliced, repeated, with numbers that parsers fear."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 256 * 1024
"""Of one input: what parsers do with more is refused by a length check, which small bounds prove."""
ROUNDS = (1, 1, 1, 2, 2, 3, 5, 9)
MAGIC = (
    *(0, 1, 2, 7, 0x3F, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(1 << 20, 1 << 28, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63),
    (1 << 64) - 1,
)
"""Lengths, offsets and counts at which arithmetic turns over."""
WIDTHS = (1, 2, 4, 8)
TOKENS = (
    *("", "\0", "\n", "\r\n", " ", "\t", "\x1b[2J", "\u2028", "\ufeff", "\u202e"),
    *("/", "//", "\\", "..", "../../etc/passwd", ":", "::", "@", "#", "+", "?", "%", "%00", "*"),
    *("=", "!=", ",", ",,", ";", '"', "'", "<", ">", "(", ")", "[", "]", "{", "}", "|", "&", "$"),
    *("-", "--", "_", "__", ".", "0", "-0", "1e999", "nan", "inf", "0x10", "1_000", "9" * 30),
    *("٣", "²", "é", "ß", "İ", "ﬁ", "𝟙", "𐀀", "null", "true", "all", "latest", "sha256:"),
)
"""What means something to somebody: separators, paths, numbers in other scripts, control."""

Spoil = Callable[[bytearray, Random, Sequence[bytes]], None]


def spoil_bytes(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a file with a few places spoiled.

    Args:
        data: a valid file.
        chance: decides all.
        others: files to splice parts of.
    """
    spoiled = bytearray(data)
    for _ in range(chance.choice(ROUNDS)):
        chance.choice(_BYTES)(spoiled, chance, others)
        del spoiled[MAX_BYTES:]
    return bytes(spoiled)


def spoil_text(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a text with words, separators and repetitions where none belong."""
    spoiled = bytearray(data)
    for _ in range(chance.choice(ROUNDS)):
        chance.choice(_TEXT)(spoiled, chance, others)
        del spoiled[MAX_BYTES:]
    return bytes(spoiled)


def _place(data: bytearray, chance: Random) -> int:
    return chance.randrange(len(data) + 1)


def _span(data: bytearray, chance: Random) -> tuple[int, int]:
    start = _place(data, chance)
    most = chance.choice((1, 4, 16, 64, 1024, len(data)))
    return start, min(len(data), start + chance.randint(0, max(1, most)))


def _flip(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF))


def _number(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """Write a number where numbers stand: at an offset that is a multiple of its width."""
    width = chance.choice(WIDTHS)
    if len(data) < width:
        return
    at = chance.randrange(len(data) // width) * width
    value = chance.choice(MAGIC)
    if chance.random() < 0.3:  # a number that fits this file: its length, or a place in it
        value = chance.choice((len(data), len(data) - at, at, chance.randrange(len(data) + 1)))
    order = "little" if chance.random() < 0.7 else "big"
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _add(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """Make a number a little larger or smaller."""
    if data:
        at = chance.randrange(len(data))
        data[at] = (data[at] + chance.choice((-2, -1, 1, 2, 16))) % 256


def _cut(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    del data[_place(data, chance) :]


def _remove(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start, stop = _span(data, chance)
    del data[start:stop]


def _repeat(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start, stop = _span(data, chance)
    times = chance.choice((1, 2, 10, 1000))
    data[start:start] = (bytes(data[start:stop]) * times)[:MAX_BYTES]


def _insert(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    at = _place(data, chance)
    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 8, 100)))


def _blank(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start, stop = _span(data, chance)
    data[start:stop] = bytes((chance.choice((0, 0xFF)),)) * (stop - start)


def _splice(data: bytearray, chance: Random, others: Sequence[bytes]) -> None:
    other = bytearray(chance.choice(others)) if others else data[:]
    start, stop = _span(other, chance)
    at = _place(data, chance)
    data[at : at + chance.choice((0, stop - start))] = other[start:stop]


def _token(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start, stop = _span(data, chance)
    times = chance.choice((1, 1, 1, 3, 500))
    token = (chance.choice(TOKENS) * times).encode()
    data[start : chance.choice((start, stop))] = token


def _field(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """Replace or repeat one of the words between separators."""
    words = [each.span() for each in re.finditer(rb"[A-Za-z0-9._-]+", bytes(data))]
    if words:
        start, stop = chance.choice(words)
        token = chance.choice(TOKENS).encode()
        word = bytes(data[start:stop])
        data[start:stop] = chance.choice((token, b"", word * 2, word * 200, word + token))


def _end(data: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """Put something in front, or behind."""
    token = chance.choice(TOKENS).encode()
    data[:] = chance.choice((token + data, data + token))


_BYTES: tuple[Spoil, ...] = (
    *(_flip, _set, _number, _number, _number, _add, _cut),
    *(_remove, _repeat, _insert, _blank, _splice, _token),
)
_TEXT: tuple[Spoil, ...] = (
    *(_field, _field, _field, _token, _token, _end, _flip, _cut, _remove, _repeat, _splice),
)
