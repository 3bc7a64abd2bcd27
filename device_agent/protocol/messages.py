"""The documents on the topics: what hub and device say to each other.

Each has ``to_document``/``from_document``; the JSON of each is described with an example in
``docs/protocol.md``. Times on the wire are Unix seconds of the sender's wall clock and are only
shown to people: nothing is decided by them but the expiry of a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from device_agent.protocol.chunks import MAX_CHUNKS, BlobRef
from device_agent.protocol.envelope import Signature
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import DeviceId, Digest, ModelName, parse_model_name
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.sketch import CONFIDENCE_BINS, LATENCY_BINS, MAX_CLASSES

MAX_MODELS = 32
MAX_RANGES = 512
MAX_WINDOWS = 32
MAX_DETAIL = 400
MAX_SESSION = 2**40


def _named_models(fields: Fields, key: str) -> Fields:
    inner = fields.fields(key)
    for name in inner.names():
        parse_model_name(name)
    return inner


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredModel:
    """What one model of a device should be: a signed package and how to prove it."""

    version: int
    manifest: BlobRef
    signature: Signature
    rollout: str
    probation: ProbationRules = field(default_factory=ProbationRules)
    download_timeout_s: float = 3600.0

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "version": self.version,
            "manifest": self.manifest.to_document(),
            "signature": self.signature.to_document(),
            "rollout": self.rollout,
            "probation": self.probation.to_document(),
            "download_timeout_s": self.download_timeout_s,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> DesiredModel:
        """Read the JSON form."""
        return cls(
            version=fields.integer("version", minimum=1),
            manifest=BlobRef.from_fields(fields.fields("manifest")),
            signature=Signature.from_fields(fields.fields("signature")),
            rollout=fields.text("rollout", max_length=64),
            probation=ProbationRules.from_fields(fields.fields("probation")),
            download_timeout_s=fields.number("download_timeout_s", minimum=1.0, maximum=1e7),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The desired state of a device: level-triggered, the newest generation wins.

    A model that is not named any more is left alone: a device never loses its working model
    because an order forgot it.
    """

    device: DeviceId
    generation: int
    models: Mapping[ModelName, DesiredModel]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, the payload of the director's envelope."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "generation": self.generation,
            "models": {name: model.to_document() for name, model in self.models.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Desired:
        """Read the JSON form."""
        fields = Fields(document, "desired")
        fields.check_schema()
        _named_models(fields, "models")
        models = fields.mapping("models", DesiredModel.from_fields, max_items=MAX_MODELS)
        return cls(
            device=fields.device("device"),
            generation=fields.integer("generation", minimum=1),
            models={ModelName(name): model for name, model in models.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedVersion:
    """A version as a device holds it: number and manifest digest."""

    version: int
    digest: Digest

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"version": self.version, "digest": self.digest}

    @classmethod
    def from_fields(cls, fields: Fields) -> ReportedVersion:
        """Read the JSON form."""
        return cls(version=fields.integer("version", minimum=1), digest=fields.digest("digest"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedDeployment:
    """The device's part in a rollout, as far as it has come."""

    generation: int
    rollout: str
    version: int
    state: str
    reason: str | None = None
    detail: str = ""
    chunks_have: int = 0
    chunks_total: int = 0

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "generation": self.generation,
            "rollout": self.rollout,
            "version": self.version,
            "state": self.state,
            "reason": self.reason,
            "detail": self.detail,
            "chunks_have": self.chunks_have,
            "chunks_total": self.chunks_total,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> ReportedDeployment:
        """Read the JSON form."""
        return cls(
            generation=fields.integer("generation", minimum=1),
            rollout=fields.text("rollout", max_length=64),
            version=fields.integer("version", minimum=1),
            state=fields.text("state", max_length=32),
            reason=fields.text("reason", max_length=64) if fields.has("reason") else None,
            detail=fields.text("detail", max_length=MAX_DETAIL),
            chunks_have=fields.integer("chunks_have", maximum=MAX_CHUNKS),
            chunks_total=fields.integer("chunks_total", maximum=MAX_CHUNKS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedModel:
    """One model of a device: what serves, what it could fall back to, what is under way."""

    active: ReportedVersion | None
    previous: ReportedVersion | None
    deployment: ReportedDeployment | None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "active": self.active.to_document() if self.active else None,
            "previous": self.previous.to_document() if self.previous else None,
            "deployment": self.deployment.to_document() if self.deployment else None,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> ReportedModel:
        """Read the JSON form."""
        return cls(
            active=fields.optional("active", ReportedVersion.from_fields),
            previous=fields.optional("previous", ReportedVersion.from_fields),
            deployment=fields.optional("deployment", ReportedDeployment.from_fields),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The reported state of a device: birth, heartbeat and (as the will) death.

    ``session`` grows with every connection and survives restarts; ``instance`` is random for
    each process. A death counts only for the session that it names, and a session that does not
    grow while the instance changed means that two agents share one identity.
    """

    device: DeviceId
    online: bool
    session: int
    instance: str
    agent: str = "0.0.0"
    profile: str = ""
    runtimes: tuple[str, ...] = ()
    generation: int = 0
    models: Mapping[ModelName, ReportedModel] = field(default_factory=dict)
    clock_s: float = 0.0
    disk_free_bytes: int = 0
    outbox: int = 0

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "online": self.online,
            "session": self.session,
            "instance": self.instance,
            "agent": self.agent,
            "profile": self.profile,
            "runtimes": list(self.runtimes),
            "generation": self.generation,
            "models": {name: model.to_document() for name, model in self.models.items()},
            "clock_s": self.clock_s,
            "disk_free_bytes": self.disk_free_bytes,
            "outbox": self.outbox,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reported:
        """Read the JSON form."""
        fields = Fields(document, "state")
        fields.check_schema()
        _named_models(fields, "models")
        models = fields.mapping("models", ReportedModel.from_fields, max_items=MAX_MODELS)
        return cls(
            device=fields.device("device"),
            online=fields.boolean("online"),
            session=fields.integer("session", maximum=MAX_SESSION),
            instance=fields.text("instance", max_length=64),
            agent=fields.text("agent", max_length=32),
            profile=fields.text("profile", max_length=64),
            runtimes=fields.texts("runtimes", max_items=16, max_length=64),
            generation=fields.integer("generation"),
            models={ModelName(name): model for name, model in models.items()},
            clock_s=fields.number("clock_s"),
            disk_free_bytes=fields.integer("disk_free_bytes"),
            outbox=fields.integer("outbox"),
        )


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
    """What one version did on one device between two moments: counts, mergeable by addition."""

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

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
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
        )
        if window.labelled_correct > window.labelled or window.nonfinite > window.inferences:
            raise ProtocolError(f"{fields.path} has counts that contradict each other")
        return window


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An outbox item on the wire: its stream, its sequence number, and what it carries.

    ``oldest`` is the lowest number that the device still holds: what is below was acknowledged,
    even if the hub (restored from a copy) does not remember. ``body`` is an ``Event`` (topic
    ``event``) or windows (topic ``telemetry``).
    """

    device: DeviceId
    stream: str
    sequence: int
    oldest: int
    body: Event | tuple[Window, ...]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        head: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "stream": self.stream,
            "sequence": self.sequence,
            "oldest": self.oldest,
        }
        if isinstance(self.body, Event):
            return {**head, "event": self.body.to_document()}
        return {**head, "windows": [window.to_document() for window in self.body]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], kind: str) -> Numbered:
        """Read the JSON form of ``kind`` "event" or "telemetry"."""
        fields = Fields(document, kind)
        fields.check_schema()
        body: Event | tuple[Window, ...]
        if kind == "event":
            body = Event.from_fields(fields.fields("event"))
        else:
            body = fields.list_of("windows", Window.from_fields, max_items=MAX_WINDOWS)
        return cls(
            device=fields.device("device"),
            stream=fields.text("stream", max_length=64),
            sequence=fields.integer("sequence", minimum=1),
            oldest=fields.integer("oldest", minimum=1),
            body=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Everything of ``stream`` up to ``sequence`` is in the hub's database."""

    stream: str
    sequence: int

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "stream": self.stream,
            "sequence": self.sequence,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Ack:
        """Read the JSON form."""
        fields = Fields(document, "ack")
        fields.check_schema()
        return cls(stream=fields.text("stream", max_length=64), sequence=fields.integer("sequence"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The chunks of a blob that a device misses, as half-open ranges."""

    device: DeviceId
    blob: BlobRef
    ranges: tuple[tuple[int, int], ...]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; ranges are flat: start, stop, start, stop."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "blob": self.blob.to_document(),
            "ranges": [bound for span in self.ranges for bound in span],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Need:
        """Read the JSON form."""
        fields = Fields(document, "need")
        fields.check_schema()
        flat = fields.integers("ranges", max_items=2 * MAX_RANGES)
        if len(flat) % 2:
            raise ProtocolError("need.ranges has an odd number of bounds")
        return cls(
            device=fields.device("device"),
            blob=BlobRef.from_fields(fields.fields("blob")),
            ranges=tuple(zip(flat[::2], flat[1::2], strict=True)),
        )


COMMANDS = ("announce",)
"""``announce``: publish the full reported state now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A one-shot order outside a rollout; executed at most once, never after ``expires_s``."""

    device: DeviceId
    id: str
    kind: str
    expires_s: float

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, the payload of the director's envelope."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "id": self.id,
            "kind": self.kind,
            "expires_s": self.expires_s,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Command:
        """Read the JSON form; an unknown kind is refused."""
        fields = Fields(document, "command")
        fields.check_schema()
        kind = fields.text("kind", max_length=32)
        if kind not in COMMANDS:
            raise ProtocolError(f"command kind {kind!r} is unknown")
        return cls(
            device=fields.device("device"),
            id=fields.text("id", max_length=64),
            kind=kind,
            expires_s=fields.number("expires_s"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The hub's epoch: absent or another one means that the broker lost its state."""

    epoch: str
    hub: str

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"schema_version": SCHEMA_VERSION, "epoch": self.epoch, "hub": self.hub}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Epoch:
        """Read the JSON form."""
        fields = Fields(document, "epoch")
        fields.check_schema()
        return cls(epoch=fields.text("epoch", max_length=64), hub=fields.text("hub", max_length=32))
