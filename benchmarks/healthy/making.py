"""Making a healthy package, and saying what became of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.healthy.cases import Case
from benchmarks.healthy.materials import Material
from edgeops.domain.errors import EdgeopsError
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey


def packaged(case: Case, material: Material, folder: Path, cache: Path) -> Package:
    """Make the package of a case, with all gates and no waiver.

    Raises:
        EdgeopsError: it is rejected; the message says why.
    """
    held, calibration = folder / "held.npz", None
    labels = {} if material.y is None else {"y": material.y}
    np.savez(held, x=material.x, **labels)
    is_calibrated = case.recipe in ("int8", "auto") and material.calibration is not None
    if is_calibrated:
        calibration = folder / "calibration.npz"
        np.savez(calibration, x=material.calibration)
    request = PackageRequest(
        models=(material.path,),
        name="healthy",
        version=1,
        profiles=case.profiles,
        golden=held,
        evaluation=None if material.y is None else held,
        calibration=calibration,
        recipes=(case.recipe,) if case.recipe else (),
        cache=cache,
        max_drop=case.max_drop,
    )
    return build_package(request, SigningKey.generate(), lambda _: None)


def outcome(case: Case, material: Material, folder: Path, cache: Path) -> dict[str, Any]:
    """Return what became of a case: ``packaged``, or ``rejected`` and why."""
    begun_s = time.monotonic()
    found: dict[str, Any] = {
        "model": case.model,
        "recipe": case.recipe or "as it is",
        "profiles": list(case.profiles),
        "max_drop": case.max_drop,
        "recipes": [],
    }
    try:
        package = packaged(case, material, folder, cache)
    except EdgeopsError as error:
        why = str(error).replace(f"{material.path.parent}/", "").replace(f"{folder}/", "")
        found |= {"outcome": "rejected", "why": why[:400]}
    else:
        variants = package.manifest.variants
        found |= {
            "outcome": "packaged",
            "recipes": sorted({each.evidence.recipe for each in variants if each.evidence}),
            "size_bytes": [each.artifact.ref.size_bytes for each in variants],
        }
    return {**found, "seconds": round(time.monotonic() - begun_s, 1)}
