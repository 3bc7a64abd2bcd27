"""Typed, bounded reading of one JSON object: the only way from a document to a message.

Unknown fields are ignored (a newer hub may say more); a wrong type, length or range raises a
``ProtocolError`` that names the path of the field.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from device_agent.protocol.codec import MAX_INTEGER
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import (
    DeviceId,
    Digest,
    ModelName,
    parse_device_id,
    parse_digest,
    parse_model_name,
)

SCHEMA_VERSION = 1
MAX_TEXT = 512
MAX_ITEMS = 4096
MAX_MODELS = 32

T = TypeVar("T")


class Fields:
    """One JSON object and its path in the document, e.g. ``desired.models.kws``."""

    def __init__(self, document: object, path: str) -> None:
        """Take ``document`` as an object.

        Raises:
            ProtocolError: it is not one, or has more than ``MAX_ITEMS`` keys.
        """
        self.path = path
        if not isinstance(document, dict):
            raise ProtocolError(f"{path} is not an object")
        if len(document) > MAX_ITEMS:
            raise ProtocolError(f"{path} has more than {MAX_ITEMS} keys")
        self._document: Mapping[str, Any] = document

    def check_schema(self) -> None:
        """Refuse a document of another schema version than this code understands."""
        version = self.integer("schema_version", minimum=1)
        if version != SCHEMA_VERSION:
            raise ProtocolError(
                f"{self.path} has schema_version {version}, this side understands {SCHEMA_VERSION}",
                next_step="update the older side",
            )

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is there and not null."""
        return self._document.get(key) is not None

    def text(
        self, key: str, *, max_length: int = MAX_TEXT, pattern: re.Pattern[str] | None = None
    ) -> str:
        """Return a string of at most ``max_length`` characters that matches ``pattern``."""
        value: str = self._typed(key, str)
        if len(value) > max_length:
            raise ProtocolError(f"{self.path}.{key} is longer than {max_length} characters")
        if "\x00" in value:
            raise ProtocolError(f"{self.path}.{key} has a NUL, which databases refuse")
        if pattern is not None and not pattern.fullmatch(value):
            raise ProtocolError(f"{self.path}.{key} is {value[:40]!r}, not {pattern.pattern}")
        return value

    def word(self, key: str, known: tuple[str, ...]) -> str:
        """Return a string that is one of ``known``."""
        value = self.text(key)
        if value not in known:
            raise ProtocolError(
                f"{self.path}.{key} is {value[:40]!r}, not one of {', '.join(known)}"
            )
        return value

    def integer(self, key: str, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
        """Return an integer in ``minimum..maximum`` (booleans are not integers here)."""
        value: int = self._typed(key, int)
        if not minimum <= value <= maximum:
            raise ProtocolError(f"{self.path}.{key} is {value}, not in {minimum}..{maximum}")
        return value

    def number(self, key: str, *, minimum: float = 0.0, maximum: float = 1e15) -> float:
        """Return a finite number in ``minimum..maximum``."""
        value = self._document.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ProtocolError(f"{self.path}.{key} is not a number")
        if not minimum <= value <= maximum:
            raise ProtocolError(f"{self.path}.{key} is {value}, not in {minimum}..{maximum}")
        return float(value)

    def boolean(self, key: str) -> bool:
        """Return ``true`` or ``false``."""
        return bool(self._typed(key, bool))

    def data(self, key: str, *, max_bytes: int) -> bytes:
        """Return the bytes that a base64 string holds."""
        text = self.text(key, max_length=(max_bytes + 2) // 3 * 4)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProtocolError(f"{self.path}.{key} is not base64") from error

    def digest(self, key: str) -> Digest:
        """Return a digest."""
        return self._parsed(key, parse_digest)

    def device(self, key: str) -> DeviceId:
        """Return a device id."""
        return self._parsed(key, parse_device_id)

    def model(self, key: str) -> ModelName:
        """Return a model name."""
        return self._parsed(key, parse_model_name)

    def fields(self, key: str) -> Fields:
        """Return the object under ``key``."""
        return Fields(self._document.get(key), f"{self.path}.{key}")

    def optional(self, key: str, read: Callable[[Fields], T]) -> T | None:
        """Return ``read`` of the object under ``key``, or None when it is absent or null."""
        return read(self.fields(key)) if self.has(key) else None

    def list_of(self, key: str, read: Callable[[Fields], T], *, max_items: int) -> tuple[T, ...]:
        """Return ``read`` of each object in the array under ``key``."""
        items = self._items(key, max_items)
        return tuple(read(Fields(item, f"{self.path}.{key}[{i}]")) for i, item in enumerate(items))

    def texts(self, key: str, *, max_items: int, max_length: int = MAX_TEXT) -> tuple[str, ...]:
        """Return an array of strings."""
        items = self._items(key, max_items)
        for item in items:
            if not isinstance(item, str) or len(item) > max_length:
                raise ProtocolError(f"{self.path}.{key} is not an array of short strings")
        return tuple(items)

    def integers(self, key: str, *, max_items: int, minimum: int = 0) -> tuple[int, ...]:
        """Return an array of integers, each at least ``minimum``."""
        items = self._items(key, max_items)
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int) or item < minimum:
                raise ProtocolError(f"{self.path}.{key} is not an array of integers >= {minimum}")
        return tuple(items)

    def numbers(self, key: str, *, max_items: int) -> tuple[float, ...]:
        """Return an array of finite numbers."""
        items = self._items(key, max_items)
        for item in items:
            if isinstance(item, bool) or not isinstance(item, (int, float)):
                raise ProtocolError(f"{self.path}.{key} is not an array of numbers")
        return tuple(float(item) for item in items)

    def mapping(
        self, key: str, read: Callable[[Fields], T], *, max_items: int = 256
    ) -> dict[str, T]:
        """Return ``read`` of each value of the object under ``key``."""
        inner = self.fields(key)
        names = inner.names()
        if len(names) > max_items:
            raise ProtocolError(f"{inner.path} has more than {max_items} keys")
        return {name: read(inner.fields(name)) for name in names}

    def models(
        self, key: str, read: Callable[[Fields], T], *, max_items: int
    ) -> dict[ModelName, T]:
        """Return ``read`` of each value of the object under ``key``, whose keys name models."""
        values = self.mapping(key, read, max_items=max_items)
        return {parse_model_name(name): value for name, value in values.items()}

    def names(self) -> list[str]:
        """Return the keys of this object, sorted, each at most ``MAX_TEXT`` characters."""
        for name in self._document:
            if len(name) > MAX_TEXT:
                raise ProtocolError(f"{self.path} has a key longer than {MAX_TEXT} characters")
        return sorted(self._document)

    def _items(self, key: str, max_items: int) -> list[Any]:
        items: list[Any] = self._typed(key, list)
        if len(items) > max_items:
            raise ProtocolError(f"{self.path}.{key} has more than {max_items} items")
        return items

    def _typed(self, key: str, kind: type) -> Any:
        value = self._document.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            what = "missing" if value is None else f"not {kind.__name__}"
            raise ProtocolError(f"{self.path}.{key} is {what}")
        return value

    def _parsed(self, key: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text(key))
        except ProtocolError as error:
            raise ProtocolError(f"{self.path}.{key}: {error}", next_step=error.next_step) from error
