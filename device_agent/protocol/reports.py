"""From a device to the hub, as it stands now: its reported state, and the chunks it needs.

Times are Unix seconds of the device's wall clock and are only shown to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from device_agent.protocol.chunks import MAX_CHUNKS, BlobRef
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import MAX_MODELS, SCHEMA_VERSION, Fields
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.values import dataclass

MAX_RANGES = 512
MAX_DETAIL = 400
MAX_SESSION = 2**40
DEFAULT_HEARTBEAT_S = 30.0
"""Longest pause between two reported states of a device that is online."""
LEAST_HEARTBEAT_S = 0.1
MOST_HEARTBEAT_S = 86_400.0
"""What a hub takes for such a pause."""


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
class GaveWay:
    """What did not stay by itself in a full outbox, counted by the device.

    Attributes:
        merged: windows that were added to another one; their counts are all there.
        windows: windows that no disk took, with their counts.
        events: steps of deployments that were dropped.
        samples: samples that were dropped.
    """

    merged: int = 0
    windows: int = 0
    events: int = 0
    samples: int = 0

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "merged": self.merged,
            "windows": self.windows,
            "events": self.events,
            "samples": self.samples,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> GaveWay:
        """Read the JSON form."""
        return cls(
            merged=fields.integer("merged"),
            windows=fields.integer("windows"),
            events=fields.integer("events"),
            samples=fields.integer("samples"),
        )


def instance_of(folder: str, process: str) -> str:
    """Return the instance of a process on a state folder, each named by what is random."""
    return f"{folder}-{process}"


def folder_of(instance: str) -> str:
    """Return what names the state folder in an instance; empty for agents that name none."""
    folder, dash, _ = instance.partition("-")
    return folder if dash else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The reported state of a device: birth, heartbeat and (as the will) death.

    ``session`` grows with every connection and survives restarts; ``instance`` names the state
    folder and the process, see ``instance_of``. A death counts only for the session that it names,
    and a session that does not grow while the instance changed means that two agents share one
    identity.
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
    gave_way: GaveWay = field(default_factory=GaveWay)
    safe_mode: bool = False
    """Whether starts that ended badly made the agent load less than it could."""
    heartbeat_s: float = DEFAULT_HEARTBEAT_S

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
            "gave_way": self.gave_way.to_document(),
            "safe_mode": self.safe_mode,
            "heartbeat_s": self.heartbeat_s,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reported:
        """Read the JSON form."""
        fields = Fields(document, "state")
        fields.check_schema()
        return cls(
            device=fields.device("device"),
            online=fields.boolean("online"),
            session=fields.integer("session", maximum=MAX_SESSION),
            instance=fields.text("instance", max_length=64),
            agent=fields.text("agent", max_length=32),
            profile=fields.text("profile", max_length=64),
            runtimes=fields.texts("runtimes", max_items=16, max_length=64),
            generation=fields.integer("generation"),
            models=fields.models("models", ReportedModel.from_fields, max_items=MAX_MODELS),
            clock_s=fields.number("clock_s"),
            disk_free_bytes=fields.integer("disk_free_bytes"),
            outbox=fields.integer("outbox"),
            gave_way=fields.optional("gave_way", GaveWay.from_fields) or GaveWay(),
            safe_mode=fields.boolean("safe_mode") if fields.has("safe_mode") else False,
            heartbeat_s=(
                fields.number("heartbeat_s", minimum=LEAST_HEARTBEAT_S, maximum=MOST_HEARTBEAT_S)
                if fields.has("heartbeat_s")
                else DEFAULT_HEARTBEAT_S
            ),
        )


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
