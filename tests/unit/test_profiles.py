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
        ({"class": "mcu"}, "class"),
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


def test_an_unknown_profile_is_answered_with_near_ones_and_all() -> None:
    known = {name: parse_profile(document(id=name)) for name in ("my-board", "your-board", "pi")}
    with pytest.raises(UnknownProfile, match="my-bord.*did you mean my-board") as error:
        find_profiles(["pi", "my-bord"], known)
    assert "my-board, your-board, pi" in error.value.next_step


def test_a_profile_that_is_named_twice_counts_once() -> None:
    known = {"my-board": parse_profile(document())}
    assert find_profiles(["my-board", "my-board"], known) == (known["my-board"],)
