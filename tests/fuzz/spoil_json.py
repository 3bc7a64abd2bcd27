"""JSON documents gone wrong in structure, and then perhaps in their bytes too."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz.spoil_bytes import MAGIC, ROUNDS, TOKENS, spoil_bytes, spoil_text
from tests.hostile import WRONG_VALUES

RAW = (
    *("1e999", "-1e999", "1e-999", "NaN", "-Infinity", "-0", "-0.0", "01", "+1", ".5", "1."),
    *("9007199254740992", "-9007199254740993", "9" * 5000, "1" + "0" * 400, "0." + "1" * 5000),
    *('"\\ud800"', '"\\u0000"', '"\\', "[", "]", "{", "}", ",", ":", "//", "undefined", ""),
    *('"a":1', '"schema_version":1', "[[],[{}]]", "1 2", "'x'", "tru", "0x10"),
)
"""Text that no encoder writes in the place of a value."""
KEYS = ("", "x", "\0", "é", "schema_version", "__proto__", "a" * 513, "../x", "error", "x.y", "0")
SPOILED_AFTERWARDS = 0.15
MAX_UNPACKED = 64 * 1024
MAX_REPEATED = 64 * 1024
"""Characters: documents on topics are no longer, and are refused for their length alone."""


def spoil_json(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a document with a few values, keys or containers spoiled.

    Args:
        data: a valid document.
        chance: decides all.
        others: documents to take values from.
    """
    spoiler = _Spoiler(json.loads(data), chance, others)
    for _ in range(chance.choice(ROUNDS)):
        spoiler.spoil()
    written = spoiler.written()
    return spoil_bytes(written, chance, others) if chance.random() < SPOILED_AFTERWARDS else written


class _Spoiler:
    """One document, spoiled step by step."""

    def __init__(self, document: Any, chance: Random, others: Sequence[bytes]) -> None:
        self._root = {"": document}
        self._chance, self._others = chance, others
        self._raw: list[str] = []

    def spoil(self) -> None:
        """Spoil one place."""
        holder, key = self._place(self._root)
        self._chance.choice(_STEPS)(self, holder, key)

    def written(self) -> bytes:
        """Return the document's bytes, with the raw text in its places."""
        chance = self._chance
        text = json.dumps(
            self._root[""],
            ensure_ascii=chance.random() < 0.5,
            separators=chance.choice(((",", ":"), (", ", ": "))),
        )
        for number, raw in enumerate(self._raw):
            most = max(1, MAX_REPEATED // (len(raw) + 1))
            text = text.replace(json.dumps(_mark(number)), raw, most)
        return text.encode("utf-8", "surrogatepass")

    def _place(self, root: Any) -> tuple[Any, Any]:
        """Return a container and a key of it, by a walk that ends anywhere."""
        holder, key = root, ""
        while (inner := _keys(holder[key])) and self._chance.random() < 0.8:
            holder, key = holder[key], self._chance.choice(inner)
        return holder, key

    # ---- steps

    def _wrong(self, holder: Any, key: Any) -> None:
        holder[key] = copy.deepcopy(self._chance.choice(WRONG_VALUES))

    def _raw_text(self, holder: Any, key: Any) -> None:
        holder[key] = self._as_raw(self._chance.choice(RAW))

    def _as_raw(self, text: str) -> str:
        self._raw.append(text)
        return _mark(len(self._raw) - 1)

    def _leave_out(self, holder: Any, key: Any) -> None:
        if holder is not self._root:
            del holder[key]

    def _give_twice(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict) and holder is not self._root:
            holder[self._as_raw(json.dumps(key))] = holder[key]

    def _add_key(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict) and holder is not self._root:
            holder[self._chance.choice(KEYS)] = self._chance.choice((holder[key], None, 1, "x"))

    def _rename(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict) and holder is not self._root:
            other = self._chance.choice((*KEYS, *holder))
            holder[other] = holder.pop(key)

    def _repeat(self, holder: Any, key: Any) -> None:
        value, times = holder[key], self._chance.choice((0, 2, 3, 100, 5000))
        times = min(times, MAX_REPEATED // (len(str(value)) + 1))
        if isinstance(value, list):
            holder[key] = value * times
        elif isinstance(value, dict):
            names = [(name, number) for name in value for number in range(times)]
            holder[key] = {f"{name}{number}": value[name] for name, number in names}
        else:
            holder[key] = [value] * times

    def _swap(self, holder: Any, key: Any) -> None:
        other, place = self._place(self._root)
        if isinstance(other[place], dict | list):  # a container could come to hold itself
            other, place = self._place({"": json.loads(self._chance.choice(self._others))})
        holder[key] = other[place]

    def _bury(self, holder: Any, key: Any) -> None:
        """Write a value so deep that a parser which calls itself comes to its end."""
        depth = self._chance.choice((15, 16, 17, 200, 1000, 3000, 20_000))
        opening, closing = self._chance.choice((("[", "]"), ('{"a":', "}"), ("[{}, [", "]]")))
        holder[key] = self._as_raw(opening * depth + "1" + closing * depth)

    def _wrap(self, holder: Any, key: Any) -> None:
        for _ in range(self._chance.choice((1, 2, 16, 40))):
            holder[key] = self._chance.choice(([holder[key]], {"x": holder[key]}))

    def _change(self, holder: Any, key: Any) -> None:
        value = holder[key]
        if isinstance(value, bool) or value is None:
            holder[key] = self._chance.choice((True, False, None, 0, 1))
        elif isinstance(value, int | float):
            holder[key] = self._number(value)
        elif isinstance(value, str):
            holder[key] = self._text(value)
        elif isinstance(value, list):
            self._chance.shuffle(value)

    def _number(self, value: float) -> float:
        if abs(value) > 1e300:  # spoiled already, and too large to reckon with
            return self._chance.choice(MAGIC)
        numbers = (value + 1, value - 1, -value, value * 2, value * 0.5, float(value), str(value))
        return self._chance.choice((*numbers, *MAGIC))

    def _text(self, value: str) -> str:
        chance, value = self._chance, value[:MAX_REPEATED]
        if len(value) >= 8 and chance.random() < 0.5 and (packed := self._repacked(value)):
            return packed
        times = min(100, MAX_REPEATED // (len(value) + 1))
        changed = (
            value * times,
            value.upper(),
            value[:-1],
            value * 2,
            value + chance.choice(TOKENS),
        )
        spoiled = spoil_text(value.encode("utf-8", "surrogatepass"), chance)
        return chance.choice((*changed, spoiled.decode("utf-8", "replace")))

    def _repacked(self, value: str) -> str:
        """Spoil what base64 holds, and what is deflated in it."""
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return ""
        try:
            inner = zlib.decompressobj().decompress(data, MAX_UNPACKED)
        except zlib.error:
            return base64.b64encode(spoil_bytes(data, self._chance)).decode()
        return base64.b64encode(zlib.compress(spoil_bytes(inner, self._chance))).decode()


_STEPS: tuple[Callable[[_Spoiler, Any, Any], None], ...] = (
    *(_Spoiler._wrong, _Spoiler._wrong, _Spoiler._raw_text, _Spoiler._leave_out),
    *(_Spoiler._give_twice, _Spoiler._add_key, _Spoiler._rename, _Spoiler._repeat),
    *(
        _Spoiler._swap,
        _Spoiler._wrap,
        _Spoiler._bury,
        _Spoiler._change,
        _Spoiler._change,
        _Spoiler._change,
    ),
)


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


def _mark(number: int) -> str:
    return f"\x01{number}\x01"
