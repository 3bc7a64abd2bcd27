"""The life of a deployment: what the table promises, and what ``step`` makes of it."""

from __future__ import annotations

import pytest

from device_agent.core.deployment import MAX_TRANSITIONS, Do, Happened, Quarantine, Report, step
from device_agent.core.states import (
    ACTS,
    FINAL,
    PREEMPTIBLE,
    QUARANTINING,
    TRANSITIONS,
    Act,
    EventType,
    ImpossibleTransition,
    State,
)
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import MAX_DETAIL
from tests.agent_values import deployment, order, rules

UNDER_WAY = [state for state in State if state not in FINAL]
FAILURES = (EventType.REFUSED, EventType.STORAGE_FAILED, EventType.TIMED_OUT)
AFTER_SWITCH = (State.ACTIVATE, State.PROBATION, State.COMMIT)


def reachable(start: State, events: set[EventType]) -> set[State]:
    seen = {start}
    while True:
        more = {
            to for (state, event), to in TRANSITIONS.items() if state in seen and event in events
        }
        if more <= seen:
            return seen
        seen |= more


def after(state: State, event: EventType, reason: Reason | None = None, **fields):
    happened = Happened(type=event, reason=reason)
    return step(deployment(state, **fields), happened, 100.0)


# ---- the table


def test_every_state_is_reachable_from_admission() -> None:
    assert reachable(State.ADMISSION, set(EventType)) == set(State)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_failure_in_any_state_has_a_way_to_an_end(state: State, failure: EventType) -> None:
    assert (state, failure) in TRANSITIONS
    assert reachable(TRANSITIONS[state, failure], {EventType.DONE}) & FINAL


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_restart_finds_every_state_under_way_and_goes_on_in_it(state: State) -> None:
    assert TRANSITIONS[state, EventType.RESTARTED] is state


@pytest.mark.parametrize("state", UNDER_WAY)
def test_done_alone_leads_every_state_to_an_end(state: State) -> None:
    assert reachable(state, {EventType.DONE}) & FINAL


@pytest.mark.parametrize("state", sorted(FINAL))
def test_nothing_happens_after_an_end(state: State) -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] is state]


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_newer_order_takes_over_exactly_up_to_staging(state: State) -> None:
    assert ((state, EventType.SUPERSEDED) in TRANSITIONS) is (state in PREEMPTIBLE)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("state", AFTER_SWITCH)
def test_every_failure_after_the_switch_rolls_back(state: State, failure: EventType) -> None:
    assert TRANSITIONS[state, failure] is State.ROLL_BACK


def test_only_a_commit_ends_in_committed_and_only_probation_or_known_good_leads_there() -> None:
    assert [pair for pair, to in TRANSITIONS.items() if to is State.COMMITTED] == [
        (State.COMMIT, EventType.DONE)
    ]
    into_commit = {pair for pair, to in TRANSITIONS.items() if to is State.COMMIT} - {
        (State.COMMIT, EventType.RESTARTED)
    }
    assert into_commit == {
        (State.ACTIVATE, EventType.KNOWN_GOOD),
        (State.PROBATION, EventType.DONE),
    }


def test_a_self_test_stands_before_every_activation() -> None:
    into_activate = {pair for pair, to in TRANSITIONS.items() if to is State.ACTIVATE}
    assert into_activate == {
        (State.STANDBY, EventType.DONE),
        (State.ACTIVATE, EventType.RESTARTED),
    }
    into_standby = {pair for pair, to in TRANSITIONS.items() if to is State.STANDBY}
    assert into_standby == {
        (State.SELF_TEST, EventType.DONE),
        (State.STANDBY, EventType.RESTARTED),
    }


def test_every_state_has_an_act_and_every_act_a_state() -> None:
    assert set(ACTS) == set(State)
    assert set(ACTS.values()) == set(Act)


# ---- step


@pytest.mark.parametrize("event", EventType)
@pytest.mark.parametrize("state", State)
def test_a_pair_without_a_row_is_named_and_every_other_one_is_a_step(
    state: State, event: EventType
) -> None:
    if (state, event) in TRANSITIONS:
        moved, effects = after(state, event, trials_left=2)
        assert moved.state is TRANSITIONS[state, event]
        assert effects[-1] == Do(act=ACTS[moved.state])
        return
    with pytest.raises(ImpossibleTransition) as raised:
        after(state, event)
    assert str(raised.value) == f"no transition from {state.value} on {event.value}"


