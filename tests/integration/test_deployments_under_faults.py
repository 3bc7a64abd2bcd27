"""Once a model works there is always one: power cuts, full and damaged disks, killed processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.core.states import State
from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol.chunks import HASH_BYTES, decode_chunk, encode_chunk
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.manifest import Waiver
from device_agent.protocol.reasons import Reason
from device_agent.shell.blobs import BlobDownload, bitmap_path, data_path, unpack_bits
from device_agent.shell.doors import Doors
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from edgeops.packaging.package import Package
from tests.device_harness import (
    FEATURES,
    OPTIONS,
    QUICK,
    Device,
    Hub,
    RecordingLink,
    Workshop,
    order_of,
)
from tests.models import linear_onnx
from tests.storage_fakes import BreakableFolder, MemoryStorage, PowerCut

COMMITTED = (State.COMMITTED, None)
SURE = replace(QUICK, min_inferences=60)  # enough that chance does not explain nonsense
HERE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> Package:
    return workshop.linear(1)


@pytest.fixture(scope="module")
def second(workshop: Workshop) -> Package:
    return workshop.linear(2)


@pytest.fixture(scope="module")
def nonsense(workshop: Workshop) -> Package:
    constant = np.zeros((FEATURES, FEATURES), np.float32)
    constant[:, 0] = 9
    waiver = Waiver(gate=GOLDEN_GATE, reason="to see probation work")
    return workshop.linear(3, constant, waivers=(waiver,))


@pytest.fixture(scope="module")
def installed(hub: Hub, first: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a device on which version 1 is committed; to be copied."""
    folder = tmp_path_factory.mktemp("installed") / "state"
    device = Device(folder, hub)
    device.order(first)
    device.settle()
    for _ in range(200):
        device.infer()
    assert (device.outcome(), device.serving()) == (COMMITTED, 1)
    device.stop()
    return folder


@pytest.fixture
def device(installed: Path, tmp_path: Path, hub: Hub) -> Iterator[Device]:
    """That device, started again, on a disk that can be made to fail."""
    folder = tmp_path / "state"
    shutil.copytree(installed, folder)
    made = Device(folder, hub, storage=BreakableFolder(folder))
    made.generation = 1
    assert made.serving() == 1
    yield made
    made.crash()


def disk(device: Device) -> BreakableFolder:
    assert isinstance(device.storage, BreakableFolder)
    return device.storage


def power_back(device: Device) -> None:
    device.crash()
    device.storage = BreakableFolder(device.folder)
    device.start()


# ---- restarts


def test_a_stop_and_a_start_change_nothing(device: Device) -> None:
    device.stop()
    device.start()
    assert (device.serving(), device.outcome()) == (1, COMMITTED)
    assert device.infer(row=np.eye(FEATURES, dtype=np.float32)[2]).class_index == 2


@pytest.mark.parametrize(
    "state",
    ["admission", "manifest", "fetch", "verify", "stage", "self_test", "activate", "probation"]
    + ["commit", "committed"],
)
def test_a_power_cut_in_any_state_is_gone_on_from(
    device: Device, second: Package, state: str
) -> None:
    def cut(method: str, path: str, data: bytes) -> bool:
        return path.endswith("record.json") and f'"state":"{state}"'.encode() in data

    disk(device).cut_after = cut
    device.order(second)
    with pytest.raises(PowerCut):
        device.settle()
    power_back(device)
    assert device.serving() in (1, 2)
    device.settle()
    assert (device.state(), device.serving()) == (State.COMMITTED, 2)


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("replace", "desired.json"),
        ("write_at", "partial/"),
        ("replace", ".bitmap"),
        ("rename", "blobs/"),
        ("remove", ".bitmap"),
        ("remove", "counts-B"),
        ("replace", "counts-A"),
        ("replace", "/active"),
    ],
)
def test_a_power_cut_between_the_steps_of_an_act_is_gone_on_from(
    device: Device, second: Package, method: str, part: str
) -> None:
    disk(device).cut_after = lambda done, path, data: done == method and part in path
    device.order(second)
    with pytest.raises(PowerCut):
        device.settle()
    power_back(device)
    assert device.serving() in (1, 2)
    device.order()
    device.settle()
    assert (device.state(), device.serving()) == (State.COMMITTED, 2)
    assert disk(device).names("partial") == []


def test_a_start_removes_what_unfinished_writes_left(device: Device) -> None:
    device.crash()
    (blob, *_) = disk(device).names("blobs/sha256")
    for path in ("models/digits/counts-A.json", f"blobs/sha256/{blob}", f"partial/{blob}.bitmap"):
        (device.folder / path).parent.mkdir(exist_ok=True)
        (device.folder / f"{path}.new").write_bytes(b"half of i")
    power_back(device)
    assert [path.name for path in device.folder.rglob("*.new")] == []
    assert device.serving() == 1


