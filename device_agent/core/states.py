"""The life of a deployment on a device, as a table.

Every act is named by the state in which it happens (``ACTS``); every outcome of an act is an
event; ``TRANSITIONS`` says what follows. The diagram in ``docs/architecture.md`` is generated
from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from device_agent.protocol.reasons import Reason


class State(str, Enum):
    """Where a deployment stands. The last three are final."""

    ADMISSION = "admission"
    MANIFEST = "manifest"
    PRECHECK = "precheck"
    FETCH = "fetch"
    VERIFY = "verify"
    STAGE = "stage"
    SELF_TEST = "self_test"
    STANDBY = "standby"
    ACTIVATE = "activate"
    PROBATION = "probation"
    COMMIT = "commit"
    ROLL_BACK = "roll_back"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class EventType(str, Enum):
    """What can happen to a deployment."""

    DONE = "done"
    """The act of this state succeeded."""
    KNOWN_GOOD = "known_good"
    """Activated, and this version was committed on this device before: no second probation."""
    CORRUPT = "corrupt"
    """What was fetched does not have the digest that was signed."""
    REFUSED = "refused"
    """The act says no, with a reason."""
    STORAGE_FAILED = "storage_failed"
    """The disk said no."""
    TIMED_OUT = "timed_out"
    """The deadline of this state passed."""
    SUPERSEDED = "superseded"
    """A newer desired state names another version."""
    RESTARTED = "restarted"
    """The agent started and found the deployment in this state."""


FINAL = frozenset({State.COMMITTED, State.ROLLED_BACK, State.FAILED})

PREEMPTIBLE = frozenset(
    {State.ADMISSION, State.MANIFEST, State.PRECHECK, State.FETCH, State.VERIFY, State.STAGE}
)
"""A newer desired state may take over up to here; then it waits for the outcome."""

_BEFORE_SWITCH: Mapping[EventType, State] = {
    EventType.REFUSED: State.FAILED,
    EventType.STORAGE_FAILED: State.FAILED,
    EventType.TIMED_OUT: State.FAILED,
}
_UP_TO_STAGING: Mapping[EventType, State] = {
    **_BEFORE_SWITCH,
    EventType.SUPERSEDED: State.FAILED,
}
_AFTER_SWITCH: Mapping[EventType, State] = {
    EventType.REFUSED: State.ROLL_BACK,
    EventType.STORAGE_FAILED: State.ROLL_BACK,
    EventType.TIMED_OUT: State.ROLL_BACK,
}


def _row(
    state: State, ways_out: Mapping[EventType, State], **own: State
) -> dict[tuple[State, EventType], State]:
    row = {(state, event): following for event, following in ways_out.items()}
    row[(state, EventType.RESTARTED)] = state
    row.update({(state, EventType(name)): following for name, following in own.items()})
    return row


TRANSITIONS: Mapping[tuple[State, EventType], State] = {
    **_row(State.ADMISSION, _UP_TO_STAGING, done=State.MANIFEST),
    **_row(State.MANIFEST, _UP_TO_STAGING, done=State.PRECHECK, corrupt=State.MANIFEST),
    **_row(State.PRECHECK, _UP_TO_STAGING, done=State.FETCH),
    **_row(State.FETCH, _UP_TO_STAGING, done=State.VERIFY, corrupt=State.FETCH),
    **_row(State.VERIFY, _UP_TO_STAGING, done=State.STAGE, corrupt=State.FETCH),
    **_row(State.STAGE, _UP_TO_STAGING, done=State.SELF_TEST),
    **_row(State.SELF_TEST, _BEFORE_SWITCH, done=State.STANDBY),
    **_row(State.STANDBY, _BEFORE_SWITCH, done=State.ACTIVATE),
    **_row(State.ACTIVATE, _AFTER_SWITCH, done=State.PROBATION, known_good=State.COMMIT),
    **_row(State.PROBATION, _AFTER_SWITCH, done=State.COMMIT),
    **_row(State.COMMIT, _AFTER_SWITCH, done=State.COMMITTED),
    # Rolling back has nothing to fall back to: it is tried again until the disk lets it.
    **_row(
        State.ROLL_BACK,
        {},
        done=State.ROLLED_BACK,
        refused=State.FAILED,
        storage_failed=State.ROLL_BACK,
        timed_out=State.ROLL_BACK,
    ),
}


class Act(str, Enum):
    """What the shell does on entering a state; each act may be repeated safely."""

    CHECK_ORDER = "check_order"
    FETCH_MANIFEST = "fetch_manifest"
    CHECK_ROOM = "check_room"
    FETCH_BLOBS = "fetch_blobs"
    VERIFY_BLOBS = "verify_blobs"
    WAIT_FOR_WINDOW = "wait_for_window"
    RUN_SELF_TEST = "run_self_test"
    FILL_STANDBY_SLOT = "fill_standby_slot"
    SWITCH_POINTER = "switch_pointer"
    OBSERVE = "observe"
    COMMIT_SLOT = "commit_slot"
    RESTORE_POINTER = "restore_pointer"
    CLEAN_UP = "clean_up"


ACTS: Mapping[State, Act] = {
    State.ADMISSION: Act.CHECK_ORDER,
    State.MANIFEST: Act.FETCH_MANIFEST,
    State.PRECHECK: Act.CHECK_ROOM,
    State.FETCH: Act.FETCH_BLOBS,
    State.VERIFY: Act.VERIFY_BLOBS,
    State.STAGE: Act.WAIT_FOR_WINDOW,
    State.SELF_TEST: Act.RUN_SELF_TEST,
    State.STANDBY: Act.FILL_STANDBY_SLOT,
    State.ACTIVATE: Act.SWITCH_POINTER,
    State.PROBATION: Act.OBSERVE,
    State.COMMIT: Act.COMMIT_SLOT,
    State.ROLL_BACK: Act.RESTORE_POINTER,
    State.COMMITTED: Act.CLEAN_UP,
    State.ROLLED_BACK: Act.CLEAN_UP,
    State.FAILED: Act.CLEAN_UP,
}

QUARANTINING = frozenset(
    {
        Reason.UNSIGNED_PACKAGE,
        Reason.ALTERED_PACKAGE,
        Reason.MALFORMED_MANIFEST,
        Reason.LOAD_FAILED,
        Reason.SELF_TEST_TIMEOUT,
        Reason.SELF_TEST_CRASHED,
        Reason.GOLDEN_MISMATCH,
        Reason.GOLDEN_ACCURACY,
        Reason.PARENT_GOLDEN_ACCURACY,
        Reason.NONFINITE_OUTPUT,
        Reason.PROBATION_FAILURES,
        Reason.PROBATION_NONFINITE,
        Reason.PROBATION_CLASS_SHIFT,
        Reason.PROBATION_CONFIDENCE_SHIFT,
        Reason.PROBATION_LABELS,
        Reason.PROBATION_TRIALS,
        Reason.KILLED_AGENT,
    }
)
"""Reasons that lie in the package: this device refuses its digest from now on. What may pass
(a full disk, a lost network, too few inferences, a busy processor, a budget) is not held
against a package."""


class ImpossibleTransition(Exception):
    """An event came in a state that has no row for it: a bug in the shell, named exactly."""

    def __init__(self, state: State, event: EventType) -> None:
        """Name both."""
        super().__init__(f"no transition from {state.value} on {event.value}")
