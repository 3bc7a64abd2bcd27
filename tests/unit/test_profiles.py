"""Profiles: strict, and never without the source of their figures."""

from __future__ import annotations

from typing import Any

import pytest

from device_agent.protocol.manifest import Budget
from edgeops.domain.errors import InvalidInput, UnknownProfile
from edgeops.domain.profile import parse_profile
from edgeops.packaging.profiles import find_profiles


def document(**changes: Any) -> dict[str, Any]:
    whole = {
        "schema": "edgeops.profile/v1",
        "id": "my-board",
        "name": "My board",
        "class": "linux",
        "core": "cortex-a53",
        "arch": "aarch64",
        "ram_mib": 512,
        "runtimes": ["onnxruntime", "litert"],
        "budget": {"memory_mib": 64},
        "sources": ["its data sheet"],
    }
    merged = {**whole, **changes}
    return {key: value for key, value in merged.items() if value is not ...}


def test_a_profile_says_what_a_board_can_run() -> None:
    profile = parse_profile(document())
    assert (profile.id, profile.device_class, profile.ram_mib) == ("my-board", "linux", 512)
    assert profile.runtimes == ("onnxruntime", "litert")
    assert profile.budget == Budget(memory_mib=64.0)


def test_memory_may_be_left_out() -> None:
    assert parse_profile(document(ram_mib=...)).ram_mib is None


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"schema": "edgeops.profile/v2"}, "schema"),
        ({"id": "My Board"}, "profile id"),
        ({"class": "fpga"}, "class"),
        ({"runtimes": ["tflm"]}, "runtimes.*linux"),
        ({"budget": {"memory_mib": 64, "arena_kib": 64}}, "arena_kib"),
        ({"budget": {"memory_mib": 64, "flash_kib": 64}}, "flash_kib"),
        ({"runtimes": []}, "runtimes"),
        ({"runtimes": ["tensorrt"]}, "runtimes"),
        ({"runtimes": ["litert", "litert"]}, "runtimes"),
        ({"runtimes": "litert"}, "runtimes"),
        ({"sources": ...}, "sources"),
        ({"sources": []}, "sources"),
        ({"sources": [" "]}, "sources"),
        ({"budget": ...}, "budget"),
        ({"budget": {"memory": 64}}, "budget.*memory"),
        ({"budget": {"memory_mib": -1}}, "memory_mib"),
        ({"ram_mb": 512}, "ram_mb"),
        ({"ram_mib": "512"}, "ram_mib"),
        ({"core": ...}, "core"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        parse_profile(document(**changes))


def micro(**changes: Any) -> dict[str, Any]:
    budget = {"arena_kib": 128, "flash_kib": 512}
    own = {"class": "mcu", "runtimes": ["tflm"], "ram_mib": ..., "budget": budget}
    return document(**{**own, **changes})


def test_a_microcontroller_gives_a_model_an_arena_and_flash() -> None:
    profile = parse_profile(micro())
    assert (profile.device_class, profile.runtimes) == ("mcu", ("tflm",))
    assert (profile.arena_kib, profile.flash_kib) == (128, 512)
    assert (profile.ram_mib, profile.budget) == (None, Budget())
    linux = parse_profile(document())
    assert (linux.arena_kib, linux.flash_kib) == (None, None)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"budget": {"flash_kib": 512}}, "budget.arena_kib"),
        ({"budget": {"arena_kib": 128}}, "budget.flash_kib"),
        ({"budget": {"arena_kib": 0, "flash_kib": 512}}, "budget.arena_kib"),
        ({"budget": {"arena_kib": 128, "flash_kib": -1}}, "budget.flash_kib"),
        ({"budget": {"arena_kib": 1.5, "flash_kib": 512}}, "budget.arena_kib"),
        ({"budget": {"arena_kib": True, "flash_kib": 512}}, "budget.arena_kib"),
        ({"budget": {"arena_kib": 1 << 40, "flash_kib": 512}}, "budget.arena_kib"),
        ({"budget": {"arena_kib": 128, "flash_kib": 512, "memory_mib": 1}}, "memory_mib"),
        ({"ram_mib": 1}, "ram_mib is for class linux"),
        ({"runtimes": ["tflm", "litert"]}, "runtimes.*mcu"),
        ({"runtimes": []}, "runtimes"),
        ({"sources": []}, "sources"),
        ({"arena_kib": 128}, "unknown key 'arena_kib'"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_microcontroller_is_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        parse_profile(micro(**changes))


def test_an_unknown_profile_is_answered_with_near_ones_and_all() -> None:
    known = {name: parse_profile(document(id=name)) for name in ("my-board", "your-board", "pi")}
    with pytest.raises(UnknownProfile, match="my-bord.*did you mean my-board") as error:
        find_profiles(["pi", "my-bord"], known)
    assert "my-board, your-board, pi" in error.value.next_step


def test_a_profile_that_is_named_twice_counts_once() -> None:
    known = {"my-board": parse_profile(document())}
    assert find_profiles(["my-board", "my-board"], known) == (known["my-board"],)
