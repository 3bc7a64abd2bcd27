"""Benchmark: what an agent costs beside a bare script with LiteRT, paho and the same model.

``make bench NAME=agent_footprint ARGS='[--model FILE]'``. Both run in a clean environment with
compiled files, in fresh processes and in turns, with a connection to a real Mosquitto; the cost of
a call is measured in one process, in turns. ``--write-docs`` only writes the document's tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.footprint import rounds, tables
from benchmarks.footprint.environment import ROOT, clean
from benchmarks.footprint.model import model_of_about
from benchmarks.footprint.state import install, running_broker
from benchmarks.machine import this_machine
from benchmarks.quantizers.tables import bar_table

RESULTS = ROOT / "benchmarks" / "results" / "agent_footprint.json"
PAGE = ROOT / "docs" / "device.md"
MODEL_US = 10.0
_SHOWN = ("ai-edge-litert", "paho-mqtt", "numpy", "cryptography")


def main() -> int:
    """Measure, and write results and document."""
    asked = _arguments()
    if asked.write_docs:
        _write_docs(json.loads(RESULTS.read_text("utf-8")))
        return 0
    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as work:
        results = _measured(asked, Path(work))
    print(bar_table(results["bars"]))
    print(tables.beside_table(results))
    out = asked.out or RESULTS
    out.write_text(f"{json.dumps(results, indent=1)}\n")
    if out == RESULTS:
        _write_docs(results)
    return 0


def _measured(asked: argparse.Namespace, work: Path) -> dict[str, Any]:
    begun_s = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - begun_s:6.1f} s  {line}", flush=True)

    machine = this_machine()
    progress("a clean environment")
    there = clean(work)
    model = asked.model.read_bytes() if asked.model else model_of_about(MODEL_US)
    progress("a model is installed")
    with running_broker(work / "broker") as broker:
        plain = install(work / "plain", model, broker.url)
        counting = install(work / "counting", model, broker.url, reference=True)
        figures: dict[str, Any] = {
            "wheel_bytes": there.wheel_bytes,
            "model_bytes": len(model),
        }
        for name, one_blas in (("starts", True), ("starts_beside_blas", False)):
            figures[name] = rounds.starts(
                there, plain, broker.url, asked.rounds, progress, one_blas=one_blas
            )
        progress("calls")
        figures["calls"] = rounds.calls(there, plain, asked.blocks)
        figures["calls_with_reference"] = rounds.calls(there, counting, asked.blocks)
        progress("a trace")
        figures["reach"] = rounds.reach(there, plain, broker.url, work)
    return {
        "benchmark": "agent_footprint",
        "schema_version": 1,
        "machine": machine,
        "versions": {name: there.versions[name] for name in _SHOWN},
        "model": asked.model.name if asked.model else "made here: dense layers in int8",
        "rounds": asked.rounds,
        "blocks": asked.blocks,
        "seconds": round(time.monotonic() - begun_s),
        "bars": tables.bars(figures),
        **figures,
    }


def _write_docs(results: dict[str, Any]) -> None:
    PAGE.write_text(tables.with_tables(PAGE.read_text("utf-8"), results), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="an int8 .tflite; by default one is made")
    parser.add_argument("--rounds", type=int, default=25, help="starts of each  [default: 25]")
    parser.add_argument("--blocks", type=int, default=1000, help="blocks of calls  [default: 1000]")
    parser.add_argument("--out", type=Path, help=f"results  [default: {RESULTS.name}]")
    parser.add_argument("--write-docs", action="store_true", help="only write the document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