def test_the_reason_and_the_detail_are_kept_until_better_ones_come() -> None:
    moved, _ = step(
        deployment(State.PROBATION),
        Happened(type=EventType.REFUSED, reason=Reason.PROBATION_FAILURES, detail="4 failed"),
        0.0,
    )
    ended, _ = step(moved, Happened(type=EventType.DONE), 0.0)
    assert (ended.state, ended.reason, ended.detail) == (
        State.ROLLED_BACK,
        Reason.PROBATION_FAILURES,
        "4 failed",
    )


def test_a_success_clears_what_went_wrong_before_it() -> None:
    corrupt, _ = step(
        deployment(State.MANIFEST),
        Happened(type=EventType.CORRUPT, reason=Reason.CORRUPT_DOWNLOAD, detail="wrong digest"),
        0.0,
    )
    moved, _ = step(corrupt, Happened(type=EventType.DONE), 0.0)
    assert (corrupt.reason, corrupt.detail) == (Reason.CORRUPT_DOWNLOAD, "wrong digest")
    assert (moved.state, moved.reason, moved.detail) == (State.PRECHECK, None, "")


def test_a_detail_is_cut_to_what_the_protocol_allows() -> None:
    moved, _ = step(deployment(), Happened(type=EventType.REFUSED, detail="x" * 5000), 0.0)
    assert moved.detail == "x" * MAX_DETAIL


def test_a_move_is_reported_with_its_evidence_and_a_restart_is_not() -> None:
    moved = step(
        deployment(State.SELF_TEST), Happened(type=EventType.DONE, evidence={"accuracy": 0.9}), 0.0
    )
    assert Report(evidence={"accuracy": 0.9}) in moved[1]
    assert after(State.FETCH, EventType.RESTARTED)[1] == (Do(act=Act.FETCH_BLOBS),)


def test_a_corrupt_download_is_reported_although_the_state_stays() -> None:
    moved, effects = after(State.FETCH, EventType.CORRUPT, Reason.CORRUPT_DOWNLOAD)
    assert moved.state is State.FETCH
    assert [type(effect) for effect in effects] == [Report, Do]


@pytest.mark.parametrize("reason", Reason)
def test_only_reasons_that_lie_in_the_package_quarantine_it(reason: Reason) -> None:
    moved, effects = after(State.SELF_TEST, EventType.REFUSED, reason)
    quarantined = Quarantine(digest=moved.digest, reason=reason)
    assert (quarantined in effects) is (reason in QUARANTINING)


@pytest.mark.parametrize(
    "passing",
    [Reason.DISK_FULL, Reason.STORAGE_FAILED, Reason.DOWNLOAD_TIMEOUT, Reason.PROBATION_TIMEOUT]
    + [Reason.SUPERSEDED, Reason.LATENCY_BUDGET, Reason.MEMORY_BUDGET, Reason.NO_VARIANT]
    + [Reason.AGENT_TOO_OLD, Reason.CORRUPT_DOWNLOAD, Reason.TOO_MANY_TRANSITIONS],
)
def test_what_may_pass_is_not_held_against_a_package(passing: Reason) -> None:
    assert passing not in QUARANTINING


def test_a_package_is_quarantined_when_the_rollback_is_done_and_not_before() -> None:
    rolling, effects = after(State.PROBATION, EventType.REFUSED, Reason.PROBATION_CLASS_SHIFT)
    assert not [effect for effect in effects if isinstance(effect, Quarantine)]
    _, effects = step(rolling, Happened(type=EventType.DONE), 0.0)
    assert Quarantine(digest=rolling.digest, reason=Reason.PROBATION_CLASS_SHIFT) in effects


# ---- trials


def test_activation_gives_the_trials_of_the_order() -> None:
    ordered = order(probation=rules(max_trials=5))
    moved, _ = after(State.STANDBY, EventType.DONE, order=ordered)
    assert (moved.state, moved.trials_left) == (State.ACTIVATE, 5)


