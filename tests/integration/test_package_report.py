"""The report of a real package: searched, quantized, measured, then read by the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeops.cli.main import main
from edgeops.domain.errors import InvalidPackage, NotTrusted
from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import read_layout, write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.record.build_record import BUILD_RECORD, BuildRecord
from edgeops.packaging.record.measured import processor
from edgeops.packaging.record.rebuild import record_of
from edgeops.packaging.request import PackageRequest
from edgeops.reports import render_package
from edgeops.service.package_report import gather
from edgeops.trust.keys import KeyFolder
from tests.conversions import SPLIT
from tests.models import digits_tflite
from tests.report_pages import Page, text_of


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with keys, a package whose recipe was searched, and one as it was given."""
    folder = tmp_path_factory.mktemp("home")
    keys = KeyFolder(folder / "keys")
    keys.init()
    light = np.where(np.arange(len(SPLIT.stream_y)) % 3 == 0, "night", "day")
    searched = PackageRequest(
        models=(digits_tflite(2),),
        name="digits",
        version=1,
        profiles=("raspberry-pi-zero-2w", "x86-64-generic"),
        evaluation=saved(
            folder / "held.npz", x=SPLIT.stream_x, y=SPLIT.stream_y, **{"slice.light": light}
        ),
        calibration=saved(folder / "cal.npz", x=SPLIT.train_x[:150]),
        recipes=("auto",),
        lineage={"data": "digits <b>of May</b>"},
        cache=folder / "cache",
        max_drop=0.03,
    )
    given = PackageRequest(
        models=(digits_tflite(1),),
        name="digits",
        version=2,
        profiles=("raspberry-pi-zero-2w",),
        cache=folder / "cache",
    )
    for request in (searched, given):
        write_layout(build_package(request, keys.targets(), print), folder / "packages")
    return folder


def package(home: Path, ref: str = "digits:1") -> Package:
    return read_layout(home / "packages", ref)


def report(home: Path, *more: object) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "report", *map(str, more)])


