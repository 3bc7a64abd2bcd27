"""Whatever system call of an install is killed or refused: a model serves, the device converges.

A sample of the calls, another one each day, in about a minute; ``make crashpoints`` tries all.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.crashpoints.calls import Kind
from tests.crashpoints.planted import PLANTED
from tests.crashpoints.scenarios import SCENARIOS
from tests.suite_runs import suite_report

PATIENCE_S = 600
"""For a busy machine: no claim about speed."""

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Try the sample; return what came of it."""
    folder = tmp_path_factory.mktemp("crashpoints")
    facts = suite_report("tests.crashpoints", folder, patience_s=PATIENCE_S)
    if "why_not" in facts:
        pytest.skip(facts["why_not"])
    return facts


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_call_is_killed_or_refused_a_version_serves_and_the_device_converges(
    name: str, figures: dict[str, Any]
) -> None:
    tried = figures["installs"][name]
    assert tried["found"] == []
    assert tried["kinds"].keys() == {kind.value for kind in Kind}


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_install_makes_the_same_calls_each_time(name: str, figures: dict[str, Any]) -> None:
    tried = figures["installs"][name]
    assert tried["same"]
    assert tried["points"] > 50


@pytest.mark.parametrize("name", PLANTED)
def test_a_device_with_a_planted_bug_is_found_out(name: str, figures: dict[str, Any]) -> None:
    findings = figures["planted"][name]
    assert findings
    assert any(findings)
