"""Probation as it happens: what the live model has counted, judged by the rules."""

from __future__ import annotations

from dataclasses import replace

from device_agent.core import probation
from device_agent.core.counts import Counts
from device_agent.core.deployment import Deployment, Happened
from device_agent.core.records import SLOTS, ModelRecord
from device_agent.core.states import EventType
from device_agent.protocol.errors import ModelRefused
from device_agent.protocol.reasons import Reason
from device_agent.shell import packages
from device_agent.shell.live import LiveModel
from device_agent.shell.outcome import DONE
from device_agent.shell.storage import Storage


def look(
    storage: Storage,
    model: LiveModel | None,
    record: ModelRecord,
    deployment: Deployment,
    elapsed_s: float,
) -> Happened | None:
    """Tell what came of probation so far, None if it goes on.

    Args:
        storage: has the counts of the version before.
        model: what answers now.
        record: the model's.
        deployment: which is on probation.
        elapsed_s: seconds since it was activated, or since the start.

    Raises:
        ModelRefused: what answers is not what is on probation.
    """
    if model is None or model.digest != deployment.digest:
        raise ModelRefused(Reason.LOAD_FAILED, "the version in probation could not be loaded again")
    other = next(each for each in SLOTS if each != deployment.slot)
    parent = packages.load_counts(storage, record.name, other) if other in record.slots else None
    rules = deployment.order.probation
    verdict = probation.hung(model.running_s) or probation.judge(
        rules, model.counts(), parent, elapsed_s
    )
    if verdict.passed:
        return replace(DONE, detail=verdict.detail, evidence=verdict.evidence)
    return None if verdict.reason is None else _ended(EventType.REFUSED, verdict)


def time_is_up(model: LiveModel | None, deployment: Deployment) -> Happened:
    """Tell how a probation ends whose time is up without a decision."""
    seen = model.counts() if model is not None else Counts()
    return _ended(EventType.TIMED_OUT, probation.timed_out(deployment.order.probation, seen))


def _ended(kind: EventType, verdict: probation.Verdict) -> Happened:
    return Happened(
        type=kind, reason=verdict.reason, detail=verdict.detail, evidence=verdict.evidence
    )
