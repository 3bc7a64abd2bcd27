"""The whole of a retraining but for the radio: a real hub's API, a real script, real models.

The champion reads digits; the samples are mirrored ones, which it cannot read.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from device_agent.protocol.ids import DeviceId, ModelName, digest_of
from device_agent.protocol.samples import Sample
from edgeops.api.app import create_app
from edgeops.client import Client
from edgeops.demo.network import write_onnx
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.domain.errors import Conflict, HubUnreachable, InvalidInput
from edgeops.hub.process import Hub
from edgeops.packaging.build import build_package
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.request import PackageRequest
from edgeops.retraining import script
from edgeops.retraining.rows import read_rows
from edgeops.retraining.script import TrainingLimits
from edgeops.service import access, worker
from edgeops.service.report import gather
from edgeops.service.worker import WorkerOptions, upload, work
from edgeops.transport.memory import MemoryBroker, MemoryTransport
from edgeops.trust.keys import KeyFolder
from tests.digits_models import digits, train_first
from tests.hub_harness import START_S, HubHarness, Keys
from tests.served_hub import InProcess

SPLIT = digits(0)
HELD = slice(0, 400)
SEEN = slice(400, 833)
READ = """
import json, pathlib, sys
import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

request = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
parts = [np.load(path) for path in request["data"]["train"]]
x = np.concatenate([part["x"] for part in parts])
y = np.concatenate([part["y"] for part in parts])
"""
WRITE = """
options = {"zipmap": False}
onnx = to_onnx(model, x[:1], options=options, target_opset=17)
(out / "model.onnx").write_bytes(onnx.SerializeToString())
(out / "metrics.json").write_text(json.dumps({"rows": len(x)}))
"""
BETTER = (
    READ
    + """
