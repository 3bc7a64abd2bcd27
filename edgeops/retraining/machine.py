"""The life of a retraining, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from edgeops.domain.errors import Conflict
from edgeops.domain.retraining import RetrainState


class Step(StrEnum):
    """What happens to a retraining."""

    CLAIM = "claim"
    """A worker begins, or begins again after another one died."""
    PUBLISH = "publish"
    REJECT = "reject"
    FAIL = "fail"
    RENEW = "renew"
    """Its worker still works on it."""
    RELEASE = "release"
    """Its worker was stopped, or fell silent: another one may begin."""


TRANSITIONS: Mapping[tuple[RetrainState, Step], RetrainState] = {
    (RetrainState.REQUESTED, Step.CLAIM): RetrainState.TRAINING,
    (RetrainState.REQUESTED, Step.FAIL): RetrainState.FAILED,
    (RetrainState.TRAINING, Step.CLAIM): RetrainState.TRAINING,
    (RetrainState.TRAINING, Step.PUBLISH): RetrainState.PUBLISHED,
    (RetrainState.TRAINING, Step.REJECT): RetrainState.REJECTED,
    (RetrainState.TRAINING, Step.FAIL): RetrainState.FAILED,
    (RetrainState.TRAINING, Step.RENEW): RetrainState.TRAINING,
    (RetrainState.TRAINING, Step.RELEASE): RetrainState.REQUESTED,
}
FINAL = frozenset({RetrainState.PUBLISHED, RetrainState.REJECTED, RetrainState.FAILED})


def after(state: RetrainState, step: Step) -> RetrainState:
    """Return the state after a step.

    Raises:
        Conflict: the step is not possible in that state.
    """
    try:
        return TRANSITIONS[(state, step)]
    except KeyError:
        raise Conflict(
            f"a retraining that is {state} cannot {step}",
            next_step="look at it: edgeops retrain list; for another one: edgeops retrain request",
        ) from None
