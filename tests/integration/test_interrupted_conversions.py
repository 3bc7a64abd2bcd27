"""A conversion that Ctrl-C or a full disk ends: nothing half done is kept or published."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeops.demo.network import write_onnx
from tests.conversions import CALIBRATION, HELD_OUT, LABELS
from tests.digits_models import digits, train_second
from tests.models import digits_tflite
from tests.processes import process_runs

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
RUN = "from edgeops.cli.main import main; main()"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    edgeops(home, "keys", "init").communicate(timeout=WAIT_S)
    (tmp_path / "tmp").mkdir()
    np.savez(tmp_path / "calibration.npz", x=CALIBRATION)
    np.savez(tmp_path / "evaluation.npz", x=HELD_OUT, y=LABELS)
    return home


def edgeops(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(home.parent / "tmp")}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "--home", str(home), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_child(process: subprocess.Popen[str], cache: Path) -> int:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(process.stdout.read() if process.stdout else "")
        if cache.exists() and any(cache.iterdir()) and (found := children(process.pid)):
            return found[0]
        time.sleep(0.005)
    raise AssertionError("no conversion began")


def ends(pid: int) -> bool:
    """Whether a child ends by itself: its parent may have died before it knew the child."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process_runs(pid):
        time.sleep(0.05)
    return not process_runs(pid)


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "process"])
def test_ctrl_c_in_the_middle_leaves_nothing_behind(home: Path, whole_group: bool) -> None:
    folder = home.parent
    process = edgeops(
        home,
        *("package", str(digits_tflite(2)), "--name", "digits"),
        *("--profile", "raspberry-pi-zero-2w", "--recipe", "int8"),
        *("--calibration", str(folder / "calibration.npz")),
        *("--evaluation", str(folder / "evaluation.npz")),
    )
    child = wait_for_child(process, home / "cache")
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode != 0
    assert "Traceback" not in said
    assert "wrote digits:1" not in said
    assert ends(child)
    assert list((home / "cache").iterdir()) == []
    assert list((folder / "tmp").iterdir()) == []
    assert not (home / "packages").exists()


@pytest.mark.parametrize("free_kib", [0, 8, 40], ids=lambda kib: f"{kib} KiB free")
def test_a_full_disk_says_so_and_leaves_nothing_behind(tmp_path: Path, free_kib: int) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-m", "tests.full_disk_conversion"]
        + [str(mount), str(digits_tflite(2)), str(free_kib)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["error"] == "StoreFailed"
    assert "No space left on device" in found["cause"]
    assert found["next_step"]
    assert found["cache"] == []


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
@pytest.mark.parametrize("free_kib", [0, 4, 24, 100, 180], ids=lambda kib: f"{kib} KiB free")
def test_a_full_disk_of_temporary_files_says_so_whatever_it_stops(
    tmp_path: Path, free_kib: int, kind: str
) -> None:
    mount, model, split = tmp_path / "mount", tmp_path / f"m.{kind}", digits(0)
    mount.mkdir()
    if kind == "onnx":
        write_onnx(train_second(split), model)
    else:
        model.write_bytes(digits_tflite(2).read_bytes())
    profile = "raspberry-pi-5" if kind == "onnx" else "raspberry-pi-zero-2w"
    np.savez(tmp_path / "held.npz", x=split.stream_x, y=split.stream_y)
    np.savez(tmp_path / "cal.npz", x=split.train_x[:100])
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-m", "tests.full_disk_package", str(mount)]
        + [str(free_kib), str(model), profile]
        + [str(tmp_path / "held.npz"), str(tmp_path / "cal.npz")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["error"] == "StoreFailed", found
    assert "disk" in found["next_step"]
    assert found["left"] == []
