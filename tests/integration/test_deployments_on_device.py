"""Deployments on one device without a network: real packages, runtimes, disks and self-tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.core.states import State
from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol import topics
from device_agent.protocol.errors import NoModel
from device_agent.protocol.ids import DeviceId, digest_of
from device_agent.protocol.manifest import Budget, Waiver
from device_agent.protocol.reasons import Reason
from edgeops.packaging.package import Package
from tests.device_harness import (
    DEVICE,
    FEATURES,
    QUICK,
    Device,
    Hub,
    Workshop,
    order_of,
)
from tests.models import digits_tflite, linear_onnx, save_golden

COMMITTED = (State.COMMITTED, None)
WHOLE_WAY = (
    "admission manifest precheck fetch verify stage self_test standby activate probation commit "
    "committed"
).split()


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> Package:
    return workshop.linear(1)


@pytest.fixture(scope="module")
def second(workshop: Workshop) -> Package:
    return workshop.linear(2)


@pytest.fixture
def device(tmp_path: Path, hub: Hub) -> Iterator[Device]:
    made = Device(tmp_path / "state", hub)
    yield made
    made.crash()


@pytest.fixture
def serving(device: Device, first: Package) -> Device:
    """A device on which version 1 is committed."""
    device.order(first)
    device.settle()
    assert (device.outcome(), device.serving()) == (COMMITTED, 1)
    for _ in range(200):
        device.infer()
    return device


def refuse(device: Device, package: Package, reason: Reason, **order) -> str:
    """Order a package that must be refused before it serves; return the device's words."""
    device.order(package, **order)
    device.settle()
    assert device.outcome() == (State.FAILED, reason), device.describe()
    assert device.serving() == 1
    assert device.events[-1]["reason"] == reason.value
    return device.detail()


# ---- the good way


def test_day_zero_has_no_model_and_says_so(device: Device) -> None:
    with pytest.raises(NoModel) as raised:
        device.infer()
    assert "device-agent status" in raised.value.next_step


def test_a_first_version_goes_the_whole_way_and_answers(device: Device, first: Package) -> None:
    device.order(first)
    device.settle()
    assert device.outcome() == COMMITTED
    assert device.states() == WHOLE_WAY
    answer = device.infer(row=np.array([0, 0, 9, 0], np.float32))
    assert (answer.version, answer.class_index, answer.digest) == (1, 2, first.digest)
    record = device.record()
    assert (record.floor, record.slots["A"].committed) == (1, True)


