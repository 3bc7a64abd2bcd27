"""The same without an agent: ``bare_script.py BROKER USER PASSWORD MODEL ROWS CALLS MANNER``.

LiteRT and paho, and nothing else. MANNER ``careful`` asks for tensor details once, as a good
script does; ``naive`` does what most examples do: it asks at each call, and quantizes and
dequantizes with numpy.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import paho.mqtt.client as mqtt
from ai_edge_litert.interpreter import Interpreter

if TYPE_CHECKING:
    from numpy.typing import NDArray

broker, user, password, model, rows_path, calls, manner = sys.argv[1:]
host, port = broker.removeprefix("mqtt://").split(":")
connected = threading.Event()
rows = np.load(rows_path)

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=user, protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.on_connect = lambda *_: connected.set()
client.connect(host, int(port))
client.loop_start()

interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
given = interpreter.get_input_details()[0]["index"]
answered = interpreter.get_output_details()[0]["index"]


def careful(row: NDArray[Any]) -> NDArray[Any]:
    """Answer by details that were asked for once."""
    interpreter.set_tensor(given, row)
    interpreter.invoke()
    return interpreter.get_tensor(answered)


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


infer = naive if manner == "naive" else careful
infer(rows[0])
answered_s = time.process_time()
while not connected.is_set():
    time.sleep(0.002)
connected_s = time.process_time()
for number in range(int(calls)):
    infer(rows[number % len(rows)])
time.sleep(1.0)  # until the other threads have done what they began
with open("/proc/self/smaps_rollup") as file:
    memory = dict(re.findall(r"^(\w+): +(\d+) kB$", file.read(), re.M))
client.disconnect()
client.loop_stop()
print(json.dumps({"answered_s": answered_s, "connected_s": connected_s, "memory_kib": memory}))
