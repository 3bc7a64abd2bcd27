"""A file that one runtime answers at chance level is repaired, or not made; it is never shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.protocol.manifest import Manifest
from edgeops.domain.errors import EdgeopsError, InvalidInput
from edgeops.packaging.build import build_package
from edgeops.packaging.convert import convert
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.repair import difference, settle
from edgeops.packaging.convert.tflite_engines import on_engines
from edgeops.packaging.engines import engine_for
from edgeops.packaging.recipes import RECIPES, Rule
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import Door
from tests.digits_models import digits, tflite_path
from tests.environments import CACHE
from tests.models import digits_tflite

OPERATORS = [f"layer_{n}" for n in range(13)]


def settled(broken: set[str], operators: list[str] = OPERATORS) -> Any:
    """Settle a model of which some operators break, quantized; count how often it is made."""
    made: list[frozenset[str]] = []

    def make(excluded: frozenset[str]) -> bytes:
        made.append(excluded)
        return ",".join(name for name in operators if name not in excluded).encode()

    def differs(data: bytes) -> str | None:
        return "the old one answers nonsense" if broken & set(data.decode().split(",")) else None

    return settle("tflite-int8", operators, make, differs), len(made)


@pytest.mark.parametrize("broken", [set(), {"layer_0"}, {"layer_12"}, {"layer_3", "layer_7"}])
def test_the_operators_that_break_a_runtime_are_found_and_no_others(broken: set[str]) -> None:
    found, made = settled(broken)
    assert set(found.excluded) == broken
    assert len(found.notes) == len(broken)
    assert made <= 1 + 6 * len(broken)


def test_when_half_of_a_model_breaks_it_is_not_made() -> None:
    with pytest.raises(ConversionFailed, match="the old one answers nonsense; 2 operators"):
        settled(set(OPERATORS[:4]), OPERATORS[:4])


def test_engines_agree_within_rounding_and_differ_beyond() -> None:
    expected = np.random.default_rng(0).uniform(0, 1, (40, 10))
    near, same = expected + 0.01, expected + 0.011
    assert difference({"new": near, "old": same}, expected) is None
    assert difference({"new": near, "old": np.roll(near, 1, axis=1)}, expected) is not None
    told = difference({"new": near, "old": np.full((40, 10), np.nan)}, expected)
    assert told == "old answers NaN or infinity"


def test_hybrid_operators_that_the_old_runtime_misreads_are_refused(tmp_path: Path) -> None:
    door, old = Door(tmp_path), engine_for("tflite-runtime", CACHE, lambda _: None)
    with pytest.raises(ConversionFailed, match=r"tflite-runtime 2\.14\.0 answers something else"):
        door(digits_tflite(2), "tflite-dynamic", engines=[old])
    made = door(digits_tflite(2), "tflite-dynamic")
    assert made.making.excluded == ()  # for boards that have the new one it is right


@pytest.mark.parametrize("recipe", ["tflite-int8", "tflite-int16", "tflite-weights8"])
def test_what_both_runtimes_answer_alike_is_made_as_asked(recipe: str, tmp_path: Path) -> None:
    old = engine_for("tflite-runtime", CACHE, lambda _: None)
    assert Door(tmp_path)(digits_tflite(2), recipe, engines=[old]).making.excluded == ()


def saved(path: Path, rows: int) -> Path:
    split = digits(0)
    np.savez(path, x=split.stream_x[:rows], y=split.stream_y[:rows])
    return path


def packaged(folder: Path, recipe: str) -> Manifest:
    np.savez(folder / "calibration.npz", x=digits(0).train_x[:200])
    request = PackageRequest(
        models=(tflite_path(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w", "raspberry-pi-32-bit"),
        golden=saved(folder / "golden.npz", 64),
        evaluation=saved(folder / "evaluation.npz", 500),
        calibration=folder / "calibration.npz",
        recipes=(recipe,),
        cache=CACHE,
        max_drop=0.03,
    )
    return build_package(request, SigningKey.generate(), lambda _: None).manifest


def test_a_package_for_old_boards_is_evaluated_on_the_old_runtime(tmp_path: Path) -> None:
    manifest = packaged(tmp_path, "int8")
    new, old = sorted(manifest.variants, key=lambda each: each.runtime)
    assert (new.runtime, old.runtime) == ("litert", "tflite-runtime")
    assert new.artifact == old.artifact
    assert new.golden is not None and old.golden is not None
    assert old.evidence is not None
    assert old.evidence.drop_high < 0.03
    assert manifest.min_agent == "0.2.0"
    assert manifest.lineage["runtime.tflite-runtime"] == "tflite-runtime 2.14.0"


def test_a_package_for_old_boards_with_hybrid_operators_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(EdgeopsError, match="tflite-dynamic: tflite-runtime"):
        packaged(tmp_path, "dynamic")


def test_an_engine_that_does_not_take_a_file_answers_nothing_and_stops_nothing() -> None:
    rows = [np.zeros((1, 64), np.float32)]
    answers = on_engines(b"\x00" * 64, rows, [engine_for("tflite-runtime", CACHE, lambda _: None)])
    assert len(answers.given) == 3
    assert all(np.isnan(each).all() for each in answers.given.values())
    assert all(answers.refusals[engine] for engine in answers.given)


def test_half_floats_that_a_runtime_misreads_can_be_left_out_too() -> None:
    rules = (Rule(precision="float32", name="^dense$"),)
    recipe = replace(RECIPES["tflite-float16"], name="half", rules=rules)
    assert recipe.precision_of("FULLY_CONNECTED", "dense") == "float32"
    assert recipe.precision_of("FULLY_CONNECTED", "other") == "float16"
    with pytest.raises(InvalidInput, match="is unknown"):
        replace(recipe, rules=(Rule(precision="int8"),))


def test_a_recipe_too_large_for_a_conversion_says_so(tmp_path: Path) -> None:
    rules = tuple(Rule(precision="float32", name="x" * 900 + str(n)) for n in range(100))
    recipe = replace(RECIPES["tflite-int8"], name="large", rules=rules)
    with pytest.raises(InvalidInput, match="recipe large and its paths take"):
        convert(
            *(digits_tflite(2), recipe),
            calibration=digits(0).train_x[:50],
            cache=tmp_path,
            trust_code=False,
            progress=lambda _: None,
        )


def test_half_floats_stand_beside_integers_on_both_runtimes(tmp_path: Path) -> None:
    rules = (Rule(precision="float16", name="dense_3"),)
    recipe = replace(RECIPES["tflite-int8"], name="half-here", rules=rules)
    old = engine_for("tflite-runtime", CACHE, lambda _: None)
    made = convert(
        digits_tflite(2),
        recipe,
        calibration=digits(0).train_x[:100],
        cache=tmp_path,
        trust_code=False,
        progress=lambda _: None,
        engines=[old],
    )
    assert made.making.excluded == ()
    assert set(made.making.promise.weights) == {"int8", "float16"}
