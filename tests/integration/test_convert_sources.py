"""What TensorFlow never sees: archives that lead out, bombs, code; and what is missing."""

from __future__ import annotations

import json
import stat
import tracemalloc
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert import tools
from edgeops.packaging.convert.errors import ConverterMissing
from edgeops.packaging.convert.keras_archive import check_keras_config
from edgeops.packaging.convert.source import SourceKind, read_source
from tests.conversions import Door
from tests.models import digits_tflite

DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"units": 2, "activation": "relu"},
    "registered_name": None,
}


def config(*layers: Any, **more: Any) -> str:
    inner = {"name": "m", "layers": [DENSE, *layers]}
    model = {"module": "keras", "class_name": "Sequential", "config": inner}
    return json.dumps({**model, "registered_name": None, **more})


def archive(path: Path, text: str = config(), **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", text)
        file.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def layer(class_name: str, module: Any = "keras.layers", **more: Any) -> dict[str, Any]:
    return {**DENSE, "class_name": class_name, "module": module, **more}


def test_what_a_model_is_is_told_by_its_bytes(tmp_path: Path) -> None:
    assert read_source(archive(tmp_path / "a.bin"), trust_code=False).kind is SourceKind.KERAS
    hdf5 = tmp_path / "b.keras"
    hdf5.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert read_source(hdf5, trust_code=False).kind is SourceKind.HDF5
    assert read_source(digits_tflite(1), trust_code=False).kind is SourceKind.TFLITE
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"graph")
    saved = read_source(tmp_path / "saved", trust_code=False)
    assert saved.kind is SourceKind.SAVED_MODEL
    (tmp_path / "saved" / "variables").write_bytes(b"v")
    assert read_source(tmp_path / "saved", trust_code=False).digest != saved.digest


@pytest.mark.parametrize(
    "name", ["../evil.py", "a/../../evil.py", "/etc/cron.d/evil", "..\\evil", "C:/evil", "a\\b"]
)
@pytest.mark.parametrize("trust_code", [False, True])
def test_an_entry_that_leads_out_is_refused(tmp_path: Path, name: str, trust_code: bool) -> None:
    path = archive(tmp_path / "m.keras", **{name: b"x"})
    with pytest.raises(InvalidModel, match="leads out of it|proper name"):
        read_source(path, trust_code=trust_code)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_given_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", config(layer("Lambda")))
    with pytest.raises(InvalidModel, match="twice"):
        read_source(path, trust_code=False)


@pytest.mark.parametrize("name", ["model.weights.h5.1", "config.json"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        if name != "config.json":
            file.writestr("config.json", config())
        with file.open(name, "w", force_zip64=True) as entry:
            for _ in range(40):
                entry.write(bytes(1024 * 1024))
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidModel, match="zip bomb"):
        read_source(path, trust_code=True)


def test_an_archive_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = b"\xfe\xff\xff\xff"  # size, in the directory's last entry
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match="unpacks"):
        read_source(path, trust_code=False)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_hides_a_bomb_in_another_method_is_refused(
    tmp_path: Path, method: int
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("config.json", bytes(64 * 1024 * 1024))
    data = bytearray(path.read_bytes())
    for at in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[at : at + 4] = (100).to_bytes(4, "little")  # of 64 MiB
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match="is packed as no model is"):
        read_source(path, trust_code=False)


def spoiled(path: Path, signature: bytes, at: int, value: int) -> None:
    """Change a number of four bytes behind each signature in a file."""
    data = bytearray(path.read_bytes())
    begin = data.find(signature)
    while begin >= 0:
        data[begin + at : begin + at + 4] = value.to_bytes(4, "little")
        begin = data.find(signature, begin + 4)
    path.write_bytes(data)


@pytest.mark.parametrize("lie", ["packed size", "unpacked size", "directory's place"])
def test_an_archive_that_lies_takes_no_memory_for_it(tmp_path: Path, lie: str) -> None:
    path = archive(tmp_path / "m.keras")
    if lie == "packed size":
        spoiled(path, b"PK\x01\x02", 20, 1 << 28)
    elif lie == "unpacked size":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("config.json", bytes(30 * 1024 * 1024))
        spoiled(path, b"PK\x03\x04", 22, 100)
        spoiled(path, b"PK\x01\x02", 24, 100)
    else:
        spoiled(path, b"PK\x05\x06", 16, 9999)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidModel, match="damaged"):
            read_source(path, trust_code=False)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("keep", [4, 30, 200, -30])
