"""A state folder with a model in it, installed by the real agent loop from a real package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.core.states import State
from edgeops.hub.broker import find_mosquitto, hash_password
from edgeops.hub.broker.mosquitto import ManagedMosquitto
from tests.device_harness import DEVICE, Device, Hub, Workshop
from tests.processes import free_port

MODEL = "dense"
GOLDEN_ROWS = 40
PASSWORD = "x"  # noqa: S105 - of a broker that lives as long as the benchmark
SCRIPT = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A device that was enrolled and has its model.

    Attributes:
        state: its state folder.
        enrolment: its enrolment file.
        model: the model's file, for the script.
        rows: ``.npy`` of rows as the model takes them.
        kept: the state folder as the installation left it; ``state`` is a copy.
    """

    state: Path
    enrolment: Path
    model: Path
    rows: Path
    kept: Path


@contextmanager
def running_broker(home: Path) -> Iterator[ManagedMosquitto]:
    """Run a Mosquitto with accounts for the device and for the script.

    Raises:
        SystemExit: there is none; says where to get one.
    """
    found = find_mosquitto()
    if found is None:
        raise SystemExit("this benchmark wants Mosquitto: scripts/fetch_mosquitto .venv/mosquitto")
    broker = ManagedMosquitto(found.binary, home, free_port(), found.library_path)
    broker.set_accounts({name: hash_password(PASSWORD) for name in (DEVICE, SCRIPT)})
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def install(work: Path, model: bytes, broker: str, *, reference: bool = False) -> Installed:
    """Package a model, install it into a new state folder, and leave that as a reboot finds it.

    Args:
        work: a folder of its own.
        model: a ``.tflite`` with one input.
        broker: its address.
        reference: whether the package has a profile of reference rows, by which the agent then
            counts its inputs too.
    """
    work.mkdir(parents=True)
    (work / "model.tflite").write_bytes(model)
    rows, labels = _rows(work / "model.tflite")
    np.save(work / "rows.npy", rows)
    np.savez(work / "golden.npz", x=rows[:GOLDEN_ROWS, 0], y=labels[:GOLDEN_ROWS])
    np.savez(work / "evaluation.npz", x=rows[GOLDEN_ROWS:, 0], y=labels[GOLDEN_ROWS:])
    hub = Hub()
    package = Workshop(hub, work).package(
        MODEL,
        1,
        work / "model.tflite",
        work / "golden.npz",
        chunk_bytes=16 * 1024,
        evaluation=work / "evaluation.npz" if reference else None,
    )
    device = Device(work / "kept", hub)
    device.rows = rows
    device.order(package)
    device.settle(MODEL)
    device.stop()
    if device.outcome(MODEL) != (State.COMMITTED, None):
        raise RuntimeError(f"the model was not installed: {device.describe()}")
    enrolment = hub.enrolment(broker=broker, password=PASSWORD)
    (work / "enrolment.json").write_bytes(enrolment.to_bytes())
    return Installed(
        state=work / "state",
        kept=work / "kept",
        enrolment=work / "enrolment.json",
        model=work / "model.tflite",
        rows=work / "rows.npy",
    )


def _rows(model: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    given, answered = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    limits = np.iinfo(given["dtype"])
    chance = np.random.default_rng(0)
    rows = chance.integers(limits.min, limits.max + 1, (240, *given["shape"])).astype(limits.dtype)
    labels = []
    for row in rows:
        interpreter.set_tensor(given["index"], row)
        interpreter.invoke()
        labels.append(int(interpreter.get_tensor(answered["index"]).argmax()))
    return rows, np.array(labels, np.int64)
