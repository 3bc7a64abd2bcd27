"""Protobuf's wire format, walked without a schema and without copying: one message's own fields.

https://protobuf.dev/programming-guides/encoding/. What is nested is only skipped, so that neither
depth nor size of a hostile file costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MAX_SHIFT = 63
MAX_FIELDS = 2_000_000
"""Of one message: graphs of real models stay far below, and a walk takes a microsecond each."""


class NotProtobuf(ValueError):
    """Bytes that are no whole message."""


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field of a message, in the file's order.

    Args:
        data: one message.

    Yields:
        An integer for a varint, else the bytes: of a string, of a message within, of a
        fixed-size number.

    Raises:
        NotProtobuf: what is there is cut off or no message; fields before that were yielded.
    """
    view, at, count = memoryview(data), 0, 0
    while at < len(view):
        count += 1
        if count > MAX_FIELDS:
            raise NotProtobuf(f"more than {MAX_FIELDS} fields")
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise NotProtobuf("field 0")
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(view, at)
        elif wire in _FIXED_BYTES:
            size = _FIXED_BYTES[wire]
        else:
            raise NotProtobuf(f"wire type {wire}")
        if at + size > len(view):
            raise NotProtobuf("cut off")
        yield number, view[at : at + size]
        at += size


def messages(data: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """Yield the values of one field that are bytes: messages within, or strings.

    Raises:
        NotProtobuf: as ``fields``.
    """
    for found, value in fields(data):
        if found == number and isinstance(value, memoryview):
            yield value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a varint and the offset behind it."""
    value = shift = 0
    while at < len(view) and shift <= _MAX_SHIFT:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise NotProtobuf("a number without an end")
