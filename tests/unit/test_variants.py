"""The plan of variants: each device finds the artifact that its profile prefers."""

from __future__ import annotations

import itertools

import pytest

from device_agent.protocol.manifest import Budget
from edgeops.domain.errors import InvalidModel
from edgeops.domain.profile import Profile
from edgeops.packaging.variants import PlannedVariant, plan_variants


def profile(profile_id: str, *runtimes: str) -> Profile:
    return Profile(
        id=profile_id,
        name=profile_id,
        device_class="linux",
        core="cortex-a53",
        arch="aarch64",
        ram_mib=None,
        runtimes=runtimes,
        budget=Budget(),
        sources=("none",),
    )


ZERO = profile("zero", "litert")
FIVE = profile("five", "onnxruntime")
BOTH = profile("both", "litert", "onnxruntime")
REVERSED = profile("reversed", "onnxruntime", "litert")


FORMATS = ("tflite", "onnx")


def shown(planned: tuple[PlannedVariant, ...]) -> list[tuple[str, list[str]]]:
    return [(each.runtime, [profile.id for profile in each.profiles]) for each in planned]


def test_profiles_share_the_variant_of_an_artifact() -> None:
    assert shown(plan_variants([FIVE, ZERO, BOTH], FORMATS)) == [
        ("litert", ["zero", "both"]),
        ("onnxruntime", ["five", "both"]),
    ]


def test_an_artifact_has_two_variants_if_preferences_contradict_each_other() -> None:
    assert shown(plan_variants([BOTH, REVERSED], FORMATS)) == [
        ("litert", ["both"]),
        ("onnxruntime", ["both", "reversed"]),
        ("litert", ["reversed"]),
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_profile_finds_its_runtimes_in_its_own_order(count: int) -> None:
    for profiles in itertools.permutations([ZERO, FIVE, BOTH, REVERSED], count):
        planned = plan_variants(profiles, FORMATS)
        for each in profiles:
            found = tuple(variant.runtime for variant in planned if each in variant.profiles)
            assert found == each.runtimes


def test_two_runtimes_of_a_format_are_two_variants_of_one_artifact() -> None:
    old = profile("old", "tflite-runtime")
    planned = plan_variants([ZERO, old], ["tflite"])
    assert shown(planned) == [("litert", ["zero"]), ("tflite-runtime", ["old"])]
    assert {each.format for each in planned} == {"tflite"}


def test_an_artifact_that_is_not_there_is_skipped() -> None:
    assert shown(plan_variants([BOTH, REVERSED], ["onnx"])) == [
        ("onnxruntime", ["both", "reversed"])
    ]


def test_a_profile_without_a_fitting_file_names_the_format_that_it_needs() -> None:
    with pytest.raises(InvalidModel, match="zero.*litert") as error:
        plan_variants([FIVE, ZERO], ["onnx"])
    assert ".tflite" in error.value.next_step
