"""Values are the standard library's frozen dataclasses in everything but what they cost."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

import device_agent.protocol.values as values

Maker = Callable[..., Any]


def _classes(dataclass: Maker) -> dict[str, Any]:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Point:
        x: int
        y: float = 0.5
        tags: list[str] = field(default_factory=list, compare=False, repr=False)

        @property
        def twice(self) -> int:
            return 2 * self.x

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Checked:
        share: float = 0.0

        def __post_init__(self) -> None:
            if self.share > 1:
                raise ValueError("share")

    @dataclass(frozen=True, slots=True, kw_only=True, eq=False)
    class Same:
        x: int

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Nothing:
        pass

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Said:
        x: int

        def __repr__(self) -> str:
            return "said"

    @dataclass(slots=True, kw_only=True)
    class Changing:
        x: int
        y: list[int] = field(default_factory=list)

    @dataclass(slots=True, kw_only=True, eq=False)
    class ChangingSame:
        x: int

    all_of_them = (Point, Checked, Same, Nothing, Said, Changing, ChangingSame)
    return {each.__name__: each for each in all_of_them}


LIBRARY = _classes(dataclasses.dataclass)

DEEDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "make": lambda of: (of["Point"](x=1).y, of["Point"](y=2, x=3).x, of["Point"](x=4).twice),
    "factory": lambda of: of["Point"](x=1).tags is not of["Point"](x=1).tags,
    "repr": lambda of: [repr(of["Point"](x=1)), repr(of["Nothing"]()), repr(of["Said"](x=1))],
    "equal": lambda of: [
        of["Point"](x=1) == of["Point"](x=1, tags=["a"]),
        of["Point"](x=1) == of["Point"](x=2),
        of["Point"](x=1) == (1, 0.5),
        of["Same"](x=1) == of["Same"](x=1),
        of["Nothing"]() == of["Nothing"](),
        of["Said"](x=1) == of["Said"](x=1.0),
        of["Said"](x=1) != of["Said"](x=2),
    ],
    "hash": lambda of: [
        hash(of["Point"](x=1)) == hash(of["Point"](x=1, tags=["a"])),
        len({of["Point"](x=1), of["Point"](x=1), of["Point"](x=2)}),
        len({of["Same"](x=1), of["Same"](x=1)}),
        len({of["Nothing"](), of["Nothing"]()}),
    ],
    "unhashable": lambda of: hash(of["Said"](x=[])),
    "set": lambda of: setattr(of["Point"](x=1), "x", 2),
    "delete": lambda of: delattr(of["Point"](x=1), "x"),
    "post init": lambda of: of["Checked"](share=2),
    "missing": lambda of: of["Point"](),
    "unknown": lambda of: of["Point"](x=1, z=1),
    "positional": lambda of: of["Point"](1),
    "replace": lambda of: repr(dataclasses.replace(of["Point"](x=1), y=3.0)),
    "replace unknown": lambda of: dataclasses.replace(of["Point"](x=1), z=3.0),
    "asdict": lambda of: dataclasses.asdict(of["Point"](x=1, tags=["a"])),
    "fields": lambda of: [(f.name, f.type, f.default) for f in dataclasses.fields(of["Point"])],
    "copy": lambda of: [
        copied == of["Point"](x=7) and copied.tags == ["a"]
        for copied in (
            copy.copy(of["Point"](x=7, tags=["a"])),
            copy.deepcopy(of["Point"](x=7, tags=["a"])),
        )
    ],
    "slots": lambda of: [hasattr(of["Point"](x=1), "__dict__"), of["Point"].__slots__],
    "change": lambda of: repr(_changed(of["Changing"](x=1))),
    "change unknown": lambda of: setattr(of["Changing"](x=1), "z", 2),
    "delete what may change": lambda of: _without_x(of["Changing"](x=1)),
    "hash what may change": lambda of: hash(of["Changing"](x=1)),
    "hash what is only itself": lambda of: len({of["ChangingSame"](x=1), of["ChangingSame"](x=1)}),
    "copy what may change": lambda of: copy.deepcopy(_changed(of["Changing"](x=1))).y,
    "subclass": lambda of: type("Sub", (of["Point"],), {})(x=1).y,
    "dataclass of it": lambda of: _derived(of["Point"])(x=1, z=2).__repr__().rpartition(".")[2],
    "params": lambda of: [
        (each.__dataclass_params__.frozen, each.__dataclass_params__.eq)
        for each in of.values()
        if dataclasses.fields(each) is not None
    ],
}
if sys.version_info < (3, 13):  # later, the library's compare field by field, and NaN is no NaN
    DEEDS["nan"] = lambda of: (lambda n: of["Said"](x=n) == of["Said"](x=n))(float("nan"))


@pytest.mark.parametrize(
    "before", [0, 1, values.FEW + 1], ids=lambda before: f"{before} made before"
)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_value_does_what_the_librarys_dataclass_does(deed: str, before: int) -> None:
    ours = _classes(values.dataclass)
    for _ in range(before):
        for each in ours.values():
            each(**({"x": 1} if "x" in each.__slots__ else {}))
    assert _outcome(DEEDS[deed], ours) == _outcome(DEEDS[deed], LIBRARY)


def test_a_class_that_takes_its_fields_by_place_is_the_librarys() -> None:
    @values.dataclass(slots=True)
    class Open:
        x: int = 1

    it = Open(2)
    it.x = 3
    assert it == Open(3)


def test_nothing_can_be_set_of_a_value_even_before_it_was_first_made() -> None:
    fresh = _classes(values.dataclass)["Point"]
    with pytest.raises(FrozenInstanceError, match="'x'"):
        fresh.__new__(fresh).x = 1


def test_many_threads_may_make_the_first_ones_and_ask_for_the_fields_at_once() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(60):
                point = _classes(values.dataclass)["Point"]
                asked = [
                    pool.submit(lambda made=point: (repr(made(x=1)), len(dataclasses.fields(made))))
                    for _ in range(4)
                ]
                assert {len(point(x=n).tags) for n in range(values.FEW + 2)} == {0}
                assert {each.result()[1] for each in asked} == {3}
    finally:
        sys.setswitchinterval(interval)


def test_a_factory_is_called_once_for_each() -> None:
    made: list[int] = []

    @values.dataclass(slots=True, kw_only=True)
    class Counted:
        x: int = field(default_factory=lambda: made.append(1) or len(made))

    assert [Counted().x for _ in range(values.FEW + 3)] == list(range(1, values.FEW + 4))


def _changed(it: Any) -> Any:
    it.x += 1
    it.y.append(it.x)
    assert it == type(it)(x=2, y=[2])
    assert it != type(it)(x=1, y=[2])
    return dataclasses.replace(it, x=it.x)


def _derived(base: Any) -> Any:
    return dataclasses.make_dataclass(
        "Derived", [("z", int)], bases=(base,), frozen=True, kw_only=True, slots=True
    )


def _without_x(it: Any) -> bool:
    del it.x
    return hasattr(it, "x")


def _outcome(deed: Callable[[dict[str, Any]], object], of: dict[str, Any]) -> object:
    try:
        return deed(of)
    except Exception as error:
        return type(error), str(error)
