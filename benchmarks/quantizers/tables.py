"""The tables of ``docs/quantization.md``, made from the results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeops.packaging.convert.fidelity import MAX_SQNR_DB

TOOLS = {
    "edgeops_int8": "**edgeops** `int8`",
    "edgeops_auto": "**edgeops** `auto`",
    "tensorflow_int8": "TensorFlow, int8",
    "ai_edge_int8": "ai-edge-quantizer, default int8",
    "onnxruntime_static": "ONNX Runtime, default static",
    "onnxruntime_dynamic": "ONNX Runtime, default dynamic",
    "nncf_int8": "NNCF, default",
}
_MARK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """Return a page with the tables between its marks, ``<!-- NAME -->`` to ``<!-- end -->``."""
    made = {
        "bars": bar_table(results["bars"]),
        "models": "\n".join(model_table(each) for each in results["models"]),
        "arenas": arena_table(results["arenas"]),
        "collapses": collapse_table(results["collapses"]),
        "healthy": healthy_table(results["healthy"]),
        "conditions": conditions(results),
    }
    return _MARK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", page)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def bar_table(bars: Sequence[Mapping[str, Any]]) -> str:
    """Return what is claimed, and whether it holds."""
    return _table(
        ("bar", "limit", "measured", "holds"),
        (
            (
                each["what"],
                f"{'≥' if each['at_least'] else '≤'} {each['limit']:g}",
                f"{each['value']:g}",
                "yes" if each["holds"] else "**no**",
            )
            for each in bars
        ),
    )


def model_table(model: Mapping[str, Any]) -> str:
    """Return what all tools made of one model in one format."""
    plain = model["float"]
    said = (
        f"**{model['model']}, `.{model['format']}`**: {plain['size_bytes']:,} bytes of floats, "
        f"{plain['latency_ms']:.3g} ms; {model['evaluation_rows']} {model['rows']}\n\n"
    )
    return said + _table(
        ("tool", "bytes", "SQNR", "same answer", "latency / float", "seconds", "MiB"),
        (_tool_row(name, tool, model) for name, tool in model["tools"].items()),
    )


def _tool_row(name: str, tool: Mapping[str, Any], model: Mapping[str, Any]) -> Sequence[str]:
    chosen = re.search(r"\((.+)\)", tool.get("by", ""))
    label = TOOLS[name] + (f" → {chosen[1]}" if chosen else "")
    if "error" in tool:
        return (label, f"failed: {tool['error'][:90]}", *([""] * 5))
    same = "not classes"
    if model["classes"]:
        same = f"{100 * tool['agreement']:.1f} %"
    if "accuracy" in tool:
        same += f" ({100 * tool['accuracy']:.1f} % right, float {100 * tool['float_accuracy']:.1f})"
    low, high = tool["latency_ratio_low"], tool["latency_ratio_high"]
    return (
        label,
        f"{tool['size_bytes']:,}",
        f"{tool['sqnr_db']:.1f} dB",
        same,
        f"{tool['latency_ratio']:.2f} ({low:.2f} to {high:.2f})",
        f"{tool['seconds']:.1f}",
        f"{tool['peak_rss_mib']:.0f}",
    )


def arena_table(arenas: Sequence[Mapping[str, Any]]) -> str:
    """Return arenas by both ways."""
    return _table(
        ("model", "edgeops", "plain bisection"),
        (
            (each["model"], each["error"], "")
            if "error" in each
            else (each["model"], f"{each['edgeops_bytes']:,}", f"{each['bisected_bytes'] or 0:,}")
            for each in arenas
        ),
    )


def collapse_table(collapses: Sequence[Mapping[str, Any]]) -> str:
    """Return what became of each collapse."""
    return _table(
        ("file", "of", "SQNR to float, at worst", "given to edgeops", "edgeops' own recipe"),
        (
            (
                each["what"],
                each["model"],
                f"{_decibels(each['sqnr_db'])} on {each['on']}",
                _caught(each),
                _own(each["own_recipe"]),
            )
            for each in collapses
        ),
    )


def _decibels(value: float) -> str:
    return "NaN" if value <= -MAX_SQNR_DB else f"{value:.1f} dB"


def _caught(collapse: Mapping[str, Any]) -> str:
    given = collapse["given"]
    if given["outcome"] != "rejected" and "effect" in collapse:
        return "**packaged**; had a recipe made it, gate `effect` would refuse it"
    if given["outcome"] != "rejected":
        return "**packaged**" if collapse["nonsense"] else "packaged: it did not collapse here"
    gate = re.search(r"gate '(\w+)'", given["why"])
    return f"refused by gate `{gate[1]}`" if gate else "refused: its answers are not finite"


def _own(own: Mapping[str, Any]) -> str:
    if own["outcome"] == "rejected":
        return f"`{own['recipe']}`: refused"
    repaired = ", parts left in floats" if own["left_in_floats"] else ""
    return f"`{own['recipe']}`: {100 * own['agreement']:.1f} %{repaired}"


def healthy_table(healthy: Sequence[Mapping[str, Any]]) -> str:
    """Return the list of healthy packages."""
    return _table(
        ("model", "recipe", "profiles", "drop allowed", "outcome"),
        (
            (
                each["model"],
                each["recipe"] + _found(each),
                ", ".join(each["profiles"]),
                f"{100 * each['max_drop']:g} %",
                each["outcome"] if each["outcome"] == "packaged" else f"**{each['why'][:160]}**",
            )
            for each in healthy
        ),
    )


def _found(each: Mapping[str, Any]) -> str:
    return f" → {', '.join(each['recipes'])}" if each["recipe"] == "auto" else ""


def conditions(results: Mapping[str, Any]) -> str:
    """Return where and with what it was measured."""
    machine = results["machine"]
    tools = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, in {results['seconds'] / 60:.0f} minutes, load "
        f"{machine['load']:g} at the beginning. {tools}.\n"
    )
