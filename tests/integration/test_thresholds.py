"""Thresholds end to end: what nobody is sure of is no class, at packaging and on the device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent import Agent, AgentOptions, BadInput
from device_agent.core.states import State
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reference import ReferenceProfile
from device_agent.shell.identity import adopt_identity
from device_agent.shell.link import LinkLimits
from device_agent.shell.live import LiveModel
from device_agent.shell.storage import FolderStorage
from edgeops.domain.errors import GateFailed, InvalidInput
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from tests.device_harness import FEATURES, Device, Hub, Workshop
from tests.models import label_onnx, linear_onnx, save_golden

NAMES = ("zero", "one", "two", "three")
SURE, UNSURE = np.eye(FEATURES, dtype=np.float32) * 2, np.eye(FEATURES, dtype=np.float32) * 0.3
"""Rows of each class: at a weight of 4 the confidence is 0.999, and 0.525."""
ROWS = np.concatenate([SURE] * 9 + [UNSURE])
LABELS = np.tile(np.arange(FEATURES), 10)


@pytest.fixture(scope="module")
def workshop(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(hub, tmp_path_factory.mktemp("packages"))
    made.rows, made.labels = ROWS, LABELS
    return made


@pytest.fixture(scope="module")
def package(workshop: Workshop) -> Package:
    rows = save_golden(workshop.folder / "rows.npz", ROWS, LABELS)
    return workshop.linear(
        1, thresholds=(0.6,), labels=LABELS, evaluation=rows, max_drop=0.5, min_accuracy=0.85
    )


@pytest.fixture
def device(hub: Hub, tmp_path: Path) -> Device:
    adopt_identity(FolderStorage(tmp_path / "state"), hub.enrolment())
    return Device(tmp_path / "state", hub)


def test_what_is_below_its_threshold_is_not_right_at_packaging(
    package: Package, workshop: Workshop
) -> None:
    (variant,) = package.manifest.variants
    assert variant.golden_accuracy == pytest.approx(0.9)
    # Evaluation rows count once: eight, of which four are below.
    assert variant.evidence is not None
    assert (variant.evidence.rows, variant.evidence.accuracy) == (8, 0.5)
    assert variant.evidence.agreement == 1.0
    assert sum(variant.evidence.confusion) == 4
    assert variant.reference is not None
    reference = ReferenceProfile.from_bytes(package.blobs[variant.reference.ref.digest])
    assert (sum(reference.classes), sum(reference.confidence), sum(reference.correct)) == (4, 8, 4)
    read = Manifest.from_bytes(package.manifest_bytes)
    assert (read.thresholds, read.min_agent) == ((0.6,), "0.2.0")
    with pytest.raises(GateFailed, match=r"golden.*0\.9000 of 40 rows"):
        workshop.linear(1, thresholds=(0.6,), min_accuracy=0.95)


def test_without_thresholds_the_same_rows_are_all_right(workshop: Workshop) -> None:
    plain = workshop.linear(1)
    assert plain.manifest.variants[0].golden_accuracy == 1.0
    assert plain.manifest.min_agent == "0.1.0"
    assert b"thresholds" not in plain.manifest_bytes


def test_it_is_said_how_many_evaluation_rows_are_below(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(linear_onnx(workshop.weights))
    rows = save_golden(tmp_path / "rows.npz", ROWS, LABELS)
    said: list[str] = []
    request = PackageRequest(
        models=(tmp_path / "m.onnx",),
        name="m",
        version=1,
        profiles=("x86-64-generic",),
        evaluation=rows,
        thresholds=(0.6,),
        max_drop=0.5,
    )
    build_package(request, workshop.hub.keys["targets"], said.append)
    assert [line for line in said if "threshold" in line] == [
        "note: 4 of 8 rows are below their threshold: no class, and so not right"
    ]


def test_a_device_answers_no_class_and_counts_how_sure_the_model_was(
    device: Device, package: Package
) -> None:
    device.order(package)
    device.settle()
    assert device.outcome() == (State.COMMITTED, None), device.describe()
    live = device.live.get(ModelName("digits"))
    assert live is not None
    live.tally.close_window()
    for row in (*SURE, *UNSURE):
        answer = device.infer(row=row)
        expected = row.argmax() if row.max() > 1 else None
        assert answer.class_index == expected
    assert answer.confidence == pytest.approx(0.525, abs=1e-3)
    window = live.tally.window
    assert (window.classes, sum(window.confidence)) == ((1,) * FEATURES, 2 * FEATURES)
    assert window.nonfinite == 0


def test_the_self_test_holds_the_model_to_its_bar_by_the_same_thresholds(
    device: Device, package: Package, workshop: Workshop
) -> None:
    device.order(workshop.altered(package, thresholds=(0.9995,)))
    device.settle()
    assert device.outcome() == (State.FAILED, Reason.GOLDEN_ACCURACY), device.describe()


def test_each_class_has_its_own_threshold(device: Device, workshop: Workshop) -> None:
    own = workshop.linear(1, thresholds=(0.6, 0.5, 0.6, 0.5))
    assert own.manifest.variants[0].golden_accuracy == pytest.approx(0.95)
    device.order(own)
    device.settle()
    answers = [device.infer(row=row).class_index for row in UNSURE]
    assert answers == [None, 1, None, 3]


@pytest.fixture
def agent(hub: Hub, package: Package, workshop: Workshop, tmp_path: Path) -> Iterator[Agent]:
    """An agent without a network, whose model's classes have names."""
    named = workshop.altered(package, labels=NAMES)
    adopt_identity(FolderStorage(tmp_path / "state"), hub.enrolment())
    device = Device(tmp_path / "state", hub)
    device.order(named)
    device.settle()
    device.stop()
    offline = AgentOptions(link=LinkLimits(connect_timeout_s=0.2, backoff_first_s=0.1))
    with Agent.start(tmp_path / "state", options=offline) as agent:
        yield agent


