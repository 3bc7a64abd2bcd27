"""Verifying a package: whose it is, whether it is whole, and whether it can be made again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_agent.protocol.ids import digest_of
from edgeops.cli.main import main
from edgeops.domain.errors import NotTrusted
from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import read_layout, write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.recipes import RECIPES, Recipe, Rule
from edgeops.packaging.record.build_record import BUILD_RECORD, BuildRecord
from edgeops.packaging.record.rebuild import record_of
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.verify import check_blobs
from edgeops.trust.keys import KeyFolder
from tests.conversions import SPLIT
from tests.models import digits_tflite

MINE = dataclasses.replace(
    RECIPES["tflite-int8"], name="mine", rules=(Rule(precision="float32", operator="SOFTMAX"),)
)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with keys and one package by a recipe of somebody's own."""
    folder = tmp_path_factory.mktemp("home")
    keys = KeyFolder(folder / "keys")
    keys.init()
    request = PackageRequest(
        models=(digits_tflite(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w",),
        golden=saved(folder / "golden.npz", x=SPLIT.stream_x[:64], y=SPLIT.stream_y[:64]),
        evaluation=saved(folder / "held.npz", x=SPLIT.stream_x, y=SPLIT.stream_y),
        calibration=saved(folder / "cal.npz", x=SPLIT.train_x[:200]),
        recipes=(MINE,),
        cache=folder / "cache",
        max_drop=0.03,
    )
    write_layout(build_package(request, keys.targets(), print), folder / "packages")
    return folder


def verify(home: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["--home", str(home), "verify", *more])
    return done.exit_code, done.output


def with_record(package: Package, record: BuildRecord) -> Package:
    return dataclasses.replace(
        package, provenance={**package.provenance, BUILD_RECORD: record.to_bytes()}
    )


def test_a_package_is_made_again_byte_by_byte_from_what_it_carries(home: Path) -> None:
    code, said = verify(home, "digits:1", "--rebuild", "-o", "json")
    found = json.loads(said[said.index("[") :])
    assert code == 0, said
    assert [(each["subject"], each["state"]) for each in found] == [
        ("signature", "ok"),
        ("bytes", "ok"),
        ("build record", "ok"),
        ("answers on litert", "ok"),
        ("rebuild of .tflite", "ok"),
    ]
    assert "mine from its ranges gives the same" in found[-1]["what"]


def test_a_folder_is_verified_by_its_path(home: Path) -> None:
    code, said = verify(home, str(home / "packages"))
    assert code == 0 and "64 golden rows differ by" in said
    assert "rebuild" not in said


def test_the_record_holds_recipe_ranges_anatomy_and_verdicts(home: Path) -> None:
    package = read_layout(home / "packages")
    record = record_of(package)
    assert record is not None
    assert package.manifest.lineage["build"] == digest_of(package.provenance[BUILD_RECORD])
    made = record.artifacts[0]
    assert made.recipe == MINE and made.making is not None and made.making.ranges
    assert made.anatomy is not None and made.anatomy.quantized == "int8"
    assert made.float_model == digest_of(package.provenance["float.tflite"])
    held = {each.gate for each in record.verdicts if each.holds}
    assert held == {"golden", "quality", "fidelity", "effect", "runtime", "fit"}
    assert BuildRecord.from_bytes(record.to_bytes()) == record


def test_other_ranges_give_other_bytes_and_that_is_said(home: Path, tmp_path: Path) -> None:
    package = read_layout(home / "packages")
    record = record_of(package)
    assert record is not None
    made = record.artifacts[0]
    assert made.making is not None and made.making.ranges is not None
    wider = {name: (low * 2, high * 2) for name, (low, high) in made.making.ranges.items()}
    other = dataclasses.replace(made, making=dataclasses.replace(made.making, ranges=wider))
    record = dataclasses.replace(record, artifacts=(other,))
    from edgeops.packaging.record.rebuild import verify_rebuilds

    (found,) = verify_rebuilds(with_record(package, record), tmp_path / "cache")
    assert (found.state, found.what) == (
        "error",
        "other bytes: with the same versions of all tools",
    )


@pytest.mark.parametrize("name", [BUILD_RECORD, "float.tflite"])
def test_provenance_of_another_package_is_not_trusted(home: Path, name: str) -> None:
    package = read_layout(home / "packages")
    altered = {**package.provenance, name: package.provenance[name][:-1] + b" "}
    with pytest.raises(Exception, match="not the one that was signed|damaged") as refused:
        check_blobs(dataclasses.replace(package, provenance=altered))
    assert refused.type.__module__ == "edgeops.domain.errors"


def test_another_record_that_fits_the_float_model_is_not_trusted(home: Path) -> None:
    package = read_layout(home / "packages")
    record = record_of(package)
    assert record is not None
    other = with_record(package, dataclasses.replace(record, verdicts=()))
    with pytest.raises(NotTrusted, match=r"build\.json of digits:1 is not the one that was signed"):
        check_blobs(other)


def test_a_package_that_somebody_else_signed_is_not_trusted(home: Path, tmp_path: Path) -> None:
    KeyFolder(tmp_path / "keys").init()
    code, said = verify(home, "digits:1", "--keys", str(tmp_path / "keys"))
    assert code == 6 and "not signed by a key that is trusted here" in said


def test_without_a_root_of_trust_nothing_is_verified(home: Path, tmp_path: Path) -> None:
    code, said = verify(home, "digits:1", "--keys", str(tmp_path / "none"))
    assert code == 1 and "root.json" in said


def test_a_flipped_byte_is_found(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "packages", tmp_path / "packages")
    package = read_layout(home / "packages")
    digest = package.manifest.variants[0].artifact.ref.digest.removeprefix("sha256:")
    blob = tmp_path / "packages" / "blobs" / "sha256" / digest
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, said = verify(home, str(tmp_path / "packages"))
    assert code == 6 and "was altered or cut off" in said


def test_an_owner_may_keep_the_float_model(home: Path, tmp_path: Path) -> None:
    package = read_layout(home / "packages")
    kept = {BUILD_RECORD: package.provenance[BUILD_RECORD]}
    write_layout(dataclasses.replace(package, provenance=kept), tmp_path / "packages")
    code, said = verify(home, str(tmp_path / "packages"), "--rebuild")
    assert code == 0
    assert "is not in the package" in said


def test_a_recipe_reads_back_from_a_record_as_strictly_as_from_a_file() -> None:
    assert Recipe.from_document(MINE.to_document()) == MINE
