"""Live models: what answers ``infer`` right now, and how it is exchanged under load.

Inference runs on the caller's thread under the lock of its model. An exchange is one
assignment; whoever waited for the old model finds it closed and takes the new one, so no call
fails and each is answered by exactly one version. The agent's loop never waits for a model that
does not answer: what is counted has a lock of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from device_agent.core.counts import Counts
from device_agent.monitor.tally import Tally
from device_agent.processing.rows import RowFit
from device_agent.processing.scores import reader_of
from device_agent.protocol.errors import BadInput, InferenceFailed, NoModel
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import Manifest, Variant
from device_agent.shell.prediction import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device_agent.monitor.inputs import InputSketch
    from device_agent.processing.prepare import Preparation
    from device_agent.processing.scores import Found
    from device_agent.protocol.plan import SketchPlan
    from device_agent.runtimes.contract import LoadedModel


logger = logging.getLogger(__name__)

CLOSE_PATIENCE_S = 1.0
"""How long an exchange waits for the call that runs; a longer one frees its model itself."""


class LiveModel:
    """One loaded version with its lock and its tally."""

    def __init__(
        self,
        *,
        digest: Digest,
        manifest: Manifest,
        variant: Variant,
        loaded: LoadedModel,
        before: Counts | None,
        plan: SketchPlan | None = None,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Take over a loaded model.

        Args:
            digest: names the package.
            manifest: the package's manifest.
            variant: the one that was loaded.
            loaded: the model.
            before: counts of earlier runs of this version.
            plan: what to count of the inputs, None for a package without a reference.
            timer_ns: measures latency.
        """
        self.digest = digest
        self.manifest = manifest
        self.variant = variant
        self.lock = threading.Lock()
        self.tally = Tally(before)
        self.inputs = _sketch(plan) if plan is not None else None
        self.closed = False
        self._counting = threading.Lock()
        self._called_ns = 0
        self._loaded = loaded
        self._timer_ns = timer_ns
        self._output_names = [spec.name for spec in variant.outputs]
        self._only_name = self._output_names[0] if len(self._output_names) == 1 else None
        self._scores_at = self._output_names.index(variant.scores)
        self._read_scores = reader_of(variant.outputs[self._scores_at], manifest.thresholds)
        self._fit: RowFit | None = None
        self._prepare = _preparation(manifest)

    def answer(self, row: Any) -> Prediction:
        """Answer one row. The caller holds ``lock`` and has checked ``closed``.

        Raises:
            BadInput: the row does not fit; nothing is counted.
            InferenceFailed: the runtime failed; counted as a failure.
        """
        manifest = self.manifest
        prepare = self._prepare
        fit = self._fit or self._new_fit()
        fitted = fit(row) if prepare is None else prepare.row(row, fit.spec)
        started = self._called_ns = self._timer_ns()
        try:
            outputs = self._loaded.run([fitted])
        except InferenceFailed:
            with self._counting:
                self.tally.observe_failure()
            raise
        finally:
            self._called_ns = 0
        latency_us = (self._timer_ns() - started) / 1000
        found = self._read_scores(outputs[self._scores_at])
        self._observe(row, fitted, latency_us, found)
        index, confidence, _ = found
        labels, only = manifest.labels, self._only_name
        # As many as there are names: the self-test saw to it.
        named = {only: outputs[0]} if only else dict(zip(self._output_names, outputs))  # noqa: B905
        label = labels[index] if index is not None and 0 <= index < len(labels) else None
        latency_ms, model, version = latency_us / 1000, manifest.model, manifest.version
        fields = (model, version, self.digest, named, index, label, confidence, latency_ms, None)
        return tuple.__new__(Prediction, fields)  # as ``Prediction(…)`` does, in half the time

    def _observe(self, row: Any, fitted: NDArray[Any], latency_us: float, found: Found) -> None:
        """Count an answer, and of a package with a reference the row, as it was given."""
        inputs, prepare = self.inputs, self._prepare
        if inputs is not None and inputs.chooses():
            counted = fitted if prepare is None else prepare.counted(row)
            with self._counting:
                inputs.observe(counted)
        index, confidence, finite = found
        many = self.tally.observe(
            latency_us=latency_us,
            class_index=index,
            confidence=confidence,
            # What came of NaN says nothing about the model.
            finite=finite or not _is_finite(fitted),
        )
        if many:
            with self._counting:
                self.tally.count()

    def _new_fit(self) -> RowFit:
        """Look up what the input takes: at the first row, since it needs numpy as the row does."""
        inputs = self.variant.inputs
        if len(inputs) != 1:
            raise BadInput(f"{self.manifest.model} has {len(inputs)} inputs, not 1")
        self._fit = RowFit(inputs[0])
        return self._fit

    def counts(self) -> Counts:
        """Return the counts since activation."""
        with self._counting:
            return self.tally.total

    def close_window(self) -> tuple[Counts, int, tuple[int, ...]]:
        """Begin a new window; return the counts of the old one, its rows, and their bins."""
        with self._counting:
            rows, bins = self.inputs.take() if self.inputs is not None else (0, ())
            return self.tally.close_window(), rows, bins

    def observe_label(self, *, correct: bool) -> None:
        """Count a label."""
        with self._counting:
            self.tally.observe_label(correct=correct)

    @property
    def running_s(self) -> float:
        """For how long the call that runs has run, 0 if none does."""
        called_ns = self._called_ns
        return (self._timer_ns() - called_ns) / 1e9 if called_ns else 0.0

    def close(self) -> None:
        """Free the runtime's memory, after the call that is running has answered."""
        self.closed = True
        if self.lock.acquire(timeout=CLOSE_PATIENCE_S):
            self._free()
        else:
            logger.warning("model.does_not_answer", extra={"version": self.manifest.version})
            threading.Thread(target=self._free_later, daemon=True).start()

    def _free_later(self) -> None:
        self.lock.acquire()
        self._free()

    def _free(self) -> None:
        try:
            self._loaded.close()
        finally:
            self.lock.release()


