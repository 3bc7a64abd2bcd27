"""The bake-off: each tool makes its file of each model, then all files are judged together."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quantizers.environments import NNCF, TENSORFLOW, magika_model, python_of
from benchmarks.quantizers.models import MAGIKA, MLPERF_TINY, Model
from benchmarks.quantizers.rows import Rows, files

OURS = ("edgeops_int8", "edgeops_auto")
TOOLS: Mapping[str, Sequence[str]] = {
    "tflite": (*OURS, "tensorflow_int8", "ai_edge_int8"),
    "onnx": (*OURS, "onnxruntime_static", "onnxruntime_dynamic", "nncf_int8"),
}
ELSEWHERE = {"tensorflow_int8": TENSORFLOW, "float_model": TENSORFLOW, "nncf_int8": NNCF}
MAKING_TIMEOUT_S, JUDGING_TIMEOUT_S = 300.0, 300.0
FILES = 1000
"""Evaluation rows of Magika."""

_HERE = Path(__file__).parent
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A float model in one format, with its rows.

    Attributes:
        name: of the model.
        source: what its trainer left.
        float_model: the float file that all tools begin with, but for TensorFlow's.
        rows: what calibrates and judges.
        classes: whether its answers are classes.
        labels: numbers of the classes of the evaluation rows, or None.
        folder: where everything of it lies.
    """

    name: str
    source: Path
    float_model: Path
    rows: Rows
    classes: bool
    labels: Any
    folder: Path

    @property
    def form(self) -> str:
        """Its format."""
        return self.float_model.suffix[1:]

    def made_by(self, tool: str) -> Path:
        """Return the file that a tool makes or has made."""
        return self.folder / f"{tool}.{self.form}"


def prepared(wanted: Sequence[str], models: Path, work: Path, progress: Progress) -> list[Prepared]:
    """Make float models and rows ready: of MLPerf Tiny in both formats, and Magika."""
    found = []
    for model in MLPERF_TINY:
        if model.name in wanted:
            found += _both_formats(model, models / "mlperf_tiny" / model.file, work, progress)
    if MAGIKA in wanted:
        found.append(_magika(work, progress))
    return found


def _both_formats(model: Model, source: Path, work: Path, progress: Progress) -> list[Prepared]:
    rows = model.rows()
    found = []
    for form in TOOLS:
        folder = work / model.name / form
        _lay(rows, folder)
        target = folder / f"float.{form}"
        each = Prepared(
            name=model.name,
            source=source,
            float_model=target,
            rows=rows,
            classes=model.classes,
            labels=None,
            folder=folder,
        )
        said = run_maker("float_model", each, target, progress)
        if "error" in said:
            raise RuntimeError(f"{model.name}: no float .{form}: {said['error']}")
        found.append(each)
    return found


def _magika(work: Path, progress: Progress) -> Prepared:
    source = magika_model(progress)
    named = json.loads(source.with_name("config.min.json").read_text())["target_labels_space"]
    rows = files(FILES)
    folder = work / MAGIKA / "onnx"
    _lay(rows, folder)
    target = folder / "float.onnx"
    target.write_bytes(source.read_bytes())
    labels = [named.index(each) if each in named else -1 for each in rows.labels or ()]
    np.save(folder / "labels.npy", np.array(labels))
    return Prepared(
        name=MAGIKA,
        source=source,
        float_model=target,
        rows=rows,
        classes=True,
        labels=folder / "labels.npy",
        folder=folder,
    )


def _lay(rows: Rows, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "calibration.npy", rows.calibration)
    np.save(folder / "evaluation.npy", rows.evaluation)


def run_maker(tool: str, model: Prepared, target: Path, progress: Progress) -> dict[str, Any]:
    """Let a tool make its file; return what it said: ``by``, ``seconds``, or ``error``."""
    elsewhere = ELSEWHERE.get(tool)
    python = python_of(elsewhere, progress) if elsewhere else sys.executable
    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as cache:
        job = {
            "tool": tool,
            "source": str(model.source),
            "float_model": str(model.float_model),
            "classes": model.classes,
            "rows": str(model.folder / "calibration.npy"),
            "target": str(target),
            "cache": cache,
        }
        return _child(python, "maker.py", job, MAKING_TIMEOUT_S)


def compared(model: Prepared, progress: Progress) -> dict[str, Any]:
    """Let all tools make their file of a model, and judge them; return the figures."""
    made = {}
    for tool in TOOLS[model.form]:
        progress(f"{model.name}.{model.form}: {tool}")
        made[tool] = run_maker(tool, model, model.made_by(tool), progress)
    files = {tool: str(model.made_by(tool)) for tool in made if model.made_by(tool).exists()}
    job = {
        "float_model": str(model.float_model),
        "files": files,
        "rows": str(model.folder / "evaluation.npy"),
        "labels": str(model.labels) if model.labels else None,
    }
    judged = _child(sys.executable, "judge.py", job, JUDGING_TIMEOUT_S)
    if "error" in judged:
        raise RuntimeError(f"judging {model.name}: {judged['error']}")
    for tool, said in made.items():
        if tool in files:
            said |= {"size_bytes": model.made_by(tool).stat().st_size} | judged[tool]
    return {
        "model": model.name,
        "format": model.form,
        "rows": model.rows.what,
        "calibration_rows": len(model.rows.calibration),
        "evaluation_rows": len(model.rows.evaluation),
        "classes": model.classes,
        "float": {"size_bytes": model.float_model.stat().st_size, **judged["float"]},
        "tools": {tool: _rounded(said) for tool, said in made.items()},
    }


def _child(python: str, program: str, job: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as folder:
        said, asked = Path(folder) / "said.json", Path(folder) / "job.json"
        asked.write_text(json.dumps({**job, "said": str(said)}))
        command = [python, "-I", str(_HERE / program), str(asked)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {timeout_s:.0f} s"}
        if not said.exists():
            last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
            return {"error": f"it ended with {done.returncode}: {' '.join(last)[:200]}"}
        found: dict[str, Any] = json.loads(said.read_text())
        return found


def _rounded(said: Mapping[str, Any]) -> dict[str, Any]:
    """Keep four digits: more would be noise."""
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in said.items()}
