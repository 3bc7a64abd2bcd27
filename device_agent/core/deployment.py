"""A deployment and its step: the whole update logic of a device in one pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from device_agent.core.states import (
    ACTS,
    FINAL,
    QUARANTINING,
    TRANSITIONS,
    Act,
    EventType,
    ImpossibleTransition,
    State,
)
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.orders import DesiredModel
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import MAX_DETAIL
from device_agent.protocol.values import dataclass

MAX_TRANSITIONS = 48
"""Loop breaker: a model that one generation has moved this often is moved no more by it."""

SUCCESSES = frozenset({EventType.DONE, EventType.KNOWN_GOOD})

AFTER_SWITCH = frozenset({State.ACTIVATE, State.PROBATION, State.COMMIT})

DOWNLOADING = frozenset({State.MANIFEST, State.PRECHECK, State.FETCH, State.VERIFY})
"""States that share one deadline."""

PATIENT = DOWNLOADING | {State.STAGE}
"""States that last: restarts in them are no loop."""

TRIALS = frozenset({State.ACTIVATE, State.PROBATION})
"""States in which the agent itself loads the new version: each restart costs a trial, paid
durably before the next load, so that a version that kills the agent is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One device's part in one rollout, for one model. Journalled before each act."""

    model: ModelName
    generation: int
    order: DesiredModel
    state: State = State.ADMISSION
    slot: str = ""
    reason: Reason | None = None
    detail: str = ""
    transitions: int = 0
    trials_left: int = 0
    deadline_s: float | None = None
    """Monotonic seconds; not journalled, begins anew after a restart."""

    @property
    def digest(self) -> Digest:
        """Digest of the manifest: the name of the package."""
        return self.order.manifest.digest

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to this deployment any more."""
        return self.state in FINAL

    @property
    def key(self) -> tuple[str, Digest]:
        """What makes it the same order: the rollout and the package."""
        return (self.order.rollout, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event with its reason, a sentence for people, and measured numbers."""

    type: EventType
    reason: Reason | None = None
    detail: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Do:
    """Effect: carry out an act of this model's deployment."""

    act: Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Effect: put the new state into the outbox. Never waits for the network."""

    evidence: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Effect: refuse this package from now on."""

    digest: Digest
    reason: Reason


Effect = Do | Report | Quarantine


def step(
    deployment: Deployment, happened: Happened, now_s: float
) -> tuple[Deployment, tuple[Effect, ...]]:
    """Return the deployment after ``happened`` and the effects to carry out, in order.

    Guarantees: total over the rows of ``TRANSITIONS`` and deterministic; the caller journals
    the returned deployment before it carries out the effects.

    Args:
        deployment: as journalled.
        happened: what the last act gave.
        now_s: monotonic seconds, only used to set the deadline of the new state.

    Raises:
        ImpossibleTransition: there is no row for this state and event.
    """
    happened = _count_trial(deployment, happened)
    following = TRANSITIONS.get((deployment.state, happened.type))
    if following is None:
        raise ImpossibleTransition(deployment.state, happened.type)
    stays = following is deployment.state
    if deployment.transitions >= MAX_TRANSITIONS and following not in FINAL:
        following, happened = _break_loop(deployment, happened)
    # A success clears what went wrong before; a rollback keeps its cause to its end.
    keeps = happened.type not in SUCCESSES or deployment.state is State.ROLL_BACK
    moved = replace(
        deployment,
        state=following,
        transitions=deployment.transitions + _costs(deployment, happened),
        trials_left=_trials(deployment, happened, following),
        reason=happened.reason or (deployment.reason if keeps else None),
        detail=happened.detail[:MAX_DETAIL] or (deployment.detail if keeps else ""),
        deadline_s=_deadline(deployment, following, now_s),
    )
    effects: list[Effect] = []
    if moved.is_final and moved.reason in QUARANTINING:
        effects.append(Quarantine(digest=moved.digest, reason=moved.reason))
    if not stays or happened.type is EventType.CORRUPT:
        effects.append(Report(evidence=happened.evidence))
    effects.append(Do(act=ACTS[following]))
    return moved, tuple(effects)


def _count_trial(deployment: Deployment, happened: Happened) -> Happened:
    """Turn the restart that used up the last trial into a refusal."""
    last = deployment.state in TRIALS and deployment.trials_left <= 1
    if happened.type is EventType.RESTARTED and last:
        return Happened(
            type=EventType.REFUSED,
            reason=Reason.PROBATION_TRIALS,
            detail=f"the agent restarted {deployment.order.probation.max_trials} times with it",
        )
    return happened


def _costs(deployment: Deployment, happened: Happened) -> int:
    """A restart while fetching or waiting is not a loop: short uptimes must get there too."""
    resumes = happened.type is EventType.RESTARTED and deployment.state in PATIENT
    return 0 if resumes else 1


def _trials(deployment: Deployment, happened: Happened, following: State) -> int:
    if following in TRIALS and happened.type is EventType.RESTARTED:
        return deployment.trials_left - 1
    if following is State.ACTIVATE:
        return deployment.order.probation.max_trials
    return deployment.trials_left


def _break_loop(deployment: Deployment, happened: Happened) -> tuple[State, Happened]:
    broken = replace(
        happened,
        reason=Reason.TOO_MANY_TRANSITIONS,
        detail=f"ended after {deployment.transitions} transitions; last: {happened.type.value}",
    )
    if deployment.state in AFTER_SWITCH:
        return State.ROLL_BACK, broken
    if deployment.state is State.ROLL_BACK:
        return State.ROLL_BACK, happened
    return State.FAILED, broken


def _deadline(deployment: Deployment, following: State, now_s: float) -> float | None:
    if following in DOWNLOADING:
        if deployment.state in DOWNLOADING and deployment.deadline_s is not None:
            return deployment.deadline_s
        return now_s + deployment.order.download_timeout_s
    if following is State.PROBATION:
        return now_s + deployment.order.probation.timeout_s
    return None
