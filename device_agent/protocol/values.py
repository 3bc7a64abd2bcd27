"""Dataclasses that cost little to define.

The standard library looks at each field, and writes, compiles and keeps six functions for each of
them. An agent knows about ninety, most of which a start never makes: that was half the time of
its imports and 0.7 MB. Here all share their functions, ``__init__`` is written when it is called
often, and the library is asked for the fields when somebody wants to know them. They are
dataclasses all the same: ``fields``, ``replace``, ``asdict``, copying and pickling work.

``from device_agent.protocol.values import dataclass``; type checkers see the standard library's.
"""

from __future__ import annotations

import dataclasses
import threading
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


FEW = 8
"""Instances that are made the slow way, each in some microseconds: writing an ``__init__`` takes
a hundred, and of many classes a process makes no more than these."""


def _value(plain: type, *, frozen: bool, eq: bool) -> type:
    """Return the class with slots and what all value classes share. It inherits no fields."""
    names = tuple(plain.__annotations__)
    own = dict(plain.__dict__)
    defaults = {name: own.pop(name) for name in names if name in own}
    compared = [name for name in names if _is_compared(defaults.get(name))]
    if own.get("__hash__", own) is None:  # of a class with an ``__eq__``
        del own["__hash__"]
    fields = _Fields(plain, frozen=frozen, eq=eq)
    namespace = {
        **_SHARED,
        **(_OF_FROZEN if frozen else {}),
        **({"__eq__": _eq, "__hash__": _hash if frozen else None} if eq else {}),
        **{name: each for name, each in own.items() if name not in ("__dict__", "__weakref__")},
        "__slots__": names,
        "__qualname__": plain.__qualname__,
        "__dataclass_fields__": fields,
        "_value_of": attrgetter(*compared) if compared else staticmethod(lambda _: ()),
        "__value_defaults__": defaults,
    }
    made: type = type(plain)(plain.__name__, plain.__bases__, namespace)
    fields.made = made
    return made


def _is_compared(default: object) -> bool:
    return not isinstance(default, dataclasses.Field) or default.compare


_ASKING = threading.RLock()


class _Fields:
    """What the standard library knows of a class, found out when it is first asked for."""

    def __init__(self, plain: type, *, frozen: bool, eq: bool) -> None:
        self.plain, self.frozen, self.eq = plain, frozen, eq
        self.made: Any = plain

    def __get__(self, _instance: object, _owner: type) -> Any:
        with _ASKING:
            found = self.made.__dict__["__dataclass_fields__"]
            if found is not self:  # another thread was first
                return found
            ask = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)
            known: Any = ask(self.plain)  # which changes it: once only
            known.__dataclass_params__.frozen, known.__dataclass_params__.eq = self.frozen, self.eq
            self.made.__dataclass_params__ = known.__dataclass_params__
            self.made.__dataclass_fields__ = known.__dataclass_fields__
            return known.__dataclass_fields__


def _slow_init(self: Any, /, *unnamed: object, **given: Any) -> None:
    """Set the fields of one of the first few."""
    made = _owner(self)
    made.__value_made__ += 1
    if made.__value_made__ > FEW:
        _write_init(made)(self, *unnamed, **given)
        return
    values = {}
    for name in made.__slots__:
        if name in given:
            values[name] = given[name]
        elif name in made.__value_defaults__:
            default = made.__value_defaults__[name]
            if not isinstance(default, dataclasses.Field):
                values[name] = default
            elif default.default_factory is not dataclasses.MISSING:
                values[name] = default.default_factory()
            elif default.default is not dataclasses.MISSING:
                values[name] = default.default
    if unnamed or len(values) < len(made.__slots__) or not given.keys() <= values.keys():
        _write_init(made)(self, *unnamed, **given)  # which says what is wrong
        return
    for name, value in values.items():
        object.__setattr__(self, name, value)
    if hasattr(made, "__post_init__"):
        self.__post_init__()


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
    return [getattr(self, name) for name in _owner(self).__slots__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(_owner(self).__slots__, state, strict=True):
        object.__setattr__(self, name, value)


def _replace(self: Any, /, **changes: Any) -> Any:
    return dataclasses.replace(self, **changes)


_SHARED = {
    "__init__": _slow_init,
    "__repr__": _repr,
    "__getstate__": _state,
    "__setstate__": _set_state,
    "__replace__": _replace,
    "__match_args__": (),
    "__value_made__": 0,
}
_OF_FROZEN = {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