def facts_of(home: Path, *more: object) -> Any:
    done = report(home, *more, "-o", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_page_is_written_that_tells_everything_of_a_searched_package(
    home: Path, tmp_path: Path
) -> None:
    done = report(home, "digits:1", "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text()
    parsed, text = Page(page), text_of(page)
    assert parsed.tags.count("section") == 9
    assert parsed.tags.count("svg") == 6
    record = record_of(package(home))
    assert record is not None
    for verdict in record.verdicts:
        assert verdict.found in text
    for said in (
        "digits:1",
        "signature trusted",
        "light=night",
        "Why it stopped: all candidates were tried",
        "FULLY_CONNECTED 3 100 %",
        "x86-64-generic litert runs",
        "by a targets key of root version 1",
        "digits <b>of May</b>",
    ):
        assert said in text, said


def test_json_has_what_the_record_has(home: Path) -> None:
    facts, known = facts_of(home, "digits:1"), package(home)
    record = record_of(known)
    assert record is not None
    (artifact,), (made,) = facts["artifacts"], record.artifacts
    assert made.making is not None and made.anatomy is not None and made.recipe is not None
    assert facts["digest"] == known.digest
    assert [each["recipe"] for each in artifact["trials"]] == [
        each.recipe.name for each in made.making.trials
    ]
    assert [each["recipe"] for each in artifact["trials"] if each["chosen"]] == [made.recipe.name]
    assert all(not each["why_not"] for each in artifact["trials"] if each["on_front"])
    costs = [each["error"] for each in artifact["sensitivity"]]
    assert costs == sorted(made.making.sensitivity.values(), reverse=True)
    assert all(each["type"] == "FULLY_CONNECTED" for each in artifact["sensitivity"])
    assert [each["live_bytes"] for each in artifact["operations"]] == list(made.anatomy.live_bytes)
    outputs = [{""}, *(set(each.outputs) for each in made.anatomy.operations)]
    for found, read in zip(artifact["operations"], made.anatomy.operations, strict=True):
        assert all(0 <= number < found["number"] for number in found["takes"])
        taken = set().union(*(outputs[number] for number in found["takes"]))
        assert 0 in found["takes"] or set(read.inputs) <= taken
        assert bool(found["takes"]) == bool(read.inputs)
    assert {(each["profile"], each["runs"]) for each in artifact["supports"]} == {
        ("raspberry-pi-zero-2w", True),
        ("x86-64-generic", True),
    }


def test_latency_and_memory_are_told_of_the_host_that_measured_them(home: Path) -> None:
    facts = facts_of(home, "digits:1")
    (run,), (artifact,) = facts["runs"], facts["artifacts"]
    assert facts["host"].startswith(processor())
    assert (run["runtime"], run["threads"]) == ("litert", 1)
    assert 0 < run["latency_ms"] <= run["latency_ms_p95"] and run["memory_mib"] > 0
    assert artifact["objective"] == "size" and artifact["float_ms"] > 0
    made = [each for each in artifact["trials"] if each["size_bytes"] is not None]
    assert made and all(each["latency_ms"] > 0 for each in made)
    card = report(home, "digits:1", "-o", "card").stdout
    assert "## Latency and memory on the host that packaged" in card
    assert f"| {run['package']} | {run['latency_ms']:.3f} ms |" in card


def test_the_gate_fit_records_what_the_model_costs(home: Path) -> None:
    known, facts = package(home), facts_of(home, "digits:1")
    (fit,) = [each for each in facts["gates"] if each["name"] == "fit"]
    (verdict,) = fit["verdicts"]
    record = record_of(known)
    assert record is not None
    anatomy = record.artifacts[0].anatomy
    assert anatomy is not None and anatomy.macs > 0
    size_bytes = known.manifest.variants[0].artifact.ref.size_bytes
    assert verdict["found"].startswith(
        f"litert: {size_bytes} bytes, {anatomy.macs} multiplications a row, "
        f"{len(anatomy.operations)} operators ("
    )
    assert "3 FULLY_CONNECTED" in verdict["found"]
    assert verdict["found"].endswith("memory grows by less than the 64 MiB allowed")


def test_a_package_that_came_without_what_was_measured_is_told_without_it(home: Path) -> None:
    known = dataclasses.replace(package(home), measured=None)
    assert gather(known, home / "keys").runs == ()
    of_another = dataclasses.replace(known, measured=package(home, "digits:2").measured)
    assert gather(of_another, home / "keys").runs == ()
    damaged = dataclasses.replace(known, measured=b"{}")
    with pytest.raises(InvalidPackage, match="what was measured is damaged"):
        gather(damaged, home / "keys")


def test_errors_of_the_scores_are_those_of_the_evaluation_rows(home: Path) -> None:
    (errors,) = facts_of(home, "digits:1")["errors"]
    evidence = package(home).manifest.variants[0].evidence
    assert evidence is not None and evidence.sqnr_db is not None
    assert errors["rows"] == evidence.rows == errors["same"] + sum(errors["counts"])
    assert 0 <= errors["median"] <= errors["p95"] <= errors["worst"] < 1
    assert errors["worst"] >= 10 ** (-evidence.sqnr_db / 20) >= errors["median"]


def test_a_folder_needs_to_be_told_which_of_its_packages(home: Path, tmp_path: Path) -> None:
    folder = home / "packages"
    done = report(home, folder)
    assert done.exit_code == 1 and "holds 2 packages" in done.output
    done = report(home, folder, "--ref", "digits:2", "--out", tmp_path / "given.html")
    assert done.exit_code == 0, done.output
    text = text_of((tmp_path / "given.html").read_text())
    assert "litert, as it was given" in text
    assert "So nothing is known of its accuracy." in text
    assert "answer alike on 64 random rows" in text


def test_a_page_is_named_by_model_and_version(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report(home, "digits:1").stdout == "digits-1-report.html\n"
    assert report(home, "digits:1", "-o", "json", "--out", "facts.json").exit_code == 0
    assert json.loads((tmp_path / "facts.json").read_text()) == facts_of(home, "digits:1")
    (tmp_path / "digits").mkdir()
    assert "no hub is known" in report(home, "digits").output, "a folder of a model's name"


def test_without_a_root_of_trust_the_signature_is_said_not_to_be_checked(
    home: Path, tmp_path: Path
) -> None:
    facts = gather(package(home), tmp_path / "none")
    assert facts.signature == "not checked"
    assert "Whose signature it bears was not checked" in render_package(facts)


def test_a_package_of_somebody_else_is_shown_and_said_not_to_be_trusted(
    home: Path, tmp_path: Path
) -> None:
    KeyFolder(tmp_path / "keys").init()
    facts = gather(package(home), tmp_path / "keys")
    assert facts.signature == "not trusted"
    assert "not signed by a key that is trusted here" in facts.found


def test_bytes_that_are_not_those_of_the_manifest_have_no_report(home: Path) -> None:
    known = package(home)
    record = known.provenance[BUILD_RECORD].replace(b'"holds":true', b'"holds":false', 1)
    altered = dataclasses.replace(known, provenance={BUILD_RECORD: record})
    with pytest.raises(NotTrusted, match=r"build\.json"):
        gather(altered, home / "keys")


def test_a_package_whose_record_was_kept_back_has_a_page_that_says_so(home: Path) -> None:
    facts = gather(dataclasses.replace(package(home), provenance={}), home / "keys")
    assert not facts.has_record and facts.artifacts[0].recipe.startswith("tflite-")
    text = text_of(render_package(facts))
    assert "This package carries no build record." in text
    assert "likeness of the scores (SQNR)" in text, "its manifest still has evidence"


def test_a_runtime_that_answers_otherwise_is_told_for_its_profiles(home: Path) -> None:
    known = package(home)
    record = record_of(known)
    assert record is not None
    missed = tuple(
        dataclasses.replace(each, holds=each.gate != "runtime", found="it answers NaN")
        for each in record.verdicts
    )
    other = dataclasses.replace(record, verdicts=missed)
    facts = gather(_with_record(known, other), home / "none")
    assert {(each.runs, each.found) for each in facts.artifacts[0].supports} == {
        (False, "it answers NaN")
    }


def _with_record(known: Package, record: BuildRecord) -> Package:
    """Return a package that names another record; its signature is then no more."""
    from device_agent.protocol.ids import digest_of

    data = record.to_bytes()
    lineage = {**known.manifest.lineage, "build": digest_of(data)}
    manifest = dataclasses.replace(known.manifest, lineage=lineage)
    return dataclasses.replace(
        known,
        manifest=manifest,
        manifest_bytes=manifest.to_bytes(),
        provenance={**known.provenance, BUILD_RECORD: data},
    )
