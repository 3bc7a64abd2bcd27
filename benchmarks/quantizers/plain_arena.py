"""The program that bisects an arena without edgeops: ``python plain_arena.py MODEL.tflite``.

It runs in the environment of TensorFlow Lite Micro and prints the least number of bytes, to one
byte, with which a model begins and answers. Each size is tried in a fork: too small ones may crash.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime

MOST_BYTES = 4 * 1024 * 1024


def fits(model: bytes, arena_bytes: int) -> bool:
    """Say whether a model runs in an arena of that size."""
    child = os.fork()
    if child == 0:
        try:
            os.close(2)
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
            given = interpreter.get_input_details(0)
            interpreter.set_input(np.zeros(given["shape"], given["dtype"]), 0)
            interpreter.invoke()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Print the smallest arena."""
    model = Path(sys.argv[1]).read_bytes()
    too_small, enough = 0, MOST_BYTES
    if not fits(model, enough):
        return 1
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        too_small, enough = (too_small, middle) if fits(model, middle) else (middle, enough)
    print(enough)
    return 0


if __name__ == "__main__":
    sys.exit(main())
