"""The program that judges files of one model beside each other, in one process on one thread.

``python judge.py JOB.json`` with the keys ``float_model``, ``files`` (name → path), ``rows``
(evaluation rows, ``.npy``), ``labels`` (class numbers, ``.npy``, or null) and ``said``. Rounds are
interleaved, so that what disturbs the machine disturbs all alike; ratios are within a round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np

from device_agent.runtimes.available import get_runtime
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db

ROUNDS = 15
ROUND_S = 0.04
WARM_UP = 5
_RUNTIMES = {".tflite": "litert", ".onnx": "onnxruntime"}


class Runner:
    """A file on the runtime that devices use."""

    def __init__(self, path: Path, rows: Any) -> None:
        self._model = get_runtime(_RUNTIMES[path.suffix]).load(path, 1)
        self._rows, self._scales = rows, (1.0, 0)
        if path.suffix == ".tflite":
            self._fit_integers(path)

    def _fit_integers(self, path: Path) -> None:
        """Give integer inputs what they take, outside of what is timed."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        (given,), (taken, *_) = interpreter.get_input_details(), interpreter.get_output_details()
        if given["dtype"] != np.float32:
            scale, zero = given["quantization"]
            limits = np.iinfo(given["dtype"])
            whole = np.clip(np.round(self._rows / scale + zero), limits.min, limits.max)
            self._rows = whole.astype(given["dtype"])
        if taken["dtype"] != np.float32:
            self._scales = taken["quantization"]

    def answers(self) -> Any:
        """Return its answers to all rows as floats, ``[n, ...]``."""
        scale, zero = self._scales
        said = np.stack([self._model.run([row[None]])[0].reshape(-1) for row in self._rows])
        return (said.astype(np.float64) - zero) * scale

    def round_ms(self, count: int) -> float:
        """Return the median of so many runs, in ms."""
        took = []
        for at in range(count):
            row = [self._rows[at % len(self._rows)][None]]
            begun_s = time.perf_counter()
            self._model.run(row)
            took.append(time.perf_counter() - begun_s)
        return float(np.median(took)) * 1000


def fidelity(given: Any, expected: Any, labels: Any) -> dict[str, float]:
    """Return how near answers are to the float model's, and to the truth if that is known."""
    agreement = float((given.argmax(1) == expected.argmax(1)).mean())
    found = {"sqnr_db": sqnr_db(relative_error(given, expected)), "agreement": agreement}
    if labels is not None:
        known = labels >= 0
        right = [(each.argmax(1) == labels)[known].mean() for each in (given, expected)]
        found |= {"accuracy": float(right[0]), "float_accuracy": float(right[1])}
    return found


def latencies(runners: dict[str, Runner]) -> dict[str, dict[str, float]]:
    """Return medians in ms, and the ratio to ``float`` with its quartiles."""
    each_ms = {name: runner.round_ms(WARM_UP) for name, runner in runners.items()}
    counts = {name: max(3, min(200, int(ROUND_S * 1000 / ms))) for name, ms in each_ms.items()}
    rounds = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, runner in runners.items():
            rounds[name].append(runner.round_ms(counts[name]))
    taken = {name: np.array(each) for name, each in rounds.items()}
    found = {}
    for name, took in taken.items():
        low, middle, high = np.percentile(took / taken["float"], (25, 50, 75))
        found[name] = {
            "latency_ms": float(np.median(took)),
            "latency_ratio": float(middle),
            "latency_ratio_low": float(low),
            "latency_ratio_high": float(high),
        }
    return found


def main() -> int:
    """Judge all files."""
    job = json.loads(Path(sys.argv[1]).read_text())
    rows = np.load(job["rows"])
    runners = {"float": Runner(Path(job["float_model"]), rows)}
    expected = runners["float"].answers()
    labels = np.load(job["labels"]) if job["labels"] else None
    found: dict[str, dict[str, Any]] = {"float": {}}
    for name, path in job["files"].items():
        try:
            runner = Runner(Path(path), rows)
            found[name] = fidelity(runner.answers(), expected, labels)
        except Exception as error:  # an opponent's file may be anything
            found[name] = {"error": f"does not run: {' '.join(str(error).split())[:200]}"}
        else:
            runners[name] = runner
    for name, took in latencies(runners).items():
        found[name] |= took
    Path(job["said"]).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
