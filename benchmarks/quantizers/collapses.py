"""Six files of real models that run without an error and answer nonsense, made by the best tools.

Each is given to ``edgeops package`` as it is, for boards of which one misreads it; and the same is
asked of edgeops' own recipe. One of them is idle: what harms is that nothing was quantized.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quantizers.bakeoff import Prepared
from benchmarks.quantizers.environments import CACHE
from device_agent.protocol.manifest import TensorSpec
from edgeops.domain.errors import EdgeopsError, GateFailed
from edgeops.packaging.build import build_package
from edgeops.packaging.convert.fidelity import MAX_SQNR_DB, relative_error, sqnr_db
from edgeops.packaging.engines import engine_for
from edgeops.packaging.evaluate import answers
from edgeops.packaging.files.model_file import ModelFile, on_trial
from edgeops.packaging.gates.effect import check_effect
from edgeops.packaging.profiles import load_profiles
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.recipes.schema import Recipe
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.rows.golden_rows import LabelledRows, read_golden_rows
from edgeops.trust.keys import SigningKey

BOTH_PI = ("raspberry-pi-zero-2w", "raspberry-pi-32-bit")
REJECTED, REPAIRED, SHIPPED = "rejected", "repaired", "shipped"
_SURE = 0.6
COLLAPSED_DB = 3.0
"""Scores that are further from the float model's are nonsense."""
RIGHT = 0.9
"""Share of rows that a repaired file answers as the float model does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """One of them.

    Attributes:
        what: for people.
        model: of which model, in which format.
        make: from the float file and calibration rows to the ruined one.
        profiles: boards that it is for.
        recipe: edgeops' own that does the like.
        is_idle: it answers right, since nearly nothing was quantized: the harm is its size.
    """

    what: str
    model: tuple[str, str]
    make: Callable[[Path, Any], bytes]
    profiles: tuple[str, ...]
    recipe: Recipe
    is_idle: bool = False


def _ai_edge(config: str, *bits: int, algorithm: str = "") -> Callable[[Path, Any], bytes]:
    def make(float_model: Path, rows: Any) -> bytes:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.qtyping import TFLOperationName
        from ai_edge_quantizer.recipe_manager import RecipeManager

        rules = RecipeManager()
        more = {"algorithm_key": AlgorithmName(algorithm)} if algorithm else {}
        add = getattr(rules, f"add_{config}_config")
        add(".*", TFLOperationName.ALL_SUPPORTED, *bits, **more)
        tool = quantizer.Quantizer(str(float_model), rules.get_quantization_recipe())
        found = None
        if config == "static":
            signatures = Interpreter(str(float_model)).get_signature_list()
            ((signature, described),) = signatures.items()
            (name,) = described["inputs"]
            found = tool.calibrate({signature: [{name: row[None]} for row in rows]})
        return bytes(tool.quantize(found).quantized_model)

    return make


def _onnxruntime(*, per_channel: bool) -> Callable[[Path, Any], bytes]:
    def make(float_model: Path, rows: Any) -> bytes:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, quantize_static

        name = onnx.load(float_model).graph.input[0].name

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            left = iter(rows)

            def get_next(self) -> dict[str, Any] | None:
                row = next(self.left, None)
                return None if row is None else {name: row[None]}

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "made.onnx"
            quantize_static(float_model, target, Reader(), per_channel=per_channel)
            return target.read_bytes()

    return make


_KWS, _KWS_ONNX = ("kws", "tflite"), ("kws", "onnx")
COLLAPSES = (
    Collapse(
        what="ai-edge-quantizer, dynamic 8 bits, on tflite-runtime 2.14",
        model=_KWS,
        make=_ai_edge("dynamic", 8),
        profiles=BOTH_PI,
        recipe=RECIPES["tflite-dynamic"],
    ),
    Collapse(
        what="ai-edge-quantizer, dynamic 4 bits, on tflite-runtime 2.14",
        model=_KWS,
        make=_ai_edge("dynamic", 4),
        profiles=BOTH_PI,
        recipe=RECIPES["tflite-dynamic"],
    ),
    Collapse(
        what="ai-edge-quantizer, static 8 bits by OSCAR, on tflite-runtime 2.14",
        model=_KWS,
        make=_ai_edge("static", 8, 8, algorithm="OSCAR"),
        profiles=BOTH_PI,
        recipe=RECIPES["tflite-int8"],
    ),
    Collapse(
        what="ai-edge-quantizer, static 8 bits by GPTQ: nearly nothing is quantized",
        model=("resnet8", "tflite"),
        make=_ai_edge("static", 8, 8, algorithm="GPTQ"),
        profiles=BOTH_PI[:1],
        recipe=RECIPES["tflite-int8"],
        is_idle=True,
    ),
    Collapse(
        what="ONNX Runtime, static 8 bits, one scale a channel",
        model=_KWS_ONNX,
        make=_onnxruntime(per_channel=True),
        profiles=("raspberry-pi-5",),
        recipe=RECIPES["onnx-int8-channel"],
    ),
    Collapse(
        what="ONNX Runtime, static 8 bits, every operator",
        model=("magika", "onnx"),
        make=_onnxruntime(per_channel=False),
        profiles=("raspberry-pi-5",),
        recipe=RECIPES["onnx-int8"],
    ),
)


def collapses(models: Mapping[tuple[str, str], Prepared]) -> list[dict[str, Any]]:
    """Make all of which the model is there, and say what became of each."""
    return [_fate(each, models[each.model]) for each in COLLAPSES if each.model in models]


def _fate(each: Collapse, model: Prepared) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgeops-bench-") as temporary:
        folder = Path(temporary)
        rows, expected = _labelled(model, folder)
        ruined = folder / f"ruined.{model.form}"
        ruined.write_bytes(each.make(model.float_model, model.rows.calibration))
        worst_db, engine = _worst(ruined, rows, expected, each)
        effect = _held_to_promise(ruined, model) if each.is_idle else None
        given = _try(ruined, None, each, folder)
        own = _try(model.float_model, each.recipe, each, folder)
        sizes = {"float_bytes": size(model.float_model), "size_bytes": size(ruined)}
    return {
        "what": each.what,
        "model": model.name,
        **sizes,
        "sqnr_db": round(worst_db, 1),
        "on": engine,
        "nonsense": worst_db < COLLAPSED_DB,
        "idle": effect is not None,
        "given": given,
        **({"effect": effect} if effect else {}),
        "own_recipe": {"recipe": each.recipe.name, **own},
    }


def _worst(path: Path, rows: LabelledRows, expected: Any, each: Collapse) -> tuple[float, str]:
    """Return the least SQNR to the float model's scores on an engine of the profiles, in dB."""
    file = ModelFile(
        name=path.name, data=path.read_bytes(), format=path.suffix[1:], source=rows.digest
    )
    known, found = load_profiles(), {}
    for runtime in dict.fromkeys(known[name].runtimes[0] for name in each.profiles):
        for engine in engine_for(runtime, CACHE, print).kinds:
            with on_trial(file, engine) as trial:
                like = [TensorSpec(name="scores", dtype="float32", shape=(1, 1000))]
                try:
                    said = answers(trial, rows, like=like, scores=None)
                except EdgeopsError:  # it answers NaN
                    found[engine.name] = -MAX_SQNR_DB
                else:
                    error = relative_error(said.reshape(expected.shape), expected)
                    found[engine.name] = sqnr_db(error)
    worst = min(found, key=lambda name: found[name])
    return found[worst], worst


