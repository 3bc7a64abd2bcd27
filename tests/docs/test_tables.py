"""Tables and diagrams in the documents are those of the code."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

from device_agent.core.states import ACTS, QUARANTINING
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
DEVICES = (ROOT / "docs" / "device.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def _section(text: str, heading: str) -> str:
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.M)[0]


def test_the_state_diagrams_are_drawn_from_the_tables() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "draw_states.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_state_of_the_agent_has_its_act_described() -> None:
    named = re.findall(r"^\| ([a-z_, ]+) \| ", _section(ARCHITECTURE, "The agent"), re.M)
    states = {state for row in named for state in row.split(", ")} - {"state"}
    assert states == {state.value for state in ACTS}


def test_the_probation_table_is_the_rules_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", _section(DEVICES, "Probation"), re.M)
    assert rows == [(rule.name, str(rule.default)) for rule in dataclasses.fields(ProbationRules)]


def test_the_reasons_table_is_the_closed_list_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (yes|no) \|$", _section(DEVICES, "Reasons"), re.M)
    assert rows == [(reason.value, "yes" if reason in QUARANTINING else "no") for reason in Reason]


def test_the_tree_of_rooms_names_every_package() -> None:
    tree = re.findall(r"^```\n(.*?)^```", _section(ARCHITECTURE, "The house"), re.DOTALL | re.M)[0]
    agent, control_plane = tree.split("edgeops/ ", maxsplit=1)
    for wheel, part in (("device_agent", agent), ("edgeops", control_plane)):
        named = set(re.findall(r"^  (\w+)/ ", part, re.M))
        there = {each.parent.name for each in (ROOT / wheel).glob("*/__init__.py")}
        assert named == there, wheel


def test_the_tables_of_the_quantization_page_are_those_of_the_results() -> None:
    from benchmarks.quantizers.tables import with_tables

    page = (ROOT / "docs" / "quantization.md").read_text("utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "packaging.json").read_text("utf-8"))
    assert with_tables(page, results) == page
    for bar in results["bars"]:
        assert bar["what"] in page


def test_the_tables_of_the_footprint_are_those_of_the_results() -> None:
    from benchmarks.footprint.tables import with_tables

    path = ROOT / "benchmarks" / "results" / "agent_footprint.json"
    results = json.loads(path.read_text("utf-8"))
    assert with_tables(DEVICES, results) == DEVICES
    for bar in results["bars"]:
        assert bar["what"] in DEVICES
