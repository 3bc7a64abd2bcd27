"""Every runtime keeps every promise: those that live here, and those in environments of their own.

The promises are in ``tests/runtime_promises.py``. A runtime that cannot be installed beside this
suite (tflite-runtime 2.14 with its NumPy 1, TensorFlow Lite Micro) is asked in a child process.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

from device_agent.protocol.errors import RuntimeMissing
from device_agent.protocol.manifest import RUNTIMES
from device_agent.runtimes.available import get_runtime
from device_agent.runtimes.child import AGENT_FOLDER, LOAD_AGENT
from tests import runtime_promises
from tests.environments import needs_tflite_runtime, needs_tflm, tflite_runtime, tflm
from tests.runtime_models import make_case
from tests.runtime_promises import PROMISES, Case

HERE = ("litert", "onnxruntime")
APART = {"tflite-runtime": tflite_runtime, "tflm": tflm}
ASK = f"""{LOAD_AGENT}
import runpy
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(params=HERE, scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = make_case(request.param, tmp_path_factory.mktemp(request.param))
    return Case(get_runtime(request.param), folder)


@pytest.mark.parametrize("name", PROMISES)
def test_a_runtime_beside_us_keeps_its_promise(case: Case, name: str) -> None:
    PROMISES[name](case)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apart")


@cache
def kept_apart(runtime: str, folder: Path) -> dict[str, str | None]:
    """Ask a runtime for all promises at once, in its environment."""
    case = folder / runtime
    case.mkdir()
    script = Path(runtime_promises.__file__)
    done = subprocess.run(
        [
            *(APART[runtime]().python, "-I", "-c", ASK),
            *(str(AGENT_FOLDER), str(script), runtime, str(make_case(runtime, case))),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", PROMISES)
@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param("tflite-runtime", marks=needs_tflite_runtime),
        pytest.param("tflm", marks=needs_tflm),
    ],
)
def test_a_runtime_in_its_own_environment_keeps_its_promise(
    runtime: str, name: str, models: Path
) -> None:
    assert kept_apart(runtime, models)[name] is None, kept_apart(runtime, models)[name]


def test_every_runtime_that_a_manifest_may_name_is_held_to_its_promises() -> None:
    assert {*HERE, *APART} == set(RUNTIMES)


def test_an_unknown_runtime_is_missing() -> None:
    with pytest.raises(RuntimeMissing, match="tensorrt"):
        get_runtime("tensorrt")
