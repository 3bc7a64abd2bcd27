"""When to ask for a retraining: harm does, drift alone never."""

from __future__ import annotations

from collections.abc import Sequence

from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.domain.retraining import Retraining, RetrainPolicy
from edgeops.retraining.machine import FINAL


def asks(policy: RetrainPolicy, alarm: Alarm, known: Sequence[Retraining]) -> bool:
    """Tell whether an alarm asks for a retraining by itself.

    It does when the policy says so, the alarm is of harm and open, and nothing was tried for it
    yet: a retraining that failed or was rejected waits for a person, or it would fail for ever.

    Args:
        policy: of the alarm's model.
        alarm: any alarm of that model.
        known: every retraining of that model.
    """
    if not policy.auto or alarm.kind is not AlarmKind.HARM or not alarm.is_open:
        return False
    if any(each.alarm == alarm.id for each in known):
        return False
    return all(each.state in FINAL for each in known)
