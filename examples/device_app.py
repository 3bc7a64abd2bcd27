"""An application on a device: it infers, the agent looks after the model.

    python device_app.py STATE ENROLMENT MODEL ROWS.npz

``ROWS.npz`` holds ``x`` (rows) and ``y`` (true classes); a real application reads a sensor.
"""

import signal
import sys
import threading

import numpy as np

from device_agent import Agent, NoModel

state, enrolment, model, rows = sys.argv[1:]
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())

data = np.load(rows)
with Agent.start(state, enrolment=enrolment) as agent:
    while not stopped.is_set():
        for row, label in zip(data["x"], data["y"], strict=True):
            if stopped.wait(0.02):
                break
            try:
                prediction = agent.infer(model, row)
            except NoModel as error:
                print(error, flush=True)
                stopped.wait(1.0)
                continue
            agent.report_label(prediction, int(label))
