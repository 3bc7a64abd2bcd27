"""A training script of the user's: what it is given, and every way in which it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeops.retraining import script as script_module
from edgeops.retraining.contract import TrainingTask
from edgeops.retraining.errors import TrainingFailed
from edgeops.retraining.script import Trained, TrainingLimits, run_script
from tests.processes import process_runs

ROOT = Path(__file__).parents[2]
TASK = TrainingTask(
    id="t1",
    model="digits",
    seed=7,
    labels=("zero", "one"),
    parent=1,
    parent_files={"onnx": "/parent.onnx"},
    train=("/a.npz", "/b.npz"),
)
GOOD = """
import json, pathlib, sys
request = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
(out / "model.onnx").write_text(json.dumps(request))
(out / "metrics.json").write_text('{"accuracy": 0.9}')
print("trained")
"""


def wait_for(fact: Callable[[], object]) -> None:
    end_s = time.monotonic() + 15
    while not fact():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def run(folder: Path, text: str, **limits: float) -> Trained:
    script = folder / "train.py"
    script.write_text(text)
    work = folder / "work"
    bounds = TrainingLimits(**{"timeout_s": 20.0, "memory_mib": 1024, **limits})  # type: ignore[arg-type]
    return run_script(script, TASK, work, bounds)


def test_a_script_is_given_the_request_and_its_model_and_metrics_are_found(tmp_path: Path) -> None:
    trained = run(tmp_path, GOOD)
    assert [path.name for path in trained.models] == ["model.onnx"]
    assert trained.metrics == {"accuracy": 0.9}
    request = json.loads(trained.models[0].read_text())
    assert request["data"] == {"train": ["/a.npz", "/b.npz"]}
    assert request["parent"] == {"version": 1, "files": {"onnx": "/parent.onnx"}}
    assert (request["seed"], request["labels"]) == (7, ["zero", "one"])
    assert (tmp_path / "work" / "train.log").read_text() == "trained\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit('no rows of class 3')", "ended with 1; it said: no rows of class 3"),
        ("1/0", "ZeroDivisionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("x = bytearray(2 * 1024**3)", "MemoryError"),
        ("def (", "SyntaxError|invalid syntax"),
        ("pass", "wrote no model"),
        ("import sys; open(sys.argv[2] + '/model.onnx', 'w')", "model.onnx is empty"),
        (GOOD + "(out / 'model.keras').write_text('k')", "which one is meant"),
        (GOOD + "(out / 'metrics.json').unlink()", "no metrics.json"),
        (GOOD + "(out / 'metrics.json').write_text('{\"a\": NaN}')", "no object of finite numbers"),
        (GOOD + "(out / 'metrics.json').write_text('[1]')", "no object of finite numbers"),
    ],
    ids=[
        *("says-why", "crash", "killed", "memory", "syntax", "nothing", "empty", "two-sources"),
        *("no-metrics", "nan-metrics", "list-metrics"),
    ],
)
def test_a_script_that_fails_is_told_with_its_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TrainingFailed, match=message) as caught:
        run(tmp_path, text)
    assert caught.value.next_step


@pytest.mark.parametrize("detached", [False, True], ids=["child", "own-session"])
def test_a_script_that_hangs_is_ended_with_what_it_started(tmp_path: Path, detached: bool) -> None:
    child = tmp_path / "pid"
    text = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session={detached}
)
pathlib.Path({str(child)!r}).write_text(str(child.pid))
print("epoch 1")
time.sleep(600)
"""
    with pytest.raises(TrainingFailed, match="took more than 2 s; it said: epoch 1"):
        run(tmp_path, text, timeout_s=2.0)
    end_s = time.monotonic() + 5
    while process_runs(int(child.read_text())) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not process_runs(int(child.read_text()))


def test_what_a_script_leaves_running_ends_with_it(tmp_path: Path) -> None:
    child = tmp_path / "pid"
    text = (
        GOOD
        + f"""
import subprocess
left = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
pathlib.Path({str(child)!r}).write_text(str(left.pid))
"""
    )
    assert run(tmp_path, text).models
    assert not process_runs(int(child.read_text()))


def test_a_script_dies_with_its_worker(tmp_path: Path) -> None:
    script, pid = tmp_path / "train.py", tmp_path / "pid"
    hang = (
        "import os, pathlib, time; pathlib.Path({!r}).write_text(str(os.getpid())); time.sleep(600)"
    )
    script.write_text(hang.format(str(pid)))
    start = (
        "import sys, pathlib\n"
        "from tests.integration.test_training_script import TASK\n"
        "from edgeops.retraining.script import TrainingLimits, run_script\n"
        "script, folder = map(pathlib.Path, sys.argv[1:])\n"
        "run_script(script, TASK, folder, TrainingLimits())"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", start, str(script), str(tmp_path / "work")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    wait_for(pid.exists)
    worker.kill()
    worker.wait()
    wait_for(lambda: pid.read_text() and not process_runs(int(pid.read_text())))


def test_who_asks_whether_it_still_works_may_end_it(tmp_path: Path) -> None:
    def moved() -> None:
        raise RuntimeError("somebody else has it")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="else has it"):
        patch.setattr(script_module, "POLL_S", 0.1)
        (tmp_path / "train.py").write_text("import time; time.sleep(600)")
        run_script(
            tmp_path / "train.py", TASK, tmp_path / "work", TrainingLimits(), still_works=moved
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os, sys; os.mkfifo(sys.argv[2] + '/model.onnx')", "model.onnx is no file"),
        ("import os, sys; os.mkdir(sys.argv[2] + '/model.onnx')", "model.onnx is no file"),
        (
            GOOD + "(out / 'metrics.json').unlink(); import os; os.mkfifo(out / 'metrics.json')",
            "no file",
        ),
    ],
    ids=["fifo", "folder", "fifo-metrics"],
)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingFailed, match=message):
        run(tmp_path, text)


def test_what_a_script_says_last_is_no_order_for_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed) as caught:
        run(tmp_path, "print('\\x1b[2Jgone\\x07'); raise SystemExit(1)")
    assert str(caught.value).isprintable()
    assert "gone" in str(caught.value)


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"no training script .*gone\.py"):
        run_script(tmp_path / "gone.py", TASK, tmp_path / "work", TrainingLimits())
