"""What a hostile, broken or confused party may send: bytes, and documents gone wrong.

``hostile_payloads`` is for whatever reads bytes; ``mutations`` walks a valid document and spoils
one place of it at a time; ``on_the_wire`` writes such a document as bytes that no honest encoder
would write (NaN, lone surrogates, integers of a thousand digits).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

MIB = 1024 * 1024

WRONG_VALUES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    2**53,
    2**63,
    10**1000,
    -(10**1000),
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    "",
    "x",
    "../../etc/passwd",
    "+",
    "#",
    "a/b",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "é" * 700,
    "x" * 100_000,
    [],
    [None],
    [[]],
    [{}],
    [True],
    [-2],
    [1.5],
    list(range(5000)),
    {},
    {"": {}},
    {"x": None},
    {str(number): 0 for number in range(5000)},
)
"""One of each kind of wrong: null, booleans as integers, beyond every bound, not finite, empty,
path-like, wildcard-like, NUL, lone surrogates, too long, and every container."""


def hostile_payloads() -> list[bytes]:
    """Return bytes that no parser of this protocol may accept or stumble over."""
    return [
        *_not_json(),
        *_too_large(),
        *_too_deep(),
        *_forbidden_numbers(),
        *_almost_documents(),
    ]


def mutations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield copies of a valid document, each spoiled in one place.

    Every value at every depth (keys of objects, items of arrays, whole containers) is replaced
    by each of ``WRONG_VALUES``, and every key and item is left out once. A copy may still be
    valid: what must never happen is another error than the protocol's.
    """
    for path in _paths(document):
        for wrong in WRONG_VALUES:
            spoiled = copy.deepcopy(document)
            _holder(spoiled, path)[path[-1]] = wrong
            yield spoiled
        shortened = copy.deepcopy(document)
        del _holder(shortened, path)[path[-1]]
        yield shortened


def on_the_wire(document: object) -> bytes:
    """Return the bytes of a document however wrong it is."""
    return json.dumps(document, allow_nan=True).encode()


def _not_json() -> list[bytes]:
    return [
        b"",
        b"\0",
        b" ",
        b"\n" * 1000,
        b"\xff\xfe\xfd",
        b'{"a":"\xff"}',
        b'{"a":"\xc3\x28"}',
        b'{"a":"\xed\xa0\x80"}',
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b"\xef\xbb\xbf{}",
        b"{",
        b"}",
        b"]" * 1000,
        b'{"a"',
        b'{"a":}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1}{"b":2}',
        b"{} // comment",
        b"undefined",
        b"\x80\x04\x95pickle",
        b"\x1f\x8b\x08\x00gzip",
        bytes(range(256)) * 16,
        b'{"a":"line\nbreak"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'"\\',
    ]


def _too_large() -> list[bytes]:
    return [
        b"\0" * MIB,
        b"\xff" * MIB,
        b" " * MIB,
        b'{"a":"' + b"x" * MIB + b'"}',
        b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}",
        b'{"a":' + b" " * 50_000 + b"1" * 50_000 + b"}",
    ]


def _too_deep() -> list[bytes]:
    return [
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 50_000,
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"a":' + b'[{"b":' * 5_000,
        # Brackets hidden behind quotes and escapes, and quotes that never end: a counter of
        # brackets must neither be fooled nor take time that grows with the square.
        b'{"a":"\\"","b":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'"' + b'\\"' * 29_000,
        b'{"a' + b'"\\' * 29_000,
        b'{"a":"' + b"\\" * 59_000,
        b'"' * 60_000,
        b'"[' * 30_000,
    ]


def _forbidden_numbers() -> list[bytes]:
    numbers = [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"1e99999999999",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 10_000,
        b"-" + b"9" * 10_000,
        b"0x10",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1_000",
    ]
    return [b'{"schema_version":' + number + b"}" for number in numbers]


def _almost_documents() -> list[bytes]:
    return [
        b"null",
        b"true",
        b"0",
        b'""',
        b"[]",
        b"[{}]",
        b"{}",
        b'{"":""}',
        b'{"schema_version":1}',
        b'{"schema_version":true}',
        b'{"schema_version":"1"}',
        b'{"schema_version":1.0}',
        b'{"schema_version":2}',
        b'{"schema_version":1,"schema_version":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"schema_version":1,"device":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":{"a":{"a":null,"a":null}}}',
        b'{"__proto__":{},"constructor":{}}',
    ]


def _paths(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:3]))
    for key, each in inner:
        yield (*at, key)
        yield from _paths(each, (*at, key))


def _holder(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document
