"""Model files gone wrong in structure: whole flatbuffers and protobufs that say what cannot be.

Flipped bits are mostly found by the verifiers of these formats; what they pass on is what
crashes: indexes out of range, shapes that overflow, operators with the wrong inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from edgeops.packaging.convert.tflite_file import pack, unpack
from tests.fuzz.spoil_bytes import ROUNDS, spoil_bytes

NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 127, 255, 1000, 65536, 1 << 28, 2**31 - 1)
LONG_NUMBERS = (*NUMBERS, 1 << 40, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-45, 3.4e38, float("nan"), float("inf"), float("-inf"))
NAMES = (
    "",
    "x",
    "scores",
    "w",
    "é",
    "a" * 9000,
    "\x01",
    "Conv",
    "If",
    "Loop",
    "Constant",
    "MatMul",
)
_SCALARS = (int, float, bytes, bool)


def spoil_tflite(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a ``.tflite`` with fields of its object tree spoiled, or its bytes."""
    if chance.random() < 0.3:
        return spoil_bytes(data, chance, others)
    model = unpack(data)
    for _ in range(chance.choice(ROUNDS)):
        places = list(_places(model))
        _spoil_place(*chance.choice(places), chance)
    try:
        return pack(model)
    except Exception:  # what Python cannot write is no file
        return spoil_bytes(data, chance, others)


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield each field of an object tree: the object, and the name of the field."""
    if depth > 6 or not hasattr(value, "__dict__"):
        return
    for name, inner in vars(value).items():
        if isinstance(inner, list) and inner and hasattr(inner[0], "__dict__"):
            yield value, name
            for each in inner:
                yield from _places(each, depth + 1)
        elif inner is None or isinstance(inner, (*_SCALARS, list, np.ndarray)):
            yield value, name
        else:
            yield from _places(inner, depth + 1)


def _spoil_place(holder: Any, name: str, chance: Random) -> None:
    value = getattr(holder, name)
    if isinstance(value, np.ndarray | list) and len(value):
        _spoil_list(holder, name, value, chance)
    elif isinstance(value, bool):
        setattr(holder, name, not value)
    elif isinstance(value, int):
        setattr(holder, name, chance.choice((*NUMBERS, value + 1, value - 1)))
    elif isinstance(value, float):
        setattr(holder, name, chance.choice(FLOATS))
    elif isinstance(value, bytes):
        setattr(holder, name, chance.choice(NAMES).encode())


def _spoil_list(holder: Any, name: str, value: Any, chance: Random) -> None:
    kind = chance.randrange(4)
    if kind == 0:
        setattr(holder, name, value[: chance.randrange(len(value))])
    elif kind == 1:
        setattr(holder, name, [*value, *value] if isinstance(value, list) else np.tile(value, 2))
    elif kind == 2:
        setattr(holder, name, None)
    elif isinstance(value, np.ndarray) or isinstance(value[0], int):
        changed = [int(each) for each in value]
        limit = 256 if name == "data" else 2**31
        changed[chance.randrange(len(changed))] = chance.choice(NUMBERS) % limit
        setattr(holder, name, np.array(changed, np.uint8) if name == "data" else changed)


def spoil_onnx(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return an ``.onnx`` with fields of its messages spoiled, or its bytes."""
    if chance.random() < 0.3:
        return spoil_bytes(data, chance, others)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return spoil_bytes(data, chance, others)
    for _ in range(chance.choice(ROUNDS)):
        _spoil_message(chance.choice(list(_messages(model))), chance)
    return bytes(model.SerializeToString())


def _messages(message: Any, depth: int = 0) -> Iterator[Any]:
    yield message
    if depth > 8:
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in [value] if not _is_repeated(field) else value:
                yield from _messages(each, depth + 1)


def _spoil_message(message: Any, chance: Random) -> None:
    field = chance.choice(message.DESCRIPTOR.fields)
    if field.type == field.TYPE_MESSAGE:
        _spoil_inner(message, field, chance)
    elif chance.random() < 0.2:
        message.ClearField(field.name)
    else:
        try:
            _set(message, field, _value(field, chance), chance)
        except (ValueError, TypeError):
            message.ClearField(field.name)


def _spoil_inner(message: Any, field: Any, chance: Random) -> None:
    held = getattr(message, field.name)
    if not _is_repeated(field):
        message.ClearField(field.name)
    elif len(held) and chance.random() < 0.5:
        del held[chance.randrange(len(held))]
    elif len(held):
        held.add().CopyFrom(chance.choice(held))
    else:
        held.add()


def _value(field: Any, chance: Random) -> Any:
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        name = chance.choice(NAMES)
        return name.encode() if field.type == field.TYPE_BYTES else name
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return chance.choice(FLOATS)
    if field.type == field.TYPE_ENUM:
        return chance.choice([each.number for each in field.enum_type.values])
    return chance.choice(LONG_NUMBERS if field.type == field.TYPE_INT64 else NUMBERS)


def _set(message: Any, field: Any, value: Any, chance: Random) -> None:
    if not _is_repeated(field):
        setattr(message, field.name, value)
        return
    held = getattr(message, field.name)
    if len(held) and chance.random() < 0.7:
        held[chance.randrange(len(held))] = value
    else:
        held.append(value)


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)  # newer protobuf; the older one has labels
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)
