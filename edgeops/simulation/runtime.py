"""A runtime of simulated models, and their self-test without a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.errors import InferenceFailed, ModelRefused
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec, failure
from device_agent.shell.doors import Machine
from edgeops.simulation.packages import INPUTS, OUTPUTS, RUNTIME, TOLERANCE, Behaviour, behaviour_of

SELF_TEST_S = 3.0
USUAL_NS = 1_000_000
SLOW_NS = 50_000_000


class ProcessKilled(BaseException):
    """The agent's process has ended, as a crash in native code ends it."""


class SimulatedModel:
    """A model in memory that does what its artifact says."""

    inputs: tuple[TensorSpec, ...] = INPUTS
    outputs: tuple[TensorSpec, ...] = OUTPUTS

    def __init__(self, behaviour: Behaviour, work: Callable[[int], None]) -> None:
        """Take how it behaves, and how to let nanoseconds of work pass."""
        self._behaviour = behaviour
        self._work = work
        self._closed = False

    def run(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Answer one row: its first two numbers are the scores."""
        if self._closed or self._behaviour is Behaviour.FAILS:
            raise InferenceFailed("the simulated runtime failed")
        self._work(SLOW_NS if self._behaviour is Behaviour.SLOW else USUAL_NS)
        scores = np.array(inputs[0].reshape(1, 4)[:, :2], np.float32)
        if self._behaviour is Behaviour.SHIFTED:
            scores[:] = (0.0, 1.0)
        if self._behaviour is Behaviour.NONFINITE:
            scores[:] = np.nan
        return [scores]

    def close(self) -> None:
        """Free nothing."""
        self._closed = True


class _SimulatedProbe:
    def __init__(self, report: ProbeReport, due_s: float, monotonic_s: Callable[[], float]) -> None:
        self._report = report
        self._due_s = due_s
        self._monotonic_s = monotonic_s

    def poll(self) -> ProbeReport | None:
        return self._report if self._monotonic_s() >= self._due_s else None

    def kill(self) -> None:
        self._due_s = float("inf")


class SimulatedRuntime:
    """Loads simulated models from a disk; gives an agent its ``Machine``."""

    def __init__(
        self,
        read: Callable[[str], bytes],
        root: Path,
        *,
        monotonic_s: Callable[[], float],
        work: Callable[[int], None],
        loaded: set[str],
    ) -> None:
        """Take what the device is made of.

        Args:
            read: reads a file of the state folder.
            root: the state folder.
            monotonic_s: the clock.
            work: lets nanoseconds of work pass.
            loaded: artifacts that were ever loaded here; grows.
        """
        self._loaded = loaded
        self._read = read
        self._root = root
        self._monotonic_s = monotonic_s
        self._work = work

    @property
    def machine(self) -> Machine:
        """What the agent is given."""
        runtimes = frozenset({RUNTIME})
        return Machine(runtimes=runtimes, load=self._load, start_probe=self._start_probe)

    def _behaviour(self, path: Path) -> Behaviour:
        try:
            found = behaviour_of(self._read(path.relative_to(self._root).as_posix()))
        except OSError as error:
            raise ModelRefused(Reason.LOAD_FAILED, f"cannot read {path.name}") from error
        if found is None or found is Behaviour.LOAD_FAILED:
            raise ModelRefused(Reason.LOAD_FAILED, f"{path.name} is no model")
        return found

    def _load(self, runtime: str, path: Path, threads: int) -> SimulatedModel:
        behaviour = self._behaviour(path)
        again = path.name in self._loaded
        self._loaded.add(path.name)
        if behaviour is Behaviour.KILLS or (behaviour is Behaviour.KILLS_AGAIN and again):
            raise ProcessKilled
        return SimulatedModel(behaviour, self._work)

    def _start_probe(self, spec: ProbeSpec, timeout_s: float) -> _SimulatedProbe:
        now_s = self._monotonic_s()
        report = self._report(Path(spec.artifact))
        hangs = report.reason is Reason.SELF_TEST_TIMEOUT
        return _SimulatedProbe(
            report, now_s + (timeout_s if hangs else SELF_TEST_S), self._monotonic_s
        )

    def _report(self, path: Path) -> ProbeReport:
        try:
            behaviour = self._behaviour(path)
        except ModelRefused as error:
            return failure(error.reason, error)
        if behaviour is Behaviour.SELF_TEST_HANGS:
            return failure(Reason.SELF_TEST_TIMEOUT, "the model did not answer in the time it had")
        if behaviour is Behaviour.SELF_TEST_CRASHES:
            return failure(Reason.SELF_TEST_CRASHED, "killed by SIGSEGV")
        wrong = behaviour is Behaviour.GOLDEN_MISMATCH
        return ProbeReport(
            inputs=INPUTS,
            outputs=OUTPUTS,
            latency_ms_p50=1.0,
            latency_ms_p95=1.0,
            rows=8,
            max_abs_difference=10 * TOLERANCE if wrong else 0.0,
        )
