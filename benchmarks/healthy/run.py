"""Starting the healthy packages: beside TensorFlow, which the Keras models take."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.quantizers.environments import CACHE, ROOT, TENSORFLOW, python_of

TIMEOUT_S = 900.0


def healthy(
    models: Path, floats: Mapping[str, str], work: Path, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Make all healthy packages; return what became of each.

    Args:
        models: folder with ``mlperf_tiny`` and ``tflm``.
        floats: float file by model.
        work: a folder for files.
        progress: told a line about each.

    Raises:
        RuntimeError: the child ended otherwise than it should.
    """
    work.mkdir(parents=True, exist_ok=True)
    asked, said = work / "job.json", work / "said.json"
    job = {"models": str(models), "floats": floats, "cache": str(CACHE), "only": []}
    asked.write_text(json.dumps({**job, "work": str(work), "said": str(said)}))
    with subprocess.Popen(
        [python_of(TENSORFLOW, progress), "-m", "benchmarks.healthy", str(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
    ) as child:
        for line in child.stdout or ():
            progress(line.rstrip())
        code = child.wait(TIMEOUT_S)
    if code != 0:
        raise RuntimeError(f"the healthy packages ended with {code}")
    found: list[dict[str, Any]] = json.loads(said.read_text())
    return found
