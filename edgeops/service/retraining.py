"""Retraining as the hub sees it: policies, requests with frozen data, and how they went.

The work itself (training, packaging, comparing) is a worker's, which holds the targets key: the
hub asks for a better model, but cannot make one. See ``service.worker``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.samples import Sample
from edgeops.access import audit
from edgeops.domain.drift import Alarm
from edgeops.domain.errors import EdgeopsError, InvalidInput, NotFound
from edgeops.domain.registry import Version, parse_model
from edgeops.domain.retraining import (
    Contest,
    DataSet,
    Retraining,
    RetrainPolicy,
    RetrainState,
)
from edgeops.fleet.inventory import serving
from edgeops.fleet.selector import parse
from edgeops.registry import versions
from edgeops.retraining.machine import Step, after
from edgeops.retraining.policy import asks
from edgeops.retraining.rows import lacks, part, read_rows, rows_of
from edgeops.service import data, packages
from edgeops.service.context import HUB_ACTOR, Context
from edgeops.store.database import Work

MIN_UNSEEN = 30
"""Distinct held-out rows of drifted devices that a comparison takes: with fewer, even a much
better challenger cannot be shown to be better."""
_ACTS: Mapping[Step, audit.RetrainAct] = {
    Step.CLAIM: "retrain.claim",
    Step.PUBLISH: "retrain.publish",
    Step.REJECT: "retrain.reject",
    Step.FAIL: "retrain.fail",
    Step.RELEASE: "retrain.release",
}
LEASE_S = 900.0
"""A worker that has not been heard of for so long is dead: conversions take ten minutes at most,
and between any two steps it tells that it works."""
MAX_TRIES = 3
"""A retraining that took so many workers with it is not begun again."""


def set_policy(context: Context, actor: str, policy: RetrainPolicy) -> RetrainPolicy:
    """Set when and how a model is retrained.

    Raises:
        NotFound: no such model or data set.
        InvalidInput: a bound or selector that cannot be, or data that do not fit the model.
    """
    if policy.min_samples < 1:
        raise InvalidInput(f"min_samples is {policy.min_samples}, not at least 1")
    if not 0.0 < policy.max_drop <= 1.0:
        raise InvalidInput(f"max_drop is {policy.max_drop}, not above 0 and at most 1")
    with context.database.begin() as work:
        versions.list_versions(work.registry, policy.model)
        parent = _parent(context, work, policy.model, None)
        for name in (*policy.data, policy.evaluation):
            _check_fits(context, data.find(work, name), parent)
        if policy.rollout is not None:
            parse(str(policy.rollout.get("selector", "")))
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


def tick(context: Context) -> tuple[str, str] | None:
    """Take back what a worker left, and ask for what alarms of harm and the policies ask for.

    Returns:
        The id of an alarm that asks by itself and could not yet, and why; None if none waits.
    """
    _take_back(context)
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
            return alarm.id, str(error)
    return None


def _take_back(context: Context) -> None:
    """Give what a dead worker left to the next one, a few times."""
    with context.database.read() as work:
        limit_s = context.clock() - LEASE_S
        silent = [
            each
            for each in work.retraining.all()
            if each.state is RetrainState.TRAINING and each.updated_s < limit_s
        ]
    for each in silent:
        why = f"its worker has not been heard of for {LEASE_S / 60:g} minutes"
        step = Step.RELEASE if each.tries < MAX_TRIES else Step.FAIL
        if step is Step.FAIL:
            why = f"{why}, the {each.tries}th in a row"
        move(context, HUB_ACTOR, each.id, step, why=why)


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
            tries=before.tries + (step is Step.CLAIM),
        )
        work.retraining.put(moved)
        if step in _ACTS:
            detail: dict[str, Any] = {"why": why[:400]} if why else {}
            audit.record(work.audit, moved.updated_s, actor, _ACTS[step], retraining_id, **detail)
        return moved


def _request(
    context: Context, work: Work, actor: str, policy: RetrainPolicy, alarm: Alarm | None
) -> Retraining:
    parent = _parent(context, work, policy.model, alarm)
    evaluation = data.find(work, policy.evaluation)
    _check_evaluation(parent.version, evaluation)
    found = work.retraining.samples_of(policy.model, limit=data.MOST_SAMPLES)
    if len(found) < policy.min_samples:
        raise InvalidInput(
            f"{len(found)} labelled samples of {policy.model} have come, {policy.min_samples} are "
            "needed",
            next_step="wait for more, or lower the bound: edgeops retrain policy",
        )
    seen = rows_of([sample for _, sample in found], parent.classes, parent.filled)
    since_s = _begun_s(work, alarm)
    of_drift = [each for name, each in found if _is_drifted(alarm, since_s, name, each)]
    drifted = rows_of(of_drift, parent.classes, parent.filled)
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
    kept = [data.find(work, each).reference for each in policy.data]
    samples = data.keep(context, work, actor, f"{policy.model}-samples", train, origin)
    held_out = data.keep(context, work, actor, f"{policy.model}-drifted", unseen, origin)
    made = Retraining(
        id=work.retraining.next_id(),
        model=policy.model,
        parent=parent.version.number,
        alarm=alarm.id if alarm else "",
        state=RetrainState.REQUESTED,
        train=(*kept, samples.reference),
        evaluation=evaluation.reference,
        drifted=held_out.reference,
        created_s=now_s,
        created_by=actor,
        updated_s=now_s,
    )
    work.retraining.put(made)
    audit.record(
        work.audit, now_s, actor, "retrain.request", made.id, parent=made.parent, alarm=made.alarm
    )
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The champion: its version, and what its rows and classes must be.

    Attributes:
        version: as registered.
        classes: how many it tells apart, None if that is not fixed.
        elements: numbers in one row as applications give it, None if that is not fixed.
        filled: for each of them whether it may be missing; empty: none may.
    """

    version: Version
    classes: int | None
    elements: int | None
    filled: tuple[bool, ...]


