"""Rounds of the agent, the bare script and the naive script, in turns, and what came of them."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.footprint.environment import Clean
from benchmarks.footprint.state import MODEL, PASSWORD, SCRIPT, Installed
from tests.traced import WHY_NOT, read_trace, tracing

CALLS = 2000
"""Inferences before memory is looked at."""
BLOCK_CALLS = 50
"""Of one way, then of the next: so few that another process seldom comes in between."""

Progress = Callable[[str], None]


def starts(
    clean: Clean,
    installed: Installed,
    broker: str,
    rounds: int,
    progress: Progress,
    *,
    one_blas: bool,
) -> dict[str, Any]:
    """Start the three in fresh processes, in turns; return CPU and memory."""
    measured: dict[str, list[dict[str, Any]]] = {"agent": [], "bare": [], "naive": []}
    script = (broker, SCRIPT, PASSWORD, installed.model, installed.rows, CALLS)
    for number in range(rounds + 1):
        _rebooted(installed)
        one = {
            "agent": clean.run(
                *("with_agent.py", installed.state, installed.enrolment),
                *(MODEL, installed.rows, CALLS),
                one_blas=one_blas,
            ),
            "bare": clean.run("bare_script.py", *script, "careful", one_blas=one_blas),
            "naive": clean.run("bare_script.py", *script, "naive", one_blas=one_blas),
        }
        if number:  # the first round warms the machine's caches
            progress(f"start {number} of {rounds}")
            for name, found in one.items():
                measured[name].append(found)
    pairs = list(zip(measured["agent"], measured["bare"], strict=True))
    dirty, clean_ = "Private_Dirty", "Private_Clean"
    return {
        "cpu_ms": {
            name: spread([1000 * each["answered_s"] for each in found])
            for name, found in measured.items()
        },
        "cpu_ratio": spread([agent["answered_s"] / bare["answered_s"] for agent, bare in pairs]),
        "cpu_ratio_connected": spread(
            [agent["connected_s"] / bare["connected_s"] for agent, bare in pairs]
        ),
        "private_dirty_mib": {
            name: spread([_mib(each, dirty) for each in found]) for name, found in measured.items()
        },
        "private_dirty_more_mib": spread(
            [_mib(agent, dirty) - _mib(bare, dirty) for agent, bare in pairs]
        ),
        "private_clean_more_mib": spread(
            [_mib(agent, clean_) - _mib(bare, clean_) for agent, bare in pairs]
        ),
    }


def calls(clean: Clean, installed: Installed, blocks: int) -> dict[str, Any]:
    """Call each way in turns, in one process; return microseconds a call."""
    _rebooted(installed)
    found: Mapping[str, Sequence[Mapping[str, float]]] = clean.run(
        *("calls.py", installed.state, installed.enrolment, MODEL),
        *(installed.model, installed.rows, blocks, BLOCK_CALLS),
    )
    beside = {
        way: spread([each[way] - each["bare"] for each in pairs]) for way, pairs in found.items()
    }
    return {
        "us": {
            "bare": spread([each["bare"] for each in found["agent"]]),
            **{way: spread([each[way] for each in pairs]) for way, pairs in found.items()},
        },
        "agent_more_us": beside["agent"],
        "naive_more_us": beside["naive"],
    }


def reach(clean: Clean, installed: Installed, broker: str, work: Path) -> dict[str, Any] | None:
    """Trace a start and its inferences; None where nothing can be traced."""
    if WHY_NOT:
        return None
    _rebooted(installed)
    trace = work / "trace"
    clean.run(
        *("with_agent.py", installed.state, installed.enrolment, MODEL, installed.rows, CALLS),
        under=tracing(trace, []),
    )
    reached = read_trace(trace, Path.cwd())
    if not reached.calls:
        raise RuntimeError("nothing was traced")
    return {
        "other_peers": sorted(reached.peers - {broker.removeprefix("mqtt://")}),
        "files_outside": reached.changed_outside(installed.state),
        "calls_looked_at": reached.calls,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the quartiles and the extremes."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    figures = {"median": median, "low": low, "high": high, "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in figures.items()}


def _mib(found: Mapping[str, Any], kind: str) -> float:
    return int(found["memory_kib"][kind]) / 1024


def _rebooted(installed: Installed) -> None:
    """Put the state folder back to how the installation left it: nothing waits for a hub."""
    shutil.rmtree(installed.state, ignore_errors=True)
    shutil.copytree(installed.kept, installed.state)
    # Pages of a file that is not on the disk yet count as dirty memory of whoever maps it: the
    # model's, on either side.
    for path in (*installed.state.rglob("*"), installed.model):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
