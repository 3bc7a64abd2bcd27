"""The bars of the agent's footprint, and its tables in ``docs/device.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.quantizers.tables import bar_table

_MARK = re.compile(r"(<!-- footprint_(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WHAT = {"agent": "agent", "bare": "bare script", "naive": "naive script"}


def bars(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the claims, each with its limit and whether it holds."""
    starts, calls, reach = figures["starts"], figures["calls"], figures["reach"]
    claims = [
        ("MiB of private memory above the bare script", starts["private_dirty_more_mib"], 5.0),
        ("CPU until the first answer, over the bare script's", starts["cpu_ratio"], 1.3),
        ("µs of an inference above the bare calls, with counting", calls["agent_more_us"], 5.0),
        (
            "the same, with counting of the inputs too",
            figures["calls_with_reference"]["agent_more_us"],
            5.0,
        ),
        ("kB of the agent's wheel", {"median": figures["wheel_bytes"] / 1000}, 250.0),
    ]
    if reach is not None:
        claims += [
            ("connections to others than the broker", {"median": len(reach["other_peers"])}, 0),
            ("files outside the state folder", {"median": len(reach["files_outside"])}, 0),
        ]
    return [
        {
            "what": what,
            "value": round(found["median"], 2),
            "limit": limit,
            "at_least": False,
            "holds": found["median"] <= limit,
        }
        for what, found, limit in claims
    ]


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """Return a page with the tables between its marks."""
    made = {
        "bars": bar_table(results["bars"]),
        "figures": f"{_figures(results)}\n{beside_table(results)}",
        "conditions": _conditions(results),
    }
    return _MARK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", page)


def _figures(results: Mapping[str, Any]) -> str:
    starts, calls = results["starts"], results["calls"]
    lines = [
        "| | CPU until the first answer, ms | private and written, MiB | an inference, µs |",
        "|---|---|---|---|",
    ]
    for name, label in _WHAT.items():
        lines.append(
            f"| {label} | {_range(starts['cpu_ms'][name], 0)} "
            f"| {_range(starts['private_dirty_mib'][name], 1)} "
            f"| {_range(calls['us'][name], 1)} |"
        )
    counted = results["calls_with_reference"]["us"]["agent"]
    lines.append(f"| agent that counts inputs too | | | {_range(counted, 1)} |")
    return "\n".join(lines) + "\n"


def beside_table(figures: Mapping[str, Any]) -> str:
    """Return what the agent costs beside the bare script by other measures than the bars'."""
    starts = figures["starts"]
    written, clean = starts["private_dirty_more_mib"], starts["private_clean_more_mib"]
    together = written["median"] + clean["median"]
    ratio, connected = starts["cpu_ratio"], starts["cpu_ratio_connected"]
    rows = {
        "MiB more that are private and written: the bar": _range(written, 2),
        "MiB more that are private and clean: files that nobody else maps": _range(clean, 2),
        "MiB more that are private, written and clean together": f"{together:.1f}",
        "CPU until the first answer, over the bare script's: the bar": _range(ratio, 2),
        "CPU until it is connected, too, over the bare script's": _range(connected, 2),
        "CPU until the first answer, beside the threads of numpy's BLAS": _range(
            figures["starts_beside_blas"]["cpu_ratio"], 2
        ),
    }
    head = ["| the agent beside the bare script | |", "|---|---|"]
    return "\n".join([*head, *(f"| {what} | {found} |" for what, found in rows.items())]) + "\n"


def _range(found: Mapping[str, float], digits: int) -> str:
    return f"{found['median']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def _conditions(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    tools = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"Medians (quartiles) of {results['rounds']} starts and {results['blocks']} blocks of "
        f"calls, on {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, load {machine['load']:g} at the beginning. {tools}.\n"
    )
