"""Bad and hostile model files: refused with the cause and the next step, and nothing is left.

Each goes in both ways: packaged as it is, and converted by a recipe.
"""

from __future__ import annotations

import os
import re
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.domain.errors import InvalidInput, InvalidModel
from edgeops.packaging.build import build_package
from edgeops.packaging.convert import Limits
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.examine import examine
from edgeops.packaging.convert.source import SourceKind, read_source
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests import hostile_models as hostile
from tests import models
from tests.conversions import CALIBRATION, Door, load

KEY = SigningKey.generate()
BOUND_S = 20.0
"""More than any refusal may take here, where two cores are shared."""
FIND_OUT = "do not use this file; find out who made it"
NAN = float("nan")
INFINITY = float("inf")

BAD: list[tuple[str, bytes, str, str]] = [
    ("strings", hostile.onnx_file(hostile.strings), "input 'x' is of strings", "turn text into"),
    (
        "sequence",
        models.sequence_onnx(4),
        "output 'scores' is a sequence, not a tensor",
        "export dense tensors only",
    ),
    (
        "free size",
        hostile.onnx_file(hostile.free_size),
        "input 'x' has the free size 'length' at 1",
        "make_dynamic_shape_fixed --dim_param length",
    ),
    ("no shape", hostile.onnx_file(hostile.no_shape), "input 'x' has no shape", "with the shape"),
    ("sparse", hostile.onnx_file(hostile.sparse), "weights 'w' are sparse", "dense weights"),
    (
        "operator of a domain of its own",
        hostile.onnx_file(hostile.foreign_operator),
        r"has the operators com\.acme\.Softmax",
        "export it with ONNX's own operators",
    ),
    (
        "operator that there is not",
        hostile.onnx_file(hostile.unheard_operator),
        "has the operators Softmix",
        "export it with ONNX's own operators",
    ),
    ("endless", hostile.onnx_file(hostile.endless), "function 'A' calls itself", FIND_OUT),
    ("laughs", hostile.onnx_file(hostile.laughs), "1000000000001 nodes", FIND_OUT),
    (
        "claims terabytes",
        hostile.onnx_file(hostile.claims_terabytes),
        "no valid ONNX: cannot reshape",
        "export it again",
    ),
    (
        "fills terabytes",
        hostile.onnx_file(hostile.fills_terabytes),
        "cannot run the model.*ConstantOfShape",
        "it asks for more memory",
    ),
    ("NaN", hostile.onnx_file(hostile.weight(NAN)), "'w' hold NaN or infinity", "train it again"),
    (
        "infinity",
        hostile.onnx_file(hostile.weight(-INFINITY)),
        "'w' hold NaN or infinity",
        "train it again",
    ),
    ("nested", hostile.nested_graphs(5000), "no valid ONNX.*Depth|depth", "export it again"),
    (
        "tflite free size",
        hostile.tflite_file(hostile.tflite_free_size),
        "input 'serving_default_x:0' has a free size at 1",
        "build the model with a fixed input shape",
    ),
    (
        "tflite strings",
        hostile.tflite_file(hostile.tflite_strings),
        "input 'serving_default_x:0' is of strings",
        "turn text into numbers",
    ),
    (
        "tflite sparse",
        hostile.tflite_file(hostile.tflite_sparse),
        "weights '.*' are sparse",
        "convert it without sparsity",
    ),
    (
        "tflite operator of its maker",
        hostile.tflite_file(hostile.tflite_operator(b"AcmeConv")),
        "has the operators AcmeConv",
        "replace them by TFLite's built-in operators",
    ),
    (
        "tflite operator of TensorFlow",
        hostile.tflite_file(hostile.tflite_operator(b"FlexErf")),
        "has the operators FlexErf",
        "no SELECT_TF_OPS",
    ),
    (
        "tflite NaN",
        hostile.tflite_file(hostile.tflite_weight(NAN)),
        "MatMul' hold NaN or infinity",
        "train it again",
    ),
    (
        "tflite infinity",
        hostile.tflite_file(hostile.tflite_weight(INFINITY)),
        "MatMul' hold NaN or infinity",
        "train it again",
    ),
    (
        "tflite NaN in a bias",
        hostile.tflite_file(hostile.tflite_weight(NAN, bias=True)),
        "BiasAdd' hold NaN or infinity",
        "train it again",
    ),
    (
        "tflite claims terabytes",
        hostile.tflite_file(hostile.tflite_claims_terabytes),
        "tensor 'serving_default_x:0' claims 68719476736 elements",
        FIND_OUT,
    ),
    (
        "tflite endless",
        hostile.tflite_file(hostile.tflite_endless),
        "LiteRT cannot load the model",
        "export it again",
    ),
]


