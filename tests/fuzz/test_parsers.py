"""No spoiled input makes a parser crash, hang, or take more memory than its bound.

All parsers get their turn in one process, in about a minute: the first inputs, which are always
the same, and as many from a number that changes. ``make fuzz`` goes on for longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900
"""For a busy machine: no claim about speed."""

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all; return inputs and findings by the parser."""
    report = tmp_path_factory.mktemp("fuzz") / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--suite", "--report", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    print(done.stdout)
    assert report.is_file(), done.stderr
    return dict(json.loads(report.read_text()))


@pytest.mark.parametrize("name", TARGETS)
def test_spoiled_inputs_are_taken_or_refused(name: str, figures: dict[str, Any]) -> None:
    found = figures[name]
    again = [
        f"{said}; again: make fuzz TARGET={name} SEED={number} COUNT=1"
        for number, said in found["found"].items()
    ]
    assert again == []
    assert found["inputs"] == TARGETS[name].count // 2 * 2
