"""What a call costs: ``calls.py STATE ENROLMENT NAME MODEL ROWS BLOCKS CALLS``.

In one process: ``Agent.infer``, and the naive way, each in turns with the bare calls of the
interpreter. Prints microseconds a call, block by block. The agent is connected and counts.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from device_agent import Agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device_agent import Prediction

state, enrolment, name, model, rows_path, blocks, calls = sys.argv[1:]
rows = list(np.load(rows_path)[: int(calls)])

interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
GIVEN = interpreter.get_input_details()[0]["index"]
ANSWERED = interpreter.get_output_details()[0]["index"]


def bare(row: NDArray[Any]) -> NDArray[Any]:
    """Answer by details that were asked for once."""
    interpreter.set_tensor(GIVEN, row)
    interpreter.invoke()
    return interpreter.get_tensor(ANSWERED)


def invoke_alone(_row: NDArray[Any]) -> None:
    """Answer the row of before."""
    interpreter.invoke()


def naive(row: NDArray[Any]) -> NDArray[Any]:
    """Answer as most examples do."""
    detail = interpreter.get_input_details()[0]
    scale, zero = detail["quantization"]
    floats = (row.astype(np.float32) - zero) * scale
    quantized = np.clip(np.rint(floats / scale + zero), -128, 127).astype(np.int8)
    interpreter.set_tensor(detail["index"], quantized)
    interpreter.invoke()
    detail = interpreter.get_output_details()[0]
    scale, zero = detail["quantization"]
    return (interpreter.get_tensor(detail["index"]).astype(np.float32) - zero) * scale


def block_us(ways: dict[str, Callable[[NDArray[Any]], Any]]) -> dict[str, float]:
    """Return microseconds a call of each way, their calls in turns of one block."""
    taken = {}
    for way, call in ways.items():
        begun = time.perf_counter_ns()
        for row in rows:
            call(row)
        taken[way] = (time.perf_counter_ns() - begun) / 1000 / len(rows)
    return taken


with Agent.start(state, enrolment=enrolment) as agent:

    def with_agent(row: NDArray[Any]) -> Prediction:
        """Answer by the agent."""
        return agent.infer(name, row)

    while not agent.counters["link.connected"]:
        time.sleep(0.01)
    # Each beside the bare calls alone: numpy's many temporaries would empty the caches of others.
    measured = {}
    for way, call in {"agent": with_agent, "naive": naive, "invoke": invoke_alone}.items():
        pair = {"bare": bare, way: call}
        block_us(pair)
        measured[way] = [
            block_us(dict(reversed(pair.items())) if number % 2 else pair)
            for number in range(int(blocks))
        ]
print(json.dumps(measured))