def test_a_cut_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = archive(tmp_path / "m.keras")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidModel, match="damaged"):
        read_source(path, trust_code=False)


def test_another_archive_is_no_keras_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr("x.npy", b"")
    with pytest.raises(InvalidModel, match=r"no config\.json"):
        read_source(tmp_path / "m.keras", trust_code=False)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidModel, match="config"):
        read_source(archive(tmp_path / "m.keras", text), trust_code=False)


CODE = [
    layer("Lambda"),
    layer("Lambda", module=None),
    layer("TFSMLayer"),
    layer("Dense", config={"activation": {"class_name": "__lambda__", "config": {"code": "4w=="}}}),
    layer("Own", module=None, registered_name="Custom>Own"),
    layer("Own", module="my.package"),
    layer("system", module="os"),
    layer("get_file", module="keras.utils"),
    layer("get_file", module="keras.src.utils.file_utils"),
    layer("function", module="builtins", config="evil", registered_name="function"),
    layer("Custom>Own", module=None),
    layer("TimeDistributed", config={"layer": layer("Lambda")}),
    layer(["Lambda"]),
    layer("Dense", module=7),
]


@pytest.mark.parametrize("bad", CODE, ids=str)
def test_code_in_a_config_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = archive(tmp_path / "m.keras", config(bad))
    with pytest.raises(InvalidModel) as refused:
        read_source(path, trust_code=False)
    assert refused.value.next_step
    assert read_source(path, trust_code=True).kind is SourceKind.KERAS


def test_what_keras_itself_writes_is_taken() -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4]}}
    operation = {"module": "keras.src.ops.numpy", "class_name": "Add", "registered_name": "Add"}
    functional = layer("Functional", module="keras.src.models.functional")
    old = {"class_name": "Dense", "config": {"dtype": "float32"}}
    text = config(
        layer("Dense", config={"dtype": policy}),
        {**operation, "config": {}, "inbound_nodes": [{"args": [tensor, 1.0]}]},
        {**functional, "registered_name": "Functional"},
        old,
        compile_config={"loss": layer("function", module="builtins")},
    )
    check_keras_config(text, "m")


@pytest.mark.parametrize("operator", ["PyFunc", "EagerPyFunc", "WriteFile", "ReadFile"])
def test_a_saved_model_that_reaches_files_is_refused(tmp_path: Path, operator: str) -> None:
    graph = tmp_path / "saved_model.pb"
    graph.write_bytes(b"\x0a\x04node\x12" + operator.encode() + b"\x00")
    with pytest.raises(InvalidModel, match="reach files or Python"):
        read_source(tmp_path, trust_code=False)
    assert read_source(tmp_path, trust_code=True).kind is SourceKind.SAVED_MODEL


def test_a_saved_model_with_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "assets").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModel, match="is a link"):
        read_source(tmp_path, trust_code=True)


@pytest.mark.parametrize("what", ["folder", "nothing", "empty", "text", "pickle"])
def test_what_is_no_model_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.h5"
    if what == "folder":
        path.mkdir()
    elif what != "nothing":
        path.write_bytes({"empty": b"", "text": b"hello", "pickle": b"\x80\x04abc"}[what])
    with pytest.raises(InvalidModel):
        read_source(path, trust_code=True)


def test_an_archive_with_a_link_is_not_followed(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as file:
        link = zipfile.ZipInfo("assets")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc")
    with pytest.raises(InvalidModel, match="link"):
        read_source(path, trust_code=True)


@pytest.mark.parametrize(
    ("distribution", "extra"), [("tensorflow", "tensorflow"), ("ai-edge-quantizer", "quantization")]
)
def test_a_missing_converter_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, extra: str
) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == distribution:
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    source = digits_tflite(1) if extra == "quantization" else archive(tmp_path / "m.keras")
    with pytest.raises(ConverterMissing) as missing:
        Door(tmp_path / "cache")(source, "tflite-int8")
    assert missing.value.next_step == f"pip install 'edgeops[{extra}]'"
    assert not (tmp_path / "cache").exists()


def test_what_may_be_missing_is_left_out() -> None:
    assert set(tools.versions(("numpy", *tools.OPTIONAL), "it")) >= {"numpy"}
