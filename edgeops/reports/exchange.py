"""Facts as JSON and back: whoever gathers them need not be who draws them.

One reader and one writer for every class of facts, by the types that the classes declare. Fields
that a reader does not know are ignored; a missing one has its default.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from edgeops.domain.errors import InvalidInput
from edgeops.reports.facts import ReportFacts
from edgeops.reports.package_facts import PackageFacts

SCHEMA_VERSION = 1


def to_document(facts: ReportFacts | PackageFacts) -> dict[str, Any]:
    """Return the JSON form of facts: the names of its fields are those of the classes."""
    return {"schema_version": SCHEMA_VERSION, **asdict(facts)}


def facts_from_document(document: object) -> ReportFacts:
    """Read the JSON form of facts.

    Raises:
        InvalidInput: not one; the message names the field.
    """
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != SCHEMA_VERSION:
        raise InvalidInput(
            f"these are no facts of a report that this program reads (schema {version!r})",
            next_step="use the same version of edgeops here and on the hub",
        )
    facts: ReportFacts = _read(ReportFacts, document, "facts")
    return facts


def _read(kind: Any, value: Any, path: str) -> Any:
    """Return ``value`` as ``kind``: a dataclass, a tuple, an optional, or a plain type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(next(each for each in arguments if each is not type(None)), value, path)
    if origin is tuple:
        return _read_tuple(arguments, value, path)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(path, kind.__name__)
    return value


def _read_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(path, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_read(arguments[0], each, f"{path}[{i}]") for i, each in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(path, f"a list of {len(arguments)}")
    pairs = zip(arguments, value, strict=True)
    return tuple(_read(kind, each, f"{path}[{i}]") for i, (kind, each) in enumerate(pairs))


def _read_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object")
    read: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in value:
            hint = _hints(kind)[field.name]
            read[field.name] = _read(hint, value[field.name], f"{path}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise _wrong(f"{path}.{field.name}", "there")
    return kind(**read)


@lru_cache(maxsize=64)
def _hints(kind: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _wrong(path: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is not {what}", next_step="use the same version of edgeops here and on the hub"
    )