class LiveModels:
    """The live model of each name. Written by the agent's loop, read by callers' threads."""

    def __init__(self, timer_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        """Begin with none: day zero."""
        self.timer_ns = timer_ns
        self._models: dict[ModelName, LiveModel] = {}
        self._resting: dict[ModelName, LiveModel] = {}

    def get(self, name: ModelName) -> LiveModel | None:
        """Return the live model of that name."""
        return self._models.get(name)

    def items(self) -> list[tuple[ModelName, LiveModel]]:
        """Return every live model."""
        return list(self._models.items())

    def exchange(self, name: ModelName, new: LiveModel | None) -> None:
        """Make ``new`` answer from now on; the old one is closed when its call has ended.

        The old one's tally is kept until the next exchange, for labels that come late.
        """
        old = self._models.get(name)
        if new is None:
            self._models.pop(name, None)
        else:
            self._models[name] = new
        if old is not None:
            old.close()
            self._resting[name] = old

    def infer(self, name: ModelName, row: Any) -> Prediction:
        """Answer one row with the live model of that name, on the caller's thread.

        Raises:
            NoModel: day zero.
            BadInput, InferenceFailed: as ``LiveModel.answer``.
        """
        while True:
            model = self._models.get(name)
            if model is None:
                known = ", ".join(self._models) or "none"
                raise NoModel(
                    f"this device has no working model {name!r} yet (it has: {known})",
                    next_step="wait for a rollout to reach it: device-agent status",
                )
            with model.lock:
                if not model.closed:
                    return model.answer(row)

    def of(self, name: ModelName, digest: Digest) -> LiveModel | None:
        """Return the version that answers, or the one before it; None if this one is gone."""
        for models in (self._models, self._resting):
            model = models.get(name)
            if model is not None and model.digest == digest:
                return model
        return None

    def label(self, name: ModelName, digest: Digest, *, correct: bool) -> bool:
        """Count a label for the version that made the prediction; False if it is gone."""
        model = self.of(name, digest)
        if model is not None:
            model.observe_label(correct=correct)
        return model is not None

    def close(self) -> None:
        """Close every model."""
        for name in list(self._models):
            self.exchange(name, None)


def _preparation(manifest: Manifest) -> Preparation | None:
    if manifest.preprocessing is None:
        return None
    from device_agent.processing.prepare import Preparation  # here: many packages have none

    return Preparation(manifest.preprocessing)


def _is_finite(row: NDArray[Any]) -> bool:
    import numpy as np  # here: seldom asked

    return bool(np.isfinite(row).all())


def _sketch(plan: SketchPlan) -> InputSketch:
    from device_agent.monitor.inputs import InputSketch  # here: it needs numpy, as runtimes do

    return InputSketch(plan)
