"""Gates that cry wolf: healthy models by recipes that do not hurt them are packaged, unwaived."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.healthy.cases import CASES, SMALL, Case
from benchmarks.healthy.making import packaged
from benchmarks.healthy.materials import Material, small
from tests.environments import CACHE, needs_tflm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    folder = tmp_path_factory.mktemp("models")
    return {name: small(name, folder) for name in {case.model for case in SMALL}}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=case.name, marks=[needs_tflm] if "nucleo-l4r5zi" in case.profiles else []
        )
        for case in SMALL
    ],
)
def test_a_healthy_model_is_packaged_with_nothing_waived(
    case: Case, made: dict[str, Material], tmp_path: Path
) -> None:
    package = packaged(case, made[case.model], tmp_path, CACHE)
    assert {each for one in package.manifest.variants for each in one.profiles} == {*case.profiles}
    assert not package.manifest.waivers
    if case.recipe == "int8":
        evidence = [each.evidence for each in package.manifest.variants]
        assert all(each is not None and "int8" in each.recipe for each in evidence)


def test_the_list_has_thirty_packages_each_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES) == 30