@pytest.mark.parametrize(
    ("method", "part"), [("replace", '"state":"roll_back"'), ("replace", "/active")]
)
def test_a_power_cut_while_rolling_back_ends_in_the_old_version(
    device: Device, nonsense: Package, method: str, part: str
) -> None:
    device.order(nonsense, rules=SURE)
    device.reach(State.PROBATION)
    disk(device).cut_after = lambda done, path, data: (
        done == method and (part in path or part.encode() in data)
    )
    with pytest.raises(PowerCut):
        device.settle()
    power_back(device)
    assert device.serving() == 1
    device.settle()
    assert device.outcome() == (State.ROLLED_BACK, Reason.PROBATION_CLASS_SHIFT)
    assert nonsense.digest in device.record().quarantine


def test_restarts_in_probation_use_up_its_trials_and_then_it_is_rolled_back(
    device: Device, second: Package
) -> None:
    device.order(second)
    device.reach(State.PROBATION)
    served = []
    for _ in range(QUICK.max_trials):
        served.append(device.serving())
        device.restart()
    device.until(device.is_settled)
    assert served == [2, 2, 2]
    assert device.outcome() == (State.ROLLED_BACK, Reason.PROBATION_TRIALS)
    assert device.serving() == 1
    assert second.digest in device.record().quarantine


def test_the_trial_is_paid_before_the_version_is_loaded_again(
    device: Device, second: Package
) -> None:
    device.order(second)
    device.reach(State.PROBATION)
    before = device.record().deployment.trials_left
    device.crash()
    device.storage = BreakableFolder(device.folder)
    disk(device).cut_after = lambda method, path, data: path.endswith("record.json")
    with pytest.raises(PowerCut):
        device.start()
    device.live.close()
    journalled = json.loads((device.folder / "models/digits/record.json").read_bytes())
    assert journalled["deployment"]["trials_left"] == before - 1
    device.storage = BreakableFolder(device.folder)
    device.start()


def test_a_self_test_found_under_way_is_not_the_business_of_the_thread_that_starts_the_agent(
    device: Device, second: Package
) -> None:
    """A child process dies with its thread: begun by a short-lived one it would look crashed,
    and a good package would be quarantined."""
    disk(device).cut_after = lambda method, path, data: b'"state":"self_test"' in data
    device.order(second)
    with pytest.raises(PowerCut):
        device.settle()
    device.crash()
    device.live = LiveModels()
    made: list[AgentLoop] = []

    def start() -> None:
        link = RecordingLink()
        enrolment = device.hub.enrolment()
        made.append(
            AgentLoop(
                device.folder, enrolment, device.live, options=OPTIONS, doors=Doors(link=link)
            )
        )

    starter = threading.Thread(target=start)
    starter.start()
    starter.join()
    assert device.serving() == 1
    device.loop = made[0]
    runner = threading.Thread(target=device.loop.run)
    runner.start()
    while not device.is_settled("digits") and runner.is_alive():
        device.try_infer()
    device.loop.stop()
    runner.join()
    assert (device.state(), device.record().quarantine) == (State.COMMITTED, {})
    device.storage = BreakableFolder(device.folder)
    device.start()


def test_room_made_for_the_journal_takes_no_manifest_from_who_waits_for_it(
    device: Device, second: Package
) -> None:
    device.serves_chunks = False
    device.order(second)
    device.reach(State.MANIFEST)
    device.loop._deployer.acquisition.make_room()
    device.serves_chunks = True
    device.settle()
    assert device.serving() == 2


# ---- a full disk


def test_a_package_that_does_not_fit_is_refused_before_it_is_fetched(
    device: Device, workshop: Workshop, second: Package
) -> None:
    device.options = replace(OPTIONS, reserve_bytes=2**50)
    device.restart()
    device.order(second)
    device.settle()
    assert device.outcome() == (State.FAILED, Reason.DISK_FULL)
    assert "in reserve" in device.detail()
    assert (device.serving(), device.record().quarantine) == (1, {})


@pytest.mark.parametrize("state", [State.MANIFEST, State.FETCH])
def test_a_disk_that_fills_up_during_the_download_ends_it_and_the_old_version_serves(
    device: Device, workshop: Workshop, state: State
) -> None:
    package = workshop.altered(workshop.linear(2), artifact=_large(workshop))
    if state is State.MANIFEST:
        device.serves_chunks = False
    device.order(package)
    device.reach(state)
    disk(device).full = True
    device.serves_chunks = True
    device.until(device.is_settled)
    assert device.outcome() == (State.FAILED, Reason.DISK_FULL)
    assert device.infer().version == 1
    assert device.events[-1]["reason"] == "disk_full"
    disk(device).full = False
    device.order(package, rollout="r2")
    device.until(lambda: device.state() is not State.FAILED)


