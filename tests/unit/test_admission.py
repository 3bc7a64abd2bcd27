"""Admission: what a desired state means here, and which orders are refused at the door."""

from __future__ import annotations

import pytest

from device_agent.core.admission import (
    Rename,
    Start,
    Supersede,
    Withdraw,
    check_addressee,
    check_manifest,
    check_order,
    plan,
)
from device_agent.core.states import FINAL, PREEMPTIBLE, State
from device_agent.protocol.errors import ModelRefused, NotTrusted
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.reasons import Reason
from tests.agent_values import (
    DEVICE,
    MODEL,
    deployment,
    desired,
    digest,
    manifest,
    order,
    record,
    slot,
    variant,
)

BOTH = frozenset({"litert", "onnxruntime"})


def start(version: int, generation: int = 1, **fields) -> Start:
    ordered = order(version, **fields)
    return Start(deployment=deployment(version=version, generation=generation, order=ordered))


def running(state: State, version: int = 1, **fields):
    return {MODEL: record(deployment=deployment(state, version, **fields))}


# ---- plan


def test_a_first_order_starts_a_deployment() -> None:
    assert plan(desired(), {}, {}) == (start(1),)


def test_what_is_active_already_needs_nothing() -> None:
    assert plan(desired(), {MODEL: record()}, {MODEL: digest(1)}) == ()


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_model_that_is_not_named_any_more_is_left_as_it_is(state: State) -> None:
    other = desired(2, kws=order(5))
    steps = plan(other, running(state), {MODEL: digest(1)})
    assert [each.deployment.model for each in steps] == ["kws"]


@pytest.mark.parametrize("state", sorted(PREEMPTIBLE))
def test_a_deployment_that_nobody_wants_any_more_is_called_back(state: State) -> None:
    assert plan(desired(2, kws=order(5)), running(state), {})[0] == Supersede(model=MODEL)


def test_what_nobody_wants_any_more_does_not_pass_its_probation() -> None:
    steps = plan(desired(2, kws=order(5)), running(State.PROBATION), {MODEL: digest(1)})
    assert steps[0] == Withdraw(model=MODEL)


def test_each_model_has_a_plan_of_its_own() -> None:
    both = desired(1, digits=order(1), kws=order(2))
    assert [each.deployment.model for each in plan(both, {}, {})] == ["digits", "kws"]


@pytest.mark.parametrize("state", sorted(PREEMPTIBLE))
def test_a_newer_order_supersedes_what_has_not_switched_yet(state: State) -> None:
    assert plan(desired(2, digits=order(2)), running(state), {}) == (Supersede(model=MODEL),)


@pytest.mark.parametrize("state", sorted(set(State) - PREEMPTIBLE - FINAL))
def test_a_newer_order_waits_for_the_outcome_of_what_is_past_staging(state: State) -> None:
    assert plan(desired(2, digits=order(2)), running(state), {}) == ()


@pytest.mark.parametrize("state", [State.FAILED, State.ROLLED_BACK])
def test_an_order_that_ended_here_is_not_tried_again(state: State) -> None:
    assert plan(desired(2), running(state), {}) == ()


def test_a_committed_version_that_was_lost_is_fetched_again() -> None:
    committed = running(State.COMMITTED)
    assert plan(desired(2), committed, {}) == (start(1, 2),)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_the_same_package_by_another_rollout_is_tried_again(state: State) -> None:
    again = desired(2, digits=order(1, rollout="r2"))
    assert plan(again, running(state), {}) == (start(1, 2, rollout="r2"),)


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_a_running_deployment_that_a_new_rollout_wants_too_is_renamed(state: State) -> None:
    again = desired(2, digits=order(1, rollout="r2"))
    (renamed,) = plan(again, running(state, transitions=4, trials_left=1), {})
    assert isinstance(renamed, Rename)
    assert renamed.deployment == deployment(
        state, generation=2, order=order(1, rollout="r2"), transitions=4, trials_left=1
    )


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_the_same_order_in_a_newer_generation_disturbs_nothing(state: State) -> None:
    assert plan(desired(2), running(state), {}) == ()


