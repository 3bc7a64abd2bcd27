"""From a device to the hub: what became of a command.

Times are Unix seconds of the device's wall clock and are only shown to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import MAX_MODELS, Fields
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.reports import MAX_DETAIL
from device_agent.protocol.values import dataclass

OUTCOMES = ("done", "failed", "refused", "expired")
"""``done``: carried out, and every self-test passed. ``failed``: begun, and not so. ``refused``,
``expired``: not begun."""
MAX_LOG_LINES = 400
MAX_LOG_LINE = 512
"""Characters of one line."""
MAX_LOG_BYTES = 40 * 1024
"""Bytes of all lines as JSON, so that with its head an outcome stays below 60 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """What the self-test said of a model's active version; ``reason`` is None if it passed."""

    model: ModelName
    version: int
    digest: Digest
    reason: str | None = None
    detail: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it would be activated again."""
        return self.reason is None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "version": self.version,
            "digest": self.digest,
            "reason": self.reason,
            "detail": self.detail,
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_fields(cls, model: ModelName, fields: Fields) -> ModelVerdict:
        """Read the JSON form."""
        evidence = fields.fields("evidence")
        return cls(
            model=model,
            version=fields.integer("version", minimum=1),
            digest=fields.digest("digest"),
            reason=fields.text("reason", max_length=64) if fields.has("reason") else None,
            detail=fields.text("detail", max_length=MAX_DETAIL),
            evidence={key: evidence.number(key, minimum=-1e15) for key in evidence.names()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """What became of one command: sent through the outbox, acknowledged by the hub.

    ``log`` are the agent's recent log lines, oldest first (``collect_logs``); ``models`` the
    verdict on each active version (``self_test``).
    """

    id: str
    kind: str
    outcome: str
    detail: str = ""
    at_s: float = 0.0
    log: tuple[str, ...] = ()
    models: tuple[ModelVerdict, ...] = ()

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; what a command does not give is not in it."""
        document: dict[str, object] = {
            "id": self.id,
            "kind": self.kind,
            "outcome": self.outcome,
            "detail": self.detail,
            "at_s": self.at_s,
        }
        if self.log:
            document["log"] = list(self.log)
        if self.models:
            document["models"] = {each.model: each.to_document() for each in self.models}
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> CommandOutcome:
        """Read the JSON form."""
        return cls(
            id=fields.text("id", max_length=64),
            kind=fields.text("kind", max_length=32),
            outcome=fields.word("outcome", OUTCOMES),
            detail=fields.text("detail", max_length=MAX_DETAIL),
            at_s=fields.number("at_s"),
            log=_read_log(fields) if fields.has("log") else (),
            models=_read_models(fields) if fields.has("models") else (),
        )


def _read_log(fields: Fields) -> tuple[str, ...]:
    lines = fields.texts("log", max_items=MAX_LOG_LINES, max_length=MAX_LOG_LINE)
    if any("\x00" in line for line in lines):
        raise ProtocolError(f"{fields.path}.log has a NUL, which databases refuse")
    return lines


def _read_models(fields: Fields) -> tuple[ModelVerdict, ...]:
    tested = fields.models("models", lambda each: each, max_items=MAX_MODELS)
    return tuple(ModelVerdict.from_fields(name, each) for name, each in tested.items())
