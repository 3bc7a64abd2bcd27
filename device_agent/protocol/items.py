"""From a device's outbox to the hub, numbered and acknowledged.

Events, windows, samples, and the outcomes of commands.

Times are Unix seconds of the device's wall clock, which may be wrong by decades: the hub puts right
those that cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.outcomes import CommandOutcome
from device_agent.protocol.plan import (
    MAX_ATOMS,
    MAX_COUNTS_TEXT,
    MAX_EDGES,
    MAX_ELEMENTS,
    SCHEMA_DIGITS,
    SPECIAL_BINS,
    pack_counts,
    unpack_counts,
)
from device_agent.protocol.reports import MAX_DETAIL
from device_agent.protocol.samples import Sample
from device_agent.protocol.sketch import CONFIDENCE_BINS, LATENCY_BINS, MAX_CLASSES
from device_agent.protocol.values import dataclass

MAX_WINDOWS = 32
MAX_SAMPLES = 256
MAX_INPUT_COUNTS = MAX_ELEMENTS * (MAX_EDGES + MAX_ATOMS + SPECIAL_BINS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of a deployment: sent through the outbox, acknowledged by the hub."""

    model: ModelName
    generation: int
    rollout: str
    version: int
    digest: Digest
    state: str
    reason: str | None
    detail: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    at_s: float = 0.0

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "model": self.model,
            "generation": self.generation,
            "rollout": self.rollout,
            "version": self.version,
            "digest": self.digest,
            "state": self.state,
            "reason": self.reason,
            "detail": self.detail,
            "evidence": dict(self.evidence),
            "at_s": self.at_s,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Event:
        """Read the JSON form."""
        evidence = fields.fields("evidence")
        return cls(
            model=fields.model("model"),
            generation=fields.integer("generation"),
            rollout=fields.text("rollout", max_length=64),
            version=fields.integer("version", minimum=1),
            digest=fields.digest("digest"),
            state=fields.text("state", max_length=32),
            reason=fields.text("reason", max_length=64) if fields.has("reason") else None,
            detail=fields.text("detail", max_length=MAX_DETAIL),
            evidence={key: evidence.number(key, minimum=-1e15) for key in evidence.names()},
            at_s=fields.number("at_s"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one version did on one device between two moments: counts, mergeable by addition.

    ``inputs`` are flat counts by the plan that ``plan`` names; an empty ``plan`` means that the
    package has none.
    """

    model: ModelName
    version: int
    digest: Digest
    started_s: float
    ended_s: float
    inferences: int
    failures: int
    nonfinite: int
    classes: tuple[int, ...]
    confidence: tuple[int, ...]
    latency: tuple[int, ...]
    labelled: int
    labelled_correct: int
    plan: str = ""
    input_rows: int = 0
    inputs: tuple[int, ...] = ()

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; without a plan there are no input counts in it."""
        inputs: dict[str, object] = {
            "plan": self.plan,
            "input_rows": self.input_rows,
            "inputs": pack_counts(self.inputs),
        }
        return {
            **(inputs if self.plan else {}),
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "started_s": self.started_s,
            "ended_s": self.ended_s,
            "inferences": self.inferences,
            "failures": self.failures,
            "nonfinite": self.nonfinite,
            "classes": list(self.classes),
            "confidence": list(self.confidence),
            "latency": list(self.latency),
            "labelled": self.labelled,
            "labelled_correct": self.labelled_correct,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Window:
        """Read the JSON form; counts that contradict each other are refused."""
        window = cls(
            model=fields.model("model"),
            version=fields.integer("version", minimum=1),
            digest=fields.digest("digest"),
            started_s=fields.number("started_s"),
            ended_s=fields.number("ended_s"),
            inferences=fields.integer("inferences"),
            failures=fields.integer("failures"),
            nonfinite=fields.integer("nonfinite"),
            classes=fields.integers("classes", max_items=MAX_CLASSES),
            confidence=fields.integers("confidence", max_items=CONFIDENCE_BINS),
            latency=fields.integers("latency", max_items=LATENCY_BINS),
            labelled=fields.integer("labelled"),
            labelled_correct=fields.integer("labelled_correct"),
            plan=fields.text("plan", max_length=SCHEMA_DIGITS) if fields.has("plan") else "",
            input_rows=fields.integer("input_rows") if fields.has("plan") else 0,
            inputs=_read_inputs(fields) if fields.has("plan") else (),
        )
        if window.labelled_correct > window.labelled or window.nonfinite > window.inferences:
            raise ProtocolError(f"{fields.path} has counts that contradict each other")
        return window


def _read_inputs(fields: Fields) -> tuple[int, ...]:
    return unpack_counts(fields.text("inputs", max_length=MAX_COUNTS_TEXT), MAX_INPUT_COUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An outbox item on the wire: its stream, its sequence number, and what it carries.

    ``oldest`` is the lowest number that the device still holds: what is below was acknowledged,
    even if the hub (restored from a copy) does not remember. ``body`` is an ``Event`` (topic
    ``event``), a ``CommandOutcome`` (topic ``outcome``), windows (topic ``telemetry``) or
    samples (topic ``sample``). ``age_s`` is how many seconds before it was sent the item was put,
    by a clock that nobody sets; None if the device does not know (its machine was started anew
    since then).
    """

    device: DeviceId
    stream: str
    sequence: int
    oldest: int
    body: Event | CommandOutcome | tuple[Window | Sample, ...]
    age_s: float | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows in it."""
        several = self.body if isinstance(self.body, tuple) else ()
        return tuple(each for each in several if isinstance(each, Window))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples in it."""
        several = self.body if isinstance(self.body, tuple) else ()
        return tuple(each for each in several if isinstance(each, Sample))

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        head: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "stream": self.stream,
            "sequence": self.sequence,
            "oldest": self.oldest,
            "age_s": self.age_s,
        }
        if isinstance(self.body, Event):
            return {**head, "event": self.body.to_document()}
        if isinstance(self.body, CommandOutcome):
            return {**head, "outcome": self.body.to_document()}
        name = "samples" if self.samples else "windows"
        return {**head, name: [each.to_document() for each in self.body]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], kind: str) -> Numbered:
        """Read the JSON form of ``kind`` "event", "outcome", "telemetry" or "sample"."""
        fields = Fields(document, kind)
        fields.check_schema()
        body: Event | CommandOutcome | tuple[Window | Sample, ...]
        if kind == "event":
            body = Event.from_fields(fields.fields("event"))
        elif kind == "outcome":
            body = CommandOutcome.from_fields(fields.fields("outcome"))
        elif kind == "sample":
            body = fields.list_of("samples", Sample.from_fields, max_items=MAX_SAMPLES)
        else:
            body = fields.list_of("windows", Window.from_fields, max_items=MAX_WINDOWS)
        return cls(
            device=fields.device("device"),
            stream=fields.text("stream", max_length=64),
            sequence=fields.integer("sequence", minimum=1),
            oldest=fields.integer("oldest", minimum=1),
            body=body,
            age_s=fields.number("age_s") if fields.has("age_s") else None,
        )
