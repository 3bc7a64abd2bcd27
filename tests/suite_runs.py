"""Runs a tool of the tests in a process of its own, as its ``make`` target does, and reads its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def suite_report(module: str, folder: Path, *, patience_s: float) -> dict[str, Any]:
    """Run ``python -m MODULE --suite`` and return its report.

    Args:
        module: of the tool.
        folder: where the report is written.
        patience_s: seconds after which it counts as hung, for a busy machine: no claim about speed.
    """
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", module, "--suite", "--report", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    print(done.stdout)
    assert report.is_file(), done.stdout + done.stderr
    return dict(json.loads(report.read_text()))