from sklearn.neural_network import MLPClassifier
model = make_pipeline(MinMaxScaler(), MLPClassifier(100, random_state=request["seed"], tol=1e-3))
model.fit(x, y)
"""
    + WRITE
)
REMEMBER = READ + "np.save(FOLDER + '/seen.npy', x.astype(np.float32)); raise SystemExit('done')"
WORSE = READ + "model = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(x, y[::-1])" + WRITE


def mirrored(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64))


@dataclass
class Scene:
    harness: HubHarness
    client: Client
    folder: Path

    def asked(self) -> dict[str, Any]:
        return self.client.request_retraining("digits")

    def work(
        self,
        script: str,
        asked: dict[str, Any] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        path = self.folder / "train.py"
        path.write_text(script.replace("FOLDER", repr(str(self.folder))))
        options = WorkerOptions(
            script=path,
            keys=self.folder / "keys",
            cache=self.folder / "cache",
            folder=self.folder / "retrainings",
            limits=TrainingLimits(timeout_s=100, memory_mib=4096),
        )
        return work(self.client, asked or self.asked(), options, progress)

    def versions(self) -> list[int]:
        return [each["version"] for each in self.client.model("digits")["versions"]]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folder = KeyFolder(tmp_path / "keys")
    root = folder.init()
    keys = Keys(
        targets=folder.targets(),
        director=folder.director(),
        root=root,
        envelope=folder.root_envelope(),
    )
    with HubHarness(tmp_path / "hub.sqlite", keys=keys) as harness:
        hub = Hub(harness.context, MemoryTransport(MemoryBroker()))
        text = access.create_token(harness.context, "test", "worker", "admin", None)[1]
        transport = InProcess(create_app(hub))
        with Client("http://hub.test", token=text, transport=transport) as client:
            made = Scene(harness, client, tmp_path)
            prepare(made)
            yield made
        transport.stop()


def publish(scene: Scene, number: int, model: Path, **more: Any) -> None:
    held = scene.folder / "held.npz"
    held.write_bytes(npz(SPLIT.stream_x[HELD], SPLIT.stream_y[HELD]))
    request = PackageRequest(
        models=(model,),
        name="digits",
        version=number,
        profiles=("raspberry-pi-5",),
        evaluation=held,
        golden=held,
        **more,
    )
    key = KeyFolder(scene.folder / "keys").targets()
    upload(scene.client, build_package(request, key, lambda _: None), lambda _: None)


def prepare(scene: Scene) -> None:
    """A champion, its data sets, and a device whose samples are mirrored."""
    held = scene.folder / "held.npz"
    model = scene.folder / "v1.onnx"
    write_onnx(train_first(SPLIT), model)
    publish(scene, 1, model, thresholds=(0.25,))
    scene.client.add_data("train", npz(SPLIT.train_x, SPLIT.train_y))
    scene.client.add_data("held", held.read_bytes())
    scene.client.set_retrain_policy(
        "digits", {"data": ["train"], "evaluation": "held", "rollout": {"selector": "all"}}
    )
    cam = scene.harness.enroll("cam-1", profile="raspberry-pi-5")
    scene.harness.take(cam.birth())
    rows = mirrored(SPLIT.stream_x[SEEN])
    for row, label in zip(rows, SPLIT.stream_y[SEEN], strict=True):
        scene.harness.take(cam.numbered("sample", (sample_of(row, int(label)),)))
    put_alarm(scene, "a1", 1)


def put_alarm(scene: Scene, name: str, number: int) -> None:
    with scene.harness.context.database.begin() as work_:
        work_.drift.put_alarm(
            Alarm(
                id=name,
                model=ModelName("digits"),
                number=number,
                kind=AlarmKind.HARM,
                opened_s=START_S,
                since_s=START_S - 60,
                devices={DeviceId("cam-1"): 9.0},
            )
        )


def sample_of(row: np.ndarray, label: int) -> Sample:
    return Sample(
        model=ModelName("digits"),
        version=1,
        digest=digest_of(b""),
        at_s=START_S,
        dtype="float32",
        shape=(64,),
        data=row.tobytes(),
        class_index=0,
        confidence=0.5,
        label=label,
    )


def npz(x: np.ndarray, y: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=y)
    return buffer.getvalue()


def test_a_better_challenger_becomes_the_candidate_and_begins_its_rollout(scene: Scene) -> None:
    ended = scene.work(BETTER)
    assert (ended["state"], ended["child"]) == ("published", 2), ended["why"]
    drifted = next(each for each in ended["contests"] if each["name"] == "drifted")
    assert drifted["gain_low"] > 0.2
    assert drifted["rows"] > 80
    version = scene.client.version("digits@candidate")
    lineage = version["lineage"]
    assert (version["version"], lineage["parent"], lineage["alarm"]) == (2, "digits:1", "a1")
    assert lineage["data"] == "train:1, digits-samples:1"
    assert lineage["retraining"] == ended["id"]
    assert version["manifest"]["thresholds"] == [0.25]  # as its parent has it
    assert ended["rollout"], ended["why"]
    assert [each["device"] for each in scene.client.rollout(ended["rollout"])["members"]] == [
        "cam-1"
    ]
    (told,) = gather(scene.harness.context, "digits").retrainings
    assert (told.child, told.parent, len(told.contests)) == (2, 1, 2)
    acts = [act for act, _ in scene.harness.acts(actor="worker") if act.startswith("retrain")]
    assert acts[-2:] == ["retrain.claim", "retrain.publish"]


def test_a_recipe_of_somebodys_own_makes_the_next_version_too(scene: Scene) -> None:
    mine = replace(RECIPES["onnx-int8"], name="mine", calibration="mse")
    rows = scene.folder / "calibration.npz"
    np.savez(rows, x=SPLIT.train_x[:200])
    network = make_pipeline(MinMaxScaler(), MLPClassifier(32, random_state=0, tol=1e-3))
    network.fit(SPLIT.train_x, SPLIT.train_y)
    made = to_onnx(network, SPLIT.train_x[:1], options={"zipmap": False}, target_opset=17)
    model = scene.folder / "v2.onnx"
    model.write_bytes(made.SerializeToString())
    cache = scene.folder / "cache"
    publish(scene, 2, model, recipes=(mine,), calibration=rows, cache=cache, max_drop=0.05)
    put_alarm(scene, "a2", 2)
    ended = scene.work(BETTER, scene.client.request_retraining("digits", "a2"))
    assert (ended["state"], ended["parent"]) == ("published", 2), ended["why"]
    child = scene.client.version("digits@candidate")
    assert child["lineage"]["recipe.onnx"] == "mine"
    assert child["version"] == 3


def test_a_worse_challenger_is_rejected_and_nothing_is_published(scene: Scene) -> None:
    ended = scene.work(WORSE)
    assert ended["state"] == "rejected"
    assert ended["why"]
    assert scene.versions() == [1]
    assert scene.client.rollouts() == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("1/0", "ZeroDivisionError"),
        ("pass", "wrote no model"),
        (
            READ + "(out / 'model.onnx').write_text('x'); (out / 'metrics.json').write_text('{}')",
            "",
        ),
    ],
    ids=["crash", "nothing", "no-model"],
)
def test_a_script_that_fails_ends_its_retraining_and_the_next_one_goes_on(
    scene: Scene, script: str, why: str
) -> None:
    ended = scene.work(script)
    assert ended["state"] == "failed"
    assert why in ended["why"]
    assert scene.versions() == [1]
    assert scene.asked()["state"] == "requested"


def test_a_retraining_whose_worker_died_is_begun_again(scene: Scene) -> None:
    asked = scene.asked()
    scene.client.move_retraining(asked["id"], "claim", {})
    ended = scene.work(BETTER, asked)
    assert ended["state"] == "published"


def test_rows_that_judge_are_not_trained_on_whoever_put_them_there(scene: Scene) -> None:
    """A data set of all samples holds the held-out ones too, and the evaluation rows are one."""
    scene.client.add_samples("everything", "digits")
    scene.client.set_retrain_policy(
        "digits", {"data": ["everything", "held"], "evaluation": "held", "min_samples": 50}
    )
    asked = scene.asked()
    said: list[str] = []
    ended = scene.work(REMEMBER, asked, said.append)
    assert ended["state"] == "failed"  # the script only remembers what it was given
    seen = {row.tobytes() for row in np.load(scene.folder / "seen.npy")}
    for judging in (asked["evaluation"], asked["drifted"]):
        found = scene.client.data_set(judging)
        rows = read_rows(scene.client.get_blob(found["digest"]), judging).x.astype(np.float32)
        assert len(rows) > 30
        assert not {row.tobytes() for row in rows} & seen
    left_out = [line for line in said if line.endswith("judge: left out")]
    assert len(left_out) == 2
    assert left_out[1].startswith("400 of 400 rows of held:1")


def test_when_only_judging_rows_are_given_nothing_is_trained(scene: Scene) -> None:
    asked = {**scene.asked(), "train": ["held:1"]}
    ended = scene.work("raise SystemExit('trained')", asked)
    assert ended["state"] == "failed"
    assert ended["why"].startswith("all rows of held:1 are among those that judge; give other")


def test_other_rows_than_the_parents_own_are_no_evaluation(scene: Scene) -> None:
    scene.client.add_data("other", npz(SPLIT.train_x[:99], SPLIT.train_y[:99]))
    scene.client.set_retrain_policy("digits", {"data": ["train"], "evaluation": "other"})
    with pytest.raises(InvalidInput, match=r"other:1 is not what digits:1 was evaluated on"):
        scene.asked()


def test_an_error_of_the_disk_ends_a_retraining_with_its_reason(scene: Scene) -> None:
    scene.folder.joinpath("retrainings").write_text("in the way")
    ended = scene.work(BETTER)
    assert ended["state"] == "failed"
    assert "FileExistsError" in ended["why"]


def test_a_script_that_moves_itself_is_signed_for_what_it_was(scene: Scene) -> None:
    moved = "import os, sys; os.rename(sys.argv[0], sys.argv[0] + '.gone')\n" + BETTER
    ended = scene.work(moved)
    assert ended["state"] == "published"
    code = scene.client.version("digits:2")["lineage"]["code"]
    assert code == digest_of(moved.encode())


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, SystemExit])
def test_who_stops_a_worker_gives_the_retraining_back(
    scene: Scene, stopped: type[BaseException]
) -> None:
    asked = scene.asked()

    def stop(line: str) -> None:
        raise stopped

    with pytest.raises(stopped):
        scene.work(BETTER, asked, stop)
    given_back = scene.client.retraining(asked["id"])
    assert (given_back["state"], given_back["why"]) == ("requested", "its worker was stopped")
    assert scene.work(BETTER, asked)["state"] == "published"


def test_a_worker_waits_for_a_hub_that_starts_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", 0.01)
    asked, said = scene.asked(), []
    away = iter([HubUnreachable("no hub answers")] * 3)
    fetch = scene.client.get_blob

    def get_blob(digest: str) -> bytes:
        if (error := next(away, None)) is not None:
            raise error
        return fetch(digest)

    monkeypatch.setattr(scene.client, "get_blob", get_blob)
    assert scene.work(BETTER, asked, said.append)["state"] == "published"
    assert said.count("waiting for the hub: no hub answers") == 1


def test_a_worker_that_lost_its_retraining_ends_its_script(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RENEW_S", 0.0)
    monkeypatch.setattr(script, "POLL_S", 0.2)
    asked = scene.asked()

    def lose(line: str) -> None:
        if line.startswith("training with"):
            scene.client.move_retraining(asked["id"], "fail", {"why": "taken by a person"})

    with pytest.raises(Conflict, match="failed cannot renew"):
        scene.work("import time; time.sleep(600)", asked, lose)
    assert scene.client.retraining(asked["id"])["why"] == "taken by a person"
