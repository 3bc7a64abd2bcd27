"""What the device says of itself: states, events and windows, towards the outbox and the link."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from device_agent.core.backlog import add_windows
from device_agent.core.counts import Counts
from device_agent.core.deployment import Deployment
from device_agent.core.records import ModelRecord
from device_agent.protocol import topics
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError, StorageFailed
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.items import MAX_SAMPLES, Event, Window
from device_agent.protocol.outcomes import CommandOutcome
from device_agent.protocol.reports import (
    GaveWay,
    Reported,
    ReportedDeployment,
    ReportedModel,
    ReportedVersion,
)
from device_agent.protocol.samples import Sample
from device_agent.shell.live import LiveModel
from device_agent.shell.outbox import Item, Outbox

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES = 56 * 1024
"""Bytes of samples in one item, so that with its head it stays below 60 KiB."""
MAX_HELD = 64
"""Windows that wait in memory for a disk that refuses them; one for each version and plan."""


class Reporter:
    """Builds reports and keeps them in the outbox until the hub has them."""

    def __init__(
        self, device: DeviceId, outbox: Outbox, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """Take the outbox."""
        self._device = device
        self._outbox = outbox
        self._wall_clock = wall_clock
        self._held: list[Window] = []
        self.lost: Counter[str] = Counter()
        """What was not kept since this process began, by kind of item."""

    def deployment_moved(self, deployment: Deployment, evidence: Mapping[str, float]) -> None:
        """Keep an event for the hub.

        A full disk loses the event, never the deployment: the reported state carries its
        outcome too.
        """
        event = Event(
            model=deployment.model,
            generation=deployment.generation,
            rollout=deployment.order.rollout,
            version=deployment.order.version,
            digest=deployment.digest,
            state=deployment.state.value,
            reason=deployment.reason.value if deployment.reason else None,
            detail=deployment.detail,
            evidence=evidence,
            at_s=self._wall_clock(),
        )
        self._put("event", event.to_document())

    def window_closed(self, name: ModelName, live: LiveModel, length_s: float) -> None:
        """Keep the live model's window for the hub, if anything happened in it.

        It lasts ``length_s`` by a clock that nobody sets, and ends now by the wall clock.
        """
        counts, rows, inputs = live.close_window()
        if not (counts.inferences or counts.failures or counts.labelled):
            return
        window = self._window(name, live, counts, length_s)
        if live.inputs is not None:
            plan = live.inputs.plan.schema
            window = replace(window, plan=plan, input_rows=rows, inputs=inputs)
        self._keep_window(window)

    def samples_chosen(self, samples: Sequence[Sample]) -> None:
        """Keep samples for the hub: as many in one item as a message holds."""
        batch: list[dict[str, object]] = []
        size_bytes = 0
        for document in (sample.to_document() for sample in samples):
            needs = len(encode(document)) + 1
            if batch and (size_bytes + needs > MAX_BATCH_BYTES or len(batch) == MAX_SAMPLES):
                self._put("sample", {"samples": batch}, len(batch))
                batch, size_bytes = [], 0
            batch.append(document)
            size_bytes += needs
        if batch:
            self._put("sample", {"samples": batch}, len(batch))

    def command_ended(self, outcome: CommandOutcome) -> None:
        """Keep the outcome of a command for the hub.

        Raises:
            StorageFailed: the disk refuses; tell it again later.
        """
        stamped = replace(outcome, at_s=max(0.0, self._wall_clock()))
        self._outbox.put("outcome", encode(stamped.to_document()))

    def reported(
        self,
        session: int,
        instance: str,
        *,
        online: bool,
        generation: int,
        models: Mapping[ModelName, ReportedModel],
        facts: Mapping[str, object],
    ) -> tuple[str, bytes]:
        """Return topic and payload of the reported state; ``facts`` are this host's."""
        reported = Reported(
            device=self._device,
            online=online,
            session=session,
            instance=instance,
            generation=generation,
            models=models,
            clock_s=max(0.0, self._wall_clock()),
            outbox=self._depth(),
            gave_way=self._gave_way(),
            **facts,  # type: ignore[arg-type]  # agent, profile, runtimes, disk: see loop.facts
        )
        return topics.up(self._device, "state"), encode(reported.to_document())

    def _depth(self) -> int:
        """On a full disk the state is the only voice left: it must not wait for the outbox."""
        try:
            return self._outbox.depth()
        except StorageFailed:
            return 0

    def _gave_way(self) -> GaveWay:
        """What is not (or no more by itself) on its way to the hub: never silent."""
        try:
            kept = self._outbox.given_way()
        except StorageFailed:
            kept = {}
        return GaveWay(
            merged=kept.get("merged", 0),
            windows=self.lost["telemetry"],
            events=kept.get("events", 0) + self.lost["event"],
            samples=kept.get("samples", 0) + self.lost["sample"],
        )

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Return topic and payload of the outbox items that should be sent now."""
        return [
            (topics.up(self._device, item.kind), self._on_the_wire(item))
            for item in self._outbox.due(now_s)
        ]

    def _on_the_wire(self, item: Item) -> bytes:
        body = decode(item.body)
        numbered = {
            "schema_version": 1,
            "device": self._device,
            "stream": item.stream,
            "sequence": item.sequence,
            "oldest": item.oldest,
            "age_s": item.age_s,
        }
        if item.kind == "telemetry":
            return encode({**numbered, "windows": [body]})
        if item.kind == "sample":
            return encode({**numbered, **body})
        return encode({**numbered, item.kind: body})

    def _put(self, kind: str, document: Mapping[str, object], weight: int = 1) -> None:
        try:
            self._outbox.put(kind, encode(document))
        except (StorageFailed, ProtocolError) as error:
            self._lose(kind, weight, error)

    def _keep_window(self, window: Window) -> None:
        """Keep a window; while the disk refuses, add it to what is held in memory."""
        self._held = _with(self._held, window)
        while self._held:
            try:
                self._outbox.put("telemetry", encode(self._held[0].to_document()))
            except StorageFailed as error:
                logger.warning("report.held", extra={"cause": str(error)})
                if len(self._held) <= MAX_HELD:
                    return
                self._lose("telemetry", 1, error)
            except ProtocolError as error:
                self._lose("telemetry", 1, error)
            del self._held[0]

    def _lose(self, kind: str, weight: int, error: Exception) -> None:
        self.lost[kind] += weight
        logger.warning("report.lost", extra={"kind": kind, "cause": str(error)})

    def _window(self, name: ModelName, live: LiveModel, counts: Counts, length_s: float) -> Window:
        ended_s = max(0.0, self._wall_clock())
        return Window(
            model=name,
            version=live.manifest.version,
            digest=live.digest,
            started_s=max(0.0, ended_s - length_s),
            ended_s=ended_s,
            inferences=counts.inferences,
            failures=counts.failures,
            nonfinite=counts.nonfinite,
            classes=counts.classes,
            confidence=counts.confidence,
            latency=counts.latency,
            labelled=counts.labelled,
            labelled_correct=counts.labelled_correct,
        )


def _with(held: Sequence[Window], window: Window) -> list[Window]:
    """Return the windows, with one more that was added to its like if there is one."""
    for at, each in enumerate(held):
        try:
            return [*held[:at], add_windows(each, window), *held[at + 1 :]]
        except ProtocolError:
            continue
    return [*held, window]


def reported_model(
    record: ModelRecord, active: str | None, progress: tuple[int, int], waits: str = ""
) -> ReportedModel:
    """Return how one model stands on this device; ``waits``: for what, if for anything."""
    others = [letter for letter in record.slots if letter != active]
    previous = next((each for each in others if record.slots[each].committed), None)
    return ReportedModel(
        active=_version(record, active),
        previous=_version(record, previous),
        deployment=_deployment(record.deployment, progress, waits) if record.deployment else None,
    )


def _version(record: ModelRecord, letter: str | None) -> ReportedVersion | None:
    slot = record.slots.get(letter) if letter else None
    return ReportedVersion(version=slot.version, digest=slot.manifest.digest) if slot else None


def _deployment(
    deployment: Deployment, progress: tuple[int, int], waits: str
) -> ReportedDeployment:
    have, total = progress
    return ReportedDeployment(
        generation=deployment.generation,
        rollout=deployment.order.rollout,
        version=deployment.order.version,
        state=deployment.state.value,
        reason=deployment.reason.value if deployment.reason else None,
        detail=waits or deployment.detail,
        chunks_have=have,
        chunks_total=total,
    )