@pytest.mark.parametrize("state", [State.ACTIVATE, State.PROBATION])
def test_each_restart_with_the_new_version_costs_a_trial_and_the_last_rolls_back(
    state: State,
) -> None:
    current, seen = deployment(state, trials_left=3), []
    while current.state is state:
        seen.append(current.trials_left)
        current, _ = step(current, Happened(type=EventType.RESTARTED), 0.0)
    assert seen == [3, 2, 1]
    assert (current.state, current.reason) == (State.ROLL_BACK, Reason.PROBATION_TRIALS)


@pytest.mark.parametrize("state", [state for state in UNDER_WAY if state not in AFTER_SWITCH[:2]])
def test_a_restart_where_the_new_version_is_not_loaded_costs_no_trial(state: State) -> None:
    moved, _ = after(state, EventType.RESTARTED, trials_left=1)
    assert (moved.state, moved.trials_left) == (state, 1)


# ---- the loop breaker


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_deployment_that_moved_too_often_is_ended_on_the_safe_side(state: State) -> None:
    moved, effects = after(state, EventType.RESTARTED, transitions=MAX_TRANSITIONS, trials_left=3)
    if state is State.ROLL_BACK:
        assert (moved.state, moved.reason) == (State.ROLL_BACK, None)
        return
    ends_in = State.ROLL_BACK if state in AFTER_SWITCH else State.FAILED
    assert (moved.state, moved.reason) == (ends_in, Reason.TOO_MANY_TRANSITIONS)
    assert effects[-1] == Do(act=ACTS[ends_in])


def test_a_blob_that_is_always_corrupt_ends_the_deployment() -> None:
    current, steps = deployment(State.FETCH), 0
    while not current.is_final:
        event = EventType.DONE if current.state is State.FETCH else EventType.CORRUPT
        current, _ = step(current, Happened(type=event, reason=Reason.CORRUPT_DOWNLOAD), 0.0)
        steps += 1
    assert (current.state, current.reason) == (State.FAILED, Reason.TOO_MANY_TRANSITIONS)
    assert steps == MAX_TRANSITIONS + 1


def test_the_loop_breaker_does_not_stand_in_the_way_of_an_end() -> None:
    moved, _ = after(State.COMMIT, EventType.DONE, transitions=MAX_TRANSITIONS + 5)
    assert (moved.state, moved.reason) == (State.COMMITTED, None)


def test_a_rollback_is_tried_until_the_disk_lets_it() -> None:
    current = deployment(State.ROLL_BACK, reason=Reason.PROBATION_LATENCY)
    for _ in range(10 * MAX_TRANSITIONS):
        current, effects = step(current, Happened(type=EventType.STORAGE_FAILED), 0.0)
        assert effects == (Do(act=Act.RESTORE_POINTER),)
    ended, _ = step(current, Happened(type=EventType.DONE), 0.0)
    assert (ended.state, ended.reason) == (State.ROLLED_BACK, Reason.PROBATION_LATENCY)


# ---- deadlines


def test_the_download_has_one_deadline_from_the_manifest_to_the_last_chunk() -> None:
    ordered = order(download_timeout_s=60.0)
    moved, _ = after(State.ADMISSION, EventType.DONE, order=ordered)
    assert moved.deadline_s == 160.0
    for event in (EventType.CORRUPT, *[EventType.DONE] * 3, EventType.CORRUPT):
        moved, _ = step(moved, Happened(type=event), 150.0)
        assert moved.deadline_s == 160.0
    assert moved.state is State.FETCH


def test_the_deadline_begins_anew_after_a_restart() -> None:
    moved, _ = after(State.FETCH, EventType.RESTARTED, order=order(download_timeout_s=60.0))
    assert moved.deadline_s == 160.0


def test_probation_has_the_deadline_of_its_rules() -> None:
    ordered = order(probation=rules(timeout_s=30.0))
    moved, _ = after(State.ACTIVATE, EventType.DONE, order=ordered)
    assert (moved.state, moved.deadline_s) == (State.PROBATION, 130.0)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.VERIFY, EventType.DONE),
        (State.STAGE, EventType.DONE),
        (State.SELF_TEST, EventType.DONE),
        (State.PROBATION, EventType.DONE),
        (State.PROBATION, EventType.REFUSED),
    ],
)
def test_acts_that_end_by_themselves_have_no_deadline(state: State, event: EventType) -> None:
    assert after(state, event, deadline_s=105.0)[0].deadline_s is None