def test_a_download_whose_end_the_disk_refused_is_not_in_the_way_of_the_next_one(
    device: Device, second: Package
) -> None:
    def fill_before_the_end(method: str, path: str, data: bytes) -> bool:
        disk(device).full |= path.endswith("record.json") and b'"state":"verify"' in data
        return False

    disk(device).cut_after = fill_before_the_end
    device.order(second)
    device.until(device.is_settled)
    assert device.outcome() == (State.FAILED, Reason.DISK_FULL)
    disk(device).cut_after = lambda method, path, data: False
    disk(device).full = False
    device.order(second, rollout="r2")
    device.settle()
    assert (device.outcome(), device.serving()) == (COMMITTED, 2)


def _large(workshop: Workshop) -> bytes:
    """A model of 80 KB: many chunks of 256 bytes, so that a download takes several turns."""
    weights = np.zeros((FEATURES, 5000), np.float32)
    weights[:, :FEATURES] = workshop.weights
    return linear_onnx(weights)


def test_a_disk_that_is_full_when_an_order_comes_drops_the_order_and_counts_it(
    device: Device, second: Package
) -> None:
    disk(device).full = True
    device.order(second)
    device.until(lambda: device.loop.counters["dropped.desired.storage"] == 1)
    assert (device.serving(), device.state()) == (1, State.COMMITTED)
    disk(device).full = False
    device.order()
    device.settle()
    assert device.serving() == 2


def test_nonsense_stops_answering_even_where_the_pointer_cannot_be_written(
    device: Device, nonsense: Package
) -> None:
    device.order(nonsense, rules=SURE)
    device.reach(State.PROBATION)
    disk(device).full = True
    for _ in range(SURE.min_inferences):
        device.infer()
    for _ in range(3):
        device.turn()
    assert (device.state(), device.serving()) == (State.ROLL_BACK, 1)
    disk(device).full = False
    device.until(device.is_settled)
    assert device.outcome() == (State.ROLLED_BACK, Reason.PROBATION_CLASS_SHIFT)
    device.restart()
    assert device.serving() == 1


def test_a_start_on_a_full_disk_serves_what_was_committed(device: Device) -> None:
    device.crash()
    disk(device).full = True
    device.start()
    assert device.infer().version == 1
    for _ in range(3):
        device.turn()


def test_a_real_full_file_system_keeps_the_old_version_through_an_update_and_a_restart(
    installed: Path, tmp_path: Path, workshop: Workshop, hub: Hub
) -> None:
    package = workshop.altered(workshop.linear(2), artifact=_large(workshop))
    (tmp_path / "mount").mkdir()
    (tmp_path / "blobs").mkdir()
    for digest, data in {**package.blobs, package.digest: package.manifest_bytes}.items():
        (tmp_path / "blobs" / digest[7:]).write_bytes(data)
    (tmp_path / "order.bin").write_bytes(_sealed_order(hub, package))
    (tmp_path / "enrolment.json").write_bytes(hub.enrolment().to_bytes())
    ran = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-m", "tests.full_disk", tmp_path, installed],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=100,
    )
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"no private mounts here: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "outcome": ["failed", "disk_full"],
        "serves": 1,
        "serves after a restart": 1,
        "reports after a restart": 1,
    }


def _sealed_order(hub: Hub, package: Package) -> bytes:
    return hub.desired(2, {"digits": order_of(package)})


# ---- a damaged disk


def test_a_corrupt_active_version_gives_way_to_the_one_before(
    device: Device, second: Package
) -> None:
    device.order(second)
    device.settle()
    assert device.serving() == 2
    _damage(device, second)
    device.restart()
    assert device.infer().version == 1
    device.restart()
    assert device.infer().version == 1


def test_a_corrupt_active_version_never_gives_way_to_one_that_was_refused(
    device: Device, first: Package, workshop: Workshop
) -> None:
    rolled = np.roll(workshop.weights, 1, axis=1)
    refused = workshop.linear(2, rolled, labels=(workshop.labels + 1) % FEATURES)
    device.order(refused)
    device.settle()
    assert device.outcome() == (State.FAILED, Reason.PARENT_GOLDEN_ACCURACY)
    _damage(device, first)
    device.restart()
    assert device.serving() is None