def test_a_second_version_passes_self_test_and_probation_and_the_first_stays_ready(
    serving: Device, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    assert (serving.outcome(), serving.serving()) == (COMMITTED, 2)
    assert serving.states()[len(WHOLE_WAY) :] == WHOLE_WAY
    assert {slot.version: slot.committed for slot in serving.record().slots.values()} == {
        1: True,
        2: True,
    }
    self_test = [event for event in serving.events if event["state"] == "standby"][-1]
    assert self_test["evidence"]["parent_accuracy"] == 1.0
    assert self_test["evidence"]["accuracy"] == 1.0


def test_the_old_version_serves_until_the_new_one_answers(serving: Device, second: Package) -> None:
    seen: list[int | None] = []
    serving.order(second)
    serving.until(lambda: seen.append(serving.try_infer()) or serving.is_settled())
    assert None not in seen
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_the_way_back_to_a_known_good_version_needs_no_second_probation(
    serving: Device, first: Package, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    fetched = serving.loop.counters["chunk.used"]
    del serving.events[:]
    serving.order(first, rollout="back")
    serving.settle()
    assert (serving.outcome(), serving.serving()) == (COMMITTED, 1)
    assert serving.states()[-3:] == ["activate", "commit", "committed"]
    assert serving.loop.counters["chunk.used"] == fetched
    assert serving.record().floor == 2


def test_a_tflite_model_is_deployed_like_any_other(
    device: Device, workshop: Workshop, tmp_path: Path
) -> None:
    rows = np.random.default_rng(2).uniform(0, 16, (8, 64)).astype(np.float32)
    golden = save_golden(tmp_path / "golden.npz", rows)
    package = workshop.package("kws", 1, digits_tflite(1), golden, chunk_bytes=4096)
    device.order(package)

    def turn() -> bool:
        if device.serving("kws"):
            device.infer("kws", rows[0])
        return device.is_settled("kws")

    device.until(turn)
    assert device.outcome("kws") == COMMITTED


def test_two_models_are_deployed_at_once_and_do_not_touch_each_other(
    device: Device, workshop: Workshop, first: Package
) -> None:
    other = workshop.linear(7, name="kws")
    device.order(first, other)
    device.settle("digits", "kws")
    assert (device.outcome("digits"), device.outcome("kws")) == (COMMITTED, COMMITTED)
    assert (device.infer("digits").version, device.infer("kws").version) == (1, 7)


def test_two_models_that_share_an_artifact_are_both_deployed(
    device: Device, workshop: Workshop, first: Package
) -> None:
    twin = workshop.linear(1, name="twin")
    assert set(twin.blobs) == set(first.blobs)
    device.order(first, twin)
    device.settle("digits", "twin")
    assert (device.outcome("digits"), device.outcome("twin")) == (COMMITTED, COMMITTED)


def test_a_model_that_the_desired_state_forgets_goes_on_serving(
    serving: Device, workshop: Workshop
) -> None:
    serving.orders.clear()
    serving.order(workshop.linear(1, name="kws"))
    serving.settle("kws")
    assert (serving.serving("digits"), serving.serving("kws")) == (1, 1)


def test_a_finished_download_leaves_no_partial_files_and_no_subscription(
    serving: Device, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    assert list((serving.folder / "partial").iterdir()) == []
    assert not [each for each in serving.link.filters if "/blob/" in each]


# ---- refused at the door


def test_a_package_signed_by_a_foreign_key_is_refused_and_quarantined(
    serving: Device, second: Package
) -> None:
    foreign = replace(second, signature=Hub().keys["targets"].sign(second.manifest_bytes))
    refuse(serving, foreign, Reason.UNSIGNED_PACKAGE)
    assert serving.record().quarantine == {second.digest: Reason.UNSIGNED_PACKAGE}


def test_the_directors_key_cannot_sign_a_package(
    serving: Device, second: Package, hub: Hub
) -> None:
    invented = replace(second, signature=hub.keys["director"].sign(second.manifest_bytes))
    refuse(serving, invented, Reason.UNSIGNED_PACKAGE)


def test_a_manifest_that_was_altered_after_signing_is_refused(
    serving: Device, second: Package
) -> None:
    altered = second.manifest_bytes.replace(b'"min_accuracy":0.8', b'"min_accuracy":0.1')
    assert altered != second.manifest_bytes
    refuse(serving, replace(second, manifest_bytes=altered), Reason.ALTERED_PACKAGE)


def test_signed_bytes_that_are_no_manifest_are_refused(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    for data in (b"not a manifest", b"{}", b'{"a":' * 20, b"\xff" * 100):
        nonsense = workshop.signed(data, {}, second.manifest)
        refuse(serving, nonsense, Reason.MALFORMED_MANIFEST)


def test_a_manifest_of_another_version_than_ordered_is_refused(
    serving: Device, second: Package
) -> None:
    refuse(serving, second, Reason.MALFORMED_MANIFEST, version=3)


def test_a_manifest_beyond_the_bound_is_refused_without_fetching_a_byte(
    serving: Device, second: Package
) -> None:
    huge = replace(order_of(second).manifest, size_bytes=2 * 1024 * 1024)
    del serving.link.published[:]
    serving._seen = 0
    refuse(serving, second, Reason.MALFORMED_MANIFEST, manifest=huge)
    assert not [topic for topic, _ in serving.link.published if topic.endswith("/need")]


def test_an_older_version_than_the_floor_is_refused(
    serving: Device, workshop: Workshop, first: Package, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    older = workshop.altered(first, lineage={"again": "1"})
    serving.order(older)
    serving.settle()
    assert serving.outcome() == (State.FAILED, Reason.OLDER_THAN_FLOOR)
    assert serving.serving() == 2


def test_an_order_for_another_device_is_not_obeyed(
    serving: Device, hub: Hub, second: Package
) -> None:
    serving.offer(second)
    orders = {"digits": order_of(second)}
    foreign = hub.desired(9, orders, device=DeviceId("cam-2"))
    serving.send(topics.desired(DEVICE), foreign)
    serving.until(lambda: serving.loop.counters["dropped.desired.untrusted"] == 1)
    assert (serving.serving(), serving.outcome()) == (1, COMMITTED)


def test_a_package_for_a_newer_agent_is_refused_without_a_verdict_on_it(
    serving: Device, workshop: Workshop
) -> None:
    said = refuse(serving, workshop.linear(2, min_agent="99.0.0"), Reason.AGENT_TOO_OLD)
    assert said.startswith("needs agent 99.0.0, this is ")
    assert serving.record().quarantine == {}


def test_a_package_without_a_variant_for_this_board_is_refused(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    elsewhere = workshop.altered(second, variant={"profiles": ("raspberry-pi-5",)})
    assert "raspberry-pi-5" in refuse(serving, elsewhere, Reason.NO_VARIANT)


def test_a_quarantined_package_is_refused_the_second_time_before_a_byte_is_fetched(
    serving: Device, second: Package
) -> None:
    foreign = replace(second, signature=Hub().keys["targets"].sign(second.manifest_bytes))
    refuse(serving, foreign, Reason.UNSIGNED_PACKAGE)
    used = serving.loop.counters["chunk.used"]
    refuse(serving, foreign, Reason.QUARANTINED, rollout="r2")
    assert serving.loop.counters["chunk.used"] == used


# ---- refused by what arrived


def test_a_blob_that_nobody_has_ends_in_a_download_timeout(
    serving: Device, second: Package
) -> None:
    serving.serves_chunks = False
    refuse(serving, second, Reason.DOWNLOAD_TIMEOUT, download_timeout_s=1.0)
    assert serving.record().quarantine == {}


def test_chunks_other_than_signed_are_never_written(serving: Device, second: Package) -> None:
    artifact = second.manifest.variants[0].artifact.ref.digest
    serving.offer(second)
    serving.orders["digits"] = order_of(second, download_timeout_s=1.0)
    serving.store[artifact] = bytes(len(second.blobs[artifact]))
    serving.order()
    serving.settle()
    assert serving.outcome() == (State.FAILED, Reason.DOWNLOAD_TIMEOUT)
    assert serving.loop.counters["chunk.not_used"] > 0
    assert not (serving.folder / "blobs/sha256" / artifact[7:]).exists()


def test_a_poisoned_manifest_is_fetched_again_until_the_right_one_comes(
    serving: Device, second: Package
) -> None:
    right = second.manifest_bytes
    serving.order(second)
    serving.store[second.digest] = right[:-1] + b" "
    serving.until(lambda: serving.reason() is Reason.CORRUPT_DOWNLOAD)
    serving.store[second.digest] = right
    serving.settle()
    assert (serving.outcome(), serving.serving()) == (COMMITTED, 2)


@pytest.mark.parametrize("spoil", ["cut", "empty", "tflite"])
def test_an_artifact_that_is_no_model_is_refused_by_the_self_test(
    serving: Device, workshop: Workshop, second: Package, spoil: str
) -> None:
    (artifact,) = [
        data for digest, data in second.blobs.items() if digest == _artifact(second).ref.digest
    ]
    spoiled = {
        "cut": artifact[: len(artifact) // 2],
        "empty": b"",
        "tflite": digits_tflite(1).read_bytes(),
    }[spoil]
    broken = workshop.altered(second, artifact=spoiled)
    refuse(serving, broken, Reason.LOAD_FAILED)
    assert serving.record().quarantine == {broken.digest: Reason.LOAD_FAILED}


def _artifact(package: Package):
    return package.manifest.variants[0].artifact


def test_a_model_that_answers_nan_is_refused_by_the_self_test(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    weights = np.full((FEATURES, FEATURES), np.nan, np.float32)
    sick = workshop.altered(second, artifact=linear_onnx(weights))
    assert "golden rows gave NaN" in refuse(serving, sick, Reason.NONFINITE_OUTPUT)


def test_a_model_that_answers_otherwise_than_signed_is_refused(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    other = workshop.altered(second, artifact=linear_onnx(workshop.weights * 1.5))
    assert "differ from the signed ones" in refuse(serving, other, Reason.GOLDEN_MISMATCH)


def test_a_model_with_another_input_than_its_golden_rows_is_refused(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    wide = np.eye(FEATURES + 1, dtype=np.float32)
    refuse(serving, workshop.altered(second, artifact=linear_onnx(wide)), Reason.GOLDEN_MISMATCH)


@pytest.mark.parametrize("what", ["another input", "one more output"])
def test_a_manifest_that_describes_another_model_than_its_artifact_is_refused(
    serving: Device, workshop: Workshop, second: Package, what: str
) -> None:
    (variant,) = second.manifest.variants
    extra = replace(variant.outputs[0], name="zz")
    spoiled = {
        "another input": {"inputs": (replace(variant.inputs[0], shape=(-1, 99)),)},
        "one more output": {"outputs": (*variant.outputs, extra), "scores": "zz"},
    }[what]
    refuse(serving, workshop.altered(second, variant=spoiled), Reason.MALFORMED_MANIFEST)


def test_nonsense_that_agrees_with_its_own_labels_is_refused_by_the_parents_golden_rows(
    serving: Device, workshop: Workshop
) -> None:
    rolled = np.roll(workshop.weights, 1, axis=1)
    package = workshop.linear(2, rolled, labels=(workshop.labels + 1) % FEATURES)
    assert package.manifest.variants[0].golden_accuracy == 1.0
    said = refuse(serving, package, Reason.PARENT_GOLDEN_ACCURACY)
    assert said == "0.000 on the parent's golden rows, the parent had 1.000"


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(latency_ms_p95=1e-6), Reason.LATENCY_BUDGET),
        (Budget(memory_mib=1e-3), Reason.MEMORY_BUDGET),
    ],
)
def test_a_model_beyond_its_budget_is_refused_but_not_quarantined(
    serving: Device, workshop: Workshop, second: Package, budget: Budget, reason: Reason
) -> None:
    refuse(serving, workshop.altered(second, variant={"budget": budget}), reason)
    assert serving.record().quarantine == {}


# ---- probation


def test_waived_nonsense_is_rolled_back_by_the_shift_of_its_predictions(
    serving: Device, workshop: Workshop, first: Package
) -> None:
    constant = np.zeros((FEATURES, FEATURES), np.float32)
    constant[:, 0] = 9
    waiver = Waiver(gate=GOLDEN_GATE, reason="to see probation work")
    nonsense = workshop.linear(2, constant, waivers=(waiver,))
    serving.order(nonsense, rules=replace(QUICK, min_inferences=60))
    serving.settle()
    assert serving.outcome() == (State.ROLLED_BACK, Reason.PROBATION_CLASS_SHIFT)
    assert serving.serving() == 1
    assert serving.record().quarantine == {nonsense.digest: Reason.PROBATION_CLASS_SHIFT}
    assert serving.states()[-3:] == ["probation", "roll_back", "rolled_back"]
    assert serving.infer().digest == first.digest
    assert list(serving.record().slots) == ["A"]


def test_a_probation_without_traffic_is_rolled_back_when_its_time_is_up(
    serving: Device, second: Package
) -> None:
    serving.order(second, rules=replace(QUICK, timeout_s=0.1))
    serving.until(serving.is_settled)
    assert serving.outcome() == (State.ROLLED_BACK, Reason.PROBATION_TIMEOUT)
    assert (serving.serving(), serving.record().quarantine) == (1, {})


def test_a_first_version_that_fails_probation_leaves_day_zero_again(
    device: Device, first: Package
) -> None:
    device.order(first, rules=replace(QUICK, timeout_s=0.1))
    device.until(device.is_settled)
    assert device.outcome() == (State.ROLLED_BACK, Reason.PROBATION_TIMEOUT)
    assert (device.serving(), dict(device.record().slots)) == (None, {})
    device.order(first, rollout="r2")
    device.settle()
    assert (device.outcome(), device.serving()) == (COMMITTED, 1)


def test_labels_that_say_it_is_worse_roll_it_back(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    for _ in range(40):
        serving.live.label("digits", serving.infer().digest, correct=True)
    serving.order(second, rules=replace(QUICK, min_inferences=60))
    serving.reach(State.PROBATION)
    for _ in range(60):
        serving.live.label("digits", serving.infer().digest, correct=False)
    serving.until(serving.is_settled)
    assert serving.outcome() == (State.ROLLED_BACK, Reason.PROBATION_LABELS)
    assert serving.serving() == 1


# ---- newer orders


def test_a_newer_order_takes_over_while_the_older_one_is_fetched(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.serves_chunks = False
    serving.order(second)
    serving.reach(State.MANIFEST)
    serving.serves_chunks = True
    serving.order(workshop.linear(3), rollout="r2")
    serving.settle()
    assert (serving.outcome(), serving.serving()) == (COMMITTED, 3)
    superseded = [event for event in serving.events if event["reason"] == "superseded"]
    assert [(event["version"], event["state"]) for event in superseded] == [(2, "failed")]
    assert second.digest not in serving.record().quarantine


def test_a_newer_order_waits_for_the_outcome_of_a_probation(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.order(second)
    serving.reach(State.PROBATION)
    serving.order(workshop.linear(3), rollout="r2")
    for _ in range(5):
        serving.turn()
    assert serving.state() is State.PROBATION
    serving.settle()
    assert serving.serving() == 3
    assert "superseded" not in [event["reason"] for event in serving.events]


def test_an_order_that_ended_here_is_not_begun_again_by_the_next_generation(
    serving: Device, second: Package
) -> None:
    serving.order(second, rules=replace(QUICK, timeout_s=0.1))
    serving.until(serving.is_settled)
    del serving.events[:]
    serving.order()
    for _ in range(5):
        serving.turn()
    assert (serving.events, serving.outcome()[0]) == ([], State.ROLLED_BACK)


def test_the_manifest_that_was_kept_is_the_one_that_was_signed(
    serving: Device, first: Package
) -> None:
    kept = (serving.folder / "blobs/sha256" / first.digest[7:]).read_bytes()
    assert kept == first.manifest_bytes
    assert digest_of(kept) == first.digest
