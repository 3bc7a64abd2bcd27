"""Arenas: what the packager says that a microcontroller needs, beside a plain bisection."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quantizers.environments import CACHE
from edgeops.domain.errors import EdgeopsError
from edgeops.packaging.engines import engine_for
from edgeops.packaging.gates.arena import measure_arena

_PLAIN = Path(__file__).with_name("plain_arena.py")
_EXAMPLES = (
    *("hello_world_float", "hello_world_int8", "micro_speech_quantized"),
    *("trained_lstm", "trained_lstm_int8"),
)
_MLPERF_OWN = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8")
"""With inputs and outputs of 8 bits, where edgeops keeps floats."""
TIMEOUT_S = 120.0


def arenas(models: Path, made: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Measure both ways.

    Args:
        models: folder with ``mlperf_tiny`` and ``tflm``.
        made: 8-bit files that edgeops made, by model.
    """
    files = {f"{name} int8 by edgeops": path for name, path in made.items()}
    tiny = models / "mlperf_tiny"
    files |= {f"{name}, MLPerf's own": tiny / f"{name}.tflite" for name in _MLPERF_OWN}
    files |= {name: models / "tflm" / f"{name}.tflite" for name in _EXAMPLES}
    return [_both(name, path) for name, path in files.items()]


def _both(name: str, path: Path) -> dict[str, Any]:
    engine = engine_for("tflm", CACHE, print)
    try:
        found = measure_arena(path.read_bytes(), engine)
    except EdgeopsError as error:
        return {"model": name, "error": str(error)[:300]}
    done = subprocess.run(
        [engine.python, "-I", str(_PLAIN), str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return {
        "model": name,
        "edgeops_bytes": found.size_bytes,
        "head_bytes": found.head_bytes,
        "tail_bytes": found.tail_bytes,
        "bisected_bytes": int(done.stdout) if done.returncode == 0 else None,
        "by": engine.name,
    }
