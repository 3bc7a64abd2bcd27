"""What the API shows: values of the domain as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from device_agent.protocol.manifest import Manifest
from edgeops.domain.access import Token
from edgeops.domain.audit import AuditEntry
from edgeops.domain.commands import GivenCommand
from edgeops.domain.registry import Alias, ModelSummary, Version
from edgeops.domain.rollout import Member, Rollout
from edgeops.hub.process import Hub
from edgeops.service.fleet import DeviceDetail

Json = dict[str, Any]


def version(each: Version) -> Json:
    """Show a version."""
    return {
        "model": each.model,
        "version": each.number,
        "reference": each.reference,
        "digest": each.digest,
        "size_bytes": each.size_bytes,
        "signature": each.signature.to_document(),
        "created_s": each.created_s,
        "created_by": each.created_by,
        "lineage": dict(each.lineage),
        "waivers": [waiver.to_document() for waiver in each.waivers],
    }


def alias(each: Alias) -> Json:
    """Show an alias."""
    return {
        "model": each.model,
        "alias": each.name,
        "version": each.number,
        "revision": each.revision,
    }


def summary(each: ModelSummary) -> Json:
    """Show a model in the list of all."""
    return {
        "model": each.model,
        "versions": each.versions,
        "latest": each.latest,
        "aliases": [alias(one) for one in each.aliases],
    }


def manifest(each: Manifest) -> Json:
    """Show a manifest without its chunk hashes."""
    variants = []
    for variant in each.variants:
        document: Json = dict(variant.to_document())
        for blob in ("artifact", "golden"):
            if isinstance(document[blob], dict):
                document[blob] = {k: v for k, v in document[blob].items() if k != "chunks"}
        variants.append(document)
    return {
        "model": each.model,
        "version": each.version,
        "min_agent": each.min_agent,
        "labels": list(each.labels),
        "min_accuracy": each.min_accuracy,
        "waivers": [waiver.to_document() for waiver in each.waivers],
        "lineage": dict(each.lineage),
        "variants": variants,
        "preprocessing": each.preprocessing and each.preprocessing.to_document(),
        "thresholds": list(each.thresholds),
    }


def device(detail: DeviceDetail) -> Json:
    """Show a device: labels, presence, what it reports, and why it is not converged."""
    each = detail.device
    presence, reported = each.presence, each.reported
    return {
        "device": each.id,
        "profile": each.profile,
        "labels": dict(each.labels),
        "enrolled_s": each.enrolled_s,
        "online": presence.online,
        "last_seen_s": presence.last_seen_s,
        "session": presence.session,
        "duplicate_identity": presence.duplicate,
        "clock_offset_s": presence.clock_offset_s,
        "agent": reported.agent if reported else None,
        "runtimes": list(reported.runtimes) if reported else [],
        "disk_free_bytes": reported.disk_free_bytes if reported else None,
        "outbox": reported.outbox if reported else None,
        "safe_mode": reported.safe_mode if reported else False,
        "gave_way": reported.gave_way.to_document() if reported else None,
        "desired_generation": detail.desired.generation,
        "reported_generation": reported.generation if reported else None,
        "models": [asdict(standing) for standing in detail.standings],
        "reported_models": (
            {name: model.to_document() for name, model in reported.models.items()}
            if reported
            else {}
        ),
        "converged": all(standing.converged for standing in detail.standings),
    }


def command(each: GivenCommand, now_s: float) -> Json:
    """Show a command and what became of it."""
    outcome = each.outcome
    return {
        "id": each.command.id,
        "device": each.device,
        "kind": each.command.kind,
        "state": each.state(now_s),
        "detail": outcome.detail if outcome else "",
        "given_by": each.given_by,
        "issued_s": each.command.issued_s,
        "expires_s": each.command.expires_s,
        "answered_s": each.answered_s,
        "log": list(outcome.log) if outcome else None,
        "models": [
            {"model": tested.model, "passed": tested.passed, **tested.to_document()}
            for tested in (outcome.models if outcome else ())
        ],
    }


def member(each: Member) -> Json:
    """Show a device's part in a rollout."""
    return {
        "device": each.device,
        "wave": each.wave,
        "state": str(each.state),
        "device_state": each.device_state,
        "reason": each.reason,
        "detail": each.detail,
        "evidence": dict(each.evidence),
        "previous": each.previous,
        "ordered_s": each.ordered_s,
        "updated_s": each.updated_s,
    }


def rollout(each: Rollout) -> Json:
    """Show a rollout with its members."""
    policy = each.policy
    return {
        "id": each.id,
        "model": each.model,
        "version": each.number,
        "reference": each.reference,
        "selector": each.selector,
        "state": str(each.state),
        "why": each.why,
        "wave": each.wave,
        "waves": each.waves,
        "policy": {**asdict(policy), "steps": list(policy.steps)},
        "created_s": each.created_s,
        "created_by": each.created_by,
        "members": [member(one) for one in each.members],
    }


def token(each: Token) -> Json:
    """Show a token, never its text."""
    return {
        "id": each.id,
        "name": each.name,
        "role": str(each.role),
        "created_s": each.created_s,
        "expires_s": each.expires_s,
    }


def audit_entry(each: AuditEntry) -> Json:
    """Show an entry of the audit."""
    return {
        "sequence": each.sequence,
        "at_s": each.at_s,
        "actor": each.actor,
        "act": each.act,
        "subject": each.subject,
        "detail": dict(each.detail),
        "hash": each.hash,
    }


def hub(each: Hub, version_text: str) -> Json:
    """Show the running hub: its broker, its connection, its counters."""
    broker = each.broker
    return {
        "version": version_text,
        "clock_s": each.context.clock(),
        "broker": {
            "url": each.context.broker,
            "kind": broker.kind if broker else "external",
            "limits": broker.limits if broker else None,
            "accounts": broker.supports_accounts if broker else None,
            "connected": each.connected,
            "why": each.why_disconnected,
        },
        "root_version": each.context.root.version,
        "counters": dict(each.handlers.counters),
        "bandwidth": each.options.bandwidth,
        "open_chunks": each.demand.open_chunks,
    }


def delivery(each: Hub) -> Mapping[str, Json]:
    """Show what was published of each blob since the hub started."""
    return {digest: asdict(sent) for digest, sent in each.demand.sent().items()}