def test_a_label_of_what_was_no_class_counts_as_wrong(agent: Agent) -> None:
    sure, unsure = agent.infer("digits", SURE[2]), agent.infer("digits", UNSURE[2])
    assert (sure.class_index, sure.label) == (2, "two")
    assert (unsure.class_index, unsure.label) == (None, None)
    live = agent._live.get(ModelName("digits"))
    assert live is not None
    live.tally.close_window()
    assert agent.report_label(sure, "two")
    assert agent.report_label(unsure, "two")
    assert agent.report_label(unsure, 2)
    for prediction in (sure, unsure):
        with pytest.raises(BadInput, match="no class named 'nonsense'") as raised:
            agent.report_label(prediction, "nonsense")
        assert raised.value.next_step.endswith(", ".join(NAMES))
    window = live.tally.window
    assert (window.labelled, window.labelled_correct) == (3, 1)
    assert agent.report_label(sure, np.str_("two"))
    assert (live.tally.window.labelled_correct, type(sure.label)) == (2, str)
    with pytest.raises(BadInput, match="no class 9"):
        agent.report_label(unsure, 9)


def test_a_late_label_is_a_class_of_the_version_that_predicted(agent: Agent) -> None:
    """The version that answers by now may have other names, or other classes."""
    prediction = agent.infer("digits", SURE[2])
    before = agent._live.get(ModelName("digits"))
    assert before is not None
    before.tally.close_window()
    renamed = LiveModel(
        digest=Digest("sha256:" + "1" * 64),
        manifest=replace(before.manifest, labels=("w", "x", "y", "z"), version=2),
        variant=before.variant,
        loaded=before._loaded,
        before=None,
    )
    agent._live.exchange(ModelName("digits"), renamed)
    assert agent.report_label(prediction, NAMES[2])
    assert agent.report_label(prediction, NAMES[1])
    with pytest.raises(BadInput, match="no class named 'w'"):
        agent.report_label(prediction, "w")
    window = before.tally.window
    assert (window.labelled, window.labelled_correct) == (2, 1)
    assert renamed.tally.window.labelled == 0
    gone = prediction._replace(digest="sha256:" + "2" * 64)
    assert agent.report_label(gone, "w") is False


def test_device_agent_infer_says_unknown(device: Device, package: Package, tmp_path: Path) -> None:
    device.order(package)
    device.settle()
    device.stop()
    np.save(tmp_path / "rows.npy", np.stack([SURE[1], UNSURE[1]]))
    infer = [
        *(sys.executable, "-m", "device_agent.cli", "infer", "--state", str(device.folder)),
        *("--model", "digits", "--input", str(tmp_path / "rows.npy")),
    ]
    text = subprocess.run(infer, capture_output=True, text=True, timeout=60)
    assert [line.split()[0] for line in text.stdout.splitlines()] == ["1", "unknown"], text.stderr
    documents = subprocess.run([*infer, "-o", "json"], capture_output=True, text=True, timeout=60)
    last = json.loads(documents.stdout.splitlines()[1])
    assert (last["class_index"], last["label"]) == (None, None)
    assert last["confidence"] == pytest.approx(0.525, abs=1e-3)


# ---- what cannot be


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ((0.5, 0.5), "thresholds has 2 numbers, the model 4 classes"),
        ((1.5,), r"request\.thresholds has 1\.5, not in 0\.\.1"),
        ((float("nan"),), "request.thresholds has nan"),
        ((0.5,) * 600, "request.thresholds has more than 512"),
    ],
)
def test_thresholds_that_do_not_fit_are_said(
    workshop: Workshop, thresholds: tuple[float, ...], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        workshop.linear(1, thresholds=thresholds)


def test_a_model_that_answers_the_class_itself_has_nothing_to_ask(
    workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(label_onnx(workshop.weights))
    rows = save_golden(tmp_path / "rows.npz", ROWS, LABELS)
    with pytest.raises(InvalidInput, match="'label'.*no confidence") as raised:
        workshop.package("m", 1, tmp_path / "m.onnx", rows, thresholds=(0.5,))
    assert raised.value.next_step
