"""The demo's application on a device: a few lines around the agent, streaming digits.

``python -m edgeops.demo.device --state DIR --enrolment FILE --rows rows.npz``
"""

from __future__ import annotations

import argparse
import itertools
import signal
import threading

import numpy as np

from device_agent import Agent, AgentOptions, NoModel


def main() -> None:
    """Stream digits through the agent until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", required=True)
    parser.add_argument("--enrolment", required=True)
    parser.add_argument("--rows", required=True, help=".npz with x and y")
    parser.add_argument("--rate", type=float, default=30.0, help="rows per second")
    parser.add_argument("--model", default="digits")
    arguments = parser.parse_args()

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    rows = np.load(arguments.rows)
    options = AgentOptions(telemetry_interval_s=5.0, heartbeat_s=5.0)
    with Agent.start(arguments.state, enrolment=arguments.enrolment, options=options) as agent:
        for row, label in itertools.cycle(zip(rows["x"], rows["y"], strict=True)):
            if stopped.wait(1 / arguments.rate):
                break
            try:
                prediction = agent.infer(arguments.model, row)
            except NoModel:
                continue  # day zero: a rollout will bring it
            agent.report_label(prediction, int(label))


if __name__ == "__main__":
    main()
