"""Benchmark: what edgeops makes of real models, beside the tools that people use otherwise.

``make bench NAME=packaging ARGS='--models FOLDER'``. All tools get the same 100 calibration rows
and are judged on the same other rows, in one process. Bars that do not hold stay in the results.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.quantizers.bakeoff import compared, prepared
from benchmarks.quantizers.models import NAMES, WHERE, models_folder

RESULTS = Path(__file__).parent / "results" / "packaging.json"


def main() -> int:
    """Measure, and write the results."""
    asked = _arguments()
    folder = models_folder(asked.models)
    if folder is None:
        print(f"skipped: no models\n\n{WHERE}")
        return 0
    begun_s = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - begun_s:6.1f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as work:
        models = prepared(asked.only or NAMES, folder, asked.work or Path(work), progress)
        figures: dict[str, Any] = {"models": [compared(each, progress) for each in models]}
    text = json.dumps(figures, indent=1)
    (asked.out or RESULTS).write_text(f"{text}\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder with mlperf_tiny and tflm")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this model")
    parser.add_argument("--work", type=Path, help="keep the files that are made in this folder")
    parser.add_argument("--out", type=Path, help=f"results  [default: {RESULTS.name}]")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
