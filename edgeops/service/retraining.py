"""Retraining as the hub sees it: policies, requests with frozen data, and how they went.

The work itself (training, packaging, comparing) is a worker's, which holds the targets key: the
hub asks for a better model, but cannot make one. See ``service.worker``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from device_agent.protocol.ids import DeviceId
from device_agent.protocol.samples import Sample
from edgeops.access import audit
from edgeops.domain.drift import Alarm
from edgeops.domain.errors import EdgeopsError, InvalidInput, NotFound
from edgeops.domain.registry import parse_model
from edgeops.domain.retraining import Contest, Retraining, RetrainPolicy, RetrainState
from edgeops.registry import versions
from edgeops.retraining.machine import Step, after
from edgeops.retraining.policy import asks
from edgeops.retraining.rows import part, rows_of
from edgeops.service import data
from edgeops.service.context import HUB_ACTOR, Context
from edgeops.store.database import Work

logger = logging.getLogger(__name__)

MIN_UNSEEN = 30
"""Distinct held-out rows of drifted devices that a comparison takes: with fewer, even a much
better challenger cannot be shown to be better."""
_ACTS: Mapping[Step, audit.RetrainAct] = {
    Step.CLAIM: "retrain.claim",
    Step.PUBLISH: "retrain.publish",
    Step.REJECT: "retrain.reject",
    Step.FAIL: "retrain.fail",
}


def set_policy(context: Context, actor: str, policy: RetrainPolicy) -> RetrainPolicy:
    """Set when and how a model is retrained.

    Raises:
        NotFound: no such model or data set.
        InvalidInput: a bound that cannot be.
    """
    if policy.min_samples < 1 or not 0.0 < policy.max_drop <= 1.0:
        raise InvalidInput(
            "min_samples must be at least 1, max_drop above 0 and at most 1",
            next_step="edgeops retrain policy --help",
        )
    with context.database.begin() as work:
        versions.list_versions(work.registry, policy.model)
        for name in (*policy.data, policy.evaluation):
            if not data.find(work, name).labelled:
                raise InvalidInput(f"data set {name} has no labels (y)")
        work.retraining.put_policy(policy)
        audit.record(work.audit, context.clock(), actor, "retrain.policy", policy.model)
        return policy


def policy(context: Context, model: str) -> RetrainPolicy:
    """Return the policy of a model.

    Raises:
        NotFound: it has none.
    """
    with context.database.read() as work:
        return _policy(work, model)


def request(context: Context, actor: str, model: str, alarm_id: str = "") -> Retraining:
    """Ask for a retraining: its data are frozen now.

    Args:
        context: the hub's.
        actor: who asks.
        model: name of the model.
        alarm_id: the alarm that is the reason; without, the newest open one of the model, if any.

    Raises:
        NotFound: no such model, policy, alarm or data set.
        InvalidInput: too few labelled samples, or none unseen.
    """
    with context.database.begin() as work:
        known = [each for each in work.drift.alarms() if each.model == parse_model(model)]
        wanted = [each for each in known if each.id == alarm_id or (not alarm_id and each.is_open)]
        if alarm_id and not wanted:
            raise NotFound(
                f"there is no alarm {alarm_id} of {model}", next_step="edgeops drift status"
            )
        return _request(context, work, actor, _policy(work, model), wanted[-1] if wanted else None)


def tick(context: Context) -> None:
    """Ask for what open alarms of harm and the policies ask for; too few samples: later."""
    with context.database.read() as work:
        known = work.retraining.all()
        wanted = [
            (each, alarm)
            for each in work.retraining.policies()
            for alarm in work.drift.alarms()
            if alarm.model == each.model
            and asks(each, alarm, [t for t in known if t.model == each.model])
        ]
    for each, alarm in wanted[:1]:
        try:
            with context.database.begin() as work:
                _request(context, work, HUB_ACTOR, each, alarm)
        except EdgeopsError as error:
            logger.debug("retraining.not_yet", extra={"cause": str(error)})


def listed(context: Context) -> tuple[Retraining, ...]:
    """Return every retraining, oldest first."""
    with context.database.read() as work:
        return work.retraining.all()


def show(context: Context, retraining_id: str) -> Retraining:
    """Return one retraining.

    Raises:
        NotFound: there is none.
    """
    with context.database.read() as work:
        return _get(work, retraining_id)


def move(
    context: Context,
    actor: str,
    retraining_id: str,
    step: Step,
    *,
    why: str = "",
    child: int | None = None,
    rollout: str = "",
    metrics: Mapping[str, float] | None = None,
    contests: Sequence[Contest] = (),
) -> Retraining:
    """Take a step of a retraining, with what the worker found.

    Raises:
        NotFound: there is none of that id.
        Conflict: not possible in its state.
    """
    with context.database.begin() as work:
        before = _get(work, retraining_id)
        moved = replace(
            before,
            state=after(before.state, step),
            updated_s=context.clock(),
            why=why,
            child=child,
            rollout=rollout,
            metrics=dict(metrics or {}),
            contests=tuple(contests),
        )
        work.retraining.put(moved)
        detail: dict[str, Any] = {"why": why[:400]} if why else {}
        audit.record(work.audit, moved.updated_s, actor, _ACTS[step], retraining_id, **detail)
        return moved


def _request(
    context: Context, work: Work, actor: str, policy: RetrainPolicy, alarm: Alarm | None
) -> Retraining:
    found = work.retraining.samples_of(policy.model, limit=data.MOST_SAMPLES)
    if len(found) < policy.min_samples:
        raise InvalidInput(
            f"{len(found)} labelled samples of {policy.model} have come, {policy.min_samples} are "
            "needed",
            next_step="wait for more, or lower the bound: edgeops retrain policy",
        )
    seen = rows_of([sample for _, sample in found])
    since_s = _begun_s(work, alarm)
    drifted = rows_of([each for name, each in found if _is_drifted(alarm, since_s, name, each)])
    if seen is None:
        raise data.no_samples(policy.model)
    train = part(seen)[0]
    unseen = part(drifted)[1] if drifted is not None else drifted
    held_rows = 0 if unseen is None else len(unseen.x)
    if unseen is None or not len(train.x) or held_rows < MIN_UNSEEN:
        raise InvalidInput(
            f"{len(train.x)} distinct samples to train on and {held_rows} held out from drifted "
            f"devices have come, {MIN_UNSEEN} of these are needed",
            next_step="wait for more",
        )
    origin = {"samples": policy.model, **({"alarm": alarm.id} if alarm else {})}
    now_s = context.clock()
    parent = alarm.number if alarm else versions.resolve(work.registry, policy.model).number
    kept = [data.find(work, each).reference for each in policy.data]
    samples = data.keep(context, work, actor, f"{policy.model}-samples", train, origin)
    held_out = data.keep(context, work, actor, f"{policy.model}-drifted", unseen, origin)
    made = Retraining(
        id=work.retraining.next_id(),
        model=policy.model,
        parent=parent,
        alarm=alarm.id if alarm else "",
        state=RetrainState.REQUESTED,
        train=(*kept, samples.reference),
        evaluation=data.find(work, policy.evaluation).reference,
        drifted=held_out.reference,
        created_s=now_s,
        created_by=actor,
        updated_s=now_s,
    )
    work.retraining.put(made)
    audit.record(
        work.audit, now_s, actor, "retrain.request", made.id, parent=parent, alarm=made.alarm
    )
    return made


def _begun_s(work: Work, alarm: Alarm | None) -> float:
    """Return since when rows count as drifted.

    Labels come late, often all at once, so harm is dated to when they came; drift of the same
    version on the same devices is dated to the rows themselves.
    """
    if alarm is None:
        return 0.0
    of_them = [
        each.since_s
        for each in work.drift.alarms()
        if (each.model, each.number, each.is_open) == (alarm.model, alarm.number, True)
        and set(each.devices) & set(alarm.devices)
    ]
    return min([alarm.since_s, *of_them])


def _is_drifted(alarm: Alarm | None, since_s: float, device: DeviceId, sample: Sample) -> bool:
    return alarm is None or (device in alarm.devices and sample.at_s >= since_s)


def _policy(work: Work, model: str) -> RetrainPolicy:
    found = work.retraining.policy(parse_model(model))
    if found is None:
        raise NotFound(
            f"{model} has no retraining policy",
            next_step=f"edgeops retrain policy {model} --data NAME --evaluation NAME",
        )
    return found


def _get(work: Work, retraining_id: str) -> Retraining:
    for each in work.retraining.all():
        if each.id == retraining_id:
            return each
    raise NotFound(f"there is no retraining {retraining_id}", next_step="edgeops retrain list")
