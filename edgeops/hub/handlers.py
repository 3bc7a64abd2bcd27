"""The table topic → handler: what the hub does with a message from a device.

A handler takes the device of the topic and the payload, and returns what to publish in answer.
Whatever is malformed, too large, of an unknown device or a replay is counted and dropped; no
message can end the hub's loop.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device_agent.protocol import topics
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.items import Numbered
from device_agent.protocol.reports import Need, Reported
from edgeops.delivery.demand import Demand
from edgeops.domain.errors import EdgeopsError
from edgeops.service import fleet, inbox
from edgeops.service.context import Context

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A message to publish in answer."""

    topic: str
    payload: bytes


class Handlers:
    """The table and the counters. Called by one thread at a time."""

    def __init__(self, context: Context, demand: Demand) -> None:
        """Take what the handlers work on."""
        self.counters: Counter[str] = Counter()
        self._context = context
        self._demand = demand
        self._table: Mapping[str, Callable[[DeviceId, bytes], Answer | None]] = {
            "state": self._on_state,
            "event": lambda device, payload: self._on_numbered(device, "event", payload),
            "outcome": lambda device, payload: self._on_numbered(device, "outcome", payload),
            "telemetry": lambda device, payload: self._on_numbered(device, "telemetry", payload),
            "sample": lambda device, payload: self._on_numbered(device, "sample", payload),
            "need": self._on_need,
        }

    def handle(self, topic: str, payload: bytes) -> Answer | None:
        """Handle one message; never raises for what a message holds."""
        kind = "unknown"
        try:
            parsed = topics.parse_up(topic)
            kind = parsed.kind
            answer = self._table[kind](parsed.device, payload)
        except ProtocolError as error:
            self._drop(kind, "malformed", topic, error)
        except EdgeopsError as error:
            self._drop(kind, "failed", topic, error)
        else:
            self.counters[f"received.{kind}"] += 1
            return answer
        return None

    def _drop(self, kind: str, why: str, topic: str, error: Exception) -> None:
        self.counters[f"dropped.{kind}.{why}"] += 1
        logger.warning(
            "message.dropped",
            extra={"kind": kind, "why": why, "topic": topic[:200], "cause": str(error)[:200]},
        )

    def _on_state(self, device: DeviceId, payload: bytes) -> Answer | None:
        if not payload:
            return None  # a retained state that was cleared
        report = Reported.from_document(decode(payload))
        _check_sender(device, report.device)
        outcome = fleet.reported(self._context, device, report)
        if outcome == "taken" and not report.online:
            self._demand.left(device)
        if outcome != "taken":
            self.counters[f"dropped.state.{outcome}"] += 1
        return None

    def _on_numbered(self, device: DeviceId, kind: str, payload: bytes) -> Answer | None:
        numbered = Numbered.from_document(decode(payload), kind)
        _check_sender(device, numbered.device)
        taken = inbox.take(self._context, device, kind, numbered)
        if taken is None:
            self.counters[f"dropped.{kind}.unknown"] += 1
            return None
        for word, windows in taken.windows.items():
            self.counters[f"telemetry.{word}"] += windows
        if taken.outcome:
            self.counters[f"outcome.{taken.outcome}"] += 1
        if taken.retimed:
            self.counters[f"{kind}.retimed"] += taken.retimed
        ack = taken.ack
        if ack.sequence != numbered.sequence:
            self.counters[f"dropped.{kind}.out_of_order"] += 1
        return Answer(topic=topics.ack(device), payload=encode(ack.to_document()))

    def _on_need(self, device: DeviceId, payload: bytes) -> Answer | None:
        need = Need.from_document(decode(payload))
        _check_sender(device, need.device)
        blobs = self._context.blobs
        if not blobs.has(need.blob.digest) or blobs.size(need.blob.digest) != need.blob.size_bytes:
            self.counters["dropped.need.unknown_blob"] += 1
        elif not self._demand.add(need):
            self.counters["dropped.need.impossible"] += 1
        return None


def _check_sender(topic_device: DeviceId, payload_device: DeviceId) -> None:
    if topic_device != payload_device:
        raise ProtocolError(f"{payload_device} speaks on the topic of {topic_device}")
