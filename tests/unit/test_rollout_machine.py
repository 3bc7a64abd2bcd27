"""The rollout's table, and its step: every state, every ask, every word of a device."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from device_agent.protocol.activation import Activation, MaintenanceWindow
from device_agent.protocol.ids import DeviceId, ModelName
from edgeops.domain.errors import Conflict
from edgeops.domain.rollout import (
    FAILURES,
    Member,
    MemberState,
    Policy,
    Rollout,
    RolloutState,
)
from edgeops.rollout.machine import (
    ASKED_BY_PEOPLE,
    FINAL,
    TRANSITIONS,
    Ask,
    Effect,
    Heard,
    Note,
    Order,
    Revert,
    Tick,
    Trigger,
    step,
)

A, B, C, D = (DeviceId(name) for name in "abcd")
WAVES = {A: 0, B: 1, C: 1, D: 2}


def rollout(previous: int | None = 1, **policy: object) -> Rollout:
    """Version 2 for four devices in waves of 1, 2 and 1."""
    return Rollout(
        id="r1",
        model=ModelName("kws"),
        number=2,
        selector="all",
        policy=Policy(**policy),  # type: ignore[arg-type]
        members=tuple(Member(device=d, wave=w, previous=previous) for d, w in WAVES.items()),
        created_s=0.0,
        created_by="ana",
    )


class Story:
    """A rollout that things happen to, one after the other."""

    def __init__(self, begun: Rollout | None = None) -> None:
        self.rollout = begun or rollout()
        self.now_s = 1000.0
        self.effects: list[Effect] = []

    def _do(self, event: Tick | Heard | Ask) -> Story:
        self.rollout, effects = step(self.rollout, event, self.now_s)
        self.effects = list(effects)
        return self

    def tick(self, after_s: float = 1.0, **unhealthy: str) -> Story:
        self.now_s += after_s
        return self._do(Tick(unhealthy={DeviceId(k): v for k, v in unhealthy.items()}))

    def hear(self, device: DeviceId, state: str, **more: object) -> Story:
        more.setdefault("settled", "active" in more)
        return self._do(Heard(device=device, device_state=state, **more))  # type: ignore[arg-type]

    def ask(self, trigger: Trigger, why: str = "") -> Story:
        return self._do(Ask(trigger=trigger, why=why))

    def commit(self, *devices: DeviceId) -> Story:
        for device in devices:
            self.hear(device, "committed")
        return self

    def to_the_end(self) -> Story:
        return self.tick().commit(A).tick().commit(B, C).tick().commit(D).tick()

    @property
    def orders(self) -> list[DeviceId]:
        return [effect.device for effect in self.effects if isinstance(effect, Order)]

    @property
    def reverts(self) -> list[DeviceId]:
        return [effect.device for effect in self.effects if isinstance(effect, Revert)]

    @property
    def notes(self) -> list[str]:
        return [effect.act for effect in self.effects if isinstance(effect, Note)]

    def state_of(self, device: DeviceId) -> MemberState:
        return next(m.state for m in self.rollout.members if m.device == device)

    @property
    def states(self) -> list[MemberState]:
        return [member.state for member in self.rollout.members]


def story_in(state: RolloutState) -> Story:
    """A story whose rollout has come to a state by what happens to rollouts."""
    story = Story().tick()
    match state:
        case RolloutState.PAUSED:
            story.ask(Trigger.PAUSE)
        case RolloutState.ROLLING_BACK:
            story.ask(Trigger.ROLL_BACK)
        case RolloutState.COMPLETED:
            story = Story().to_the_end()
        case RolloutState.ROLLED_BACK:
            story.ask(Trigger.ROLL_BACK).hear(A, "", active=1).tick()
        case RolloutState.ABORTED:
            story.ask(Trigger.ABORT)
    assert story.rollout.state is state
    return story


# ---- the table


def test_every_state_is_reached_from_the_first() -> None:
    reached = {RolloutState.RUNNING}
    for _ in RolloutState:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(RolloutState)


def test_every_state_that_is_not_final_has_a_way_to_an_end() -> None:
    ends = set(FINAL)
    for _ in RolloutState:
        ends |= {before for (before, _), after in TRANSITIONS.items() if after in ends}
    assert ends == set(RolloutState)


def test_a_person_can_end_a_rollout_from_every_state_that_is_not_final() -> None:
    for state in set(RolloutState) - FINAL:
        assert TRANSITIONS[(state, Trigger.ABORT)] in FINAL


def test_every_trigger_is_in_the_table() -> None:
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


@pytest.mark.parametrize(
    ("state", "trigger"), list(itertools.product(RolloutState, ASKED_BY_PEOPLE))
)
def test_a_person_gets_the_state_of_the_table_or_hears_what_is_possible(
    state: RolloutState, trigger: Trigger
) -> None:
    story = story_in(state)
    before = story.rollout
    following = TRANSITIONS.get((state, trigger))
    if following is not None:
        assert story.ask(trigger, "because").rollout.state is following
        assert story.rollout.why == "because"
        return
    with pytest.raises(Conflict, match=rf"r1 is {state}: it cannot {trigger}") as caught:
        story.ask(trigger)
    possible = [each.value for each in ASKED_BY_PEOPLE if (state, each) in TRANSITIONS]
    expected = f"possible now: {', '.join(possible)}" if possible else "it has ended"
    assert caught.value.next_step == expected
    assert story.rollout == before


def test_a_rolled_back_rollout_says_that_it_has_ended() -> None:
    with pytest.raises(Conflict) as caught:
        story_in(RolloutState.ROLLED_BACK).ask(Trigger.RESUME)
    assert caught.value.next_step == "it has ended"


# ---- waves


def test_the_first_tick_asks_the_canary_alone() -> None:
    story = Story().tick()
    assert story.orders == [A]
    assert story.notes == ["rollout.wave_opened"]
    assert story.states == ["ordered", "waiting", "waiting", "waiting"]


def test_a_wave_opens_when_everybody_before_has_committed_and_not_earlier() -> None:
    story = Story().tick().tick()
    assert story.orders == []
    assert story.hear(A, "fetch").tick().orders == []
    assert story.commit(A).orders == []
    assert story.tick().orders == [B, C]
    assert story.commit(B).tick().orders == []
    assert story.commit(C).tick().orders == [D]


def test_a_rollout_completes_when_the_last_wave_has_committed() -> None:
    story = Story().to_the_end()
    assert story.rollout.state is RolloutState.COMPLETED
    assert story.notes == ["rollout.completed"]
    assert set(story.states) == {MemberState.COMMITTED}
    assert story.rollout.why == "4 devices committed"


def test_each_outcome_of_a_device_is_noted_once_with_its_reason() -> None:
    story = Story().tick().hear(A, "failed", reason="load_failed", detail="no such op")
    (note,) = story.effects
    assert note == Note(
        act="deployment.failed",
        detail={"device": A, "version": "kws:2", "reason": "load_failed", "why": "no such op"},
    )
    assert story.hear(A, "failed", reason="load_failed").effects == []


def test_a_committed_device_that_is_unhealthy_holds_the_next_wave_and_says_so() -> None:
    story = Story().tick().commit(A).tick(a="is offline")
    assert story.orders == []
    assert story.rollout.why == "waits: a is offline"
    assert story.tick().orders == [B, C]
    assert story.rollout.why == ""


def test_an_unhealthy_device_holds_the_end_too() -> None:
    story = Story().tick().commit(A).tick().commit(B, C).tick().commit(D).tick(d="serves version 1")
    assert story.rollout.state is RolloutState.RUNNING
    assert story.tick().rollout.state is RolloutState.COMPLETED


def test_a_wave_bakes_from_the_last_commit() -> None:
    story = Story(rollout(bake_s=10)).tick()
    story.now_s += 100
    story.commit(A)
    assert story.tick(9).orders == []
    assert story.rollout.why == "bakes for 1 s more"
    assert story.tick(1).orders == [B, C]


def test_a_device_that_has_the_version_already_commits_without_a_deployment() -> None:
    story = Story().tick().hear(A, "", active=2)
    assert story.state_of(A) is MemberState.COMMITTED
    assert story.notes == ["deployment.committed"]


def test_a_device_that_serves_another_version_and_says_nothing_is_still_ordered() -> None:
    story = Story().tick().hear(A, "", active=1)
    assert story.state_of(A) is MemberState.ORDERED


# ---- failures


@pytest.mark.parametrize("outcome", ["failed", "rolled_back"])
def test_one_failure_takes_everything_back_by_default(outcome: str) -> None:
    story = Story().tick().commit(A).tick().hear(B, outcome, reason="load_failed")
    assert story.rollout.state is RolloutState.RUNNING
    story.tick()
    assert story.rollout.state is RolloutState.ROLLING_BACK
    assert story.reverts == [A, B, C]
    assert story.orders == []
    assert story.states == ["reverting", "reverting", "reverting", "untouched"]
    assert story.rollout.why == "1 of 4 devices failed (0 tolerated); b: load_failed"
    assert story.notes == ["rollout.rollback"]


def test_what_is_on_hold_is_let_go_once_and_its_time_begins_anew() -> None:
    story = Story(rollout(activation=Activation(hold=True))).tick().hear(A, "stage")
    assert story.tick(after_s=1e6).state_of(A) is MemberState.WORKING
    assert story.ask(Trigger.ACTIVATE).orders == [A]
    assert not story.rollout.policy.activation.hold
    assert story.ask(Trigger.ACTIVATE).orders == []
    assert story.tick(after_s=1799.0).state_of(A) is MemberState.WORKING
    assert story.tick(after_s=2.0).state_of(A) is not MemberState.WORKING


def test_a_device_with_a_window_has_a_week_more_than_its_timeout() -> None:
    window = MaintenanceWindow.from_text("sun 02:00-04:00")
    story = Story(rollout(activation=Activation(window=window))).tick().hear(A, "stage")
    assert story.tick(after_s=8 * 86400.0).state_of(A) is MemberState.WORKING
    assert story.tick(after_s=1801.0).state_of(A) is not MemberState.WORKING


def test_a_silence_past_the_timeout_counts_as_a_failure() -> None:
    story = Story(rollout(device_timeout_s=60)).tick()
    assert story.tick(59).rollout.state is RolloutState.RUNNING
    story.tick(1)
    assert story.rollout.state is RolloutState.ROLLING_BACK
    assert story.notes == ["deployment.timed_out", "rollout.rollback"]
    assert "device_timeout" in story.rollout.why


def test_a_device_that_works_but_never_concludes_times_out_too() -> None:
    story = Story(rollout(device_timeout_s=60)).tick().tick(50).hear(A, "probation").tick(10)
    assert story.rollout.state is RolloutState.ROLLING_BACK


def test_the_clock_of_a_wave_begins_when_it_is_asked() -> None:
    story = Story(rollout(device_timeout_s=60)).tick().commit(A).tick(1000).tick(59)
    assert story.state_of(B) is MemberState.ORDERED
    assert story.tick(1).state_of(B) is not MemberState.ORDERED


def test_tolerated_failures_do_not_stop_a_rollout_and_one_more_does() -> None:
    story = Story(rollout(max_failures=1)).tick().hear(A, "failed").tick()
    assert story.orders == [B, C]
    story.commit(B).hear(C, "failed").tick()
    assert story.rollout.state is RolloutState.ROLLING_BACK
    assert story.rollout.why.startswith("2 of 4 devices failed (1 tolerated)")


def test_a_rollout_with_tolerated_failures_completes_and_counts_who_committed() -> None:
    story = Story(rollout(max_failures=4)).tick()
    story.hear(A, "failed").tick().commit(B, C).tick().hear(D, "rolled_back").tick()
    assert story.rollout.state is RolloutState.COMPLETED
    assert story.rollout.why == "2 devices committed"


def test_on_failure_pause_asks_a_person_and_takes_nothing_back() -> None:
    story = Story(rollout(on_failure="pause")).tick().hear(A, "failed").tick()
    assert story.rollout.state is RolloutState.PAUSED
    assert story.reverts == []
    assert story.notes == ["rollout.pause"]
    assert story.rollout.why.startswith("1 of 4 devices failed")
    assert story.tick().effects == []


def test_who_resumes_after_a_failure_accepts_it_and_the_rollout_goes_on() -> None:
    story = Story(rollout(on_failure="pause")).tick().hear(A, "failed").tick()
    story.ask(Trigger.RESUME).tick()
    assert story.rollout.state is RolloutState.RUNNING
    assert story.orders == [B, C]


def test_a_further_failure_after_a_resume_pauses_again() -> None:
    story = Story(rollout(on_failure="pause")).tick().hear(A, "failed").tick()
    story.ask(Trigger.RESUME).tick().hear(B, "failed").tick()
    assert story.rollout.state is RolloutState.PAUSED
    assert story.rollout.why.startswith("2 of 4 devices failed (1 tolerated)")


def test_a_failure_during_a_persons_own_pause_is_not_accepted_by_resuming() -> None:
    story = Story().tick().ask(Trigger.PAUSE).hear(A, "failed").ask(Trigger.RESUME).tick()
    assert story.rollout.state is RolloutState.ROLLING_BACK


# ---- people


def test_a_paused_rollout_opens_nothing_but_still_listens() -> None:
    story = Story().tick().ask(Trigger.PAUSE, "lunch").commit(A)
    assert story.state_of(A) is MemberState.COMMITTED
    assert story.tick(1e6).effects == []
    assert story.rollout.why == "lunch"
    assert story.ask(Trigger.RESUME).tick().orders == [B, C]


def test_abort_leaves_the_committed_calls_back_the_rest_and_touches_nobody_new() -> None:
    story = Story().tick().commit(A).tick().hear(B, "fetch").ask(Trigger.ABORT)
    assert story.reverts == [B, C]
    assert story.states == ["committed", "reverted", "reverted", "untouched"]
    assert story.tick().effects == []


def test_rollback_of_a_completed_rollout_takes_it_back_from_everybody() -> None:
    story = Story().to_the_end().ask(Trigger.ROLL_BACK)
    assert story.reverts == [A, B, C, D]
    assert {e.previous for e in story.effects if isinstance(e, Revert)} == {1}


def test_rollback_of_an_aborted_rollout_takes_it_back_from_who_kept_it() -> None:
    story = Story().tick().commit(A).tick().ask(Trigger.ABORT).ask(Trigger.ROLL_BACK)
    assert story.reverts == [A]
    story.hear(A, "", active=1).tick()
    assert story.rollout.state is RolloutState.ROLLED_BACK


def test_rollback_before_the_first_tick_touches_nobody() -> None:
    story = Story().ask(Trigger.ROLL_BACK)
    assert story.effects == []
    assert story.tick().rollout.state is RolloutState.ROLLED_BACK
    assert set(story.states) == {MemberState.UNTOUCHED}


# ---- the way back


def test_reverting_ends_when_the_device_reports_the_version_of_before() -> None:
    story = Story().tick().ask(Trigger.ROLL_BACK, "bad").tick()
    assert story.rollout.state is RolloutState.ROLLING_BACK
    assert story.hear(A, "committed", active=2).state_of(A) is MemberState.REVERTING
    assert story.hear(A, "", active=1).state_of(A) is MemberState.REVERTED
    story.tick()
    assert story.rollout.state is RolloutState.ROLLED_BACK
    assert story.notes == ["rollout.rolled_back"]
    assert story.rollout.why == "bad"


def test_reverting_ends_by_the_timeout_for_a_device_that_is_gone() -> None:
    story = Story(rollout(device_timeout_s=60)).tick().ask(Trigger.ROLL_BACK)
    assert story.tick(59).rollout.state is RolloutState.ROLLING_BACK
    assert story.tick(1).rollout.state is RolloutState.ROLLED_BACK


def test_a_first_version_has_nothing_to_go_back_to_and_reverting_ends_at_once() -> None:
    story = Story(rollout(previous=None)).tick().commit(A).ask(Trigger.ROLL_BACK)
    assert story.effects == [Revert(device=A, previous=None)]
    assert story.tick().rollout.state is RolloutState.ROLLED_BACK


def test_no_order_is_given_while_rolling_back() -> None:
    story = Story(rollout(device_timeout_s=60)).tick().commit(A).tick().ask(Trigger.ROLL_BACK)
    for _ in range(5):
        assert story.tick(20).orders == []
    assert story.state_of(D) is MemberState.UNTOUCHED


# ---- late and repeated words


@pytest.mark.parametrize("word", ["committed", "failed", "rolled_back", "fetch", "nonsense", ""])
def test_a_device_whose_wave_is_not_open_is_not_listened_to(word: str) -> None:
    story = Story().tick()
    before = story.rollout
    assert story.hear(B, word, active=2).rollout == before
    assert story.effects == []


@pytest.mark.parametrize("word", ["committed", "failed", "rolled_back", "fetch", "nonsense", ""])
def test_nothing_changes_what_a_device_has_concluded(word: str) -> None:
    for outcome in ("committed", "failed", "rolled_back"):
        story = Story().tick().hear(A, outcome)
        before = story.rollout
        assert story.hear(A, word, active=2).rollout == before
        assert story.effects == []


def test_a_device_that_gives_up_what_it_had_committed_is_a_failure() -> None:
    story = Story().tick().commit(A).tick()
    story.hear(A, "failed", active=1, reason="quarantined")
    assert story.state_of(A) is MemberState.FAILED
    assert story.tick().rollout.state is RolloutState.ROLLING_BACK


def test_a_late_commit_after_the_timeout_does_not_undo_it() -> None:
    story = Story(rollout(device_timeout_s=60, max_failures=1)).tick().tick(60)
    assert story.state_of(A) is MemberState.TIMED_OUT
    assert story.commit(A).state_of(A) is MemberState.TIMED_OUT


def test_a_stranger_changes_nothing() -> None:
    story = Story().tick()
    before = story.rollout
    assert story.hear(DeviceId("stranger"), "failed").rollout == before


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("word", ["committed", "failed", ""])
def test_an_ended_rollout_is_not_moved_by_ticks_or_words(state: RolloutState, word: str) -> None:
    story = story_in(state)
    story.hear(A, word, active=2).tick(1e6).tick(a="is offline")
    assert story.rollout.state is state
    assert story.effects == []


def test_a_device_may_go_back_and_forth_in_its_work_before_it_concludes() -> None:
    story = Story().tick().hear(A, "fetch").hear(A, "self_test").hear(A, "fetch")
    assert story.state_of(A) is MemberState.WORKING
    assert story.rollout.members[0].device_state == "fetch"


def test_a_device_that_has_not_taken_its_newest_order_is_not_back_yet() -> None:
    story = Story().tick().hear(A, "fetch").ask(Trigger.ROLL_BACK)
    assert story.hear(A, "fetch", active=1, settled=False).state_of(A) is MemberState.REVERTING
    assert story.hear(A, "failed", active=1).state_of(A) is MemberState.REVERTED


def test_a_device_that_rolled_back_by_itself_is_back_with_its_old_word() -> None:
    story = Story().tick().hear(A, "rolled_back").tick()
    assert story.state_of(A) is MemberState.REVERTING
    assert story.hear(A, "rolled_back", active=1).state_of(A) is MemberState.REVERTED


def test_evidence_that_comes_after_the_state_is_still_kept() -> None:
    story = Story().tick().hear(A, "committed").hear(A, "commit", evidence={"inferences": 40})
    assert story.rollout.members[0].evidence == {"inferences": 40}
    assert story.effects == []


def test_evidence_of_every_step_is_gathered() -> None:
    story = Story().tick().hear(A, "activate", evidence={"accuracy": 0.9})
    story.hear(A, "rolled_back").tick().hear(A, "roll_back", evidence={"failures": 9})
    assert story.rollout.members[0].evidence == {"accuracy": 0.9, "failures": 9}


def test_evidence_is_kept_when_the_state_comes_again_without_it() -> None:
    story = Story().tick().hear(A, "probation", evidence={"x": 1.0}).hear(A, "committed")
    assert story.rollout.members[0].evidence == {"x": 1.0}


def test_a_rollout_without_members_completes() -> None:
    story = Story(dataclasses.replace(rollout(), members=()))
    assert story.tick().rollout.state is RolloutState.COMPLETED


def test_failures_are_those_that_did_not_commit() -> None:
    assert {"failed", "rolled_back", "timed_out"} == FAILURES
