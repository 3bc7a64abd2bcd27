"""Engines: each runtime where it can live, with and without its optimizations."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.runtimes.child import spawn_probe
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from edgeops.domain.errors import EdgeopsError
from edgeops.packaging import engines
from edgeops.packaging.engines import Engine, engine_for
from tests.digits_models import digits, tflite_path
from tests.environments import CACHE

ROWS = digits(0).stream_x[:50]


def old() -> Engine:
    return engine_for("tflite-runtime", CACHE, lambda _: None)


def answers(engine: Engine, artifact: Path, folder: Path) -> ProbeReport:
    golden = folder / "golden.json"
    golden.write_bytes(encode_golden(GoldenRows(x=ROWS)))
    spec = ProbeSpec(
        runtime=engine.runtime,
        artifact=str(artifact),
        golden=str(golden),
        optimized=engine.optimized,
        return_outputs=True,
    )
    return spawn_probe(spec, timeout_s=60, python=engine.python)


def test_a_runtime_that_lives_here_runs_here() -> None:
    engine = engine_for("litert", None, lambda _: None)
    assert engine.python == sys.executable
    assert engine.name.startswith("ai-edge-litert 2.")


def test_the_old_runtime_runs_on_the_python_and_numpy_that_it_needs(tmp_path: Path) -> None:
    engine = old()
    asked = (
        "import numpy, tflite_runtime.interpreter, importlib.metadata as m, os; "
        "print(numpy.__version__, m.version('tflite-runtime'))"
    )
    said = subprocess.run([engine.python, "-I", "-c", asked], capture_output=True, check=True)
    assert said.stdout.split() == [b"1.26.4", b"2.14.0"]
    report = answers(engine, tflite_path(1), tmp_path)
    here = answers(engine_for("litert", None, lambda _: None), tflite_path(1), tmp_path)
    assert report.outputs_data and here.outputs_data
    (given,), (expected,) = report.outputs_data.values(), here.outputs_data.values()
    assert np.abs(given - expected).max() < 1e-3


def test_the_probe_takes_nothing_from_our_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert answers(old(), tflite_path(1), tmp_path).reason is None


def test_an_environment_is_made_once_and_found_again(tmp_path: Path) -> None:
    said: list[str] = []
    old()
    first = engine_for("tflite-runtime", CACHE, said.append)
    assert (first, said) == (old(), [])


def test_two_that_want_an_environment_at_once_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def install(apart: object, base: str, folder: Path) -> None:
        made.append(base)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()

    monkeypatch.setattr(engines, "_install", install)
    threads = [
        threading.Thread(target=engine_for, args=("tflite-runtime", tmp_path, lambda _: None))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 1


def test_without_a_python_that_has_its_wheel_it_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.sys, "version_info", (3, 13, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgeopsError, match=r"Python 3\.11 or 3\.10") as error:
        engine_for("tflite-runtime", tmp_path, lambda _: None)
    assert "install Python" in error.value.next_step


def test_what_cannot_be_installed_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(EdgeopsError, match="cannot be installed") as error:
        engine_for("tflite-runtime", tmp_path, lambda _: None)
    assert "package index" in error.value.next_step
    assert list((tmp_path / "environments").iterdir()) == []


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_without_optimizations_the_answers_are_those_of_plain_kernels(
    runtime: str, tmp_path: Path
) -> None:
    engine = engine_for(runtime, CACHE, lambda _: None)
    plain = Engine(runtime=runtime, package=engine.package, python=engine.python, optimized=False)
    assert plain.name == f"{engine.package} without optimizations"
    both = [answers(each, tflite_path(1), tmp_path).outputs_data for each in (engine, plain)]
    assert both[0] and both[1]
    (fast,), (slow,) = both[0].values(), both[1].values()
    assert np.abs(fast - slow).max() < 1e-4
