"""The effect gate: what a recipe promises is counted in the file."""

from __future__ import annotations

import pytest

from edgeops.domain.errors import GateFailed
from edgeops.packaging.gates.effect import Promise, bloated, check_effect
from edgeops.packaging.record.anatomy import Anatomy, Operation, live_bytes

PROMISE = Promise(weights={"int8": 1000}, activations={"int8": 2})


def layer(weights: int, dtype: str, activations: str, name: str = "a") -> Operation:
    return Operation(
        type="CONV_2D",
        name=name,
        inputs=("x",),
        outputs=(name,),
        weights=weights,
        weight_dtype=dtype,
        activation_dtype=activations,
    )


def file_of(*operations: Operation) -> Anatomy:
    return Anatomy(format="tflite", operations=operations, live_bytes=(0,) * len(operations))


def checked(*operations: Operation) -> str:
    return check_effect(PROMISE, file_of(*operations), name="kws.tflite", recipe="tflite-int8")


def test_a_kept_promise_says_what_became_of_the_weights() -> None:
    said = checked(layer(900, "int8", "int8"), layer(100, "int8", "int8"))
    assert said == "weights: 1000 int8; activations: 2 int8"


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ((layer(1000, "float32", "float32"),), "only 0 of 1000 weights became int8"),
        ((layer(899, "int8", "int8"), layer(101, "float32", "int8")), "only 899 of 1000"),
        ((layer(1000, "int8", "int8"),), "only 1 of 2 operators' activations became int8"),
        ((), "only 0 of 1000 weights"),
    ],
)
def test_a_file_in_which_nothing_was_quantized_is_no_success(
    operations: tuple[Operation, ...], why: str
) -> None:
    with pytest.raises(GateFailed, match=f"gate 'effect': kws.tflite by tflite-int8: {why}"):
        checked(*operations)


def test_values_live_from_who_makes_them_to_who_takes_them_last() -> None:
    chain = (
        Operation(type="A", name="a", inputs=("x",), outputs=("a",)),
        Operation(type="B", name="b", inputs=("a",), outputs=("b",)),
        Operation(type="C", name="c", inputs=("a", "b"), outputs=("c",)),
    )
    sizes = {"x": 1, "a": 10, "b": 100, "c": 1000}
    assert live_bytes(chain, sizes, ("c",)) == (11, 110, 1110)


def test_an_anatomy_reads_back_as_it_was() -> None:
    found = file_of(layer(7, "int8", "int8"), layer(3, "float16", "float32", "b"))
    assert Anatomy.from_bytes(found.to_bytes()) == found
    assert (found.quantized, dict(found.weights)) == ("int8", {"float16": 3, "int8": 7})


def test_a_file_that_keeps_the_float_weights_beside_the_new_ones_is_no_success() -> None:
    promise = Promise(weights={"int8": 100_000})
    assert bloated(promise, size_bytes=110_000, float_bytes=410_000) is None
    said = bloated(promise, size_bytes=420_000, float_bytes=410_000)
    assert said == "it has 420000 bytes, the float model 410000: 300000 less were promised"
    assert bloated(Promise(), size_bytes=500, float_bytes=400) is None
