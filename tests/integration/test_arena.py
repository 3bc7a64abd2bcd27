"""The arena is the smallest with which TFLM begins; what it does not run is said, not measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.runtimes.child import AGENT_FOLDER, LOAD_AGENT
from edgeops.domain.errors import EdgeopsError, GateFailed, InvalidModel
from edgeops.packaging.engines import Engine
from edgeops.packaging.gates.arena import Arena, measure_arena
from tests.environments import needs_tflm, tflm
from tests.micro_models import (
    HIDDEN_BYTES,
    digits_8_bit,
    digits_as,
    with_hidden_units,
    with_operator,
    with_tensor_out_of_range,
)

pytestmark = needs_tflm

BEGINS = f"""{LOAD_AGENT}
from pathlib import Path
import numpy as np
from device_agent.runtimes.tflm import MicroModel
model = MicroModel(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))
model.run([np.zeros(each.shape, each.dtype) for each in model.inputs])
"""


def begins(model: Path, arena_bytes: int) -> bool:
    command = [tflm().python, "-I", "-c", BEGINS, AGENT_FOLDER, model, str(arena_bytes)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("precision", ["float32", "int8", "int16"])
def test_the_arena_is_enough_and_64_bytes_less_are_not(precision: str, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(digits_as(precision))
    arena = measure_arena(model.read_bytes(), tflm())
    assert arena.size_bytes % 16 == 0
    assert arena.size_bytes >= arena.head_bytes + arena.tail_bytes > 0
    sizes = [arena.size_bytes + more for more in (-64, -16, 0, 64)]
    assert [begins(model, size) for size in sizes] == [False, False, True, True]


def test_its_head_is_what_the_widest_place_of_the_model_holds() -> None:
    assert measure_arena(digits_as("float32"), tflm()).head_bytes == HIDDEN_BYTES


def test_8_bits_take_less_than_half_of_that() -> None:
    assert measure_arena(digits_8_bit(), tflm()).head_bytes < HIDDEN_BYTES / 2


def test_a_measurement_is_the_same_each_time_and_short_to_read() -> None:
    one, two = (measure_arena(digits_as("int8"), tflm()) for _ in range(2))
    assert one == two
    shown = Arena(size_bytes=24272, head_bytes=16000, tail_bytes=8272)
    assert str(shown) == "24272 bytes (head 16000, tail 8272)"


@pytest.mark.parametrize(
    ("make", "words", "next_step"),
    [
        (
            lambda: with_operator(digits_as("float32"), "SOFTMAX", "ATAN2"),
            "TFLM has no operator ATAN2",
            "replace the operator",
        ),
        (lambda: digits_as("dynamic"), "filter type: INT8 not supported", "--recipe int8"),
        (lambda: digits_as("weights8"), "a scale for each channel", "--recipe int8"),
        (
            lambda: with_hidden_units(digits_as("float32"), 50_000_000),
            "more memory is needed than any microcontroller has",
            "smaller",
        ),
        (
            lambda: with_hidden_units(digits_as("float32"), -5),
            "Dynamic tensors are not supported",
            "fixed shapes",
        ),
    ],
    ids=["no such operator", "hybrid", "a scale a channel", "huge", "free shapes"],
)
def test_what_tflm_does_not_run_misses_the_gate(make, words: str, next_step: str) -> None:
    with pytest.raises(GateFailed, match=words) as error:
        measure_arena(make(), tflm())
    assert next_step in error.value.next_step


@pytest.mark.parametrize(
    "data", [b"", b"not a model\n" * 100, b"\0" * 8, b"\0\0\0\0TFL3" + b"\xff" * 99]
)
def test_what_is_no_model_is_an_error_in_one_line(data: bytes) -> None:
    with pytest.raises(InvalidModel, match="no whole .tflite") as error:
        measure_arena(data, tflm())
    assert "\n" not in str(error.value)


def test_a_model_that_crashes_with_plenty_of_memory_is_no_model() -> None:
    with pytest.raises(InvalidModel, match="killed by SIGSEGV"):
        measure_arena(with_tensor_out_of_range(digits_as("float32")), tflm())


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(InvalidModel, match=r"did not end in 0\.05 s"):
        measure_arena(digits_as("int8"), tflm(), timeout_s=0.05)


def test_an_environment_without_tflm_is_not_the_models_fault() -> None:
    here = Engine(runtime="tflm", package="tflite-micro 0", python=sys.executable)
    with pytest.raises(EdgeopsError, match="no findings.*tflite_micro") as error:
        measure_arena(digits_as("int8"), here)
    assert not isinstance(error.value, (InvalidModel, GateFailed))
