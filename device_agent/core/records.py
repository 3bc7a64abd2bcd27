"""What the device's journal says of one model: its slots, floor, quarantine and deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from device_agent.core.deployment import Deployment
from device_agent.core.states import State
from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import Digest, ModelName, parse_digest
from device_agent.protocol.orders import DesiredModel
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass

SLOTS = ("A", "B")
MAX_QUARANTINE = 64
_STATES = frozenset(state.value for state in State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A version that lies ready on this device; ``committed`` once it passed probation here."""

    version: int
    manifest: BlobRef
    committed: bool

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "version": self.version,
            "manifest": self.manifest.to_document(),
            "committed": self.committed,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Slot:
        """Read the JSON form."""
        return cls(
            version=fields.integer("version", minimum=1),
            manifest=BlobRef.from_fields(fields.fields("manifest")),
            committed=fields.boolean("committed"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """The journalled truth about one model; which slot is active is the pointer's to say."""

    name: ModelName
    slots: Mapping[str, Slot] = field(default_factory=dict)
    floor: int = 0
    """Highest version that was ever committed here: an older package is refused."""
    quarantine: Mapping[Digest, Reason] = field(default_factory=dict)
    deployment: Deployment | None = None

    def slot_of(self, digest: Digest) -> str | None:
        """Return the slot that holds a package, if one does."""
        for name, slot in self.slots.items():
            if slot.manifest.digest == digest:
                return name
        return None

    def is_known_good(self, digest: Digest) -> bool:
        """Tell whether this package was committed here and still lies in a slot."""
        name = self.slot_of(digest)
        return name is not None and self.slots[name].committed

    def with_slot(self, name: str, slot: Slot | None) -> ModelRecord:
        """Return the record with a slot replaced (None empties it)."""
        slots = {key: value for key, value in self.slots.items() if key != name}
        if slot is not None:
            slots[name] = slot
        return replace(self, slots=slots)

    def with_quarantined(self, digest: Digest, reason: Reason) -> ModelRecord:
        """Return the record with a package quarantined; the oldest of 64 makes room."""
        entries = [item for item in self.quarantine.items() if item[0] != digest]
        entries.append((digest, reason))
        return replace(self, quarantine=dict(entries[-MAX_QUARANTINE:]))

    def to_document(self) -> dict[str, object]:
        """Return the JSON form that the journal writes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "slots": {name: slot.to_document() for name, slot in self.slots.items()},
            "floor": self.floor,
            "quarantine": [[digest, reason.value] for digest, reason in self.quarantine.items()],
            "deployment": _deployment_document(self.deployment),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ModelRecord:
        """Read the JSON form.

        Raises:
            ProtocolError: the journal is damaged; the message names the field.
        """
        fields = Fields(document, "record")
        fields.check_schema()
        name = fields.model("name")
        if not set(fields.fields("slots").names()) <= set(SLOTS):
            raise ProtocolError("record.slots has another slot than A and B")
        return cls(
            name=name,
            slots=fields.mapping("slots", Slot.from_fields, max_items=len(SLOTS)),
            floor=fields.integer("floor"),
            quarantine=_read_quarantine(document.get("quarantine")),
            deployment=fields.optional("deployment", lambda inner: _read_deployment(name, inner)),
        )


def _deployment_document(deployment: Deployment | None) -> dict[str, object] | None:
    if deployment is None:
        return None
    return {
        "generation": deployment.generation,
        "order": deployment.order.to_document(),
        "state": deployment.state.value,
        "slot": deployment.slot,
        "reason": deployment.reason.value if deployment.reason else None,
        "detail": deployment.detail,
        "transitions": deployment.transitions,
        "trials_left": deployment.trials_left,
    }


def _read_deployment(name: ModelName, fields: Fields) -> Deployment | None:
    """Read a deployment; None for a state that only a newer agent knows: it is ordered again."""
    if fields.text("state") not in _STATES:
        return None
    try:
        return Deployment(
            model=name,
            generation=fields.integer("generation", minimum=1),
            order=DesiredModel.from_fields(fields.fields("order")),
            state=State(fields.text("state")),
            slot=_read_slot(fields),
            reason=_read_reason(fields.text("reason")) if fields.has("reason") else None,
            detail=fields.text("detail"),
            transitions=fields.integer("transitions"),
            trials_left=fields.integer("trials_left"),
        )
    except ValueError as error:
        raise ProtocolError(f"{fields.path}: {error}") from error


def _read_slot(fields: Fields) -> str:
    letter = fields.text("slot", max_length=1)
    if letter not in ("", *SLOTS):
        raise ProtocolError(f"{fields.path}.slot is {letter!r}, neither A nor B")
    return letter


def _read_quarantine(items: object) -> dict[Digest, Reason]:
    if not isinstance(items, list) or len(items) > MAX_QUARANTINE:
        raise ProtocolError("record.quarantine is not a short array")
    try:
        return {parse_digest(digest): _read_reason(reason) for digest, reason in items}
    except (ValueError, TypeError, ProtocolError) as error:
        raise ProtocolError(f"record.quarantine: {error}") from error


def _read_reason(text: str) -> Reason:
    """Return a reason; one that only a newer agent knows still holds against the package."""
    if not isinstance(text, str) or not text:
        raise ProtocolError("a reason is no text")
    try:
        return Reason(text)
    except ValueError:
        return Reason.LOAD_FAILED