def test_a_version_damaged_in_probation_is_rolled_back(device: Device, second: Package) -> None:
    device.order(second)
    device.reach(State.PROBATION)
    _damage(device, second)
    device.restart()
    assert device.serving() == 1
    device.until(device.is_settled)
    assert device.outcome() == (State.ROLLED_BACK, Reason.LOAD_FAILED)


def test_a_damaged_version_that_is_still_desired_is_fetched_again_by_a_new_rollout(
    device: Device, first: Package
) -> None:
    _damage(device, first)
    device.restart()
    assert device.serving() is None
    device.generation = 1
    device.order(first, rollout="repair")
    device.settle()
    assert device.serving() == 1


def _damage(device: Device, package: Package) -> None:
    artifact = package.manifest.variants[0].artifact.ref.digest
    path = device.folder / "blobs/sha256" / artifact[7:]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [b"", b"null", b'{"name":"digits"}'])
def test_a_damaged_journal_costs_only_its_own_model(
    device: Device, workshop: Workshop, damage: bytes
) -> None:
    device.order(workshop.linear(1, name="kws"))
    device.settle("kws")
    record = device.folder / "models/digits/record.json"
    record.write_bytes(damage)
    device.restart()
    assert device.infer("kws").version == 1
    assert record.with_name("record.damaged").read_bytes() == damage


@pytest.mark.parametrize(
    "name", ["desired.json", "commands.json", "session", "models/digits/counts-A.json"]
)
@pytest.mark.parametrize("damage", [b"", b"{", b"5", b"null", b"\xff\0", b'{"a":[]}'])
def test_any_other_damaged_file_does_not_keep_the_model_from_serving(
    device: Device, name: str, damage: bytes
) -> None:
    device.crash()
    (device.folder / name).write_bytes(damage)
    device.start()
    assert device.infer().version == 1
    for _ in range(3):
        device.turn()


def test_a_flipped_byte_in_a_partial_download_costs_only_its_chunk(
    device: Device, workshop: Workshop
) -> None:
    package = workshop.altered(workshop.linear(2), artifact=_large(workshop))
    digest = package.manifest.variants[0].artifact.ref.digest
    device.order(package)
    device.until(lambda: _have(device, package) > 100)
    device.serves_chunks = False
    device.loop._fetcher.flush(time.monotonic())
    device.crash()
    path = device.folder / data_path(digest)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    claimed = sum(unpack_bits((device.folder / bitmap_path(digest)).read_bytes(), 400))
    blob = package.manifest.variants[0].artifact
    assert claimed > 100
    assert sum(BlobDownload(disk(device), blob).have) == claimed - 1
    device.start()


def _have(device: Device, package: Package) -> int:
    digest = package.manifest.variants[0].artifact.ref.digest
    path = device.folder / bitmap_path(digest)
    return sum(unpack_bits(path.read_bytes(), 400)) if path.exists() else 0


# ---- a killed process


def test_the_bitmap_of_a_killed_download_vouches_only_for_what_is_on_the_disk(
    tmp_path: Path, workshop: Workshop
) -> None:
    package = workshop.altered(workshop.linear(2), artifact=_large(workshop))
    blob = package.manifest.variants[0].artifact
    (tmp_path / "artifact").write_bytes(package.blobs[blob.ref.digest])
    (tmp_path / "manifest").write_bytes(package.manifest_bytes)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.slow_download", tmp_path],
        cwd=HERE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(150):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    bits = unpack_bits((tmp_path / "state" / bitmap_path(blob.ref.digest)).read_bytes(), 1000)
    assert 100 <= sum(bits) < blob.ref.count
    resumed = BlobDownload(BreakableFolder(tmp_path / "state"), blob)
    assert resumed.have == bits[: blob.ref.count]
    assert len(blob.hashes) == blob.ref.count * HASH_BYTES


def test_a_power_cut_between_data_and_bitmap_loses_only_chunks_that_were_not_vouched_for(
    tmp_path: Path, workshop: Workshop
) -> None:
    package = workshop.altered(workshop.linear(2), artifact=_large(workshop))
    blob = package.manifest.variants[0].artifact
    data, size = package.blobs[blob.ref.digest], blob.ref.chunk_bytes
    for cut_at in range(1, 40):
        storage = MemoryStorage(break_at=cut_at, broken_for=10**6)
        try:
            download = BlobDownload(storage, blob)
            for index in range(80):
                piece = data[index * size : (index + 1) * size]
                chunk = decode_chunk(encode_chunk(blob.ref, index, piece))
                download.accept(chunk, now_s=float(index // 10))
        except StorageFailed:
            pass
        storage.power_cut()
        storage.break_at = None
        bits = unpack_bits(storage.files.get(bitmap_path(blob.ref.digest), b""), blob.ref.count)
        assert BlobDownload(storage, blob).have == bits
