"""The application with an agent: ``with_agent.py STATE ENROLMENT MODEL ROWS CALLS``.

Run in a clean environment, by its path. Prints CPU until the first answer over a standing
connection, and private memory after many.
"""

import json
import re
import sys
import time

import numpy as np

from device_agent import Agent

state, enrolment, model, rows_path, calls = sys.argv[1:]
rows = np.load(rows_path)
with Agent.start(state, enrolment=enrolment) as agent:
    agent.infer(model, rows[0])
    answered_s = time.process_time()
    while not agent.counters["link.connected"]:
        time.sleep(0.002)
    connected_s = time.process_time()
    for number in range(int(calls)):
        agent.infer(model, rows[number % len(rows)])
    time.sleep(1.0)  # until the other threads have done what they began
    with open("/proc/self/smaps_rollup") as file:
        memory = dict(re.findall(r"^(\w+): +(\d+) kB$", file.read(), re.M))
print(json.dumps({"answered_s": answered_s, "connected_s": connected_s, "memory_kib": memory}))
