"""What a mean hides: a class or a slice that quantization ruins is refused, however few its rows.

The model is made so that one scale for all weights rounds those of a rare kind of input to zero, and
the calibration rows have none of that kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeops.domain.errors import GateFailed
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.models import linear_onnx

COMMON, RARE = 6, 250
"""Features that tell the common classes, and those that only together tell the rare one."""


def weights() -> NDArray[np.float32]:
    """Six classes by one large weight each; the seventh by many that one step of 8 bits hides."""
    made = np.zeros((COMMON + RARE, COMMON + 1), np.float32)
    made[:COMMON, :COMMON] = np.eye(COMMON) * 3
    made[COMMON:, COMMON] = 0.01
    return made


def rows(count: int, rare: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    x = chance.uniform(0, 1, (count, COMMON + RARE)).astype(np.float32)
    y = chance.integers(0, COMMON, count)
    x[np.arange(count), y] += 4
    y[:rare] = COMMON
    x[:rare, :COMMON] = chance.uniform(0, 1, (rare, COMMON))
    x[:rare, COMMON:] = chance.uniform(14, 16, (rare, RARE))
    return x, y


def packaged(folder: Path, rare: int, **more: Any) -> tuple[Package, list[str]]:
    model, held, calibration = (folder / name for name in ("m.onnx", "held.npz", "cal.npz"))
    model.write_bytes(linear_onnx(weights()))
    x, y = rows(600, rare)
    np.savez(held, x=x, y=y)
    np.savez(calibration, x=rows(200, 0, seed=1)[0])
    request = PackageRequest(
        models=(model,),
        name="rare",
        version=1,
        profiles=("raspberry-pi-5",),
        evaluation=held,
        calibration=calibration,
        recipes=("int8",),
        cache=folder / "cache",
        **more,
    )
    said: list[str] = []
    return build_package(request, SigningKey.generate(), said.append), said


def test_a_class_of_five_rows_that_quantization_ruined_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"ruins class 6: of the 5 rows .* 5 are wrong"):
        packaged(tmp_path, 5)


def test_a_class_of_two_rows_that_quantization_ruined_is_named(tmp_path: Path) -> None:
    _, said = packaged(tmp_path, 2)
    (line,) = [each for each in said if "class 6" in each]
    assert line.startswith("warning: m.onnx: class 6 loses 2 of the 2 rows")
