"""What changed between two packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeops.cli.main import main
from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.record.compare import SECTIONS, Change, compare
from edgeops.packaging.record.rebuild import record_of
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.conversions import SPLIT
from tests.models import digits_tflite

KEY = SigningKey.generate()


def packaged(folder: Path, number: int, **more: object) -> Package:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "held.npz", x=SPLIT.stream_x, y=SPLIT.stream_y)
    np.savez(folder / "cal.npz", x=SPLIT.train_x[: 100 * number])
    given: dict[str, object] = {"recipes": ("int8",), "calibration": folder / "cal.npz", **more}
    request = PackageRequest(
        models=(digits_tflite(2),),
        name="digits",
        version=number,
        profiles=("raspberry-pi-zero-2w",),
        evaluation=folder / "held.npz",
        cache=folder / "cache",
        max_drop=0.05,
        **given,  # type: ignore[arg-type]
    )
    return build_package(request, KEY, lambda _: None)


def changes(one: Package, other: Package) -> dict[tuple[str, str], Change]:
    found = compare(one, other, record_of(one), record_of(other))
    assert [SECTIONS.index(each.section) for each in found] == sorted(
        SECTIONS.index(each.section) for each in found
    )
    return {(each.section, each.what): each for each in found}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packaged(tmp_path_factory.mktemp("diff") / "one", 1)


def test_a_package_does_not_differ_from_itself(first: Package) -> None:
    assert changes(first, first) == {}


def test_other_calibration_rows_are_told_with_what_they_changed(
    first: Package, tmp_path: Path
) -> None:
    found = changes(first, packaged(tmp_path, 2))
    assert ("data", "calibration.tflite") in found
    ranges = found["recipe", ".tflite: ranges of activations"]
    assert ranges.before.partition(", ")[0] == ranges.after.partition(", ")[0]
    artifact = found["graph", "litert: artifact"]
    assert artifact.before.startswith("sha256:") and artifact.before != artifact.after
    others = {section for section, _ in found} - {"data", "evidence"}
    assert others == {"recipe", "graph"}


def test_another_recipe_changes_recipe_evidence_and_graph(first: Package, tmp_path: Path) -> None:
    found = changes(first, packaged(tmp_path, 2, recipes=("float16",), calibration=None))
    precision = found["recipe", ".tflite: precision"]
    assert (precision.before, precision.after) == ("int8", "float16")
    assert found["graph", ".tflite: int8 weights"].after == ""
    assert int(found["graph", ".tflite: float16 weights"].after) > 10_000
    assert ("evidence", "litert: bytes") in found
    dense = [each for (section, what), each in found.items() if section == "graph"]
    assert any(each.before.startswith("FULLY_CONNECTED of int8") for each in dense)


def test_labels_waivers_and_agents_are_told(first: Package, tmp_path: Path) -> None:
    labels = tuple("abcdefghij")
    found = changes(first, packaged(tmp_path, 1, labels=labels, min_agent="9.0.0"))
    assert found["serving", "labels"].after == "a, b, c, d, e, f, g, h, i, j"
    assert found["serving", "oldest agent"].after == "9.0.0"


def test_the_command_reads_folders_and_prints_tables_and_json(
    first: Package, tmp_path: Path
) -> None:
    write_layout(first, tmp_path / "a")
    write_layout(packaged(tmp_path, 2, recipes=("float32",), calibration=None), tmp_path / "b")
    run = CliRunner().invoke(main, ["diff", str(tmp_path / "a"), str(tmp_path / "b")])
    assert run.exit_code == 0, run.output
    assert "digits:1" in run.output and "precision" in run.output
    run = CliRunner().invoke(main, ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "-o", "json"])
    assert {"section", "what", "before", "after"} == set(json.loads(run.output)[0])
    same = CliRunner().invoke(main, ["diff", str(tmp_path / "a"), str(tmp_path / "a")])
    assert "they do not differ" in same.output
