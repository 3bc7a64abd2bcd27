"""A worn-out disk: whatever small file it spoils, the agent starts, and what it has serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agent.core.states import State
from device_agent.protocol.errors import NotEnrolled, StorageFailed
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.shell.identity import Sessions, adopt_identity, read_enrolment
from device_agent.shell.storage import FolderStorage
from tests.device_harness import Device, Hub, Workshop

MODEL = "digits"
RECORD = "models/digits/record.json"
PATIENT = ProbationRules(min_inferences=1000, timeout_s=600.0, max_latency_ratio=1e6)


class Disk(FolderStorage):
    """A real folder that refuses to be written, or to be read at chosen paths."""

    is_read_only = False
    unreadable: tuple[str, ...] = ()

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes | None:
        if path in self.unreadable:
            raise StorageFailed(Reason.STORAGE_FAILED, f"cannot read {path}: Input/output error")
        return super().read(path, offset, size)

    def replace(self, path: str, data: bytes) -> None:
        self._write()
        super().replace(path, data)

    def write_at(self, path: str, offset: int, data: bytes) -> None:
        self._write()
        super().write_at(path, offset, data)

    def rename(self, old: str, new: str) -> None:
        self._write()
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self._write()
        super().remove(path)

    def sync(self, path: str) -> None:
        self._write()
        super().sync(path)

    def _write(self) -> None:
        if self.is_read_only:
            raise StorageFailed(Reason.STORAGE_FAILED, "Read-only file system")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "device")


@pytest.fixture
def device(updated: Device, disk: Disk) -> Device:
    """Has version 1 in one slot and serves version 2 from the other."""
    return updated.copied(disk.root, disk)


def blobs(device: Device) -> set[str]:
    return {path.name for path in (device.folder / "blobs/sha256").iterdir()}


# ---- the record


SPOILED = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "another name": lambda data: data.replace(b'"name":"digits"', b'"name":"digitr"'),
    "another floor": lambda data: data.replace(b'"floor":2', b'"floor":6'),
    "a flipped bit in a key": lambda data: data.replace(b'"floor"', b'"flnor"'),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_record_costs_nothing_that_was_committed(
    device: Device, workshop: Workshop, how: str
) -> None:
    before = blobs(device)
    device.crash()
    path = device.folder / RECORD
    path.write_bytes(SPOILED[how](path.read_bytes()))
    device.start()
    assert device.serving() == 2
    assert device.record().floor == 2
    for _ in range(5):
        device.turn()
    assert (device.serving(), blobs(device)) == (2, before)
    device.order(workshop.linear(3), rollout="r3")
    device.settle(MODEL)
    assert device.serving() == 3


def test_without_any_record_nothing_is_deleted_until_something_is_committed(
    device: Device, workshop: Workshop
) -> None:
    before = blobs(device)
    device.crash()
    for name in ("record.json", "record.kept.json"):
        (device.folder / "models/digits" / name).write_bytes(b"{")
    device.serves_chunks = False
    device.start()
    assert device.serving() is None
    device.settle(MODEL)
    assert device.outcome(MODEL) == (State.COMMITTED, None), "without a byte from the network"
    assert device.serving() == 2
    assert blobs(device) < before, "and what nobody names any more is collected then"


def test_a_record_of_a_newer_agent_keeps_its_slots(device: Device) -> None:
    device.crash()
    path = device.folder / RECORD
    document = json.loads(path.read_text())
    del document["check"]  # an agent of before checksums reads it, too
    document["quarantine"] = [["sha256:" + "0" * 64, "a_reason_of_tomorrow"]]
    document["deployment"]["state"] = "a_state_of_tomorrow"
    path.write_text(json.dumps(document))
    device.start()
    assert device.serving() == 2
    assert list(device.record().quarantine.values()) == [Reason.LOAD_FAILED]


# ---- the pointer


@pytest.mark.parametrize("damage", [b"", b"\0", b"C", None])
def test_a_spoiled_pointer_costs_nothing_even_if_the_newest_order_was_refused(
    device: Device, workshop: Workshop, damage: bytes | None
) -> None:
    device.order(workshop.linear(3), rollout="r3", rules=PATIENT)
    device.reach(State.PROBATION)
    live = device.live.get(MODEL)
    for _ in range(PATIENT.max_failures + 1):
        live.tally.observe_failure()
    device.settle(MODEL)
    assert (device.state(), device.serving()) == (State.ROLLED_BACK, 2)
    device.crash()
    pointer = device.folder / "models/digits/active"
    pointer.unlink() if damage is None else pointer.write_bytes(damage)
    device.start()
    assert device.serving() == 2
    assert pointer.read_bytes() in (b"A", b"B")


# ---- reads that fail


@pytest.mark.parametrize(
    "path",
    [
        *("commands.json", "folder", "session", "desired.json", "starts.json", "trust/root.json"),
        *(RECORD, "models/digits/record.kept.json", "models/digits/active"),
        *("models/digits/counts-A.json", "models/digits/counts-B.json"),
    ],
)
def test_a_file_that_cannot_be_read_keeps_no_model_from_serving(
    device: Device, disk: Disk, path: str
) -> None:
    device.crash()
    disk.unreadable = (path,)
    device.start()
    assert device.serving() == 2
    for _ in range(3):
        device.turn()
    assert device.infer().version == 2
    assert device.loop.next_session() > 0


def test_an_order_whose_planning_met_an_error_is_carried_out_all_the_same(
    device: Device, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer = device.loop._deployer
    real, refusals = deployer.active_digests, [3]

    def refuses() -> object:
        if refusals[0]:
            refusals[0] -= 1
            raise StorageFailed(Reason.STORAGE_FAILED, "Input/output error")
        return real()

    monkeypatch.setattr(deployer, "active_digests", refuses)
    device.order(workshop.linear(3), rollout="r3")
    device.settle(MODEL)
    assert not refusals[0]
    assert device.serving() == 3


# ---- a disk that has become read-only


def test_a_version_that_cannot_pay_for_its_trial_is_not_loaded(
    device: Device, disk: Disk, workshop: Workshop
) -> None:
    device.order(workshop.linear(3), rollout="r3", rules=PATIENT)
    device.reach(State.PROBATION)
    assert device.serving() == 3
    disk.is_read_only = True
    for _ in range(4):
        device.restart()
        assert device.serving() == 2, "what was committed"
        device.turn()
        assert device.serving() == 2
    disk.is_read_only = False
    device.settle(MODEL)
    assert (device.state(), device.serving()) == (State.ROLLED_BACK, 2)
    assert device.record().quarantine == {}, "the disk's fault is not held against the version"


# ---- safe mode and stops


def test_safe_mode_holds_though_the_order_of_before_stands(device: Device) -> None:
    for _ in range(10):
        device.restart()
        for _ in range(3):
            device.turn()
    assert device.loop.is_in_safe_mode
    events = len(device.events)
    for _ in range(30):
        device.turn()
    assert device.serving() is None, "nothing, until it has run for a while"
    assert len(device.events) == events, "and nothing is deployed"


def test_a_new_version_may_end_safe_mode(device: Device, workshop: Workshop) -> None:
    for _ in range(10):
        device.restart()
    assert device.loop.is_in_safe_mode
    device.order(workshop.linear(3), rollout="r3")
    device.settle(MODEL)
    assert device.serving() == 3


def test_stops_in_good_order_cost_no_trial(device: Device, workshop: Workshop) -> None:
    device.order(workshop.linear(3), rollout="r3", rules=PATIENT)
    device.reach(State.PROBATION)
    for _ in range(5):
        device.stop()
        device.start()
        device.turn()
        assert (device.state(), device.serving()) == (State.PROBATION, 3)
    for _ in range(PATIENT.max_trials):
        device.restart()
        device.turn()
    device.settle(MODEL)
    assert device.outcome(MODEL) == (State.ROLLED_BACK, Reason.PROBATION_TRIALS)


# ---- root and identity


@pytest.mark.parametrize("damage", [b"", b"{", bytes(40), b"garbage"])
def test_a_spoiled_root_is_that_of_the_enrolment_again(
    device: Device, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    device.crash()
    path = device.folder / "trust/root.json"
    good = path.read_bytes()
    path.write_bytes(damage)
    device.start()
    assert device.serving() == 2
    assert path.read_bytes() == good
    assert "root.damaged" in caplog.messages


@pytest.mark.parametrize("damage", [b"", b"{", bytes(40), b"garbage"])
def test_a_spoiled_identity_is_taken_anew_from_what_is_offered(
    hub: Hub, tmp_path: Path, damage: bytes
) -> None:
    storage = FolderStorage(tmp_path)
    offered = hub.enrolment()
    adopt_identity(storage, offered)
    (tmp_path / "identity.json").write_bytes(damage)
    with pytest.raises(NotEnrolled, match=r"identity\.json, is damaged") as caught:
        adopt_identity(storage, None)
    assert "--enrolment" in caught.value.next_step
    assert adopt_identity(storage, offered) == offered
    assert adopt_identity(storage, None) == offered


def test_a_spoiled_identity_on_a_disk_that_refuses_is_no_reason_not_to_start(
    hub: Hub, disk: Disk
) -> None:
    offered = hub.enrolment()
    adopt_identity(disk, offered)
    disk.is_read_only = True
    moved = hub.enrolment(broker="mqtt://127.0.0.1:2")
    assert adopt_identity(disk, moved) == moved, "what is offered holds for this start"
    (disk.root / "identity.json").write_bytes(b"{")
    assert adopt_identity(disk, offered) == offered


def test_a_first_identity_that_the_disk_refuses_is_an_error(hub: Hub, disk: Disk) -> None:
    disk.is_read_only = True
    with pytest.raises(StorageFailed, match="Read-only"):
        adopt_identity(disk, hub.enrolment())


def test_what_is_no_enrolment_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(NotEnrolled, match=r"notes\.txt is no enrolment file") as caught:
        read_enrolment(path)
    assert "edgeops devices enroll" in caught.value.next_step


def test_sessions_grow_on_a_disk_that_refuses_to_keep_them(disk: Disk) -> None:
    sessions = Sessions(disk)
    first = sessions.next()
    disk.is_read_only = True
    assert [sessions.next() for _ in range(3)] == [first + 1, first + 2, first + 3]
    disk.is_read_only = False
    assert sessions.next() == first + 4
    assert Sessions(disk).next() == first + 5
