"""Packages on disk: an OCI layout that is whole or not there, and whose every byte is checked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.protocol.chunks import DEFAULT_CHUNK_BYTES, MAX_BLOB_BYTES
from device_agent.protocol.ids import digest_hex, digest_of
from device_agent.protocol.manifest import Manifest, TensorSpec, Variant
from edgeops.domain.errors import (
    Conflict,
    EdgeopsError,
    InvalidPackage,
    NotFound,
    NotTrusted,
    StoreFailed,
)
from edgeops.packaging.oci.layout import read_layout, references, write_layout
from edgeops.packaging.package import Package, chunked
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD, BuildRecord
from edgeops.packaging.record.measured import Measured
from edgeops.packaging.verify import check_blobs
from edgeops.trust.keys import SigningKey
from tests import models
from tests.hub_harness import make_keys, tiny_package

KEY = SigningKey.generate()
ROOT = Path(models.__file__).parent.parent


def package_of(version: int = 1, *, artifact: bytes = b"model" * 99) -> Package:
    golden = b"golden" * 99
    spec = TensorSpec(name="scores", dtype="float32", shape=(1, 2))
    variant = Variant(
        profiles=("raspberry-pi-5",),
        runtime="onnxruntime",
        artifact=chunked(artifact, DEFAULT_CHUNK_BYTES),
        golden=chunked(golden, DEFAULT_CHUNK_BYTES),
        inputs=(spec,),
        outputs=(spec,),
        scores="scores",
        tolerance=0.001,
        golden_accuracy=None,
    )
    data = Manifest(
        model=models_name("kws"),
        version=version,
        min_agent="0.1.0",
        labels=(),
        variants=(variant,),
        min_accuracy=None,
    ).to_bytes()
    return Package(
        manifest=Manifest.from_bytes(data),
        manifest_bytes=data,
        signature=KEY.sign(data),
        blobs={variant.artifact.ref.digest: artifact, variant.golden.ref.digest: golden}
        if variant.golden
        else {},
    )


def models_name(name: str) -> Any:
    return name


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_package_comes_back_as_it_was(tmp_path: Path) -> None:
    package = package_of()
    write_layout(package, tmp_path / "new" / "layout")
    assert read_layout(tmp_path / "new" / "layout") == package
    assert read_layout(tmp_path / "new" / "layout", "kws:1") == package


def test_the_folder_is_an_oci_layout_that_follows_modelpack(tmp_path: Path) -> None:
    package = package_of()
    write_layout(package, tmp_path)
    assert json.loads((tmp_path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((tmp_path / "index.json").read_bytes())
    (entry,) = index["manifests"]
    assert index["schemaVersion"] == 2
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "kws:1"}
    blobs = tmp_path / "blobs" / "sha256"
    manifest = json.loads((blobs / digest_hex(entry["digest"])).read_bytes())
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    for each in manifest["layers"]:
        named = each["annotations"]
        assert named["org.opencontainers.image.title"] == named["org.cncf.model.filepath"]
    layers = {
        each["annotations"]["org.cncf.model.filepath"]: each["mediaType"]
        for each in manifest["layers"]
    }
    assert layers == {
        "model.onnx": "application/vnd.cncf.model.weight.v1.raw",
        "edgeops.json": "application/vnd.cncf.model.weight.config.v1.raw",
        "golden.onnxruntime.json": "application/vnd.cncf.model.dataset.v1.raw",
        "signature.json": "application/vnd.edgeops.signature.v1+json",
    }
    config = json.loads((blobs / digest_hex(manifest["config"]["digest"])).read_bytes())
    assert config["descriptor"] == {"name": "kws", "version": "1"}
    assert config["config"] == {"format": "onnx"}
    assert config["modelfs"]["diffIds"] == [each["digest"] for each in manifest["layers"]]
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_several_versions_share_a_folder_and_their_blobs(tmp_path: Path) -> None:
    write_layout(package_of(2), tmp_path)
    write_layout(package_of(1), tmp_path)
    assert references(tmp_path) == ("kws:1", "kws:2")
    assert [read_layout(tmp_path, f"kws:{number}") for number in (1, 2)] == [
        package_of(1),
        package_of(2),
    ]
    with pytest.raises(InvalidPackage, match="2 packages") as error:
        read_layout(tmp_path)
    assert "kws:1, kws:2" in error.value.next_step
    with pytest.raises(NotFound, match="kws:3"):
        read_layout(tmp_path, "kws:3")


def test_the_order_of_writing_does_not_show(tmp_path: Path) -> None:
    for folder, order in (("a", (1, 2)), ("b", (2, 1))):
        for number in order:
            write_layout(package_of(number), tmp_path / folder)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_same_package_again_changes_nothing(tmp_path: Path) -> None:
    write_layout(package_of(), tmp_path)
    before = files(tmp_path)
    write_layout(package_of(), tmp_path)
    assert files(tmp_path) == before


def test_another_package_of_the_same_version_is_refused(tmp_path: Path) -> None:
    write_layout(package_of(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(Conflict, match="another package kws:1"):
        write_layout(package_of(artifact=b"other"), tmp_path)
    assert files(tmp_path) == before


def test_entries_of_other_tools_are_kept(tmp_path: Path) -> None:
    write_layout(package_of(1), tmp_path)
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["annotations"] = {"by": "another tool"}
    index["manifests"][0]["platform"] = {"os": "linux"}
    (tmp_path / "index.json").write_text(json.dumps(index))
    write_layout(package_of(2), tmp_path)
    kept = json.loads((tmp_path / "index.json").read_bytes())
    assert kept["annotations"] == {"by": "another tool"}
    assert kept["manifests"][0]["platform"] == {"os": "linux"}


def test_writers_at_the_same_time_lose_no_package(tmp_path: Path) -> None:
    numbers = range(1, 9)
    threads = [
        threading.Thread(target=write_layout, args=(package_of(number), tmp_path))
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert references(tmp_path) == tuple(f"kws:{number}" for number in numbers)


@pytest.mark.parametrize("allowed", range(6))
def test_a_disk_that_fails_at_any_file_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    write_layout(package_of(1), tmp_path)
    before, left, replace_file = files(tmp_path), iter(range(allowed)), os.replace

    def fail(old: str, new: str) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        replace_file(old, new)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        with pytest.raises(StoreFailed, match="No space left"):
            write_layout(package_of(2), tmp_path)
    assert read_layout(tmp_path) == package_of(1)
    assert before.items() <= files(tmp_path).items()
    assert not [name for name in files(tmp_path) if ".new-" in name]
    write_layout(package_of(2), tmp_path)
    assert read_layout(tmp_path, "kws:2") == package_of(2)


def test_a_writer_that_died_does_not_bar_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / ".new-abc").write_bytes(b"half")
    with pytest.raises(InvalidPackage):
        read_layout(tmp_path)
    write_layout(package_of(), tmp_path)
    assert read_layout(tmp_path) == package_of()


def test_a_blob_that_is_damaged_in_the_folder_is_written_again(tmp_path: Path) -> None:
    write_layout(package_of(1), tmp_path)
    digest = package_of(2).manifest.variants[0].artifact.ref.digest
    (tmp_path / "blobs" / "sha256" / digest_hex(digest)).write_bytes(b"damaged")
    write_layout(package_of(2), tmp_path)
    assert read_layout(tmp_path, "kws:2") == package_of(2)


def blobs_in(folder: Path) -> list[Path]:
    return sorted((folder / "blobs" / "sha256").iterdir())


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "missing"])
def test_every_damaged_blob_is_found_and_named(tmp_path: Path, number: int, how: str) -> None:
    write_layout(package_of(), tmp_path)
    path = blobs_in(tmp_path)[number]
    data = path.read_bytes()
    damaged = {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "longer": data * 2}
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged[how])
    with pytest.raises(InvalidPackage if how == "missing" else NotTrusted, match=path.name):
        read_layout(tmp_path)
    assert len(blobs_in(tmp_path)) == 6 - (how == "missing")


def rewritten(folder: Path, change: Any) -> None:
    """Change the OCI manifest as somebody would who also fixes every digest on the way."""
    index = json.loads((folder / "index.json").read_bytes())
    entry = index["manifests"][0]
    path = folder / "blobs" / "sha256" / digest_hex(entry["digest"])
    manifest = json.loads(path.read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (path.parent / digest).write_bytes(data)
    entry.update(digest=f"sha256:{digest}", size=len(data))
    (folder / "index.json").write_text(json.dumps(index))


def drop(media_type: str) -> Any:
    def change(manifest: dict[str, Any]) -> None:
        layers = [each for each in manifest["layers"] if media_type not in each["mediaType"]]
        manifest["layers"] = layers

    return change


@pytest.mark.parametrize(
    ("dropped", "error", "says"),
    [
        ("edgeops.signature", NotTrusted, "not signed"),
        ("weight.config", InvalidPackage, "0 layers"),
        ("weight.v1", NotTrusted, "lacks the blob"),
        ("dataset", NotTrusted, "lacks the blob"),
    ],
)
def test_a_package_that_lacks_a_part_is_refused(
    tmp_path: Path, dropped: str, error: type[EdgeopsError], says: str
) -> None:
    write_layout(package_of(), tmp_path)
    rewritten(tmp_path, drop(dropped))
    with pytest.raises(error, match=says):
        read_layout(tmp_path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("index.json", b""),
        ("index.json", b"{}"),
        ("index.json", b'{"manifests":[{"digest":"sha256:../../etc/passwd"}]}'),
        ("index.json", b'{"manifests":{}}'),
        ("index.json", b" " * 2_000_000),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    write_layout(package_of(1), tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidPackage):
        read_layout(tmp_path)
    with pytest.raises(InvalidPackage):
        write_layout(package_of(2), tmp_path)


def test_an_index_that_claims_gigabytes_takes_no_memory_for_them(tmp_path: Path) -> None:
    write_layout(package_of(), tmp_path)
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"][0]["size"] = MAX_BLOB_BYTES
    (tmp_path / "index.json").write_text(json.dumps(index))
    tracemalloc.start()
    try:
        with pytest.raises(NotTrusted, match="altered or cut off"):
            read_layout(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("named", [None, "sha256:0", "٣", digest_of(b"another record")])
def test_a_build_record_that_the_lineage_does_not_name_is_not_trusted(named: str | None) -> None:
    record = BuildRecord(artifacts=(), verdicts=()).to_bytes()
    made = tiny_package(make_keys(), lineage={} if named is None else {BUILD_KEY: named})
    package = Package(
        manifest=made.manifest,
        manifest_bytes=made.data,
        signature=made.signature,
        blobs=made.blobs,
        provenance={BUILD_RECORD: record},
    )
    with pytest.raises(NotTrusted, match=r"build\.json of kws:1 is not the one"):
        check_blobs(package)


def test_another_folder_is_neither_read_nor_written_to(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"a photograph")
    for act in (read_layout, lambda folder: write_layout(package_of(), folder)):
        with pytest.raises(InvalidPackage, match="no OCI layout"):
            act(tmp_path)
    for folder in (tmp_path / "nowhere", tmp_path / "holiday.jpg"):
        with pytest.raises(InvalidPackage):
            read_layout(folder)
    assert list(files(tmp_path)) == ["holiday.jpg"]


def test_an_incomplete_package_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="lacks the blob"):
        write_layout(replace(package_of(), blobs={}), tmp_path)
    assert files(tmp_path) == {}


PROGRAM = """
import sys
from pathlib import Path
from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
request = PackageRequest(
    models=(Path("m.onnx"), Path("m.tflite")), name="digits", version=1, golden=Path("g.npz"),
    profiles=("x86-64-generic", "raspberry-pi-zero-2w"), lineage={"b": "1", "a": "2"},
    min_accuracy=0.0,
)
key = SigningKey.from_pem(Path("key.pem").read_bytes())
write_layout(build_package(request, key, lambda line: None), Path("out"))
"""


def test_the_same_inputs_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    x, y = chance.uniform(0, 16, (300, 64)).astype(np.float32), chance.integers(0, 10, 300)
    weights = chance.normal(size=(64, 10)).astype(np.float32)
    made = []
    for name, zone, locale, seed in (
        ("here", "UTC", "C", "0"),
        ("a folder elsewhere", "Asia/Kathmandu", "tr_TR.UTF-8", "12345"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "m.onnx").write_bytes(models.linear_onnx(weights))
        (folder / "m.tflite").write_bytes(models.digits_tflite().read_bytes())
        (folder / "key.pem").write_bytes(KEY.to_pem())
        models.save_golden(folder / "g.npz", x, y)
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TZ": zone,
                "LC_ALL": locale,
                "PYTHONHASHSEED": seed,
                "HOME": str(folder),
            },
            check=True,
        )
        (measured,) = (folder / "out" / "measured").iterdir()
        assert Measured.from_bytes(measured.read_bytes()).runs[0].latency_ms > 0
        measured.unlink()  # of this moment, beside the package
        made.append(files(folder / "out"))
    assert made[0] == made[1]
    assert len(made[0]) > 8