def test_the_way_back_to_the_version_before_is_an_order_like_any_other() -> None:
    records = {MODEL: record(slots={"A": slot(1), "B": slot(2)}, floor=2)}
    assert plan(desired(3, digits=order(1)), records, {MODEL: digest(2)}) == (start(1, 3),)


# ---- the order alone


def test_a_desired_state_for_another_device_is_not_trusted() -> None:
    check_addressee(desired(), DEVICE)
    with pytest.raises(NotTrusted, match=r"for cam-1, this is cam-2") as raised:
        check_addressee(desired(), DeviceId("cam-2"))
    assert raised.value.reason is Reason.WRONG_DEVICE


def test_a_quarantined_package_is_refused_and_the_cause_is_named() -> None:
    held = record(quarantine={digest(1): Reason.PROBATION_CLASS_SHIFT})
    with pytest.raises(ModelRefused, match="probation_class_shift") as raised:
        check_order(order(1), held)
    assert raised.value.reason is Reason.QUARANTINED
    assert "new number" in raised.value.next_step
    check_order(order(2), held)


def test_an_older_version_than_was_committed_is_refused() -> None:
    with pytest.raises(ModelRefused) as raised:
        check_order(order(2), record(floor=3))
    assert raised.value.reason is Reason.OLDER_THAN_FLOOR
    check_order(order(3), record(floor=3))


def test_the_older_version_that_was_committed_here_and_still_lies_ready_is_welcome() -> None:
    check_order(order(2), record(floor=3, slots={"A": slot(2), "B": slot(3)}))


def test_an_older_version_that_lies_ready_but_was_never_committed_is_refused() -> None:
    with pytest.raises(ModelRefused):
        check_order(order(2), record(floor=3, slots={"A": slot(2, committed=False)}))


# ---- the manifest


def check(found, **fields):
    values = {
        "model": MODEL,
        "version": 1,
        "profile": "x86-64-generic",
        "runtimes": BOTH,
        "agent_version": "0.1.0",
    }
    return check_manifest(found, **{**values, **fields})


def refusal(found, **fields) -> tuple[Reason, str]:
    with pytest.raises(ModelRefused) as raised:
        check(found, **fields)
    return raised.value.reason, str(raised.value)


def test_the_first_variant_for_the_profile_with_an_installed_runtime_is_taken() -> None:
    variants = (
        variant(profiles=("raspberry-pi-5",)),
        variant(runtime="litert", tolerance=0.5),
        variant(tolerance=0.25),
    )
    found = manifest(variants=variants)
    assert check(found) is variants[1]
    assert check(found, runtimes=frozenset({"onnxruntime"})) is variants[2]


def test_a_manifest_of_another_model_or_version_than_ordered_is_refused() -> None:
    reason, said = refusal(manifest(), version=2)
    assert (reason, said) == (
        Reason.MALFORMED_MANIFEST,
        "manifest is of digits:1, ordered was digits:2",
    )
    assert refusal(manifest(), model=ModelName("kws"))[0] is Reason.MALFORMED_MANIFEST


@pytest.mark.parametrize("wanted", ["0.1.1", "0.2.0", "1.0.0", "0.10.0", "99.0.0"])
def test_a_package_for_a_newer_agent_is_refused(wanted: str) -> None:
    reason, said = refusal(manifest(min_agent=wanted))
    assert (reason, said) == (Reason.AGENT_TOO_OLD, f"needs agent {wanted}, this is 0.1.0")


def test_versions_of_agents_are_compared_as_numbers() -> None:
    assert check(manifest(min_agent="0.9.0"), agent_version="0.10.0")


def test_a_device_that_no_variant_fits_says_what_was_offered() -> None:
    reason, said = refusal(manifest(), profile="raspberry-pi-5", runtimes=frozenset())
    assert reason is Reason.NO_VARIANT
    assert said == (
        "no variant for raspberry-pi-5 with no runtime; "
        "the package has x86-64-generic by onnxruntime"
    )


def test_the_cap_on_transitions_is_one_for_all_deployments_of_a_generation() -> None:
    known = running(State.COMMITTED, transitions=12)
    (again,) = plan(desired(), known, {})
    assert again.deployment.transitions == 12
    (anew,) = plan(desired(2), known, {})
    assert anew.deployment.transitions == 0
