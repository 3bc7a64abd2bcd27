"""JSON as this protocol allows it: bounded, finite, without surprises.

``encode`` gives canonical bytes (sorted keys, no spaces, UTF-8), so that the same document has
the same digest on every machine. ``decode`` takes bytes from anybody: it refuses what is too
large, too deep, not UTF-8, not finite, beyond 53-bit integers, or says one key twice, before
any of it reaches a message class.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from device_agent.protocol.errors import ProtocolError

MAX_DOCUMENT_BYTES = 60 * 1024
"""Bound of a document on a topic: inside the limits of every broker the design names."""
MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON implementation keeps exactly."""
MAX_INTEGER_DIGITS = 17

# A string that never ends reaches to the end of the data: were it no match, the search would
# begin again at each of its escaped quotes, and 60 KiB of them would take a quarter of a minute.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def encode(document: Mapping[str, object]) -> bytes:
    """Return the canonical bytes of a document.

    Raises:
        ProtocolError: a value that JSON cannot hold (NaN, infinity, bytes, …).
    """
    try:
        text = json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise ProtocolError(f"document cannot be written as JSON: {error}") from error


def decode(data: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Args:
        data: what came from the network or a file.
        max_bytes: refuse anything longer before looking at it.

    Raises:
        ProtocolError: too large, too deep, not UTF-8, not an object, a number that is not
            finite or beyond ±(2^53-1), a key given twice, a lone surrogate.
    """
    if len(data) > max_bytes:
        raise ProtocolError(f"document of {len(data)} bytes, more than the {max_bytes} allowed")
    _check_depth(data)
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_bounded_integer,
            parse_float=_finite_float,
            parse_constant=_no_constant,
        )
        if b"\\u" in data:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise ProtocolError(f"document is not UTF-8 text: {error}") from error
    except ValueError as error:
        raise ProtocolError(f"document is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProtocolError("document is not a JSON object")
    return document


def _check_depth(data: bytes) -> None:
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", data)):
        if bracket.group() in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ProtocolError(f"document is nested deeper than {MAX_DEPTH} levels")
        else:
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ProtocolError(f"key {key[:40]!r} is given twice")
        result[key] = value
    return result


def _bounded_integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise ProtocolError(f"integer {text[:20]} is beyond ±(2^53-1)")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ProtocolError(f"number {text[:20]} is not finite")
    return value


def _no_constant(text: str) -> float:
    raise ProtocolError(f"{text} is not a JSON number")
