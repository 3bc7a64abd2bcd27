"""One real inference with nothing but the agent's wheel: run by ``scripts/check_agent_wheel``."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from device_agent.processing.rows import fit_row
from device_agent.processing.scores import read_scores
from device_agent.runtimes.available import available_runtimes, get_runtime

# A seven, 8x8, grey values 0 to 16.
SEVEN = [
    [0, 0, 7, 8, 13, 16, 15, 1],
    [0, 0, 7, 7, 4, 11, 12, 0],
    [0, 0, 0, 0, 8, 13, 1, 0],
    [0, 4, 8, 8, 15, 15, 6, 0],
    [0, 2, 11, 15, 15, 4, 0, 0],
    [0, 0, 0, 16, 5, 0, 0, 0],
    [0, 0, 9, 15, 1, 0, 0, 0],
    [0, 0, 13, 5, 0, 0, 0, 0],
]

if available_runtimes() != {"litert"}:
    sys.exit(f"expected LiteRT alone, found {sorted(available_runtimes())}")
model = get_runtime("litert").load(Path(sys.argv[1]), 1)
row = fit_row(np.array(SEVEN, dtype=np.float32), model.inputs[0])
scores = read_scores(model.run([row])[0])
if scores.class_index != 7:
    sys.exit(f"a seven was read as {scores.class_index}")
if find_spec("edgeops") is not None or any(name.startswith("edgeops") for name in sys.modules):
    sys.exit("something of edgeops came along")
print(f"read a 7 with confidence {scores.confidence:.2f}, without edgeops")
