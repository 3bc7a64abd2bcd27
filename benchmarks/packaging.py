"""Benchmark: what edgeops makes of real models, beside the tools that people use otherwise.

``make bench NAME=packaging ARGS='--models FOLDER'``. All tools get the same 100 calibration rows
and are judged on the same other rows, in one process. Bars that do not hold stay in the results.
``--write-docs`` only writes the tables of the documents from the results that are there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.healthy.run import healthy
from benchmarks.machine import this_machine
from benchmarks.quantizers.arenas import arenas
from benchmarks.quantizers.bakeoff import Prepared, compared, prepared
from benchmarks.quantizers.bars import bars
from benchmarks.quantizers.collapses import collapses
from benchmarks.quantizers.environments import ROOT
from benchmarks.quantizers.models import NAMES, WHERE, models_folder
from benchmarks.quantizers.tables import bar_table, with_tables

RESULTS = ROOT / "benchmarks" / "results" / "packaging.json"
PAGE = ROOT / "docs" / "quantization.md"
_HERE = ("edgeops", "ai-edge-litert", "ai-edge-quantizer", "onnxruntime", "onnx", "numpy")


def main() -> int:
    """Measure, and write results and documents."""
    asked = _arguments()
    if asked.write_docs:
        _write_docs(json.loads(RESULTS.read_text("utf-8")))
        return 0
    folder = models_folder(asked.models)
    if folder is None:
        print(f"skipped: no models\n\n{WHERE}")
        return 0
    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as work:
        results = _measured(asked.only or NAMES, folder, asked.work or Path(work))
    print(bar_table(results["bars"]))
    out = asked.out or RESULTS
    out.write_text(f"{json.dumps(results, indent=1)}\n")
    if out == RESULTS and not asked.only:
        _write_docs(results)
    return 0


def _measured(wanted: Sequence[str], folder: Path, work: Path) -> dict[str, Any]:
    begun_s = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - begun_s:6.1f} s  {line}", flush=True)

    machine = this_machine()
    models = prepared(wanted, folder, work, progress)
    figures: dict[str, Any] = {"models": [compared(each, progress) for each in models]}
    progress("arenas")
    made = {each.name: each.made_by("edgeops_int8") for each in models if each.form == "tflite"}
    figures["arenas"] = arenas(folder, made)
    progress("collapses")
    by_key = {(each.name, each.form): each for each in models}
    figures["collapses"] = collapses(by_key)
    progress("healthy packages")
    figures["healthy"] = _healthy(by_key, folder, work, progress) if wanted == NAMES else []
    return {
        "benchmark": "packaging",
        "schema_version": 1,
        "machine": machine,
        "versions": _versions(figures),
        "seconds": round(time.monotonic() - begun_s),
        "bars": bars(figures),
        **figures,
    }


def _healthy(
    models: dict[tuple[str, str], Prepared], folder: Path, work: Path, progress: Any
) -> list[dict[str, Any]]:
    floats = {
        name: str(each.float_model)
        for (name, form), each in models.items()
        if form == "tflite" or (name, "tflite") not in models
    }
    return healthy(folder, floats, work / "healthy", progress)


def _versions(figures: dict[str, Any]) -> dict[str, str]:
    """Return the versions of all tools: those of this environment, and what the others said."""
    found = {name: version(name) for name in _HERE}
    for model in figures["models"]:
        for tool in model["tools"].values():
            name, _, number = tool.get("by", "").partition(" ")
            if name and name != "edgeops":
                found[name] = number
    for arena in figures["arenas"][:1]:
        name, _, number = arena.get("by", "").partition(" ")
        found |= {name: number} if name else {}
    return found


def _write_docs(results: dict[str, Any]) -> None:
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), results), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder with mlperf_tiny and tflm")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this model")
    parser.add_argument("--work", type=Path, help="keep the files that are made in this folder")
    parser.add_argument("--out", type=Path, help=f"results  [default: {RESULTS.name}]")
    parser.add_argument("--write-docs", action="store_true", help="only write the documents")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
