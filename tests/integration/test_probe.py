"""An unknown model is tried in a child process: whatever it does, the parent gets a report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.child import ProbeProcess, spawn_probe, start_probe
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from device_agent.runtimes.sandbox import MAX_WRITTEN_BYTES
from tests import hostile_models as hostile
from tests import models

TIMEOUT_S = 60.0
X, Y, WEIGHTS = models.separable(20)
SLOW = {"warmup": 0, "repeats": 100_000}


def spec_of(folder: Path, data: bytes, **changes: object) -> ProbeSpec:
    path = folder / "model.onnx"
    path.write_bytes(data)
    spec = ProbeSpec(runtime="onnxruntime", artifact=str(path), scores="scores", repeats=5)
    return replace(spec, **changes)  # type: ignore[arg-type]


def golden(folder: Path, rows: GoldenRows, name: str = "golden.json") -> str:
    (folder / name).write_bytes(encode_golden(rows))
    return str(folder / name)


def answers(folder: Path) -> np.ndarray:
    rows = golden(folder, GoldenRows(x=X))
    spec = spec_of(folder, models.linear_onnx(WEIGHTS), golden=rows, return_outputs=True)
    data = spawn_probe(spec, timeout_s=TIMEOUT_S).outputs_data
    assert data is not None
    return data["scores"]


def children() -> list[int]:
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in task.read_text().split()]


def finished(process: ProbeProcess) -> ProbeReport:
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        report = process.poll()
        if report is not None:
            return report
        time.sleep(0.01)
    raise AssertionError("the probe has no report")


def test_a_model_is_described_and_weighed(tmp_path: Path) -> None:
    report = spawn_probe(spec_of(tmp_path, models.linear_onnx(WEIGHTS)), timeout_s=TIMEOUT_S)
    assert report.reason is None
    assert [(spec.name, spec.dtype, spec.shape) for spec in report.inputs] == [
        ("x", "float32", (-1, 4))
    ]
    assert [spec.name for spec in report.outputs] == ["scores"]
    assert report.load_ms > 0 and 0 < report.memory_mib < 200
    assert 0 < report.latency_ms_p50 <= report.latency_ms_p95
    assert (report.rows, report.accuracy, report.max_abs_difference) == (0, None, None)


def test_a_tflite_model_is_run_too() -> None:
    spec = ProbeSpec(runtime="litert", artifact=str(models.digits_tflite()), repeats=5)
    report = spawn_probe(spec, timeout_s=TIMEOUT_S)
    assert (report.reason, report.inputs[0].shape) == (None, (1, 64))


def test_golden_rows_are_answered_compared_and_judged(tmp_path: Path) -> None:
    expected = answers(tmp_path)
    labels = Y.copy()
    labels[:5] = (labels[:5] + 1) % 4
    moved = expected.copy()
    moved[3, 1] += 0.25
    rows = GoldenRows(x=X, labels=labels, expected={"scores": moved})
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), golden=golden(tmp_path, rows))
    report = spawn_probe(spec, timeout_s=TIMEOUT_S)
    assert (report.rows, report.nonfinite, report.label_mismatches) == (20, 0, 0)
    assert report.max_abs_difference == pytest.approx(0.25)
    assert report.accuracy == 0.75
    assert report.outputs_data is None


def test_labels_that_differ_are_counted(tmp_path: Path) -> None:
    said = np.where(np.arange(20) < 3, (Y + 1) % 4, Y)
    rows = GoldenRows(x=X, labels=Y, expected={"label": said})
    spec = spec_of(
        tmp_path, models.label_onnx(WEIGHTS), golden=golden(tmp_path, rows), scores="label"
    )
    report = spawn_probe(spec, timeout_s=TIMEOUT_S)
    assert (report.label_mismatches, report.max_abs_difference) == (3, None)
    assert report.accuracy == 1.0


def test_rows_that_give_nan_are_counted_and_the_report_stays_finite(tmp_path: Path) -> None:
    x = np.ones((6, 4), np.float32)
    x[[1, 4], 2] = -1
    rows = GoldenRows(x=x, expected={"scores": np.ones((6, 4), np.float32)})
    spec = spec_of(tmp_path, models.nan_onnx(4), golden=golden(tmp_path, rows))
    report = spawn_probe(spec, timeout_s=TIMEOUT_S)
    assert (report.reason, report.nonfinite, report.max_abs_difference) == (None, 2, 0.0)


def test_the_parents_rows_are_judged_if_they_fit(tmp_path: Path) -> None:
    fitting = golden(tmp_path, GoldenRows(x=X, labels=(Y + (np.arange(20) < 2)) % 4), "a.json")
    other = golden(tmp_path, GoldenRows(x=np.ones((2, 9)), labels=Y[:2]), "b.json")
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS))
    for path, accuracy in ((fitting, 0.9), (other, None)):
        report = spawn_probe(replace(spec, parent_golden=path), timeout_s=TIMEOUT_S)
        assert (report.reason, report.parent_accuracy) == (None, accuracy)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact": "/nowhere/model.onnx"}, Reason.LOAD_FAILED),
        ({"runtime": "litert"}, Reason.LOAD_FAILED),
        ({"runtime": "tensorrt"}, Reason.NO_VARIANT),
        ({"golden": "/nowhere/golden.json"}, Reason.GOLDEN_MISMATCH),
        ({"golden": __file__}, Reason.GOLDEN_MISMATCH),
    ],
    ids=str,
)
def test_what_cannot_be_tried_has_a_reason(
    tmp_path: Path, changes: dict[str, object], reason: Reason
) -> None:
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), **changes)
    report = spawn_probe(spec, timeout_s=TIMEOUT_S)
    assert report.reason is reason and report.cause


def test_answers_of_another_shape_than_signed_are_a_mismatch(tmp_path: Path) -> None:
    rows = GoldenRows(x=X, expected={"scores": np.zeros((20, 5), np.float32)})
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), golden=golden(tmp_path, rows))
    assert spawn_probe(spec, timeout_s=TIMEOUT_S).reason is Reason.GOLDEN_MISMATCH


def test_files_are_meant_from_where_the_parent_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit('a stranger in this folder')")
    assert spawn_probe(replace(spec, artifact="model.onnx"), timeout_s=TIMEOUT_S).reason is None


@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_a_report_with_the_signals_name(tmp_path: Path, number: signal.Signals) -> None:
    before = children()
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), **SLOW)
    process = start_probe(spec, deadline_s=time.monotonic() + TIMEOUT_S)
    (pid,) = set(children()) - set(before)
    os.kill(pid, number)
    report = finished(process)
    assert report.reason is Reason.SELF_TEST_CRASHED
    assert number.name in report.cause


@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
def test_a_model_that_hangs_is_killed_at_its_deadline(tmp_path: Path) -> None:
    before = children()
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS))
    process = start_probe(spec, deadline_s=time.monotonic() + 0.2)
    (pid,) = set(children()) - set(before)
    os.kill(pid, signal.SIGSTOP)
    assert process.poll() is None
    report = finished(process)
    assert report.reason is Reason.SELF_TEST_TIMEOUT
    assert process.poll() is report
    assert set(children()) == set(before)


@pytest.mark.parametrize("memory_mib", [None, 300])
def test_a_model_that_takes_more_memory_than_it_may_is_refused_for_that(
    tmp_path: Path, memory_mib: int | None
) -> None:
    (tmp_path / "m.onnx").write_bytes(hostile.onnx_file(lambda m: hostile.fills(m, 2**27)))
    spec = ProbeSpec(
        runtime="onnxruntime", artifact=str(tmp_path / "m.onnx"), memory_mib=memory_mib, repeats=1
    )
    report = spawn_probe(spec, timeout_s=60.0)
    assert report.reason is (None if memory_mib is None else Reason.MEMORY_BUDGET), report.cause


def test_what_a_self_test_writes_into_files_in_memory_is_bounded_too() -> None:
    program = (
        "import os\n"
        "from device_agent.runtimes.sandbox import enter_sandbox, limit_memory\n"
        "standard_error = os.memfd_create('x')\n"
        "enter_sandbox(None)\n"
        "limit_memory(64)\n"
        "own, written = os.memfd_create('y'), []\n"
        "for file in (standard_error, own):\n"
        "    try:\n"
        "        while True: os.write(file, b'x' * 2**20)\n"
        "    except OSError as error: written.append(os.fstat(file).st_size)\n"
        "try: os.ftruncate(own, 2**30)\n"
        "except OSError: written.append(os.fstat(own).st_size)\n"
        "print(written)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"{[MAX_WRITTEN_BYTES] * 3}\n", done.stderr


def test_an_interrupt_of_the_parents_group_is_not_taken_for_a_crash_of_the_model(
    tmp_path: Path,
) -> None:
    before = children()
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), **SLOW)
    process = start_probe(spec, deadline_s=time.monotonic() + TIMEOUT_S)
    (pid,) = set(children()) - set(before)
    assert os.getpgid(pid) == pid != os.getpgid(0)
    process.kill()


def test_a_killed_probe_leaves_no_process(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS), **SLOW)
    process = start_probe(spec, deadline_s=time.monotonic() + TIMEOUT_S)
    process.kill()
    process.kill()
    report = process.poll()
    assert report is not None and report.reason is Reason.SELF_TEST_CRASHED


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_probe_dies_with_its_parent(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, models.linear_onnx(WEIGHTS))
    program = (
        "import os, time\n"
        "from device_agent.runtimes.child import start_probe\n"
        "from device_agent.runtimes.probe_report import ProbeSpec\n"
        f"spec = ProbeSpec(runtime='onnxruntime', artifact={spec.artifact!r}, repeats=100000)\n"
        "start_probe(spec, deadline_s=time.monotonic() + 60)\n"
        "me = f'/proc/self/task/{os.getpid()}/children'\n"
        "print(open(me).read(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(models.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True)
    pid, until_s = int(done.stdout), time.monotonic() + 10
    while _is_running(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_what_native_code_prints_does_not_spoil_the_report(tmp_path: Path) -> None:
    path = models.digits_tflite()
    spec = ProbeSpec(runtime="litert", artifact=str(path), repeats=1)
    done = subprocess.run(
        [sys.executable, "-m", "device_agent.runtimes.probe"],
        input=spec.to_bytes(),
        capture_output=True,
        cwd=Path(models.__file__).parent.parent,
        check=True,
    )
    assert b"XNNPACK" in done.stderr
    assert ProbeReport.from_bytes(done.stdout).reason is None