def package(path: Path, folder: Path, said: list[str], **more: Any) -> Any:
    request = PackageRequest(
        models=(path,),
        name="bad",
        version=1,
        profiles=("x86-64-generic",),
        cache=folder / "cache",
        **more,
    )
    return build_package(request, KEY, said.append)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")] if folder.exists() else []


@pytest.mark.parametrize("recipes", [(), ("float32",)], ids=["as it is", "float32"])
@pytest.mark.parametrize(
    ("data", "cause", "next_step"), [row[1:] for row in BAD], ids=[r[0] for r in BAD]
)
def test_a_bad_model_is_refused_in_bounds_with_cause_and_next_step(
    tmp_path: Path, data: bytes, cause: str, next_step: str, recipes: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.model"
    path.write_bytes(data)
    started = time.monotonic()
    with pytest.raises(InvalidModel, match=cause) as refused:
        package(path, tmp_path, [], recipes=recipes)
    assert time.monotonic() - started < BOUND_S
    assert next_step in refused.value.next_step
    assert "\n" not in f"{refused.value}{refused.value.next_step}"
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("recipe", ["tflite-int8", "tflite-float16"])
def test_what_is_not_finite_is_not_quantized_either(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(hostile.tflite_file(hostile.tflite_weight(NAN)))
    with pytest.raises(InvalidModel, match="NaN or infinity"):
        Door(tmp_path / "cache")(path, recipe, CALIBRATION)
    assert left_in(tmp_path / "cache") == []


def test_masks_may_be_infinite(tmp_path: Path) -> None:
    path = tmp_path / "masked.onnx"
    path.write_bytes(hostile.onnx_file(hostile.infinite_mask))
    made = Door(tmp_path / "cache")(path, "onnx-float32", None)
    assert load(made.path).run([np.array([[0, 1, 0, 9]], np.float32)])[0].argmax() == 1
    assert package(path, tmp_path, []).manifest.variants[0].runtime == "onnxruntime"


@pytest.mark.parametrize(
    ("location", "cause", "next_step"),
    [
        ("gone.bin", r"weights in the file 'gone\.bin', which is not beside it", "put it there"),
        ("../up.bin", r"weights in '\.\./up\.bin', which leads out of its folder", FIND_OUT),
        ("a/../../up.bin", "which leads out of its folder", FIND_OUT),
        ("/etc/passwd", "weights in '/etc/passwd', which leads out of its folder", FIND_OUT),
        ("a\\up.bin", "which leads out of its folder", FIND_OUT),
        ("", "which leads out of its folder", FIND_OUT),
        ("link.bin", "which is a link and may lead anywhere", "copy the file in its place"),
        ("folder", "which is not beside it", "put it there"),
    ],
)
@pytest.mark.parametrize("recipes", [(), ("float32",)], ids=["as it is", "float32"])
def test_weights_are_not_taken_from_elsewhere(
    tmp_path: Path, location: str, cause: str, next_step: str, recipes: tuple[str, ...]
) -> None:
    inner = tmp_path / "model"
    (inner / "folder").mkdir(parents=True)
    for name in ("up.bin", "secret"):
        (tmp_path / name).write_bytes(hostile.WEIGHTS.tobytes())
    (inner / "link.bin").symlink_to(tmp_path / "secret")
    (inner / "bad.onnx").write_bytes(hostile.onnx_file(hostile.in_file(location)))
    with pytest.raises(InvalidModel, match=cause) as refused:
        package(inner / "bad.onnx", tmp_path, [], recipes=recipes)
    assert refused.value.next_step.startswith(next_step)
    assert left_in(tmp_path / "cache") == []


def test_weights_beside_it_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    path = models.external_onnx(hostile.WEIGHTS, tmp_path)
    os.truncate(tmp_path / "weights.bin", 20)
    with pytest.raises(InvalidModel, match="no valid ONNX") as refused:
        Door(tmp_path / "cache")(path, "onnx-float32", None)
    assert refused.value.next_step == "export it again"


@pytest.mark.parametrize("name", ["bad.onnx", "bad.tflite", "bad.keras", "bad.h5", "bad.skops"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidModel, match=f"{name} is empty") as refused:
        package(tmp_path / name, tmp_path, [])
    assert refused.value.next_step == "export the model again"


@pytest.mark.parametrize("name", ["huge.onnx", "huge.tflite", "huge.keras"])
def test_a_file_of_more_than_2_gib_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(MAX_BLOB_BYTES + 1)
    started = time.monotonic()
    with pytest.raises(InvalidModel, match=f"2147483648 bytes, {MAX_BLOB_BYTES} are") as refused:
        package(tmp_path / name, tmp_path, [])
    assert time.monotonic() - started < 1.0
    assert refused.value.next_step.startswith("make it smaller")


def test_weights_of_more_than_2_gib_beside_it_are_refused_before_they_are_read(
    tmp_path: Path,
) -> None:
    path = models.external_onnx(hostile.WEIGHTS, tmp_path)
    os.truncate(tmp_path / "weights.bin", MAX_BLOB_BYTES)
    started = time.monotonic()
    with pytest.raises(InvalidModel, match=f"{MAX_BLOB_BYTES} are allowed"):
        read_source(path, trust_code=False)
    assert time.monotonic() - started < 1.0


def test_a_message_that_claims_a_terabyte_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "bomb.onnx").write_bytes(b"\x08\x08\x3a\x80\x80\x80\x80\x80\x20")
    with pytest.raises(InvalidModel, match="ONNX model that is cut off or damaged") as refused:
        package(tmp_path / "bomb.onnx", tmp_path, [])
    assert refused.value.next_step == "copy or export it again"


def flatbuffer_bomb(copies: int) -> bytes:
    """Return a file in which one subgraph of one tensor is listed ``copies`` times ``copies``."""
    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    builder.StartVector(4, copies, 4)
    for _ in range(copies):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    builder.StartVector(4, copies, 4)
    for _ in range(copies):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def claiming_flatbuffer() -> bytes:
    """Return a file of which the list of subgraphs claims two thousand million of them."""
    data = bytearray(flatbuffer_bomb(2))
    model = schema.Model.GetRootAs(bytes(data), 0)
    at = model._tab.Vector(model._tab.Offset(8)) - 4
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    return bytes(data)


@pytest.mark.parametrize("recipes", [(), ("float32",)], ids=["as it is", "float32"])
@pytest.mark.parametrize(
    "data", [flatbuffer_bomb(5000), claiming_flatbuffer()], ids=["lists", "length"]
)
def test_a_flatbuffer_bomb_is_refused_in_bounds(
    tmp_path: Path, data: bytes, recipes: tuple[str, ...]
) -> None:
    assert len(data) < 50_000
    (tmp_path / "bomb.tflite").write_bytes(data)
    started = time.monotonic()
    with pytest.raises(InvalidModel, match="not a valid Flatbuffer") as refused:
        package(tmp_path / "bomb.tflite", tmp_path, [], recipes=recipes)
    assert time.monotonic() - started < BOUND_S
    assert refused.value.next_step.startswith("export it again")
    assert left_in(tmp_path / "cache") == []


def test_a_look_that_takes_too_long_or_too_much_memory_is_ended(tmp_path: Path) -> None:
    data = models.digits_tflite(2).read_bytes()
    with pytest.raises(ConversionFailed, match=r"took more than 0\.01 s"):
        examine(data, "tflite", tmp_path, Limits(timeout_s=0.01))
    data = hostile.onnx_file(lambda m: hostile.fills(m, 2**28))
    with pytest.raises(InvalidModel, match="cannot run the model.*ConstantOfShape"):
        examine(data, "onnx", tmp_path, Limits(memory_mib=400))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("recipes", [(), ("float32",)], ids=["as it is", "float32"])
def test_what_is_onnx_inside_is_onnx_whatever_it_is_called(
    tmp_path: Path, recipes: tuple[str, ...]
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(hostile.onnx_file())
    assert read_source(path, trust_code=False).kind is SourceKind.ONNX
    assert (
        package(path, tmp_path, [], recipes=recipes).manifest.variants[0].runtime == "onnxruntime"
    )


NEW = [
    ("opset", hostile.of_opset(22, ir=10), r"opset 22 \(21 at most\)"),
    ("ir", hostile.of_opset(17, ir=11), r"IR 11 \(10 at most\)"),
    ("ml", hostile.of_opset(17, ml=6), r"ai\.onnx\.ml 6 \(5 at most\)"),
]


@pytest.mark.parametrize(("data", "what"), [row[1:] for row in NEW], ids=[row[0] for row in NEW])
def test_what_is_newer_than_the_oldest_runtime_is_not_packaged_as_it_is(
    tmp_path: Path, data: bytes, what: str
) -> None:
    (tmp_path / "new.onnx").write_bytes(data)
    with pytest.raises(InvalidModel, match=rf"of {what}: devices may have onnxruntime 1\.20") as no:
        package(tmp_path / "new.onnx", tmp_path, [])
    assert no.value.next_step.startswith("export it with opset 17, or give --recipe float32")


def test_float32_converts_a_newer_opset_down_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    path.write_bytes(hostile.of_opset(24, ir=12))
    made = Door(tmp_path / "cache")(path, "onnx-float32", None)
    model = onnx.load(made.path)
    assert (model.opset_import[0].version, model.ir_version) == (21, 9)
    assert made.notes == ("converted from opset 24 down to 21",)
    row = np.array([[0, 0, 3, 1]], np.float32)
    np.testing.assert_allclose(load(made.path).run([row])[0], load(path).run([row])[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (hostile.of_opset(99), "of opset 99, onnxruntime 1.20 takes 21 at most, and it cannot be"),
        (hostile.of_opset(17, ml=6), "of ai.onnx.ml 6, onnxruntime 1.20 takes 5 at most"),
    ],
    ids=["opset", "ml"],
)
def test_what_cannot_be_converted_down_is_refused(tmp_path: Path, data: bytes, cause: str) -> None:
    (tmp_path / "new.onnx").write_bytes(data)
    with pytest.raises(InvalidModel) as refused:
        Door(tmp_path / "cache")(tmp_path / "new.onnx", "onnx-float32", None)
    assert cause in str(refused.value)
    assert refused.value.next_step == "export it with opset 17"


def test_the_bound_is_of_the_oldest_runtime_that_the_agent_takes() -> None:
    from edgeops.packaging.files.onnx_header import OLDEST_RUNTIME

    agent = Path(__file__).parents[2] / "device_agent" / "pyproject.toml"
    assert f'"onnxruntime>={OLDEST_RUNTIME},<2"' in agent.read_text()


def test_a_file_packaged_as_it_is_keeps_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(hostile.of_opset(21, ir=10))
    package_ = package(path, tmp_path, [])
    digest = package_.manifest.variants[0].artifact.ref.digest
    assert package_.blobs[digest] == path.read_bytes()


def test_without_the_tools_to_look_into_a_file_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "onnx":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    (tmp_path / "model.onnx").write_bytes(hostile.onnx_file())
    said: list[str] = []
    package(tmp_path / "model.onnx", tmp_path, said)
    assert any("is not looked into: onnx is not installed" in line for line in said)


@pytest.mark.parametrize("recipe", ["tflite-float32", "tflite-float16"])
def test_a_missing_signature_is_made_and_said(tmp_path: Path, recipe: str) -> None:
    from edgeops.packaging.convert.tflite_file import unpack

    def bare(model: Any) -> None:
        model.signatureDefs = []

    (tmp_path / "bare.tflite").write_bytes(hostile.tflite_file(bare))
    made = Door(tmp_path / "cache")(tmp_path / "bare.tflite", recipe, None)
    model = unpack(made.path.read_bytes())
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"serving_default"
    assert [each.name for each in signature.inputs] == [b"serving_default_x:0"]
    assert any("no signature" in note for note in made.notes)
    x = CALIBRATION[:1]
    want = load(models.digits_tflite(2)).run([x])[0]
    np.testing.assert_allclose(load(made.path).run([x])[0], want, atol=1e-2)


@pytest.mark.parametrize("what", ["model", "golden", "evaluation", "calibration"])
def test_a_pipe_is_refused_at_once(what: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given: dict[str, Any] = {"models": (models.digits_tflite(),)}
    given |= {"models": (pipe,)} if what == "model" else {what: pipe}
    request = PackageRequest(name="m", version=1, profiles=("raspberry-pi-zero-2w",), **given)
    with pytest.raises(InvalidInput, match="pipe is no regular file") as caught:
        build_package(request, SigningKey.generate(), print)
    assert caught.value.next_step


def test_a_model_that_takes_long_is_said_to_and_ended(tmp_path: Path) -> None:
    said: list[str] = []
    limits = Limits(timeout_s=6.0, memory_mib=2048, tell_every_s=0.5)
    with pytest.raises(ConversionFailed, match=r"looking into model\.onnx .* more than 6 s") as no:
        examine(hostile.looping(), "onnx", tmp_path, limits, said.append)
    assert "loops without end" in no.value.next_step
    assert len(said) > 5
    assert re.fullmatch(r"still looking into model\.onnx, since \d s, at most 6 s", said[0])
