"""The bars: what is claimed, what was measured, and whether it holds. Nothing is tuned to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quantizers.models import MAGIKA, MLPERF_TINY

Bar = dict[str, Any]
Found = Mapping[tuple[str, str], Mapping[str, Any]]
SMALL_BYTES = 1_100_000


def bars(figures: Mapping[str, Any]) -> list[Bar]:
    """Return all bars of which the figures are there."""
    found = {(each["model"], each["format"]): each["tools"] for each in figures["models"]}
    return [
        *_against_tensorflow(found),
        *_against_ai_edge(found),
        *_magika(figures["models"]),
        *_search(figures["models"]),
        *_arenas(figures["arenas"]),
        *_collapses(figures["collapses"]),
        *_healthy(figures["healthy"]),
    ]


def _bar(what: str, value: float, limit: float, *, at_least: bool) -> Bar:
    value = round(value, 4)
    return {
        "what": what,
        "value": value,
        "limit": limit,
        "at_least": at_least,
        "holds": value >= limit if at_least else value <= limit,
    }


def _gain_db(found: Found, model: str, other: str) -> float:
    tools = found[model, "tflite"]
    return float(tools["edgeops_int8"]["sqnr_db"] - tools[other].get("sqnr_db", -200.0))


def _tiny(found: Found) -> list[str]:
    return [each.name for each in MLPERF_TINY if (each.name, "tflite") in found]


def _against_tensorflow(found: Found) -> list[Bar]:
    return [
        _bar(
            f"{name}: dB of SQNR above TensorFlow's int8, without TensorFlow",
            _gain_db(found, name, "tensorflow_int8"),
            -0.5,
            at_least=True,
        )
        for name in _tiny(found)
    ]


def _against_ai_edge(found: Found) -> list[Bar]:
    names = _tiny(found)
    if not names:
        return []
    above = [name for name in names if _gain_db(found, name, "ai_edge_int8") >= 4.0]
    what = "models of MLPerf Tiny on which int8 is 4 dB or more above ai-edge-quantizer's default"
    return [_bar(what, len(above), 3, at_least=True)]


def _magika(models: Sequence[Mapping[str, Any]]) -> list[Bar]:
    found = next((each for each in models if each["model"] == MAGIKA), None)
    if found is None:
        return []
    auto, plain = found["tools"]["edgeops_auto"], found["float"]
    drop = 100 * (auto["float_accuracy"] - auto["accuracy"])
    smaller = plain["size_bytes"] / auto["size_bytes"]
    return [
        _bar("magika, auto: points of accuracy lost", drop, 0.5, at_least=False),
        _bar("magika, auto: times smaller than float", smaller, 3.7, at_least=True),
        _bar("magika, auto: latency over float's", auto["latency_ratio"], 1.0, at_least=False),
    ]


def _search(models: Sequence[Mapping[str, Any]]) -> list[Bar]:
    small = [each for each in models if each["float"]["size_bytes"] < SMALL_BYTES]
    if not small:
        return []
    auto = [each["tools"]["edgeops_auto"] for each in small]
    slowest = max(each["seconds"] for each in auto)
    largest = max(each["peak_rss_mib"] for each in auto)
    return [
        _bar("auto, models of about a megabyte: seconds at most", slowest, 60, at_least=False),
        _bar("auto, models of about a megabyte: MiB of memory", largest, 400, at_least=False),
    ]


def _arenas(arenas: Sequence[Mapping[str, Any]]) -> list[Bar]:
    if not arenas:
        return []
    apart = [
        abs(each["edgeops_bytes"] - each["bisected_bytes"])
        if each.get("bisected_bytes") and "error" not in each
        else 10**9
        for each in arenas
    ]
    what = f"arena: most bytes apart from plain bisection, {len(arenas)} models"
    return [_bar(what, max(apart), 64, at_least=False)]


def _collapses(collapses: Sequence[Mapping[str, Any]]) -> list[Bar]:
    if not collapses:
        return []
    nonsense = [each for each in collapses if each["nonsense"]]
    idle = [each for each in collapses if each["idle"]]
    refused = [each for each in nonsense + idle if each["given"]["outcome"] == "rejected"]
    right = [each for each in collapses if each["own_recipe"]["outcome"] != "shipped"]
    return [
        _bar("collapses that happened here, of six", len(nonsense + idle), 6, at_least=True),
        _bar(
            "of these, files that answer nonsense and are refused as they are",
            len([each for each in refused if each["nonsense"]]),
            len(nonsense),
            at_least=True,
        ),
        _bar(
            "of these, files in which nothing was quantized and that are refused as they are",
            len([each for each in refused if not each["nonsense"]]),
            len([each for each in idle if not each["nonsense"]]),
            at_least=True,
        ),
        _bar(
            "edgeops' own recipe for the same: answers right, or is refused, of six",
            len(right),
            6,
            at_least=True,
        ),
    ]


def _healthy(healthy: Sequence[Mapping[str, Any]]) -> list[Bar]:
    if not healthy:
        return []
    rejected = sum(each["outcome"] != "packaged" for each in healthy)
    return [
        _bar("healthy packages tried", len(healthy), 30, at_least=True),
        _bar("healthy packages rejected", rejected, 0, at_least=False),
    ]
