"""Every row of the table under kill, error and hang: the chain of states, the reports, who serves."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace

import pytest

from device_agent.core.deployment import Happened, step
from device_agent.core.probation import HUNG_AFTER_S
from device_agent.core.starts import HEALTHY_AFTER_S
from device_agent.core.states import FINAL, TRANSITIONS, EventType, State
from device_agent.protocol import topics
from device_agent.protocol.activation import Activation
from device_agent.protocol.chunks import encode_chunk
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.blobs import blob_path
from edgeops.simulation.disk import Kept, PowerCut
from edgeops.simulation.packages import Behaviour
from tests.agent_values import deployment
from tests.catastrophes.expected import BACK, EXPECTED, WAY, Row
from tests.one_device import GOOD, OneDevice, bad, committed

UNDER_WAY = [state for state in State if state not in FINAL]
BEFORE = WAY
"""What was reported of version 1, which is committed before each test."""


def rows(tried: str) -> list[tuple[State, EventType]]:
    return [row for row, expected in EXPECTED.items() if expected.tried == tried]


def told(device: OneDevice) -> list[str]:
    """What the hub was told of the second deployment."""
    return device.reported()[len(BEFORE) :]


def way_to(state: State) -> list[str]:
    return WAY[: WAY.index(state.value)]


def until_cut(device: OneDevice) -> None:
    """Turn until the power goes."""
    with pytest.raises(PowerCut):
        device.settle()
    device.cut(Kept.EVERYTHING)


def order_second(device: OneDevice, state: State) -> None:
    """Order version 2, such that the deployment comes through a state."""
    bad_one = state is State.ROLL_BACK
    device.order(bad(Behaviour.NONFINITE) if bad_one else GOOD[1], "r2")


# ---- the table


def test_every_row_of_the_table_has_its_expectation_and_no_other() -> None:
    assert set(EXPECTED) == set(TRANSITIONS)


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: f"{row[0].value}-{row[1].value}")
def test_a_row_leads_where_it_is_expected_to(row: tuple[State, EventType]) -> None:
    state, event = row
    current, chain = deployment(state, trials_left=3), []
    current, _ = step(current, Happened(type=event), 0.0)
    chain.append(current.state.value)
    while not current.is_final:
        current, _ = step(current, Happened(type=EventType.DONE), 0.0)
        chain.append(current.state.value)
    assert tuple(chain) == EXPECTED[row].states


ON_THE_TABLE_ALONE = {
    EventType.TIMED_OUT: (
        "admission precheck verify stage self_test standby activate commit roll_back"
    ),
    EventType.REFUSED: "stage standby commit roll_back",
    EventType.SUPERSEDED: "admission precheck verify",
    EventType.CORRUPT: "fetch",
}
"""Acts that wait for nothing have no deadline and end within a turn; a window and a place in a
slot refuse nothing."""


def test_what_is_tried_only_on_the_table_is_what_no_act_can_give() -> None:
    untried = {row for row, expected in EXPECTED.items() if not expected.tried}
    alone = ON_THE_TABLE_ALONE.items()
    assert untried == {(State(each), event) for event, names in alone for each in names.split()}


# ---- kill


def killed_once(state: State, when: str) -> OneDevice:
    """Kill the agent ``after`` or ``before`` a state is journalled, and let it go on."""
    device = committed(1)
    armed = [True]

    def kill(entered: State) -> None:
        if armed and entered is state:
            armed.clear()
            raise PowerCut

    setattr(device, f"{when}_entry", kill)
    order_second(device, state)
    until_cut(device)
    device.start()
    assert device.serving() in (1, 2)
    device.settle()
    assert device.serving() == (1 if state is State.ROLL_BACK else 2)
    device.close()
    return device


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_kill_when_a_state_has_just_been_journalled(state: State) -> None:
    device = killed_once(state, "after")
    follows = list(EXPECTED[state, EventType.RESTARTED].states)[1:]
    before = way_to(State.COMMIT) if state is State.ROLL_BACK else way_to(state)
    # The state in which it was killed was not told; whatever comes after it is.
    assert told(device) == before + follows


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_kill_just_before_a_state_is_journalled_repeats_the_act_before(state: State) -> None:
    device = killed_once(state, "before")
    assert told(device)[-1] == ("rolled_back" if state is State.ROLL_BACK else "committed")


ENDS_OF_KILLING_FOR_EVER = {
    **dict.fromkeys(
        (State.MANIFEST, State.PRECHECK, State.FETCH, State.VERIFY, State.STAGE),
        ("committed", 2, None),
    ),
    State.ADMISSION: ("failed", 1, Reason.TOO_MANY_TRANSITIONS),
    State.SELF_TEST: ("failed", 1, Reason.TOO_MANY_TRANSITIONS),
    State.STANDBY: ("failed", 1, Reason.TOO_MANY_TRANSITIONS),
    State.ACTIVATE: ("rolled_back", 1, Reason.PROBATION_TRIALS),
    State.PROBATION: ("rolled_back", 1, Reason.PROBATION_TRIALS),
    State.COMMIT: ("rolled_back", 1, Reason.TOO_MANY_TRANSITIONS),
    State.ROLL_BACK: ("rolled_back", 1, Reason.PROBATION_NONFINITE),
}
"""By the state in which it is killed again and again: the end, who serves, and why."""


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_deployment_that_is_killed_in_one_state_again_and_again_ends(state: State) -> None:
    device = committed(1)
    kills = [200 if state is not State.ROLL_BACK else 20]

    def kill(entered: State) -> None:
        if entered is state and kills[0]:
            kills[0] -= 1
            raise PowerCut

    device.after_entry = kill
    order_second(device, state)
    for _ in range(200):
        try:
            if device.loop is None:
                device.start()
            device.settle()
            break
        except PowerCut:
            device.cut(Kept.EVERYTHING)
    end, version, reason = ENDS_OF_KILLING_FOR_EVER[state]
    device.turn(HEALTHY_AFTER_S + 1)
    assert (device.state().value, device.serving()) == (end, version)
    assert device.reason() == (reason.value if reason else None)
    device.close()


def test_every_state_has_an_end_of_being_killed_for_ever() -> None:
    assert set(ENDS_OF_KILLING_FOR_EVER) == set(UNDER_WAY)


def test_a_process_that_is_killed_for_ever_reaches_safe_mode_and_leaves_it_when_left_alone() -> (
    None
):
    device = committed(1, 2)
    seen = []
    for _ in range(12):
        device.end()
        device.start()
        device.turn()
        seen.append((device.loop.is_in_safe_mode, device.serving()))
    assert seen[0] == (False, 2)
    assert seen[3:7] == [(True, 1), (True, 2)] * 2, "the other version, by turns"
    assert seen[-1] == (True, None), "nothing at all, but reachable"
    states = [said for topic, said in device.link.published if topic.endswith("/state")]
    assert b'"safe_mode":true' in states[-1]
    device.turn(HEALTHY_AFTER_S + 1)
    assert (device.loop.is_in_safe_mode, device.serving()) == (False, 2)
    device.order(GOOD[2], "r3")
    device.settle()
    assert device.serving() == 3
    device.close()


# ---- error


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_journal_that_cannot_be_written_on_entering_a_state(state: State) -> None:
    device = committed(1)
    refusals = [2]

    def refuse(entered: State) -> None:
        if entered is state and refusals[0]:
            refusals[0] -= 1
            raise StorageFailed(Reason.STORAGE_FAILED, "the disk says no")

    device.before_entry = refuse
    order_second(device, state)
    device.settle()
    before = way_to(State.COMMIT) if state is State.ROLL_BACK else way_to(state)
    follows = list(EXPECTED[state, EventType.STORAGE_FAILED].states)
    if state is State.ROLL_BACK:  # it is carried out all the same, from memory
        follows = follows[1:]
    assert told(device) == [*before, state.value, *follows]
    assert device.serving() == 1
    assert device.reason() is not None
    device.close()


def test_a_rollback_that_a_full_disk_refuses_is_tried_until_it_is_let() -> None:
    device = committed(1)
    device.order(bad(Behaviour.NONFINITE), "r2")
    device.until(lambda: device.state() is State.PROBATION)
    device.disk.capacity_bytes = device.disk.used_bytes
    for _ in range(10):
        device.turn()
    assert (device.state(), device.serving()) == (State.ROLL_BACK, 1)
    device.disk.capacity_bytes = 2**30
    device.settle()
    assert (device.state(), device.serving()) == (State.ROLLED_BACK, 1)
    device.close()


WRITING = [State.MANIFEST, State.FETCH, State.VERIFY, State.ACTIVATE]
"""States whose acts write more than the journal."""


@pytest.mark.parametrize("state", WRITING)
def test_a_disk_that_refuses_every_write_of_an_act(state: State) -> None:
    device = committed(1)

    def refuse(call: str, path: str) -> None:
        raise OSError(errno.EIO, "input/output error")

    def break_disk(entered: State) -> None:
        if entered is state:
            device.disk.before = refuse

    device.after_entry = break_disk
    device.order(GOOD[1], "r2")
    device.until(lambda: device.disk.before is refuse)
    for _ in range(60):
        device.turn()
        assert device.serving() == 1
    device.after_entry, device.disk.before = lambda entered: None, lambda call, path: None
    device.settle()
    assert told(device)[: len(way_to(state)) + 1] == [*way_to(state), state.value]
    assert told(device)[-1] == EXPECTED[state, EventType.STORAGE_FAILED].states[-1]
    assert (device.reason(), device.serving()) == (Reason.STORAGE_FAILED.value, 1)
    device.order(GOOD[1], "r3")
    device.settle()
    assert device.serving() == 2
    device.close()


# ---- hang


@pytest.mark.parametrize(("state", "event"), rows("hang"))
def test_what_never_comes_ends_the_deployment(state: State, event: EventType) -> None:
    device = committed(1)
    hangs = state is State.SELF_TEST
    package = bad(Behaviour.SELF_TEST_HANGS) if hangs else GOOD[1]
    if state is State.FETCH:
        device.order(package, "r2")
        device.until(lambda: device.state() is State.FETCH)
    device.serves_chunks = state not in (State.MANIFEST, State.FETCH)
    device.infers = state is not State.PROBATION
    if state is not State.FETCH:
        device.order(package, "r2")
    device.settle()
    assert told(device) == [*way_to(state), state.value, *EXPECTED[state, event].states]
    assert device.serving() == 1
    device.close()


def test_what_is_on_hold_waits_for_ever_and_the_version_before_answers() -> None:
    device = committed(1)
    device.order(GOOD[1], "r2", activation=Activation(hold=True))
    device.until(lambda: device.state() is State.STAGE)
    for _ in range(30):
        device.turn(86_400.0)
    device.cut(Kept.EVERYTHING)
    device.start()
    device.turn(86_400.0)
    assert (device.state(), device.serving()) == (State.STAGE, 1)
    device.order(GOOD[1], "r2")
    device.settle()
    assert device.serving() == 2
    device.close()


def test_an_inference_in_probation_that_does_not_return_is_rolled_back() -> None:
    device = committed(1)
    device.infers = False
    device.order(GOOD[1], "r2")
    device.until(lambda: device.state() is State.PROBATION)
    began, may_end = threading.Event(), threading.Event()

    def hang() -> None:
        device.worked_ns += int((HUNG_AFTER_S + 1.0) * 1e9)
        began.set()
        may_end.wait(60.0)

    device.on_work = hang
    application = threading.Thread(target=device.infer_some)
    application.start()
    assert began.wait(5.0)
    device.settle()
    assert told(device) == [*way_to(State.PROBATION), "probation", *BACK]
    assert device.serving() == 1
    may_end.set()
    application.join()
    device.close()


# ---- refusals, corruption, newer orders


def ended(device: OneDevice, row: tuple[State, EventType], serves: int = 1) -> None:
    """Check chain, reports and who serves, after a row in the way of version 2."""
    device.settle()
    state = row[0]
    assert told(device) == [*way_to(state), state.value, *EXPECTED[row].states]
    assert device.serving() == serves
    device.close()


def test_an_unsigned_package_is_refused_when_its_manifest_is_there() -> None:
    device = committed(1)
    strange = replace(GOOD[1], signature=GOOD[2].signature)
    device.order(strange, "r2")
    ended(device, (State.MANIFEST, EventType.REFUSED))


def test_a_quarantined_package_is_refused_at_admission() -> None:
    device = committed(1)
    device.order(bad(Behaviour.GOLDEN_MISMATCH), "r2")
    device.settle()
    seen = len(told(device))
    device.order(bad(Behaviour.GOLDEN_MISMATCH), "r3")
    device.settle()
    assert told(device)[seen:] == [
        "admission",
        *EXPECTED[State.ADMISSION, EventType.REFUSED].states,
    ]
    assert device.serving() == 1
    device.close()


def test_a_package_for_which_there_is_no_room_is_refused_before_it_is_fetched() -> None:
    device = committed(1)
    device.disk.capacity_bytes = device.disk.used_bytes + 5000
    device.order(GOOD[1], "r2")
    ended(device, (State.PRECHECK, EventType.REFUSED))


@pytest.mark.parametrize(("state", "event"), rows("damaged manifest"))
def test_a_manifest_that_is_damaged_on_the_disk_is_refused(state: State, event: EventType) -> None:
    device = committed(1)

    def damage(entered: State) -> None:
        if entered is state:
            device.disk.flip_byte(blob_path(GOOD[1].digest), 9)

    device.after_entry = damage
    device.order(GOOD[1], "r2")
    device.settle()
    assert device.reason() == Reason.STORAGE_FAILED.value
    ended(device, (state, event))


def test_an_artifact_that_is_damaged_between_self_test_and_activation_is_not_served() -> None:
    device = committed(1)

    def damage(entered: State) -> None:
        if entered is State.ACTIVATE:
            artifact = next(iter(GOOD[1].blobs))
            device.disk.flip_byte(f"blobs/sha256/{artifact.removeprefix('sha256:')}", 99)

    device.after_entry = damage
    device.order(GOOD[1], "r2")
    ended(device, (State.ACTIVATE, EventType.REFUSED))


def test_a_bad_model_is_rolled_back_in_probation() -> None:
    device = committed(1)
    device.order(bad(Behaviour.FAILS), "r2")
    ended(device, (State.PROBATION, EventType.REFUSED))


def test_a_spoiled_manifest_is_fetched_again() -> None:
    device = committed(1)
    device.serves_chunks = False
    device.order(GOOD[1], "r2")
    device.until(lambda: device.state() is State.MANIFEST)
    wrong = bytes(len(GOOD[1].data))
    device.send(topics.blob(GOOD[1].digest), encode_chunk(GOOD[1].ref, 0, wrong))
    device.turn()
    device.serves_chunks = True
    ended(device, (State.MANIFEST, EventType.CORRUPT), serves=2)


def test_a_download_that_is_damaged_before_it_is_verified_is_fetched_again() -> None:
    device = committed(1)
    armed = [True]

    def damage(entered: State) -> None:
        if armed and entered is State.VERIFY:
            armed.clear()
            (data,) = [path for path in device.disk.paths if path.endswith(".data")]
            device.disk.flip_byte(data, 0)

    device.after_entry = damage
    device.order(GOOD[1], "r2")
    ended(device, (State.VERIFY, EventType.CORRUPT), serves=2)


@pytest.mark.parametrize(("state", "event"), rows("newer order"))
def test_a_newer_order_takes_over_up_to_staging(state: State, event: EventType) -> None:
    device = committed(1)
    device.serves_chunks = state is not State.MANIFEST
    device.order(GOOD[1], "r2", activation=Activation(hold=True))
    device.until(lambda: device.state() is state)
    device.serves_chunks = True
    device.order(GOOD[2], "r3")
    device.settle()
    first = [*way_to(state), state.value, *EXPECTED[state, event].states]
    assert told(device) == [*first, *WAY]
    assert device.serving() == 3
    device.close()


def test_the_version_of_before_is_activated_again_without_a_second_probation() -> None:
    device = committed(1, 2)
    seen = len(device.reported())
    device.order(GOOD[0], "r3")
    device.settle()
    known = EXPECTED[State.ACTIVATE, EventType.KNOWN_GOOD].states
    assert device.reported()[seen:] == [*way_to(State.ACTIVATE), "activate", *known]
    assert device.serving() == 1
    device.close()


def test_every_way_to_try_a_row_is_used_by_a_test() -> None:
    ways = {expected.tried for expected in EXPECTED.values()} - {""}
    assert ways == {
        "good way",
        "kill",
        "error",
        "hang",
        "full disk",
        "quarantined package",
        "unsigned package",
        "no room",
        "damaged manifest",
        "damaged artifact",
        "bad model",
        "spoiled chunks",
        "damaged download",
        "newer order",
        "order of before",
    }
    assert isinstance(EXPECTED[State.COMMIT, EventType.DONE], Row)
    assert BACK == ["roll_back", "rolled_back"]
