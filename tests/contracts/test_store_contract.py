"""One suite over every database: whatever a room stores reads back the same, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reports import Reported
from edgeops.domain.errors import Conflict, StoreFailed
from edgeops.domain.fleet import DesiredState, DesiredVersion, Device, Presence
from edgeops.domain.rollout import Member, MemberState, Policy, Rollout, RolloutState
from edgeops.store.database import Database

CAM = DeviceId("cam-1")
KWS = ModelName("kws")
DIGEST = Digest("sha256:" + "ab" * 32)


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    where: str | Path = tmp_path / "hub.sqlite" if request.param == "file" else "sqlite://"
    database = Database.open(where)
    yield database
    database.close()


def device(name: str = "cam-1") -> Device:
    return Device(
        id=DeviceId(name),
        profile="raspberry-pi-5",
        enrolled_s=1.25,
        password_hash="$7$…",
        labels={"site": "oslo"},
        presence=Presence(online=True, session=3, instance="i", last_seen_s=9.5, duplicate=True),
        reported=Reported(device=DeviceId(name), online=True, session=3, instance="i"),
    )


def rollout(**changes: object) -> Rollout:
    members = tuple(
        Member(device=DeviceId(f"cam-{n}"), wave=n, previous=n or None) for n in range(3)
    )
    made = Rollout(
        id="r1",
        model=KWS,
        number=2,
        selector="all",
        policy=Policy(steps=(10, 100), probation=ProbationRules(min_inferences=7)),
        members=members,
        created_s=2.5,
        created_by="ana",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def window(ended_s: float) -> Window:
    return Window(
        model=KWS,
        version=2,
        digest=DIGEST,
        started_s=0.0,
        ended_s=ended_s,
        inferences=5,
        failures=1,
        nonfinite=0,
        classes=(2, 3),
        confidence=(0,) * 32,
        latency=(5,),
        labelled=2,
        labelled_correct=1,
    )


def test_a_device_reads_back_as_it_was_entered_and_changed(database: Database) -> None:
    with database.begin() as work:
        work.fleet.add(device())
        work.fleet.put(replace(device(), labels={}, presence=Presence()))
    with database.read() as work:
        assert work.fleet.get(CAM) == replace(device(), labels={}, presence=Presence())
        assert work.fleet.get(DeviceId("cam-2")) is None


def test_devices_come_in_the_order_of_their_names(database: Database) -> None:
    with database.begin() as work:
        for name in ("cam-2", "cam-10", "cam-1"):
            work.fleet.add(device(name))
        assert [each.id for each in work.fleet.all()] == ["cam-1", "cam-10", "cam-2"]


def test_a_name_is_enrolled_once_and_the_work_goes_on(database: Database) -> None:
    with database.begin() as work:
        work.fleet.add(device())
        with pytest.raises(Conflict, match="enrolled already"):
            work.fleet.add(device())
        work.fleet.add(device("cam-2"))
    with database.read() as work:
        assert len(work.fleet.all()) == 2


def test_a_desired_state_is_unpublished_until_that_generation_was_published(
    database: Database,
) -> None:
    wish = DesiredVersion(model=KWS, number=2, rollout="r1")
    state = DesiredState(device=CAM, generation=4, models={KWS: wish})
    with database.begin() as work:
        assert work.fleet.desired_of(CAM).generation == 0
        work.fleet.put_desired(state)
        assert work.fleet.unpublished(limit=9) == (CAM,)
        work.fleet.mark_published(CAM, 3)
        assert work.fleet.unpublished(limit=9) == (CAM,)
        work.fleet.mark_published(CAM, 4)
        assert work.fleet.unpublished(limit=9) == ()
        work.fleet.publish_again()
        assert work.fleet.unpublished(limit=9) == (CAM,)
        assert work.fleet.desired_of(CAM) == state


def test_a_rollout_reads_back_with_its_policy_and_members(database: Database) -> None:
    with database.begin() as work:
        assert work.rollouts.next_id() == "r1"
        work.rollouts.add(rollout())
        assert work.rollouts.next_id() == "r2"
    with database.read() as work:
        assert work.rollouts.get("r1") == rollout()
        assert work.rollouts.get("r9") is None
        assert work.rollouts.in_states(RolloutState.RUNNING) == (rollout(),)
        assert work.rollouts.in_states(RolloutState.PAUSED) == ()
        assert work.rollouts.of_version(KWS, 2) == (rollout(),)


def test_a_step_is_stored_once_and_the_second_writer_reads_again(database: Database) -> None:
    before = rollout()
    moved = replace(before.members[1], state=MemberState.ORDERED, evidence={"a": 1.5})
    after = replace(before, wave=0, members=(before.members[0], moved, before.members[2]))
    with database.begin() as work:
        work.rollouts.add(before)
        stored = work.rollouts.put(before, after)
        assert stored == replace(after, revision=1)
        with pytest.raises(Conflict, match="changed by somebody else"):
            work.rollouts.put(before, after)
    with database.read() as work:
        assert work.rollouts.get("r1") == stored


def test_a_stream_remembers_how_far_it_came_and_a_new_one_begins_anew(database: Database) -> None:
    with database.begin() as work:
        assert work.inbox.sequence_of(CAM, "event", "s1") is None
        work.inbox.advance(CAM, "event", "s1", 5)
        work.inbox.advance(CAM, "telemetry", "s2", 1)
        work.inbox.advance(CAM, "event", "s1", 6)
        assert work.inbox.sequence_of(CAM, "event", "s1") == 6
        work.inbox.advance(CAM, "event", "s3", 1)
        assert work.inbox.sequence_of(CAM, "event", "s1") is None
        assert work.inbox.sequence_of(CAM, "telemetry", "s2") == 1


def test_windows_come_newest_first_of_one_model_or_one_device(database: Database) -> None:
    with database.begin() as work:
        for sequence, ended_s in enumerate((1.0, 3.0, 2.0), start=1):
            work.inbox.add_windows(CAM, "s", sequence, [window(ended_s)])
        work.inbox.add_windows(DeviceId("cam-2"), "s", 1, [window(9.0)])
    with database.read() as work:
        mine = work.inbox.windows_of(KWS, CAM, limit=2)
        assert [each.ended_s for _, each in mine] == [3.0, 2.0]
        assert work.inbox.windows_of(KWS, limit=1) == ((DeviceId("cam-2"), window(9.0)),)


def test_nothing_of_a_failed_unit_of_work_stays(database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as work:
        work.fleet.add(device())
        work.rollouts.add(rollout())
        raise RuntimeError
    with database.read() as work:
        assert work.fleet.all() == ()
        assert work.rollouts.in_states() == ()


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreFailed), database.read() as work:
        work.fleet.add(device())