def _held_to_promise(path: Path, model: Prepared) -> str | None:
    """Say what the gate on effects says, if a recipe of edgeops had made this file."""
    from edgeops.packaging.convert.tflite_anatomy import tflite_anatomy
    from edgeops.packaging.convert.tflite_quantize import TfliteBench

    promise = TfliteBench(model.float_model.read_bytes()).promise(RECIPES["tflite-int8"], ())
    sizes = size(model.float_model), size(path)
    try:
        found = tflite_anatomy(path.read_bytes())
        check_effect(promise, found, name=path.name, recipe="tflite-int8", sizes=sizes)
    except GateFailed as error:
        return str(error)
    return None


def size(path: Path) -> int:
    """Return the bytes of a file."""
    return path.stat().st_size


def _labelled(model: Prepared, folder: Path) -> tuple[LabelledRows, Any]:
    """Write the evaluation rows of which the float model is sure; return them and its scores."""
    from benchmarks.quantizers.judge import Runner

    x = model.rows.evaluation
    said = Runner(model.float_model, x).answers()
    sure = said.max(axis=1) > _SURE
    np.savez(folder / "held.npz", x=x[sure], y=said[sure].argmax(axis=1))
    np.savez(folder / "calibration.npz", x=model.rows.calibration)
    return read_golden_rows(folder / "held.npz"), said[sure]


def _try(path: Path, recipe: Recipe | None, each: Collapse, folder: Path) -> dict[str, Any]:
    """Package it, with the gates as they come; say what became of it."""
    held, is_calibrated = folder / "held.npz", recipe is not None and recipe.needs_calibration
    request = PackageRequest(
        models=(path,),
        name="collapse",
        version=1,
        profiles=each.profiles,
        golden=held,
        evaluation=held if recipe else None,
        calibration=folder / "calibration.npz" if is_calibrated else None,
        recipes=(recipe,) if recipe else (),
        cache=CACHE,
        max_drop=0.05,
    )
    try:
        package = build_package(request, SigningKey.generate(), lambda _: None)
    except EdgeopsError as error:
        why = str(error).replace(f"{path.parent}/", "").replace(f"{folder}/", "")
        return {"outcome": REJECTED, "why": why[:300]}
    evidence = [variant.evidence for variant in package.manifest.variants if variant.evidence]
    if recipe is None or not evidence:
        return {"outcome": SHIPPED}
    worst = min(found.agreement for found in evidence)
    excluded = [key for key in package.manifest.lineage if key.startswith("excluded.")]
    return {
        "outcome": REPAIRED if worst > RIGHT else SHIPPED,
        "agreement": round(worst, 4),
        "left_in_floats": len(excluded) > 0,
    }
