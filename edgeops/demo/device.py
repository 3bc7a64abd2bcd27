"""The demo's application on a device: a few lines around the agent, streaming digits.

``python -m edgeops.demo.device --state DIR --enrolment FILE --rows rows.npz``
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device_agent import Agent, AgentOptions, NoModel, Prediction, SampleOptions
from edgeops.demo.digits import SHIFT, Floats, Ints

MOST_UNLABELLED = 5000
MOST_SAMPLES_PER_HOUR = 4000


class Camera:
    """What this device sees: digits in random order, shifted while a file is there."""

    def __init__(self, rows: Path, shifted_when: Path, seed: int) -> None:
        """Load the rows."""
        stored = np.load(rows)
        self.truth: Ints = stored["y"]
        self._rows: Floats = stored["x"]
        self._shifted = SHIFT.apply(self._rows)
        self._shifted_when = shifted_when
        self._chance = np.random.default_rng(seed)

    def see(self) -> Iterator[tuple[Floats, int]]:
        """Yield a row and what it is, for ever."""
        while True:
            for at in self._chance.permutation(len(self._rows)):
                rows = self._shifted if self._shifted_when.exists() else self._rows
                yield rows[at], int(self.truth[at])


def main() -> None:
    """Stream digits through the agent until SIGTERM or SIGINT."""
    arguments = _arguments()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    camera = Camera(arguments.rows, arguments.shifted_when, arguments.seed)
    options = AgentOptions(
        telemetry_interval_s=4.0,
        heartbeat_s=5.0,
        samples=SampleOptions(share=arguments.samples, most_per_hour=MOST_SAMPLES_PER_HOUR),
    )
    unlabelled: deque[tuple[Prediction, int]] = deque(maxlen=MOST_UNLABELLED)
    with Agent.start(arguments.state, enrolment=arguments.enrolment, options=options) as agent:
        for row, label in camera.see():
            if stopped.wait(1 / arguments.rate):
                break
            try:
                unlabelled.append((agent.infer(arguments.model, row), label))
            except NoModel:
                continue  # day zero: a rollout will bring it
            while unlabelled and arguments.labels_when.exists():
                agent.report_label(*unlabelled.popleft())  # late: somebody has looked at last


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", required=True)
    parser.add_argument("--enrolment", required=True)
    parser.add_argument("--rows", required=True, type=Path, help=".npz with x and y")
    parser.add_argument("--shifted-when", required=True, type=Path, help="a file that is there")
    parser.add_argument("--labels-when", required=True, type=Path, help="a file that is there")
    parser.add_argument("--samples", type=float, default=0.0, help="share of rows to let out")
    parser.add_argument("--rate", type=float, default=60.0, help="rows per second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="digits")
    return parser.parse_args()


if __name__ == "__main__":
    main()