def _parent(context: Context, work: Work, model: ModelName, alarm: Alarm | None) -> _Parent:
    """Return the version that harms, else the one that serves on most devices, else the newest."""
    known = versions.list_versions(work.registry, model)
    number = alarm.number if alarm else serving(work.fleet.all(), model)
    version = next((each for each in known if each.number == number), known[-1])
    manifest = packages.manifest_of(context, version)
    first = manifest.variants[0]
    shape = first.inputs[0].shape
    if manifest.preprocessing is not None and manifest.preprocessing.row_shape:
        shape = (1, *manifest.preprocessing.row_shape)
    is_fixed = len(shape) > 1 and all(size > 0 for size in shape[1:])
    return _Parent(
        version=version,
        classes=first.classes,
        elements=math.prod(shape[1:]) if is_fixed else None,
        filled=manifest.filled,
    )


def _check_fits(context: Context, found: DataSet, parent: _Parent) -> None:
    """Refuse data that the model cannot take, before hours of training find it out."""
    if not found.labelled:
        raise InvalidInput(
            f"data set {found.reference} has no labels (y)",
            next_step="add it again, with the true class of each row as y",
        )
    rows = read_rows(packages.read_blob(context, found.digest, MAX_BLOB_BYTES), found.reference)
    elements = math.prod(rows.x.shape[1:])
    if parent.elements is not None and elements != parent.elements:
        raise InvalidInput(
            f"rows of {found.reference} have {elements} numbers, {parent.version.reference} takes "
            f"{parent.elements}",
            next_step="give rows as the application gives them to the model",
        )
    if lacks(rows.x, parent.filled).any():
        raise InvalidInput(
            f"rows of {found.reference} lack numbers (NaN) that {parent.version.reference} does "
            "not fill",
            next_step="drop such rows, or publish a version whose preprocessing fills them",
        )
    if parent.classes is not None and rows.classes > parent.classes:
        raise InvalidInput(
            f"{found.reference} has the class {rows.classes - 1}, {parent.version.reference} knows "
            f"0 to {parent.classes - 1}",
            next_step="number the classes as the model's scores are",
        )


def _check_evaluation(parent: Version, evaluation: DataSet) -> None:
    """Refuse to judge on other rows than the parent's own: its evidence is about those."""
    wanted = parent.lineage.get("evaluation")
    if wanted is not None and wanted not in (evaluation.digest, evaluation.origin.get("source")):
        raise InvalidInput(
            f"{evaluation.reference} is not what {parent.reference} was evaluated on",
            next_step="add the file that its --evaluation named: edgeops data add NAME FILE.npz",
        )


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
