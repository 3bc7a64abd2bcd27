"""The search for a recipe, on the real quantizers and runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeops.demo.network import write_onnx
from edgeops.domain.errors import GateFailed, InvalidInput
from edgeops.packaging.build import build_package
from edgeops.packaging.convert import Converted, convert
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.package import Package
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.recipes.trials import Search
from edgeops.packaging.record.rebuild import record_of, verify_rebuilds
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import SPLIT
from tests.digits_models import train_second
from tests.models import digits_tflite

ASKED = Search(objective="size", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)


def found(
    source: Path, form: str, cache: Path, rows: int = 120, asked: Search = ASKED
) -> tuple[Converted, list[str]]:
    said: list[str] = []
    made = convert(
        source,
        RECIPES[f"{form}-float32"],
        calibration=SPLIT.train_x[:rows],
        cache=cache,
        trust_code=False,
        progress=said.append,
        search=asked,
    )
    return made, said


def test_a_tflite_recipe_is_found_and_every_candidate_is_told(tmp_path: Path) -> None:
    made, said = found(digits_tflite(2), "tflite", tmp_path)
    tried = {each.recipe.name for each in made.making.trials}
    assert {"tflite-int8", "tflite-int8-mse", "tflite-int16", "tflite-float16"} <= tried
    assert any(name.endswith("-1-float32") for name in tried)
    assert made.path.stat().st_size < digits_tflite(2).stat().st_size / 2
    assert len(made.making.sensitivity) == 3
    assert all(0 < each < 0.1 for each in made.making.sensitivity.values())
    assert any(line.startswith("tflite-int8:") and " dB, " in line for line in said)
    assert made.making.stopped == f"all candidates were tried: {len(made.making.trials)} candidates"


def test_an_onnx_recipe_is_found(tmp_path: Path) -> None:
    source = tmp_path / "digits.onnx"
    write_onnx(train_second(SPLIT), source)
    made, _ = found(source, "onnx", tmp_path / "cache")
    tried = {each.recipe.name for each in made.making.trials}
    assert {"onnx-int8-all", "onnx-int8-mse-channel", "onnx-int16"} <= tried
    chosen = next(each for each in made.making.trials if each.recipe == made.recipe)
    assert chosen.agreement >= 0.98 and not chosen.why_not


def test_accuracy_takes_a_finer_recipe_than_size(tmp_path: Path) -> None:
    finer, _ = found(
        digits_tflite(2), "tflite", tmp_path, asked=replace(ASKED, objective="accuracy")
    )
    small, _ = found(digits_tflite(2), "tflite", tmp_path)
    by_name = {each.recipe.name: each for each in finer.making.trials}
    assert by_name[finer.recipe.name].sqnr_db >= by_name[small.recipe.name].sqnr_db
    assert finer.path.stat().st_size >= small.path.stat().st_size


def test_bars_that_nothing_reaches_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="no recipe comes near enough.*the nearest is") as no:
        found(digits_tflite(2), "tflite", tmp_path, asked=replace(ASKED, min_sqnr_db=150.0))
    assert "--min-sqnr" in no.value.next_step


def test_without_time_nothing_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="none could be made"):
        found(digits_tflite(2), "tflite", tmp_path, asked=replace(ASKED, seconds=0.0))


def test_a_few_rows_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="8 calibration rows are too few for a search"):
        found(digits_tflite(2), "tflite", tmp_path, rows=8)


def packaged(folder: Path, **more: object) -> tuple[Package, list[str]]:
    def saved(name: str, **arrays: np.ndarray) -> Path:
        np.savez(folder / name, **arrays)
        return folder / name

    said: list[str] = []
    given: dict[str, object] = {
        "evaluation": saved("held.npz", x=SPLIT.stream_x, y=SPLIT.stream_y),
        "calibration": saved("cal.npz", x=SPLIT.train_x[:150]),
        **more,
    }
    request = PackageRequest(
        models=(digits_tflite(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        recipes=("auto",),
        cache=folder / "cache",
        max_drop=0.03,
        **given,  # type: ignore[arg-type]
    )
    return build_package(request, SigningKey.generate(), said.append), said


def test_a_package_says_what_was_searched_and_is_made_again_without_searching(
    tmp_path: Path,
) -> None:
    package, said = packaged(tmp_path)
    record = record_of(package)
    assert record is not None
    (made,) = record.artifacts
    assert made.making is not None and made.making.trials and made.recipe is not None
    assert all(each.latency_ms is None for each in made.making.trials)
    assert package.manifest.lineage["recipe.tflite"] == made.recipe.name
    assert any("<- chosen" in line for line in said)
    (again,) = verify_rebuilds(package, tmp_path / "cache")
    assert again.state == "ok", again.what


def test_a_search_gives_the_same_package_twice(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        package, _ = packaged(tmp_path / name, objective="accuracy")
        digests.append(package.digest)
    assert digests[0] == digests[1]


def test_a_search_that_nothing_would_confirm_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="nothing would confirm what a search chooses"):
        packaged(tmp_path, evaluation=None)
    with pytest.raises(InvalidInput, match="a search needs calibration rows, none are given"):
        packaged(tmp_path, calibration=None)
