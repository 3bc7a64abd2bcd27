"""From the hub to a device: desired states, commands, acknowledgements, the hub's epoch.

Each has ``to_document`` and ``from_document``; ``docs/protocol.md`` has an example of each.
Desired states and commands travel as the payload of a director's envelope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from device_agent.protocol.activation import AT_ONCE, Activation
from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.envelope import Signature
from device_agent.protocol.fields import MAX_MODELS, SCHEMA_VERSION, Fields
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredModel:
    """What one model of a device should be: a signed package and how to prove it."""

    version: int
    manifest: BlobRef
    signature: Signature
    rollout: str
    probation: ProbationRules = field(default_factory=ProbationRules)
    download_timeout_s: float = 3600.0
    activation: Activation = AT_ONCE

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "version": self.version,
            "manifest": self.manifest.to_document(),
            "signature": self.signature.to_document(),
            "rollout": self.rollout,
            "probation": self.probation.to_document(),
            "download_timeout_s": self.download_timeout_s,
            "activation": self.activation.to_document(),
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
            activation=fields.optional("activation", Activation.from_fields) or AT_ONCE,
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
        return cls(
            device=fields.device("device"),
            generation=fields.integer("generation", minimum=1),
            models=fields.models("models", DesiredModel.from_fields, max_items=MAX_MODELS),
        )


COMMANDS = ("announce", "collect_logs", "restart", "self_test")
"""What may be commanded: publish the full reported state now; send the recent log; start the
agent again; run the self-test of each active version in a child process."""
_KIND = re.compile(r"[a-z_]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A one-shot order outside a rollout; executed at most once, never after ``expires_s``.

    ``issued_s`` and ``expires_s`` are of the hub's clock. ``kind`` is one of ``COMMANDS``, or a
    word of a newer hub, which the agent answers with a refusal.
    """

    device: DeviceId
    id: str
    kind: str
    issued_s: float
    expires_s: float

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, the payload of the director's envelope."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "id": self.id,
            "kind": self.kind,
            "issued_s": self.issued_s,
            "expires_s": self.expires_s,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Command:
        """Read the JSON form."""
        fields = Fields(document, "command")
        fields.check_schema()
        return cls(
            device=fields.device("device"),
            id=fields.text("id", max_length=64),
            kind=fields.text("kind", pattern=_KIND),
            issued_s=fields.number("issued_s"),
            expires_s=fields.number("expires_s"),
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
