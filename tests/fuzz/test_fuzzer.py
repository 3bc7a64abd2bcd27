"""The fuzzer finds what is wrong, in few inputs, and gives each input again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENOUGH = 300
"""Inputs in which each of the broken parsers is found out."""
PATIENCE_S = 200
"""For a busy machine: no claim about speed."""

pytestmark = pytest.mark.timeout(2 * PATIENCE_S + 60)


def python(code: str, *, seed: str = "0") -> str:
    """Run code in a process of its own, which may fork without other tests' threads."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fuzz(arguments: Iterable[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(
    "broken",
    ["missing_key", "wrong_type", "no_bound", "unbounded_recursion", "no_end", "dies"],
)
def test_a_parser_that_is_broken_is_found_out(broken: str) -> None:
    said = python(
        "from tests.fuzz.broken import BROKEN\n"
        "from tests.fuzz.worker import run\n"
        f"target, wanted = BROKEN[{broken!r}]\n"
        f"found = run(target, range({ENOUGH})).found\n"
        "assert any(str(each).startswith(wanted) for each in found.values()), found\n"
        "number = next(n for n, each in found.items() if str(each).startswith(wanted))\n"
        "again = run(target, range(number, number + 1)).found\n"
        "assert str(again[number]).startswith(wanted), again\n"
        "print('found and seen again')\n"
    )
    assert said == "found and seen again\n"


def test_an_input_is_told_by_its_number_alone() -> None:
    code = (
        "import hashlib\n"
        "from tests.fuzz.targets import TARGETS\n"
        "for name, target in TARGETS.items():\n"
        "    inputs = b'|'.join(target.input(number) for number in (0, 1, 2, 10**9))\n"
        "    print(name, hashlib.sha256(inputs).hexdigest())\n"
    )
    first, second = python(code, seed="1"), python(code, seed="2")
    assert first.splitlines() == second.splitlines()
    assert len(set(first.split())) > 80


def test_every_parser_takes_some_of_its_seeds() -> None:
    said = python(
        "from tests.fuzz.targets import TARGETS\n"
        "def takes(target, seed):\n"
        "    try:\n"
        "        target.parse(seed)\n"
        "    except target.refusals:\n"
        "        return False\n"
        "    return True\n"
        "for name, target in TARGETS.items():\n"
        "    if not any(takes(target, seed) for seed in target.seeds()):\n"
        "        print(name)\n"
    )
    assert said == ""


def test_a_forked_child_answers_as_one_that_is_started() -> None:
    said = python(
        "import tempfile\n"
        "from pathlib import Path\n"
        "from edgeops.domain.errors import EdgeopsError\n"
        "from edgeops.packaging.convert.examine import examine\n"
        "from tests.fuzz.targets import TARGETS\n"
        "def outcome(read):\n"
        "    try:\n"
        "        return read()\n"
        "    except EdgeopsError as error:\n"
        "        return type(error)\n"
        "target = TARGETS['tflite-anatomy']\n"
        "inputs = [target.seeds()[0], *(target.input(number) for number in range(4))]\n"
        "for data in inputs:\n"
        "    with tempfile.TemporaryDirectory() as cache:\n"
        "        started = outcome(lambda: examine(data, 'tflite', Path(cache)))\n"
        "    forked = outcome(lambda: target.parse(data))\n"
        "    print(started == forked, type(started).__name__)\n"
    )
    lines = said.splitlines()
    assert all(line.startswith("True ") for line in lines), said
    assert len(set(lines)) == 2  # some are read, some are refused


def test_a_kept_input_is_given_again(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"{}")
    done = fuzz(["--target", "manifest", "--file", str(path)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 inputs to 1 parsers, 0 findings"
