"""What holds for every plan, and for every rollout whatever happens to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device_agent.protocol.ids import DeviceId, ModelName
from edgeops.domain.errors import Conflict
from edgeops.domain.fleet import Device, Presence
from edgeops.domain.rollout import CONCLUDED, IN_PROGRESS, Member, MemberState, Policy, Rollout
from edgeops.rollout import machine
from edgeops.rollout.machine import (
    ASKED_BY_PEOPLE,
    FINAL,
    TRANSITIONS,
    Ask,
    Effect,
    Heard,
    Order,
    Revert,
    Tick,
)
from edgeops.rollout.plan import check_policy, plan_waves

WORDS = ("fetch", "self_test", "probation", "committed", "failed", "rolled_back", "", "nonsense")
STEPS = st.sets(st.integers(1, 99), max_size=4).map(lambda s: (*sorted(s), 100))
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True).map(DeviceId)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    policy = Policy(
        canary=draw(st.integers(1, 6)),
        steps=draw(STEPS),
        max_failures=draw(st.integers(0, 3)),
        on_failure=draw(st.sampled_from(["rollback", "pause"])),
        device_timeout_s=draw(st.sampled_from([10.0, 100.0])),
        bake_s=draw(st.sampled_from([0.0, 5.0])),
    )
    check_policy(policy)
    return policy


@st.composite
def cohorts(draw: st.DrawFn) -> list[Device]:
    return [
        Device(
            id=name,
            profile=draw(st.sampled_from(["board-a", "board-b"])),
            enrolled_s=0.0,
            password_hash="",
            presence=Presence(online=draw(st.booleans())),
        )
        for name in draw(st.lists(NAMES, min_size=1, max_size=40, unique=True))
    ]


@given(cohorts(), policies(), st.text(max_size=8))
def test_a_wave_plan_is_a_partition_of_the_cohort(
    cohort: list[Device], policy: Policy, seed: str
) -> None:
    waves = plan_waves(cohort, policy, seed)
    assert sorted(waves) == sorted(device.id for device in cohort)
    assert all(0 <= wave <= len(policy.steps) for wave in waves.values())


@given(cohorts(), policies(), st.text(max_size=8))
def test_the_first_wave_is_exactly_the_canary_and_each_step_its_share(
    cohort: list[Device], policy: Policy, seed: str
) -> None:
    waves = list(plan_waves(cohort, policy, seed).values())
    total = len(cohort)
    assert waves.count(0) == min(policy.canary, total)
    for wave, percent in enumerate(policy.steps, start=1):
        share = -(-total * percent // 100)
        asked = sum(each <= wave for each in waves)
        assert asked == min(total, max(policy.canary, share))


@given(cohorts(), policies(), st.text(max_size=8), st.randoms(use_true_random=False))
def test_the_seed_alone_decides_the_order(
    cohort: list[Device], policy: Policy, seed: str, chance: object
) -> None:
    shuffled = list(cohort)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_waves(shuffled, policy, seed) == plan_waves(cohort, policy, seed)


def new_rollout(cohort: list[Device], policy: Policy, previous: int | None) -> Rollout:
    waves = plan_waves(cohort, policy, "r1")
    return Rollout(
        id="r1",
        model=ModelName("kws"),
        number=2,
        selector="all",
        policy=policy,
        members=tuple(Member(device=d, wave=w, previous=previous) for d, w in waves.items()),
        created_s=0.0,
        created_by="ana",
    )


class RolloutMachine(RuleBasedStateMachine):
    """Devices, people and time do whatever they like to one rollout."""

    @initialize(cohort=cohorts(), policy=policies(), previous=st.sampled_from([None, 1]))
    def begin(self, cohort: list[Device], policy: Policy, previous: int | None) -> None:
        self.rollout = new_rollout(cohort, policy, previous)
        self.now_s = 1000.0
        self.ordered: set[DeviceId] = set()
        self.reverted: set[DeviceId] = set()
        self.unhealthy: dict[DeviceId, str] = {}

    def do(self, event: machine.Event) -> tuple[Effect, ...]:
        before = self.rollout
        after, effects = machine.step(before, event, self.now_s)
        assert machine.step(before, event, self.now_s) == (after, effects), "not deterministic"
        if after.state is not before.state:
            possible = {to for (at, _), to in TRANSITIONS.items() if at is before.state}
            # A stop is two rows at once: harmed (running to rolling back), never more.
            assert after.state in possible
        assert [m.device for m in after.members] == [m.device for m in before.members]
        assert [m.wave for m in after.members] == [m.wave for m in before.members]
        for effect in effects:
            if isinstance(effect, Order):
                let_go = event == Ask(trigger=machine.Trigger.ACTIVATE)
                assert let_go or effect.device not in self.ordered, "ordered twice"
                self.ordered.add(effect.device)
            elif isinstance(effect, Revert):
                assert effect.device in self.ordered, "reverted what was never ordered"
                self.reverted.add(effect.device)
        self.rollout = after
        return effects

    @rule(seconds=st.sampled_from([0.0, 1.0, 6.0, 11.0, 101.0]))
    def tick(self, seconds: float) -> None:
        self.now_s += seconds
        self.do(Tick(unhealthy=dict(self.unhealthy)))

    @rule(
        index=st.integers(0, 1000),
        word=st.sampled_from(WORDS),
        active=st.sampled_from([None, 1, 2, 7]),
        settled=st.booleans(),
        evidence=st.sampled_from([{}, {"inferences": 5.0}]),
    )
    def speak(
        self, index: int, word: str, active: int | None, settled: bool, evidence: dict[str, float]
    ) -> None:
        member = self.rollout.members[index % len(self.rollout.members)]
        effects = self.do(
            Heard(
                device=member.device,
                device_state=word,
                active=active,
                settled=settled,
                evidence=evidence,
                reason="because" if word == "failed" else None,
            )
        )
        assert not any(isinstance(effect, Order | Revert) for effect in effects)

    @rule(trigger=st.sampled_from(ASKED_BY_PEOPLE))
    def ask(self, trigger: machine.Trigger) -> None:
        before = self.rollout
        try:
            self.do(Ask(trigger=trigger))
        except Conflict:
            assert (before.state, trigger) not in TRANSITIONS
            assert self.rollout == before
        else:
            assert (before.state, trigger) in TRANSITIONS

    @rule(index=st.integers(0, 1000))
    def fall_ill(self, index: int) -> None:
        member = self.rollout.members[index % len(self.rollout.members)]
        self.unhealthy[member.device] = "is offline"

    @rule()
    def recover(self) -> None:
        self.unhealthy.clear()

    @precondition(lambda self: self.rollout.state not in FINAL)
    @rule()
    def everybody_concludes(self) -> None:
        """Whatever has happened: when devices conclude and people resume, it ends."""
        kept = (self.rollout, self.now_s, set(self.ordered), set(self.reverted))
        self.unhealthy.clear()
        for _ in range(4 * self.rollout.waves + 12):
            if self.rollout.state in FINAL:
                break
            if self.rollout.state == "paused":
                self.do(Ask(trigger=machine.Trigger.RESUME))
            for member in self.rollout.members:
                if member.state in IN_PROGRESS:
                    self.do(Heard(device=member.device, device_state="committed", active=2))
                elif member.state is MemberState.REVERTING:
                    self.do(
                        Heard(
                            device=member.device,
                            device_state="",
                            active=member.previous,
                            settled=True,
                        )
                    )
            self.now_s += 6.0
            self.do(Tick())
        assert self.rollout.state in FINAL
        self.rollout, self.now_s, self.ordered, self.reverted = kept

    @invariant()
    def nobody_beyond_the_open_waves_is_asked(self) -> None:
        if not hasattr(self, "rollout"):
            return
        opened = {m.device for m in self.rollout.members if m.wave <= self.rollout.wave}
        assert self.ordered <= opened

    @invariant()
    def who_was_never_asked_is_waiting_or_untouched(self) -> None:
        if not hasattr(self, "rollout"):
            return
        for member in self.rollout.members:
            never = member.state in (MemberState.WAITING, MemberState.UNTOUCHED)
            assert never == (member.device not in self.ordered)

    @invariant()
    def a_wave_is_open_only_when_all_before_concluded(self) -> None:
        if not hasattr(self, "rollout") or self.rollout.state != "running":
            return
        for member in self.rollout.members:
            if member.wave < self.rollout.wave:
                assert member.state in CONCLUDED


RolloutMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyRollout = RolloutMachine.TestCase
