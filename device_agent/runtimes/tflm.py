"""TensorFlow Lite Micro (``.tflite``), simulated on this machine: what microcontrollers run.

These are its reference kernels, on one thread: threads and optimizations are not there to be
chosen. Boards add kernels of their makers (CMSIS-NN, ESP-NN), which answer the same within
rounding. Its interpreter believes a file without looking, and gives its reasons only on standard
error: so the file's structure is read first, and what it says there is kept for the error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from device_agent.protocol.errors import BadInput, InferenceFailed, ModelRefused
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.contract import Array
from device_agent.runtimes.native_words import native_words
from device_agent.runtimes.refusals import MAX_CAUSE, one_line, wrong_count

ARENA_BYTES = 64 * 1024 * 1024
"""Memory for the tensors of a model here: more than any microcontroller has. How little is
enough is for the packager to find out. What is not used is never touched."""

T = TypeVar("T")


class MicroModel:
    """A loaded ``.tflite`` whose tensors lie in one arena. It has no free dimensions."""

    def __init__(self, data: bytes, arena_bytes: int) -> None:
        """Lay out a model's tensors.

        Args:
            data: the file.
            arena_bytes: what its tensors may take. Far too little can crash the process.

        Raises:
            ModelRefused: ``load_failed``: no whole file, an operator that TFLM does not have or
                not for these types, or an arena that is too small; with TFLM's own words.
        """
        names = _names(data)
        try:
            self._interpreter = _heard(
                lambda: runtime.Interpreter.from_bytes(data, arena_size=arena_bytes)
            )
            self.inputs, self.outputs = (
                tuple(_spec(name, describe(at)) for at, name in enumerate(of))
                for of, describe in zip(
                    names,
                    (self._interpreter.get_input_details, self._interpreter.get_output_details),
                    strict=True,
                )
            )
        except Exception as error:  # native code: anything it raises means the file is bad
            raise ModelRefused(Reason.LOAD_FAILED, one_line(error)) from error

    def run(self, inputs: list[Array]) -> list[Array]:
        """Answer one row; see ``LoadedModel.run``."""
        interpreter = self._interpreter
        if interpreter is None:
            raise InferenceFailed("the model is closed")
        if len(inputs) != len(self.inputs):
            raise wrong_count(self.inputs, inputs)
        try:
            for at, value in enumerate(inputs):
                interpreter.set_input(value, at)
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"input does not fit the model: {one_line(error)}") from error
        try:
            interpreter.invoke()
            return [interpreter.get_output(at) for at in range(len(self.outputs))]
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"TFLM: {one_line(self._reason(error))}") from error

    def allocations(self) -> list[str]:
        """Return what TFLM recorded of the arena, in its own words. To be asked after a run."""
        if self._interpreter is None:
            return []
        with native_words() as said:
            self._interpreter.print_allocations()
        return said

    def close(self) -> None:
        """Free the interpreter and its arena."""
        self._interpreter = None

    def _reason(self, error: Exception) -> Exception:
        """Let it fail once more, now that somebody listens: listening costs more than a run."""
        try:
            _heard(self._interpreter.invoke)
        except RuntimeError as again:
            return again
        return error


class TfLiteMicro:
    """TensorFlow Lite Micro."""

    name = "tflm"

    def load(self, path: Path, threads: int, *, optimized: bool = True) -> MicroModel:
        """Load a ``.tflite``; see ``Runtime.load``. It has one thread, and no optimizations."""
        try:
            return MicroModel(path.read_bytes(), ARENA_BYTES)
        except OSError as error:
            raise ModelRefused(
                Reason.LOAD_FAILED, f"TFLM cannot read {path.name}: {one_line(error)}"
            ) from error
        except ModelRefused as error:
            raise ModelRefused(
                Reason.LOAD_FAILED, f"TFLM cannot load {path.name}: {error}"
            ) from error


def _heard(act: Callable[[], T]) -> T:
    """Do something in native code; an error says what was printed meanwhile.

    Raises:
        RuntimeError: it failed, whatever it raised.
    """
    with native_words() as said:
        failed: Exception | None = None
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the words belong to it
            failed = error
    # A foreign error may repeat the whole file.
    raise RuntimeError(
        "; ".join(line.rstrip(".") for line in said)[:MAX_CAUSE] or one_line(failed)
    ) from failed


def _names(data: bytes) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and of the outputs, which the interpreter does not tell.

    Raises:
        ModelRefused: ``load_failed``: no whole file, beyond whose end TFLM would read; or one
            that it would answer wrongly.
    """
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("it does not begin as one")
        model = runtime.convert_bytearray_to_object(data)
        graph = model.subgraphs[0]
        names = tuple(
            [(graph.tensors[at].name or b"").decode(errors="replace") for at in which]
            for which in (graph.inputs, graph.outputs)
        )
        is_misread = any(_is_misread(model, part) for part in model.subgraphs)
    except Exception as error:  # the reader raises whatever it stumbles over
        raise ModelRefused(Reason.LOAD_FAILED, f"no whole .tflite: {one_line(error)}") from error
    if is_misread:
        raise ModelRefused(
            Reason.LOAD_FAILED,
            "operator DEQUANTIZE has a scale for each channel: TFLM takes the first for all",
        )
    return names[0], names[1]


def _is_misread(model: Any, graph: Any) -> bool:
    """Tell whether TFLM would answer wrongly without a word: weights that are made floats.

    Measured: on such a file (weights of 8 bits, a scale a channel) its answers were, to the last
    digit, those of LiteRT on a copy with the first scale everywhere.
    """
    for operator in graph.operators or []:
        code = runtime.get_builtin_code_from_operator_code(
            model.operatorCodes[operator.opcodeIndex]
        )
        if code == runtime.schema_fb.BuiltinOperator.DEQUANTIZE:
            quantization = graph.tensors[operator.inputs[0]].quantization
            if quantization is not None and len(_numbers(quantization.scale)) > 1:
                return True
    return False


def _numbers(values: Any) -> Any:
    return () if values is None else values


def _spec(name: str, detail: Any) -> TensorSpec:
    return TensorSpec(
        name=name,
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) for size in detail["shape"]),
    )
