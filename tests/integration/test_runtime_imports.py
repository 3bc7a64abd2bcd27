"""What is imported, and what must not happen by importing it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import linear_onnx

ROOT = Path(__file__).parent.parent.parent


def run(program: str, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if "ORT_" not in key}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_asking_which_runtimes_there_are_imports_none_of_them() -> None:
    said = run(
        "import sys\n"
        "from device_agent.runtimes.available import available_runtimes\n"
        "print(sorted(available_runtimes()))\n"
        "print(sorted({'numpy', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))"
    )
    assert said.splitlines() == ["['litert', 'onnxruntime']", "[]"]


def test_the_commands_and_the_room_of_reports_import_nothing_that_draws() -> None:
    said = run(
        "import sys\n"
        "import edgeops.cli.main, edgeops.reports.facts\n"
        "print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    assert said == "[]"


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_a_missing_runtime_says_how_to_install_it(name: str) -> None:
    said = run(
        "import importlib.util\n"
        "from device_agent.protocol.errors import RuntimeMissing\n"
        "from device_agent.runtimes import available\n"
        "available._is_installed = lambda package: False\n"
        f"try: available.get_runtime({name!r})\n"
        "except RuntimeMissing as error: print(error, '|', error.next_step)\n"
        "print(available.available_runtimes())"
    )
    assert said.splitlines() == [
        f"runtime {name} is not installed | pip install 'edgeops-device-agent[{name}]'",
        "frozenset()",
    ]


def test_runtimes_are_found_beside_old_finders_and_one_whose_import_is_blocked_is_not() -> None:
    said = run(
        "import sys\n"
        "from device_agent.runtimes.available import available_runtimes\n"
        "sys.meta_path.insert(0, object())\n"
        "sys.modules['onnxruntime'] = None\n"
        "print(sorted(available_runtimes() & {'litert', 'onnxruntime'}))"
    )
    assert said == "['litert']"


def test_onnx_runtime_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_onnx(np.eye(4, dtype=np.float32)))
    home = tmp_path / "home"
    home.mkdir()
    # The runtime writes its database from a thread of its own: give it time to do so.
    said = run(
        "import pathlib, time, numpy\n"
        "from device_agent.runtimes.available import get_runtime\n"
        f"path = pathlib.Path({str(tmp_path / 'model.onnx')!r})\n"
        "model = get_runtime('onnxruntime').load(path, 1)\n"
        "print(model.run([numpy.ones((1, 4), 'float32')])[0].shape)\n"
        "time.sleep(1)\n",
        HOME=str(home),
        XDG_CACHE_HOME="",
    )
    assert said == "(1, 4)"
    assert [str(path) for path in home.rglob("*")] == []


def test_the_hub_gathers_facts_of_a_report_without_what_draws_it() -> None:
    said = run(
        "import sys\n"
        "import edgeops.api.app, edgeops.cli.main\n"
        "print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    assert said == "[]"
