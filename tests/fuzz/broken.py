"""Parsers that are wrong on purpose: what a fuzzer that works must find, each by its kind."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from device_agent.protocol.errors import ProtocolError
from tests.fuzz.check import Bound, Target
from tests.fuzz.spoil_bytes import spoil_bytes
from tests.fuzz.spoil_json import spoil_json

SEED = b'{"name":"a","size":3,"inner":{"items":[1,2]},"note":"x"}'
BINARY = b"HEAD" + (3).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"abc" + bytes(range(64))


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("no JSON") from error
    if not isinstance(document, dict):
        raise ProtocolError("no object")
    return document


def missing_key(data: bytes) -> object:
    """Forget that a key may be missing."""
    return _object(data)["note"]


def wrong_type(data: bytes) -> object:
    """Forget that a value may be something else."""
    name = _object(data).get("name")
    return "" if name is None else name.upper()


def no_bound(data: bytes) -> object:
    """Believe a size."""
    size = _object(data).get("size")
    if not isinstance(size, int) or size < 0:
        raise ProtocolError("no size")
    return bytes(size)


def unbounded_recursion(data: bytes) -> object:
    """Go as deep as a document does."""

    def depth(value: Any) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    try:
        return depth(json.loads(data))
    except ValueError as error:
        raise ProtocolError("no JSON") from error


def no_end(data: bytes) -> object:
    """Step by a length that may be nothing."""
    at, steps = 8, 0
    while at < len(data):
        at += int.from_bytes(data[8:12], "little")
        steps += 1
    return steps


def dies(data: bytes) -> object:
    """Read where an offset points, as native code does."""
    if len(data) < 8:
        raise ProtocolError("too short")
    if int.from_bytes(data[4:8], "little") > len(data):
        os.kill(os.getpid(), signal.SIGSEGV)
    return data


def _target(parse: Any, seed: bytes, **bound: Any) -> Target:
    is_binary = seed is BINARY
    return Target(
        name=parse.__name__,
        parse=parse,
        seeds=lambda: (seed,),
        spoil=spoil_bytes if is_binary else spoil_json,
        refusals=(ProtocolError,),
        bound=Bound(**bound),
    )


BROKEN: dict[str, tuple[Target, str]] = {
    "missing_key": (_target(missing_key, SEED), "crash: KeyError"),
    "wrong_type": (_target(wrong_type, SEED), "crash: AttributeError"),
    "no_bound": (_target(no_bound, SEED), "memory: "),
    "unbounded_recursion": (_target(unbounded_recursion, SEED), "crash: RecursionError"),
    "no_end": (_target(no_end, BINARY, cpu_s=0.5), "hang: more than 0.5 s"),
    "dies": (_target(dies, BINARY), "death: killed by SIGSEGV"),
}
"""Each with what must be found in it."""
