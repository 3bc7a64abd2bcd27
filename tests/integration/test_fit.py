"""A package for a microcontroller fits its flash and its memory, or is not made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from device_agent.protocol.manifest import Budget, Manifest, Waiver
from edgeops.cli.main import main
from edgeops.domain.errors import EdgeopsError, GateFailed, InvalidModel
from edgeops.domain.profile import Profile
from edgeops.packaging.build import build_package
from edgeops.packaging.profiles import load_profiles
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.digits_models import digits
from tests.environments import CACHE, needs_tflm
from tests.micro_models import digits_8_bit, digits_as, with_operator
from tests.models import digits_tflite

pytestmark = needs_tflm

BOARD = "nucleo-l4r5zi"
SHIPPED = load_profiles()
SPLIT = digits(0)

Build = Callable[..., Manifest]


def small(arena_kib: int = 320, flash_kib: int = 1024) -> dict[str, Profile]:
    """Return profiles of which one board is smaller than it is."""
    board = replace(SHIPPED[BOARD], arena_kib=arena_kib, flash_kib=flash_kib)
    return {**SHIPPED, BOARD: board}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, said: list[str]) -> Build:
    np.savez(tmp_path / "golden.npz", x=SPLIT.golden_x, y=SPLIT.golden_y)
    request = PackageRequest(
        models=(tmp_path / "digits.tflite",),
        name="digits",
        version=1,
        profiles=(BOARD,),
        golden=tmp_path / "golden.npz",
        cache=CACHE,
    )

    def make(data: bytes, known: dict[str, Profile] = SHIPPED, **changes: Any) -> Manifest:
        (tmp_path / "digits.tflite").write_bytes(data)
        key = SigningKey.generate()
        asked = replace(request, **changes)
        return build_package(asked, key, said.append, known_profiles=known).manifest

    return make


def test_a_package_keeps_the_arena_that_was_measured(build: Build, said: list[str]) -> None:
    manifest = build(digits_as("int8"))
    (variant,) = manifest.variants
    assert (variant.runtime, variant.profiles) == ("tflm", (BOARD,))
    assert variant.golden_accuracy is not None
    assert variant.golden_accuracy > 0.95
    assert variant.budget == Budget()
    assert manifest.min_agent == "0.2.0"
    assert manifest.lineage["runtime.tflm"].startswith("tflite-micro 0.dev")
    arena = manifest.lineage["arena.tflm"]
    assert int(arena.partition(" bytes (head 320, tail ")[0]) > 3000
    (held,) = [line for line in said if line.startswith("gate 'fit' holds")]
    assert held.endswith(f"it fits the flash, arena {arena}")
    assert "multiplications a row, " in held and "FULLY_CONNECTED" in held
    assert not any("memory grows" in line for line in said)


def test_one_file_is_for_a_microcontroller_and_for_linux(build: Build) -> None:
    manifest = build(digits_as("int8"), profiles=(BOARD, "raspberry-pi-zero-2w"))
    micro, linux = sorted(manifest.variants, key=lambda each: each.runtime, reverse=True)
    assert (micro.runtime, linux.runtime) == ("tflm", "litert")
    assert micro.artifact == linux.artifact
    assert [key for key in manifest.lineage if key.startswith("arena.")] == ["arena.tflm"]


def test_8_bit_inputs_are_packaged_as_they_are(build: Build, tmp_path: Path) -> None:
    x = np.clip(SPLIT.golden_x * 8 - 128, -128, 127).astype(np.int8)
    np.savez(tmp_path / "rows.npz", x=x)
    (variant,) = build(digits_8_bit(), golden=tmp_path / "rows.npz").variants
    assert [each.dtype for each in (*variant.inputs, *variant.outputs)] == ["int8", "int8"]


def test_a_limit_on_the_growth_of_a_process_says_nothing_of_an_arena(build: Build) -> None:
    budget = Budget(memory_mib=0.001)
    assert build(digits_as("int8"), budget=budget).variants[0].runtime == "tflm"
    with pytest.raises(GateFailed, match="gate 'fit': .* MiB on litert"):
        build(digits_as("int8"), budget=budget, profiles=("raspberry-pi-zero-2w",))


def test_what_is_too_large_for_the_memory_says_by_how_much(build: Build) -> None:
    arena = int(build(digits_as("int8")).lineage["arena.tflm"].split()[0])
    for arena_kib in (1, arena // 1024):
        with pytest.raises(GateFailed) as error:
            build(digits_as("int8"), small(arena_kib=arena_kib))
        assert str(error.value).endswith(
            f"digits.tflite needs {arena} bytes of arena, {arena - arena_kib * 1024} more than the "
            f"{arena_kib} KiB that {BOARD} gives a model"
        )
    assert build(digits_as("int8"), small(arena_kib=arena // 1024 + 1)).variants


def test_no_waiver_gives_a_board_memory_that_it_does_not_have(build: Build) -> None:
    waiver = Waiver(gate="fit", reason="the next board will be larger")
    for small_board in (small(arena_kib=1), small(flash_kib=1)):
        with pytest.raises(GateFailed, match=f"1 KiB that {BOARD} gives a model"):
            build(digits_as("int8"), small_board, waivers=(waiver,))
    with pytest.raises(GateFailed, match="TFLM has no operator SIGN"):
        build(with_operator(digits_as("float32"), "SOFTMAX", "SIGN"), waivers=(waiver,))
    budget = Budget(memory_mib=0.001)  # on Linux it is a matter of opinion
    linux = ("raspberry-pi-zero-2w",)
    made = build(digits_as("int8"), budget=budget, profiles=linux, waivers=(waiver,))
    assert made.waivers == (waiver,)


def test_what_is_too_large_for_the_flash_says_by_how_much(build: Build) -> None:
    data = digits_as("int8")
    kib = len(data) // 1024
    with pytest.raises(GateFailed, match=f"{len(data) - kib * 1024} more than the {kib} KiB"):
        build(data, small(flash_kib=kib))
    assert build(data, small(flash_kib=kib + 1)).variants


def test_the_smallest_of_several_boards_decides(build: Build) -> None:
    boards = (BOARD, "arduino-nano-33-ble-sense")
    assert build(digits_as("int8"), profiles=boards).variants[0].profiles == tuple(sorted(boards))
    with pytest.raises(GateFailed, match=f"1 KiB that {BOARD} gives"):
        build(digits_as("int8"), small(arena_kib=1), profiles=boards)


def test_an_operator_that_tflm_lacks_misses_the_gate_before_anything_is_evaluated(
    build: Build, said: list[str]
) -> None:
    with pytest.raises(GateFailed, match="gate 'fit': .*digits.tflite: TFLM has no operator SIGN"):
        build(with_operator(digits_as("float32"), "SOFTMAX", "SIGN"))
    assert not any(line.startswith("evaluating") for line in said)


def test_a_damaged_file_is_an_error_that_names_it(build: Build) -> None:
    data = digits_as("int8")
    with pytest.raises(InvalidModel, match="digits.tflite: LiteRT cannot load the model"):
        build(data[: len(data) // 2])


def test_a_recipe_makes_what_a_microcontroller_runs(build: Build, tmp_path: Path) -> None:
    np.savez(tmp_path / "calibration.npz", x=SPLIT.train_x[:200])
    np.savez(tmp_path / "evaluation.npz", x=SPLIT.stream_x[:500], y=SPLIT.stream_y[:500])
    manifest = build(
        digits_tflite(2).read_bytes(),
        recipes=("int8",),
        calibration=tmp_path / "calibration.npz",
        evaluation=tmp_path / "evaluation.npz",
        max_drop=0.03,
    )
    (variant,) = manifest.variants
    assert variant.evidence is not None
    assert variant.evidence.drop_high < 0.03
    assert manifest.lineage["recipe.tflite"] == "tflite-int8"


def test_a_recipe_that_tflm_does_not_run_says_why(build: Build, tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluation.npz", x=SPLIT.stream_x[:100], y=SPLIT.stream_y[:100])
    with pytest.raises(EdgeopsError, match="does not run it.*FULLY_CONNECTED"):
        build(
            digits_tflite(2).read_bytes(),
            recipes=("dynamic",),
            evaluation=tmp_path / "evaluation.npz",
        )


def test_on_the_command_line_what_does_not_fit_is_exit_code_3_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "firmware_profiles" / f"{BOARD}.toml").read_text()
    (tmp_path / "firmware_profiles").mkdir()
    tiny = text.replace(BOARD, "tiny-board").replace("arena_kib = 320", "arena_kib = 2")
    (tmp_path / "firmware_profiles" / "tiny-board.toml").write_text(tiny)
    (tmp_path / "model.tflite").write_bytes(digits_as("int8"))
    (tmp_path / "home" / "cache").mkdir(parents=True)
    (tmp_path / "home" / "cache" / "environments").symlink_to(CACHE / "environments")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"EDGEOPS_HOME": str(tmp_path / "home")})
    assert runner.invoke(main, ["keys", "init"]).exit_code == 0
    packaging = ["package", "model.tflite", "--name", "digits", "--out", "out", "--no-publish"]
    done = runner.invoke(main, [*packaging, "--profile", "tiny-board"])
    assert done.exit_code == 3, done.stderr
    assert "gate 'fit'" in done.stderr
    assert "2 KiB that tiny-board gives a model" in done.stderr
    assert not (tmp_path / "out").exists()
    assert runner.invoke(main, [*packaging, "--profile", BOARD]).exit_code == 0
