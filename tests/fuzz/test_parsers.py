"""No spoiled input makes a parser crash, hang, or take more memory than its bound.

All parsers get their turn in one process, in about a minute: the first inputs, which are always
the same, and as many from a number that changes. ``make fuzz`` goes on for longer.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.targets import TARGETS
from tests.suite_runs import suite_report

PATIENCE_S = 900
"""For a busy machine: no claim about speed."""

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all; return inputs and findings by the parser."""
    folder = tmp_path_factory.mktemp("fuzz")
    return suite_report("tests.fuzz", folder, patience_s=PATIENCE_S)


@pytest.mark.parametrize("name", TARGETS)
def test_spoiled_inputs_are_taken_or_refused(name: str, figures: dict[str, Any]) -> None:
    found = figures[name]
    again = [
        f"{said}; again: make fuzz TARGET={name} SEED={number} COUNT=1"
        for number, said in found["found"].items()
    ]
    assert again == []
    assert found["inputs"] == TARGETS[name].count // 2 * 2
