"""The example for PyTorch, run as it is shown. Skipped where PyTorch is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeops.packaging.build import build_package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_what_the_example_exports_is_packaged_as_it_is_and_as_int8(tmp_path: Path) -> None:
    script = ROOT / "examples" / "export_torch.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    for recipes in ((), ("int8",)):
        request = PackageRequest(
            models=(tmp_path / "digits.onnx",),
            name="digits",
            version=1,
            profiles=("raspberry-pi-5",),
            golden=tmp_path / "golden.npz",
            evaluation=tmp_path / "golden.npz",
            calibration=tmp_path / "calibration.npz" if recipes else None,
            recipes=recipes,
            cache=tmp_path / "cache",
            max_drop=0.03,
        )
        (variant,) = build_package(request, SigningKey.generate(), print).manifest.variants
        assert variant.golden_accuracy is not None and variant.golden_accuracy > 0.9
        assert (variant.inputs[0].name, variant.inputs[0].shape) == ("pixels", (-1, 1, 8, 8))
