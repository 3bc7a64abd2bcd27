"""The audit: every act of every room, by whom, in one chain that nobody can edit unseen.

The acts are a closed list: what is not in it cannot be recorded, so a reader of the log knows
every word that may stand there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol, get_args

from edgeops.domain.audit import AuditEntry, AuditHead, AuditReport, Json, verify_chain
from edgeops.domain.errors import AuditBroken

RegistryAct = Literal["package.publish", "alias.set", "model.waiver"]
RolloutAct = Literal[
    "rollout.create",
    "rollout.pause",
    "rollout.resume",
    "rollout.activate",
    "rollout.abort",
    "rollout.rollback",
    "rollout.wave_opened",
    "rollout.completed",
    "rollout.rolled_back",
]
DeploymentAct = Literal[
    "deployment.committed", "deployment.failed", "deployment.rolled_back", "deployment.timed_out"
]
DeviceAct = Literal[
    "device.enroll", "device.label", "device.remove", "device.duplicate_identity", "device.command"
]
AccessAct = Literal["token.create", "token.revoke"]
DriftAct = Literal["drift.alarm", "drift.close"]
RetrainAct = Literal[
    "data.add",
    "retrain.policy",
    "retrain.request",
    "retrain.claim",
    "retrain.publish",
    "retrain.reject",
    "retrain.fail",
    "retrain.release",
]
HubAct = Literal["hub.start", "hub.stop", "broker.state_lost"]
Act = (
    RegistryAct
    | RolloutAct
    | DeploymentAct
    | DeviceAct
    | AccessAct
    | DriftAct
    | RetrainAct
    | HubAct
)

ACTS: Mapping[str, tuple[str, ...]] = {
    "registry": get_args(RegistryAct),
    "rollout": get_args(RolloutAct),
    "deployment": get_args(DeploymentAct),
    "fleet": get_args(DeviceAct),
    "access": get_args(AccessAct),
    "drift": get_args(DriftAct),
    "retraining": get_args(RetrainAct),
    "hub": get_args(HubAct),
}
"""Every act that can be recorded, by the room that does it."""

KNOWN_ACTS = frozenset(act for acts in ACTS.values() for act in acts)


class AuditLog(Protocol):
    """Where the chain is kept; ``append`` is in the transaction of the act itself."""

    def append(
        self, *, at_s: float, actor: str, act: str, subject: str, detail: Mapping[str, Json]
    ) -> AuditEntry:
        """Write the next entry."""

    def entries(self, *, after: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
        """Yield the entries with a sequence above ``after``, in order."""

    def head(self) -> AuditHead | None:
        """Return the head record, if it is there."""


def record(
    log: AuditLog, at_s: float, actor: str, act: Act, subject: str, /, **detail: Json
) -> AuditEntry:
    """Record one act, in the transaction that does it: both are stored, or neither.

    Args:
        log: the transaction's audit log.
        at_s: when, in seconds since the epoch.
        actor: the name of the token, or of the part of the hub, that acted.
        act: from the closed list.
        subject: what it was done to, e.g. ``kws:2``.
        detail: what else a reader must know; never a secret.

    Raises:
        ValueError: an act that is not in the list.
        InvalidInput: a detail that JSON cannot hold.
        AuditBroken: the log's head record is gone.
    """
    if act not in KNOWN_ACTS:
        raise ValueError(f"{act!r} is no act of the audit's closed list")
    return log.append(at_s=at_s, actor=actor, act=act, subject=subject, detail=detail)


def verify(log: AuditLog) -> AuditReport:
    """Walk the whole log and report its first flaw, if there is one."""
    return verify_chain(log.entries(), log.head())


def require_unbroken(log: AuditLog) -> AuditReport:
    """Return the report of a good log.

    Raises:
        AuditBroken: a flaw; the cause says which entry, and how.
    """
    report = verify(log)
    if not report.ok:
        raise AuditBroken(
            f"the audit is not as it was written: {report.why}",
            next_step="compare with a copy of the database: somebody edited it outside edgeops",
        )
    return report
