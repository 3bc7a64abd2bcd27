"""Dataclasses that cost little to define.

The standard library writes, compiles and keeps six functions for each of them. An agent knows
about ninety, most of which a start never makes: that was half the time of its imports and 0.7 MB.
Here all of them share five functions, and ``__init__`` is written when it is called again. They
are dataclasses all the same: ``fields``, ``replace``, ``asdict``, copying and pickling work.

``from device_agent.protocol.values import dataclass``; type checkers see the standard library's.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        kind: type | None = None,
        *,
        frozen: bool = False,
        slots: bool = False,
        kw_only: bool = False,
        eq: bool = True,
    ) -> Any:
        """Make a dataclass; a cheap one if it has slots and takes keywords only."""
        given = {"frozen": frozen, "slots": slots, "kw_only": kw_only, "eq": eq}
        if not (slots and kw_only):
            return dataclasses.dataclass(kind, **given)
        return lambda plain: _value(plain, frozen=frozen, eq=eq)


def _value(plain: type, *, frozen: bool, eq: bool) -> type:
    lean: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(
        plain
    )
    own = plain.__dict__
    compared = [each.name for each in dataclasses.fields(lean) if each.compare]
    lean.__dataclass_params__.frozen, lean.__dataclass_params__.eq = frozen, eq
    shared = {
        "_value_of": attrgetter(*compared) if compared else staticmethod(lambda _: ()),
        "__init__": _first_init,
        "__repr__": _repr,
        "__getstate__": _state,
        "__setstate__": _set_state,
        **({"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete} if frozen else {}),
        **({"__eq__": _eq, "__hash__": _hash if frozen else None} if eq else {}),
    }
    for name, function in shared.items():
        if name not in own or (name == "__hash__" and own[name] is None):
            setattr(lean, name, function)
    return lean  # type: ignore[no-any-return]


def _first_init(self: Any, /, *unnamed: object, **given: Any) -> None:
    """Set the fields of the first one: of many classes a process makes no second."""
    made = _owner(self)
    made.__init__ = _second_init
    fields = {each.name: each for each in dataclasses.fields(made)}
    values = {}
    for name, each in fields.items():
        if name in given:
            values[name] = given[name]
        elif each.default is not dataclasses.MISSING:
            values[name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            values[name] = each.default_factory()
    if unnamed or len(values) < len(fields) or not given.keys() <= fields.keys():
        _write_init(made)(self, *unnamed, **given)  # it says what is wrong
    for name, value in values.items():
        object.__setattr__(self, name, value)
    if hasattr(made, "__post_init__"):
        self.__post_init__()


def _second_init(self: Any, /, *unnamed: object, **given: Any) -> None:
    """Write the class's own ``__init__``, and call it."""
    _write_init(_owner(self))(self, *unnamed, **given)


def _owner(self: Any) -> Any:
    """Return the value class of an instance, which may be of a class derived from it."""
    return next(each for each in type(self).__mro__ if "_value_of" in each.__dict__)


def _write_init(made: Any) -> Any:
    known: dict[str, Any] = {"set_": object.__setattr__, "made_": dataclasses.MISSING}
    takes, sets = [], []
    for each in dataclasses.fields(made):
        value = each.name
        if each.default is not dataclasses.MISSING:
            known[f"default_{each.name}"] = each.default
            takes.append(f"{each.name}=default_{each.name}")
        elif each.default_factory is not dataclasses.MISSING:
            known[f"factory_{each.name}"] = each.default_factory
            takes.append(f"{each.name}=made_")
            value = f"factory_{each.name}() if {each.name} is made_ else {each.name}"
        else:
            takes.append(each.name)
        sets.append(f" set_(self, {each.name!r}, {value})")
    if hasattr(made, "__post_init__"):
        sets.append(" self.__post_init__()")
    head = f"def __init__(self, *, {', '.join(takes)}):" if takes else "def __init__(self):"
    exec("\n".join([head, *(sets or [" pass"])]), known)  # noqa: S102 - of our own names
    written = known["__init__"]
    written.__qualname__ = f"{made.__qualname__}.__init__"
    made.__init__ = written
    return written


def _repr(self: Any) -> str:
    shown = (each.name for each in dataclasses.fields(self) if each.repr)
    given = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({given})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    # In tuples, as the standard library does: what is the same object is equal to itself.
    return (self._value_of(self),) == (self._value_of(other),)


def _hash(self: Any) -> int:
    return hash(self._value_of(self))


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
