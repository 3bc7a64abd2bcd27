"""Makes all healthy packages and writes what became of them: run beside TensorFlow.

``python -m benchmarks.healthy JOB.json`` with the keys ``models`` (folder), ``floats`` (float file
by model), ``cache``, ``work``, ``only`` (models, or nothing for all) and ``said``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.healthy.cases import CASES, MAGIKA, MODELS, Case
from benchmarks.healthy.making import outcome
from benchmarks.healthy.materials import Material, small
from benchmarks.healthy.real import real


def main() -> int:
    """Make them one after the other; models that several cases share are made once."""
    job = json.loads(Path(sys.argv[1]).read_text())
    work, cache = Path(job["work"]), Path(job["cache"])
    floats = {name: Path(path) for name, path in job["floats"].items()}
    made: dict[str, Material] = {}
    found: list[dict[str, Any]] = []
    for number, case in enumerate(CASES):
        if job["only"] and case.model not in job["only"]:
            continue
        folder = work / str(number)
        folder.mkdir(parents=True)
        if case.model not in made:
            made[case.model] = _material(case, folder, Path(job["models"]), floats)
        found.append(outcome(case, made[case.model], folder, cache))
        print(f"{case.name}: {found[-1]['outcome']} {found[-1].get('why', '')}", flush=True)
    Path(job["said"]).write_text(json.dumps(found))
    return 0


def _material(case: Case, folder: Path, models: Path, floats: dict[str, Path]) -> Material:
    if {MODELS, MAGIKA} & set(case.needs):
        return real(case.model, models, floats)
    return small(case.model, folder)


if __name__ == "__main__":
    sys.exit(main())
